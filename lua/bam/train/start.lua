-- Where a phase's weights come from: bam.train's options `model` and `continue`. A start has
--   description  of the model, before the phase's options change it
--   parent       the phase that it starts from, or nil
--   generation   1 more than the parent's; keeps the random numbers of phases apart
--   phases       the parent, and the phases of a mixture's experts, as far as the script has them
--   before       with continue = "run" the steps that were trained before; otherwise 0
--   identity()   its part of the fingerprint besides the description: hashes of weights, or the parent's fingerprint
--   build(d)     makes the live model of description d with these weights; nil: d:build() is called
--   directory()  the checkpoint with the optimizer's state, or nil
-- Weights are read when the phase trains, never under --plan.
local check = require "bam.util.check"
local checkpoint = require "bam.model.checkpoint"
local core = require "bam.core"
local description = require "bam.model.description"
local flags = require "bam.util.flags"
local fingerprint = require "bam.model.fingerprint.settings"
local manifest = require "bam.train.manifest"
local phase = require "bam.train.phase"

local M = {}

local function within(directory, name) return string.format("%s/%s", directory, name) end

-- ---- a description: new weights, or a mixture's experts ----

-- The number of earlier phases in a row: each of them trained on other data than the next one.
local function generation_of(phases)
  local generation = 0
  for _, p in ipairs(phases) do generation = math.max(generation, 1 + p.generation) end
  return generation
end

-- The phases that a mixture's experts are from, after those of `list`.
local function phases_of(d, list)
  list = list or {}
  for _, source in ipairs(d.sources or {}) do list[#list + 1] = source.phase end
  return list
end

local function from_description(d)
  if description.is_of_model(d) then
    check.fail("train: option model: this is the description of a live model, without its weights: "
               .. "training would start from random weights. Give the model itself, or the phase that trained it; "
               .. "for new weights describe a new model: bam.models.parallel { ... }")
  end
  local phases = phases_of(d)
  return { description = d, generation = generation_of(phases), phases = phases, identity = function() return {} end }
end

-- ---- a phase ----

local function from_phase(p)
  return {
    description = p.description, parent = p, generation = generation_of { p }, phases = phases_of(p.description, { p }),
    identity = function() return { parent = p.identity } end,
    build = function(d) return checkpoint.restore(d, p:last()) end,
    directory = function() return p:last() end,
    facts = function() return { seed = p.seed, generation = p.generation, batch = p.batch, context = p.context,
                                step = p.steps } end,
  }
end

-- ---- a checkpoint directory ----

-- The directory of a model: the one given, or the newest checkpoint of the phase that it belongs to.
local function find_model(directory)
  if not core.is_directory(directory) then
    check.fail("train: option model: %s is not a directory; give the directory of a model or a phase, a phase, a "
               .. "model or a description", check.describe(directory))
  end
  local found = checkpoint.find(directory)
  if core.file_info(within(found, "config.json")) then return found end
  return check.fail("train: option model: %s holds neither a model nor a phase's checkpoints", directory)
end

local function from_directory(given)
  local directory = find_model(given)
  local source = checkpoint.open(directory)
  local dtype = checkpoint.dtype(source)
  if dtype == "f64" then
    check.fail('train: option model: %s is f64, and phases train in f32; give bam.load("%s", { dtype = "f32" })', given,
               given)
  end
  local state = require("bam.train.continued").state_of(directory)
  return {
    description = source.description, generation = 1 + (state.generation or 0), phases = {},
    owner = manifest.read(directory),
    identity = function()
      checkpoint.check_plain(source)
      local content = fingerprint.of_directory(directory, source.files)
      for name, hash in pairs(content.files) do require("bam.train.continued").check_sound(directory, name, hash) end
      return { start = content }
    end,
    build = function(d) return checkpoint.restore(d, directory) end,
    directory = function() return directory end,
    facts = function() return state end,
  }
end

-- ---- a live model ----

-- A model that the script has frozen would be trained as a whole, since only the options are part of the fingerprint.
local function check_frozen(model)
  for _, p in ipairs(model.description.freeze and {} or model:parameters()) do
    if not p.tensor.requires_grad then
      check.fail('train: option model: `%s` of this model is frozen, which a phase does not look at; say what is '
                 .. 'frozen with option freeze: { "^%s$" }, or nothing with freeze = {}', p.name,
                 (p.name:gsub("%p", "%%%0")))
    end
  end
end

local function from_model(model, o)
  local dtype = model.embed.weight.dtype
  if dtype ~= "f32" then
    check.fail('train: option model: this model is %s, and phases train in f32; convert it: model:to "f32"', dtype)
  end
  if not o.freeze then check_frozen(model) end
  local content = not flags.get().plan and fingerprint.of_weights(model) -- as it is now
  return {
    description = model.description, generation = 1 + (phase.generation_of(model) or 0), phases = {},
    identity = function() return { start = content } end,
    build = function(d) return checkpoint.copy(d, model) end,
  }
end

-- ---- reading ----

--- Read the options `model` and `continue`. With continue = "run" sets the sizes and the seed of the run in `o`.
---@param o table options of bam.train
---@return table start
function M.read(o)
  local value, start = o.model, nil
  if phase.is(value) then start = from_phase(value)
  elseif description.is(value) then start = from_description(value)
  elseif description.is_model(value) then start = from_model(value, o)
  elseif type(value) == "string" then start = from_directory(value)
  else
    check.fail("train: option model: expected a description, a phase, a live model or the directory of a checkpoint, "
               .. "got %s", check.describe(value))
  end
  require("bam.train.continued").read(start, o)
  return start
end

--- Digests of the tensors of the checkpoints that a phase starts from, by phase name, as far as they are known.
---@param start table
---@return table<string, string>
function M.parents(start)
  local parents = {}
  for _, p in ipairs(start.phases) do parents[p.name] = manifest.tensors(p:manifest()) end
  if start.owner and start.owner.phase then parents[start.owner.phase] = manifest.tensors(start.owner) end
  return parents
end

return M
