-- Definitions of blocks. A definition is called to describe a dense model: bam.models.parallel { ... }.
local blocks = require "bam.model.blocks.registry"
local check = require "bam.util.check"
local check_heads = require "bam.nn.heads"
local description = require "bam.model.description"
local parts = require "bam.model.parts"
local registry = require "bam.util.registry"
local shape = require "bam.model.families.shape"

local M = {}

local metatable = blocks.metatable

-- What describes a model, whatever its blocks.
local options = {
  layers = { "few" }, width = { "extent" }, heads = { "extent" },
  kv_heads = { "extent", optional = true, doc = "heads by default" },
  head_width = { "extent", optional = true, doc = "width / heads by default" },
  ffn = { "any", type = "integer|table",
          doc = "hidden width of SwiGLU: half of what the paper calls the FFN dimension; or a class of your own, or "
            .. "{ class = MyFFN, and its options }" },
  attention = { "any", optional = true, type = "table", doc = "a class of your own, in the same way" },
  vocab = { "extent" }, tied = { "boolean", false, doc = "the head uses the input embedding" },
  rope_base = { "positive", 10000 }, eps = { "positive", 1e-5, doc = "of the norms" },
  norm = { "string", "layer", doc = '"layer" or "rms"' },
  rope = { "table", optional = true,
           doc = 'how RoPE\'s frequencies are scaled: { scaling = "linear", factor = 4 }, { scaling = "llama3", '
             .. 'factor = 8, low = 1, high = 4, context = 8192 }, or { scaling = "yarn", factor = 4, '
             .. "context = 32768 }" },
  rope_layers = { "string", optional = true,
                  doc = '"all" (default), or "windowed": only layers with a window rotate, as in Cohere 2' },
  rope_width = { "extent", optional = true, doc = "elements of a head that rotate, the first ones; all by default" },
  window = { "any", optional = true, type = "integer|integer[]",
             doc = "tokens that a token sees, itself counted; a list has one per layer, 0 for all" },
  qkv_bias = { "boolean", false, doc = "biases of queries, keys and values" },
  out_bias = { "boolean", false, doc = "bias of attention's output" },
  qk_norm = { "string", optional = true,
              doc = 'norm of queries and keys: "head", RMS norm of each head; "width", RMS norm of all heads '
                .. 'together; "layer", LayerNorm of each head with weights of its own' },
  activation = { "string", optional = true,
                 doc = 'of the FFN\'s gate: "silu" (default), which makes it SwiGLU, or "gelu" or "gelu_tanh", which '
                   .. "make it GeGLU" },
  norm_weight = { "boolean", true, doc = "do norms have weights?" },
  logit_scale = { "positive", 1, doc = "factor of the logits" },
  context = { "size", 2048, doc = "longest sequence, written to config.json" },
  std = { "rate", 0.02, doc = "standard deviation of the initial weights; output projections use std / √(2 layers)" },
}

-- ---- defining ----

local spec = { name = { "string" }, doc = { "string", "" }, norms = { "list" }, forward = { "callable" } }

local OWN = { attention = true, ffn = true, training = true, forward = true, init = true }

local function check_norms(what, norms)
  local seen = {}
  for i, pair in ipairs(norms) do
    local where = string.format("%s: norms: entry %d", what, i)
    if check.list(where, pair) ~= 2 then check.fail("%s: expected { field, name in checkpoints }", where) end
    for k = 1, 2 do
      local name = check.value(where, pair[k], "string")
      if not name:find "^%a[%w_]*$" or OWN[name] or seen[name] and k == 1 then
        check.fail('%s: expected another name of letters, digits and _, got "%s"', where, name)
      end
      seen[name] = true
    end
  end
end

--- See bam.models.define.
---@param given table
---@return table definition
function M.define(given)
  local d = check.options("models.define", given, spec)
  blocks.registry:check_name("models.define", d.name)
  check_norms(string.format("models.define: %s", d.name), d.norms)
  d.spec = options
  return blocks.registry:add(d, { "forward" })
end

M.define_builtin = registry.builtin(M.define)

-- ---- describing ----

local function read_ffn(what, value)
  local where = string.format("%s: option ffn", what)
  local part = { experts = 1, top_k = 1 }
  if parts.is_given(value) then
    part.class, part.options = parts.read(where, "ffn", value)
  else
    part.hidden = check.value(where, value, "extent")
  end
  return part
end

local function read_attention(what, value)
  local part = { experts = 1, kv = "own", routing = "soft" }
  if value ~= nil then
    part.class, part.options = parts.read(string.format("%s: option attention", what), "attention", value)
  end
  return part
end

-- A class of a script's own is given none of these.
local function check_own(what, d)
  for _, name in ipairs(d.attention.class and shape.ATTENTION or {}) do
    if d[name] then
      check.fail("%s: option %s: attention is of a class of your own; give the option to the class instead", what, name)
    end
  end
  if d.ffn.class and d.activation then
    check.fail("%s: option activation: the FFN is of a class of your own; give the option to the class instead", what)
  end
end

--- The description of a dense model of these blocks.
---@param given table
---@return table description
function metatable:__call(given)
  local what = string.format("models.%s", self.name)
  local o = check.options(what, given, options)
  if o.norm ~= "layer" and o.norm ~= "rms" then
    check.fail('%s: option norm: expected "layer" or "rms", got "%s"', what, o.norm)
  end
  if o.norm == "layer" then o.norm = nil end
  o.kv_heads, o.head_width = check_heads(what, o, true)
  o.attention, o.ffn = read_attention(what, o.attention), read_ffn(what, o.ffn)
  o.load_balance, o.z_loss, o.aux_tokens = 0, 0, 0
  o.block = blocks.field(self)
  shape.fill(function(name) return string.format("%s: option %s", what, name) end, o, o)
  check_own(what, o)
  return description.new(o)
end

function metatable:__tostring() return string.format("block %s", self.name) end

--- What help() and the reference say.
---@return table comment
---@return string[] parameters
function metatable:__doc()
  local class = string.format("models.%sOptions", self.name)
  local comment = registry.comment(self, "A dense model of blocks made by bam.models.define.", class)
  comment.returns = { { type = "bam.Description", text = "" } }
  comment.params = { { name = "options", type = class, text = "" } }
  return comment, { "options" }
end

return M
