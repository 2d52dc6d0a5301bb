--- Descriptions of models: plain data, nothing allocated. d:count() and d:flops(context) tell its size,
--- d:build() makes the live model. bam.models.parallel describes a dense model, bam.mix and bam.upcycle
--- a mixture.
local check = require "bam.check"
local core = require "bam.core"
local count = require "bam.models.count"

local M = {}

local Description = {} -- methods

local function thousands(n)
  local text, k = tostring(n), 0
  repeat text, k = text:gsub("^(%d+)(%d%d%d)", "%1,%2") until k == 0
  return text
end

-- "4 attention experts, shared KV, soft"
local function attention_text(a)
  if a.experts == 1 then return "attention" end
  local routing = a.routing == "soft" and "soft" or string.format("top-%d", a.routing)
  return string.format("%d attention experts (%s KV, %s)", a.experts, a.kv, routing)
end

local function ffn_text(f)
  if f.experts == 1 then return string.format("ffn %d", f.hidden) end
  return string.format("%d FFN experts of %d (top-%d%s)", f.experts, f.hidden, f.top_k,
                       f.renormalise and ", renormalised" or "")
end

local metatable = { __name = "model description", __index = Description }

function metatable:__tostring()
  local total, active = self:count()
  return string.format("%s: %d layers, width %d, %d heads (%d KV), %s, %s, vocabulary %d%s; "
                       .. "%s parameters%s", self.kind, self.layers, self.width, self.heads,
                       self.kv_heads, attention_text(self.attention), ffn_text(self.ffn), self.vocab,
                       self.tied and ", tied" or "", thousands(total),
                       active < total and string.format(", %s active", thousands(active)) or "")
end

--- Parameters: all, and those that one token uses.
---@return integer total
---@return integer active
function Description:count() return count.parameters(self) end

--- FLOPs per token: of one layer at inference as the paper counts, and of training.
---@param context integer tokens of a sequence
---@return { layer: table, training: integer, palm: integer }
function Description:flops(context)
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

local build_spec = { seed = { "integer", optional = true }, dtype = { "dtype", "f32" } }

--- The live model, on fresh memory. A dense model begins with random weights, those of `seed`, else of
--- bam's generator; a mixture with its experts' weights and random routers, of the seed it was described
--- with unless given.
---@param options? { seed?: integer, dtype?: "f32"|"f64" }
---@return table model
function Description:build(options)
  local o = check.options("build", options, build_spec)
  local Model = require "bam.models.model"
  local seed = o.seed or self.seed
  local function make()
    if self.sources then return require("bam.models.merge").build(self, o.dtype) end
    return Model(self, { dtype = o.dtype })
  end
  return seed and M.seeded(seed, make) or make()
end

local MOST_EXPERTS = 16384 -- in all layers: keeps the list of tensors within bounds

--- A description with these fields, each of which has been checked.
---@param fields table
---@return table
function M.new(fields)
  local experts = fields.layers * math.max(fields.attention.experts, fields.ffn.experts)
  if experts > MOST_EXPERTS then
    check.fail("model: %d layers times %d experts are too many; at most %d", fields.layers,
               experts // fields.layers, MOST_EXPERTS)
  end
  return setmetatable(fields, metatable)
end

--- The description of a built mixture: it does not keep the dense models alive.
---@param d table
---@return table
function M.without_sources(d)
  local copy = {}
  for name, value in pairs(d) do copy[name] = value end
  copy.sources = nil
  return setmetatable(copy, metatable)
end

--- Is `value` a description?
---@param value any
---@return boolean
function M.is(value) return getmetatable(value) == metatable end

--- Give descriptions a further method.
---@param name string
---@param f function
function M.method(name, f) Description[name] = f end

-- The sizes and settings that all models of a mixture must share.
M.shared = { "layers", "width", "heads", "kv_heads", "head_width", "vocab", "tied", "rope_base", "eps",
             "logit_scale" }

return M
