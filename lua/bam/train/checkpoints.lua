-- The checkpoints of a phase: directories step-00000120, each a model's checkpoint (config.json,
-- model.safetensors, ...) with the state of training beside it (training.safetensors,
-- training.json) and a manifest (manifest.lua). One appears by a rename, whole. The newest two are
-- kept: when one turns out damaged, the one before serves. What is damaged is moved aside, and what
-- is another phase's is left alone; neither is ever deleted.
local checkpoint = require "bam.model.checkpoint"
local core = require "bam.core"
local json = require "bam.util.json"
local manifest = require "bam.train.manifest"
local atomic_dir = require "bam.util.atomic_dir"

local M = {}

local KEPT = 2

local function within(directory, name) return string.format("%s/%s", directory, name) end

--- The directory of a step's checkpoint.
---@param place string
---@param step integer
---@return string
function M.directory_of(place, step) return string.format("%s/step-%08d", place, step) end

-- ---- looking ----

--- The steps of the checkpoints in `place`, from the newest down.
---@param place string
---@return integer[]
function M.steps(place)
  local steps = {}
  for _, name in ipairs(core.is_directory(place) and core.list_directory(place) or {}) do
    local step = name:match "^step%-(%d+)$"
    if step and #step < 18 then steps[#steps + 1] = math.tointeger(tonumber(step)) end
  end
  table.sort(steps, function(a, b) return a > b end)
  return steps
end

--- What a checkpoint is: its manifest when it is as it was written and whose it should be, else nil
--- and why not.
---@param directory string
---@param facts { phase: string, digest: string, step?: integer }?
---@return table? manifest
---@return string? reason
---@return boolean? stray it is sound, but another's
function M.inspect(directory, facts)
  local found, fault = manifest.read(directory)
  if not found then return nil, fault, false end
  local stray = facts and manifest.stray(found, facts)
  if stray then return nil, string.format("%s is a stray: %s", directory, stray), true end
  fault = manifest.fault(directory, found)
  if fault then return nil, fault, false end
  return found
end

local function facts_of(owner, step)
  return owner and { phase = owner.phase, digest = owner.digest, step = step }
end

-- The checkpoint of a step: { step, directory, state, checksum }; or nil, why not, and is it a stray.
local function read_step(place, step, owner)
  local directory = M.directory_of(place, step)
  local found, reason, stray = M.inspect(directory, facts_of(owner, step))
  if not found then return nil, reason, stray end
  local state, fault = json.read(within(directory, "training.json"))
  if not state then return nil, fault, false end
  if state.step ~= step then -- of version 0.1.0, whose manifests say nothing of it
    return nil, string.format("%s is a stray: it is that of step %s", directory, state.step), true
  end
  return { step = step, directory = directory, state = state, checksum = found.checksum }
end

--- The checkpoints that are sound and the owner's, from the newest down.
---@param place string
---@param owner { phase: string, digest: string }
---@return table[] as M.newest gives them
function M.sound(place, owner)
  local list = {}
  for _, step in ipairs(M.steps(place)) do list[#list + 1] = read_step(place, step, owner) end
  return list
end

--- The newest checkpoint that is sound and the owner's: { step, directory, state, checksum }, or
--- nil. `warn` is called with a line about each that is passed over.
---@param place string
---@param warn fun(text: string)
---@param owner { phase: string, digest: string }? any owner will do when left out
---@return table?
function M.newest(place, warn, owner)
  for _, step in ipairs(M.steps(place)) do
    local found, reason = read_step(place, step, owner)
    if found then return found end
    warn(string.format("%s; it is passed over", reason))
  end
end

--- The tensors of an unfinished checkpoint's optimiser: large ones stay in their file until they are
--- read, as there is not room for all of them twice.
---@param found table what newest gave
---@return table<string, tensor|bam.StoredTensor>
function M.tensors(found)
  local tensors = core.open_tensors(within(found.directory, "training.safetensors"))
  for name, stored in pairs(tensors) do
    if #stored < 1000 then tensors[name] = stored:read() end
  end
  return tensors
end

-- ---- making room ----

--- Move the damaged checkpoints above a step aside, so that training can go on from that step. Strays
--- stay.
---@param place string
---@param step integer
---@param owner { phase: string, digest: string }
---@param warn fun(text: string)
function M.set_damaged_aside(place, step, owner, warn)
  for _, other in ipairs(M.steps(place)) do
    local found, _, stray = nil, nil, true
    if other > step then found, _, stray = read_step(place, other, owner) end
    if not found and not stray then
      local directory = M.directory_of(place, other)
      warn(string.format("%s is moved to %s", directory, core.set_aside(directory)))
    end
  end
end

-- Is the checkpoint of a step the owner's by its manifest, be it damaged or not?
local function is_own(place, step, owner)
  local found = manifest.read(M.directory_of(place, step))
  return found ~= nil and not manifest.stray(found, facts_of(owner, step))
end

-- Delete all but the newest two of the owner's checkpoints up to a step.
local function prune(place, step, owner)
  local kept = 0
  for _, other in ipairs(M.steps(place)) do
    if other <= step and is_own(place, other, owner) then
      kept = kept + 1
      if kept > KEPT then core.remove_directory(M.directory_of(place, other)) end
    end
  end
end

--- Delete the owner's checkpoints, for training anew.
---@param place string
---@param owner { phase: string, digest: string }
function M.clear(place, owner)
  for _, step in ipairs(M.steps(place)) do
    local _, _, stray = read_step(place, step, owner)
    if not stray then core.remove_directory(M.directory_of(place, step)) end
  end
  if core.is_directory(within(place, "best")) then core.remove_directory(within(place, "best")) end
end

-- ---- writing ----

--- Is it the name of something that is staged under the phase's lock only?
---@param name string
---@return boolean
function M.stages(name) return name:find "^step%-%d+$" ~= nil or name == "best" end

-- Fill a staged directory by `write(directory)`, add the manifest, and let it appear.
local function commit(path, facts, write)
  atomic_dir.write(path, function(directory)
    write(directory)
    manifest.write(directory, facts)
  end)
end

--- Write the checkpoint of a step, and delete all but the owner's newest two. What lies in its place
--- and is not the owner's is moved aside.
---@param place string the phase's directory
---@param model table
---@param tensors table<string, tensor>? state of the optimizer; nil when training has ended
---@param state table plain data, with the field `step`
---@param owner { phase: string, digest: string, parents: table }
function M.save(place, model, tensors, state, owner)
  local directory = M.directory_of(place, state.step)
  local facts = { phase = owner.phase, digest = owner.digest, parents = owner.parents,
                  step = state.step }
  local replaces = is_own(place, state.step, owner)
  local aside = core.is_directory(directory) and core.set_aside(directory)
  commit(directory, facts, function(fresh)
    checkpoint.write(model, fresh)
    if tensors then core.save(within(fresh, "training.safetensors"), tensors) end
    core.write_file(within(fresh, "training.json"), json.encode(state, { indent = 2 }))
  end)
  if replaces then core.remove_directory(aside) end
  prune(place, state.step, owner)
end

--- Write a model alone, as the best so far.
---@param place string
---@param model table
---@param state table plain data on it, with the field `step`
---@param owner { phase: string, digest: string, parents: table }
function M.save_best(place, model, state, owner)
  local facts = { phase = owner.phase, digest = owner.digest, parents = owner.parents,
                  step = state.step }
  commit(within(place, "best"), facts, function(directory)
    checkpoint.write(model, directory)
    core.write_file(within(directory, "best.json"), json.encode(state, { indent = 2 }))
  end)
end

return M
