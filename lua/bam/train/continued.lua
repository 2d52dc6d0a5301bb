-- bam.train's option `continue`: what a phase takes over besides weights. With "optimizer" it is the optimizer's state,
-- with "run" also the count of steps, the generator's state and the skip guard's means, so that the run goes on as if
-- it had never ended. A start (start.lua) gets the fields `continue`, and `before`, the steps of the run before.
local check = require "bam.util.check"
local checkpoints = require "bam.train.checkpoints"
local core = require "bam.core"
local json = require "bam.util.json"
local manifest = require "bam.train.manifest"
local phase_settings = require "bam.train.settings"
local precision = require "bam.train.precision"

local M = {}

local function within(directory, name) return string.format("%s/%s", directory, name) end

--- What training.json of a checkpoint says; an empty table for models of other programs.
---@param directory string
---@return table
function M.state_of(directory)
  local state = json.read(within(directory, "training.json"))
  return type(state) == "table" and state or {}
end

--- Raise an error if a checkpoint's file is not what its manifest says. Models of other programs have no manifest.
---@param directory string
---@param name string of the file
---@param hash string of its contents now
function M.check_sound(directory, name, hash)
  local record = manifest.read(directory)
  local entry = record and record.files[name]
  if entry and entry.digest ~= hash then
    check.fail("train: option model: %s is damaged: its digest does not match the manifest beside it",
               within(directory, name))
  end
end

-- ---- reading the option ----

local CONTINUES = { weights = true, optimizer = true, run = true }

local function read_continue(o)
  local what = o.continue == nil and "weights" or o.continue
  if not CONTINUES[what] then
    check.fail('train: option continue: expected "weights", "optimizer" or "run", got %s%s', check.describe(what),
               check.suggestion(what, check.sorted_names(CONTINUES)))
  end
  return what
end

local function check_continue(start, what)
  if what == "weights" then return end
  if not start.build then
    check.fail("train: option continue: a description has no weights to go on from; leave it out, or give a phase or a "
               .. "directory as the model")
  elseif not start.directory then
    check.fail('train: option continue: a live model has no optimizer state; leave it out for continue = "weights", or '
               .. "give the phase or the directory of its checkpoint as the model")
  end
end

-- Sizes and seed of a run that goes on are those that it had.
local function go_on(start, o)
  local facts = start.facts()
  for _, name in ipairs { "step", "seed", "generation", "batch", "context" } do
    local before = facts[name]
    if before == nil then
      check.fail('train: option continue: the checkpoint does not say what continue = "run" needs (its %s), as it was '
                 .. 'written by another program or version; take continue = "optimizer" or "weights"', name)
    end
    if o[name] ~= nil and o[name] ~= before then
      check.fail('train: option %s: a run that goes on keeps its %s of %s, got %s; take continue = "optimizer" or '
                 .. '"weights" for another', name, name, before, o[name])
    end
  end
  start.before, start.facts_of_run = facts.step, facts
  start.generation = facts.generation
  for _, name in ipairs { "seed", "batch", "context" } do o[name] = facts[name] end
end

--- Read the option. With "run" sets the sizes and the seed of the run in `o`.
---@param start table gets the fields continue and before
---@param o table options of bam.train
function M.read(start, o)
  start.continue, start.before = read_continue(o), 0
  check_continue(start, start.continue)
  if start.continue == "run" then go_on(start, o) end
end

-- ---- what is taken over ----

local CARRIED = { "random", "health" } -- what a run takes on besides weights and optimizer state

local function state_path(start)
  local directory = start.directory()
  local path = within(directory, "training.safetensors")
  if not core.file_info(path) then
    check.fail('train: option continue: %s holds no optimizer state (earlier versions kept none of finished phases); '
               .. 'take continue = "weights", or train that phase again with --fresh --only NAME', directory)
  end
  return path
end

--- What the fingerprint says of the option `continue`; nil for the weights alone.
---@param start table
---@return table?
function M.settings(start)
  if start.continue == "weights" then return nil end
  local settings = { what = start.continue, from = start.continue == "run" and start.before or nil }
  if start.parent then return settings end -- its fingerprint covers it
  local directory = start.directory()
  settings.optimizer = core.hash_file(state_path(start))
  M.check_sound(directory, "training.safetensors", settings.optimizer)
  if start.continue == "run" then
    M.check_sound(directory, "training.json", core.hash_file(within(directory, "training.json")))
    local state = {}
    for _, name in ipairs(CARRIED) do state[name] = start.facts_of_run[name] end
    settings.state = core.hash(json.encode(state))
  end
  return settings
end

--- The state of a run that begins, to be changed: with continue = "run" it has what the run before left.
---@param start table
---@return table state
function M.state(start)
  local state = { step = start.before, seconds = 0.0 }
  if start.continue ~= "run" then return state end
  local before = M.state_of(start.directory())
  for _, name in ipairs(CARRIED) do state[name] = before[name] end
  return state
end

--- What training.json of the run before says, if the run goes on; nil otherwise.
---@param start table
---@return table?
function M.run_before(start) return start.continue == "run" and M.state_of(start.directory()) or nil end

-- What the phase of a checkpoint was computed in, by its record.
local function dtype_of(directory)
  local phase = phase_settings.phase(directory:match "^(.*)/[^/]+$" or ".")
  return phase and phase.settings.dtype or "f32"
end

-- The name of the optimizer that trained the checkpoint in a directory, by its phase's record; nil if that is lost.
local function optimizer_of(directory)
  local phase = phase_settings.phase(directory:match "^(.*)/[^/]+$" or ".")
  local chosen = phase and phase.settings.optimizer
  return phase and (chosen and chosen.name or "AdamW")
end

-- Raise because the state of a checkpoint is not that of this optimizer.
local function fail_state(directory, optimizer, why)
  local before, now = optimizer_of(directory), optimizer.kind
  local dtype, own = dtype_of(directory), optimizer:dtype()
  if precision.parameters(dtype) ~= own then
    check.fail('train: option continue: %s was trained in %s, and this phase is in %s, whose state is another; take '
               .. 'continue = "weights", or dtype = "%s"', directory, dtype, own, dtype)
  end
  if before and before ~= now then
    check.fail('train: option continue: %s was trained by %s, and this phase has %s, which cannot use its state; take '
               .. 'continue = "weights", or optimizer = "%s"', directory, before, now, before:lower())
  end
  check.fail("train: option continue: the optimizer state of %s belongs to parameters that are divided otherwise%s: "
             .. "option freeze of experts or rest divides those of shared keys and values; take continue = \"weights\"",
             directory, before and "" or string.format(" (%s)", why))
end

--- Give the optimizer the state that the start says.
---@param start table
---@param optimizer table
function M.load_optimizer(start, optimizer)
  if start.continue == "weights" then return end
  state_path(start)
  local tensors = checkpoints.tensors { directory = start.directory() }
  local fine, why = core.try(optimizer.load_state, optimizer, tensors)
  if fine then return end
  fail_state(start.directory(), optimizer, why)
end

return M
