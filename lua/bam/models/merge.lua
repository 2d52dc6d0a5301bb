-- The weights of a mixture out of those of its dense models (BAM §4.1, §4.2): experts are copied,
-- everything else is the uniform mean, routers stay random. Means are taken in double precision and
-- rounded once, so that the mean of copies is the copy.
local check = require "bam.check"
local checkpoint = require "bam.models.checkpoint"
local core = require "bam.core"
local description = require "bam.models.description"
local Model = require "bam.models.model"
local names = require "bam.models.names"
local nn = require "bam.nn"

local ops = core.ops
local M = {}

-- ---- the dense models, wherever they are ----

local function live_source(model, label)
  return { label = label, description = model.description, tokenizer_json = model.tokenizer_json,
           token_ids = model.token_ids,
           read = function(entry) return names.read(entry, model) end }
end

local function directory_source(directory)
  local source = checkpoint.open(directory)
  checkpoint.check(source, names.list(source.description))
  source.read = function(entry) return source.tensors[entry.name] end
  return source
end

local function is_model(value)
  return nn.is_module(value) and description.is(rawget(value, "description"))
end

--- What a mixture reads one dense model from: { label, description, read(entry) }. `value` is a live
--- model, a checkpoint directory, a description (then nothing can be read), or a training phase: a table
--- with `description` and a method `load` that gives the live model.
---@param what string for messages
---@param value any
---@param i integer its place in the list
---@return table source
function M.source(what, value, i)
  local label = string.format("expert %d", i)
  if type(value) == "string" then
    local source = directory_source(value)
    source.label = string.format("%s (%s)", label, value)
    return source
  end
  if is_model(value) then return live_source(value, label) end
  if description.is(value) then return { label = label, description = value } end
  local phase = type(value) == "table" and description.is(value.description) and value.load
  if not phase then
    check.fail("%s: %s is %s; expected a model, a checkpoint directory or a description", what, label,
               check.describe(value))
  end
  local live
  return { label = label, description = value.description, read = function(entry)
    live = live or value:load()
    return names.read(entry, live)
  end }
end

-- ---- checks before anything is built ----

-- All dense models of a mixture, with their values: none may be missing or NaN.
local function check_values(sources)
  for _, source in ipairs(sources) do
    if not source.read then
      check.fail("build: %s of the mixture is a description without weights; give a trained model, or "
                 .. "description:build()", source.label)
    end
    for _, entry in ipairs(names.list(source.description)) do
      core.scope(function()
        local values = source.read(entry)
        if not ops.all(ops.isfinite(ops.to(values, "f32"))):item() then
          check.fail("build: %s: `%s` holds a NaN or infinity", source.label, entry.name)
        end
      end)
    end
  end
end

-- ---- building ----

-- The dense entry that an entry of the mixture is made of.
local function dense_entries(source)
  local by_name = {}
  for _, entry in ipairs(names.list(source.description)) do by_name[entry.name] = entry end
  return by_name
end

local function mean(sources, entry)
  local sum
  for _, source in ipairs(sources) do
    local values = ops.to(source.read(entry), "f64")
    sum = sum and ops.add(sum, values) or values
  end
  return ops.div(sum, #sources)
end

--- The live model of a description with `sources`.
---@param d table
---@param dtype string
---@return table model
function M.build(d, dtype)
  local sources = d.sources
  check_values(sources)
  d = description.without_sources(d)
  local model, dense = Model(d, { dtype = dtype }), dense_entries(sources[1])
  for _, entry in ipairs(names.list(d)) do
    if entry.kind ~= "router" then
      core.scope(function()
        local from = dense[entry.dense]
        local source = entry.expert and (sources[entry.expert] or sources[1]) -- or a copy of the seed
        names.write(entry, model, source and source.read(from) or mean(sources, from))
      end)
    end
  end
  model.tokenizer_json, model.token_ids = sources[1].tokenizer_json, sources[1].token_ids
  return model
end

return M
