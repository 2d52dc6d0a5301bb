--- Descriptions of models: data that is read and never changed, nothing allocated. d:count() and
--- d:flops(context) tell its size, d:build() makes the live model, d:identity() says what it is.
--- bam.models.parallel describes a dense model, bam.mix and bam.upcycle a mixture.
local blocks = require "bam.model.blocks.registry"
local check = require "bam.util.check"
local core = require "bam.core"
local count = require "bam.model.count"
local module = require "bam.nn.module"
local parts = require "bam.model.parts"
local readonly = require "bam.util.readonly"
local sparse = require "bam.model.sparse"
local shape = require "bam.model.families.shape"

local M = {}

--- A description of a model: read-only data, nothing is allocated. bam.models.parallel describes a dense model,
--- bam.mix and bam.upcycle a mixture. print(description) shows sizes and parameters.
---@class bam.Description
local Description = {}

--- The methods of descriptions. Files above add those that need them: build.lua, merge/report.lua.
M.methods = Description

-- "top-2", or "top-(linear { from = 4, to = 1, warmup = 0 })"
local function top_text(k)
  return string.format(math.type(k) and "top-%d" or "top-(%s)", k)
end

-- "4 attention experts (shared KV, soft)"
local function attention_text(a)
  if a.class then return string.format("attention %s", parts.text(a)) end
  if a.experts == 1 then return "attention" end
  local routing = a.routing == "soft" and "soft" or top_text(a.routing)
  return string.format("%d attention experts (%s KV, %s)", a.experts, a.kv, routing)
end

local function ffn_text(f)
  local size = f.class and parts.text(f) or string.format("%d", f.hidden)
  if f.experts == 1 then return string.format("ffn %s", size) end
  return string.format("%d FFN experts of %s (%s%s)", f.experts, size, top_text(f.top_k),
                       f.renormalise and ", renormalized" or "")
end

--- The sizes and settings that the models of a mixture share, beside the FFN's hidden width.
M.SETTINGS = { "layers", "width", "heads", "kv_heads", "head_width", "vocab", "tied", "rope_base",
               "eps", "logit_scale", "block", "norm", "dense_ffn", table.unpack(shape.NAMES) }

-- "window 4096 in 24 of 32 layers", "qkv_bias", "qk_norm head"
local function extra_text(d, name)
  local value = d[name]
  if value == true then return name end
  if name == "norm_weight" then return "norms without weights" end
  local largest, layers = 0, 0
  for _, window in ipairs(name == "window" and type(value) == "table" and value or {}) do
    largest, layers = math.max(largest, window), layers + (window > 0 and 1 or 0)
  end
  if layers == 0 then return string.format("%s %s", name, value) end
  return string.format("window %d in %d of %d layers", largest, layers, d.layers)
end

--- Does it describe a mixture? Else it is a dense model.
---@param d table
---@return boolean
function M.is_mixture(d) return d.attention.experts > 1 or d.ffn.experts > 1 end

local ADVICE = "make a new one: bam.models.parallel { ... }, bam.mix { ... }"
local kind = { name = "model description", advice = ADVICE, methods = Description }
local part = { name = "part of a model description", advice = ADVICE }
local list = { name = part.name, advice = ADVICE }

function kind.text(self)
  local total, active = self:count()
  local texts = {
    string.format("%d layers", self.layers), string.format("width %d", self.width),
    string.format("%d heads (%d KV)", self.heads, self.kv_heads), attention_text(self.attention),
    ffn_text(self.ffn), string.format("vocabulary %d%s", self.vocab, self.tied and ", tied" or ""),
  }
  if self.block then texts[#texts + 1] = string.format("%s blocks", blocks.of(self).name) end
  if self.norm then texts[#texts + 1] = "RMSNorm" end
  for _, name in ipairs(shape.NAMES) do
    if self[name] ~= nil then texts[#texts + 1] = extra_text(self, name) end
  end
  if self.dense_ffn then
    texts[#texts + 1] = string.format("dense FFN in %d of them", self.layers - sparse.layers(self))
  end
  if self.merge then texts[#texts + 1] = string.format("merged by %s", self.merge) end
  for _, name in ipairs(check.sorted_names(self.freeze or {})) do
    local value = self.freeze[name]
    texts[#texts + 1] = name == "patterns" and string.format("freeze %s", table.concat(value, " "))
      or string.format("freeze %s: %s", name, value)
  end
  local text = string.format("%s: %s; %s parameters",
                             M.is_mixture(self) and "mixture" or "dense model",
                             table.concat(texts, ", "), check.thousands(total))
  if active == total then return text end
  return string.format("%s, %s active", text, check.thousands(active))
end

function part.text(self)
  local settings = {}
  for i, name in ipairs(check.sorted_names(self)) do
    settings[i] = #self > 0 and tostring(self[name]) or string.format("%s = %s", name, self[name])
  end
  return string.format("{ %s }", table.concat(settings, ", "))
end

--- Raise an error unless `self` of the method `what` is a description.
---@param what string
---@param self any
function M.check_self(what, self)
  if M.is(self) then return end
  check.fail("%s: expected a description, got %s; call methods with a colon: d:%s()", what,
             check.describe(self), what)
end

--- Count the parameters: all, and those that are active for one token.
---@return integer total
---@return integer active
function Description:count()
  M.check_self("count", self)
  return count.parameters(self)
end

--- FLOPs per token: of one layer in inference, counted as in the paper, and of training. A scheduled top_k counts
--- with its value at the end of the run, as in description:count().
---@param context integer tokens of a sequence
---@return { layer: table, training: integer, palm: integer }
function Description:flops(context)
  M.check_self("flops", self)
  return count.flops(self, check.value("flops: context", context, "size"))
end

--- Call `f` with the random numbers of `seed`, and go on with those from before afterwards.
---@param seed integer
---@param f function
---@return any ...
function M.seeded(seed, f)
  local before = core.random_state()
  core.seed(seed)
  local results = table.pack(pcall(f))
  core.random_state(before)
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

local MOST_EXPERTS = 16384 -- in all layers: keeps the list of tensors within bounds
local MOST_PARAMETERS = 2.0 ^ 60 -- keeps what is counted within 64-bit integers

-- An upper bound, as a float.
local function estimate(d)
  local attention = 4.0 * d.attention.experts * d.heads * d.head_width
  local ffn = 3.0 * d.ffn.experts * (d.ffn.hidden or 0)
  return d.width * (d.layers * (attention + ffn) + 2.0 * d.vocab)
end

--- A description with these fields, each of which has been checked. They are its own from now on.
---@param fields table
---@return table
function M.new(fields)
  local experts = math.max(fields.attention.experts, fields.ffn.experts)
  if fields.layers * experts > MOST_EXPERTS then
    check.fail("model: %d layers times %d experts are too many; at most %d", fields.layers, experts,
               MOST_EXPERTS)
  end
  if estimate(fields) > MOST_PARAMETERS then
    check.fail("model: these sizes make %.2g parameters; at most %.2g", estimate(fields),
               MOST_PARAMETERS)
  end
  for _, name in ipairs { "attention", "ffn", "freeze", "rope", "window", "dense_ffn" } do
    local value = fields[name]
    if type(value) == "table" and not readonly.is(value, part) then fields[name] = readonly.new(value, part) end
  end
  fields.sources = fields.sources and readonly.new(fields.sources, list)
  local d = readonly.new(fields, kind)
  for _, which in ipairs { "attention", "ffn" } do
    if d[which].class then parts.shapes(d, which) end -- what is wrong with a script's class shows at once
  end
  return d
end

--- A description like `d`, with its sources, but for these fields. A part is given as the fields of it that change;
--- freeze as a whole.
---@param d table
---@param changes { attention?: table, ffn?: table, freeze?: table|false, load_balance?: any, z_loss?: any }
---@return table
function M.derive(d, changes)
  local fields = readonly.copy(d)
  for name, value in pairs(changes) do
    if name ~= "attention" and name ~= "ffn" then fields[name] = value or nil end
  end
  if changes.freeze == nil and d.freeze then fields.freeze = readonly.copy(d.freeze) end
  for _, which in ipairs { "attention", "ffn" } do
    fields[which] = readonly.copy(d[which])
    for name, value in pairs(changes[which] or {}) do fields[which][name] = value end
  end
  fields.sources = d.sources and readonly.copy(d.sources)
  return M.new(fields)
end

local of_models = setmetatable({}, { __mode = "k" }) -- the descriptions that live models keep

--- The description as a live model keeps it: without the sources of a mixture, which need not stay
--- alive, and how they were put together.
---@param d table
---@return table
function M.copy(d)
  local own = readonly.copy(d)
  own.sources, own.merge, own.extends = nil, nil, nil
  local copy = readonly.new(own, kind)
  of_models[copy] = true
  return copy
end

--- Is it the description that a live model keeps? Such a one does not lead to the model's weights.
---@param d table
---@return boolean
function M.is_of_model(d) return of_models[d] == true end

--- Is `value` a description?
---@param value any
---@return boolean
function M.is(value) return readonly.is(value, kind) end

--- Is `value` a live model?
---@param value any
---@return boolean
function M.is_model(value)
  return module.is_module(value) and M.is(rawget(value, "description"))
end

--- Raise an error unless `self` of the method `what` is a live model.
---@param what string
---@param self any
function M.check_model(what, self)
  if M.is_model(self) then return end
  check.fail("%s: expected a model, got %s; call methods with a colon: model:%s(...)", what,
             check.describe(self), what)
end

return M
