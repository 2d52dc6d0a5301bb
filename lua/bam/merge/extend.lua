--- bam.extend: a trained mixture with further experts. Described like bam.mix's mixtures, see merge/mix.lua.
local check = require "bam.util.check"
local description = require "bam.model.description"
local readonly = require "bam.util.readonly"
local schedules = require "bam.model.schedules"
local source = require "bam.merge.source"

local M = {}

local spec = {
  model = { "any" }, experts = { "list" }, load_balance = { "any", optional = true },
  z_loss = { "any", optional = true },
  freeze = { "table", optional = true }, seed = { "integer", optional = true },
}

local function read_mixture(value)
  local mixture = source.of("extend", value, "option model")
  if not description.is_mixture(mixture.description) then
    check.fail("extend: option model: expected a mixture, got a dense model; bam.mix makes a mixture of dense models")
  end
  return mixture
end

local function read_sources(o)
  if #o.experts < 1 then
    check.fail("extend: option experts: expected at least one dense model to add, got an empty list")
  end
  local sources = { read_mixture(o.model) }
  for i, value in ipairs(o.experts) do
    sources[i + 1] = source.of("extend", value, string.format("expert %d", i))
    source.check_dense("extend", sources[i + 1])
    source.check_alike("extend", sources[1], sources[i + 1])
  end
  return sources
end

-- A part of the mixture with `n` more experts, unless it has none.
local function grown(part, n)
  local copy = readonly.copy(part)
  if copy.experts > 1 then copy.experts = copy.experts + n end
  return copy
end

---@class bam.ExtendOptions
---@field model any the mixture: a live model, a checkpoint directory or a phase
---@field experts table list of dense models, checkpoint directories or phases; each becomes one more expert
---@field load_balance? number|schedule coefficient of the load-balance loss; the mixture's by default
---@field z_loss? number|schedule coefficient of the z loss; the mixture's by default
---@field freeze? bam.Freeze what is frozen at which steps; nothing by default
---@field seed? integer seed of the new rows of the routers; by default that of the run in training, otherwise 1

--- Describe a trained mixture with additional experts. Its weights are kept, including those of its experts and
--- routers. Each dense model adds one expert: its FFN, and its attention if the mixture has attention experts. The
--- rows of the new experts in the routers are random. A dense model's other parameters are not used, and a router of
--- your own starts with fresh state apart from its `weight`.
---
---   local wider = bam.extend { model = mixed, experts = { chemistry } }
---   bam.train { name = "wider", model = wider, data = text:sample { law = 1, chemistry = 1 }, tokens = 1e6,
---                lr = 1e-4 }
---@param options bam.ExtendOptions
---@return bam.Description
function M.extend(options)
  local o = check.options("extend", options, spec)
  local sources = read_sources(o)
  local old, n = sources[1].description, #sources - 1
  local fields = readonly.copy(old)
  fields.sources, fields.merge, fields.extends = sources, nil, true -- nothing is merged; see merge/weights.lua
  fields.attention, fields.ffn = grown(old.attention, n), grown(old.ffn, n)
  for _, name in ipairs { "load_balance", "z_loss" } do
    if o[name] ~= nil then
      fields[name] = schedules.read(string.format("extend: option %s", name), o[name], "rate")
    end
  end
  fields.freeze, fields.seed = schedules.read_freeze("extend", o.freeze), o.seed
  return description.new(fields)
end

return M
