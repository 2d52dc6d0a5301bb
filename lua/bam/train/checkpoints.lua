-- The checkpoints of a phase: directories step-00000120, each with a model (config.json, model.safetensors, ...), the
-- state of training (training.safetensors, training.json) and a manifest (manifest.lua). A checkpoint appears
-- atomically, by a rename. The newest two are kept, so that training can resume from the older one if the newer one is
-- damaged. A damaged checkpoint is moved aside and a checkpoint of another phase is left alone; neither is deleted.
local checkpoint = require "bam.model.checkpoint"
local core = require "bam.core"
local json = require "bam.util.json"
local manifest = require "bam.train.manifest"
local atomic_dir = require "bam.util.atomic_dir"
local saving = require "bam.model.saving"
local settings = require "bam.train.settings"

local M = {}

local KEPT = 2

local function within(directory, name) return string.format("%s/%s", directory, name) end

--- The directory of a step's checkpoint.
---@param place string
---@param step integer
---@return string
function M.directory_of(place, step) return string.format("%s/step-%08d", place, step) end

-- ---- finding ----

--- The steps of all checkpoints in `place`, newest first.
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

--- Inspect a checkpoint. Returns its manifest if it is intact and belongs to the phase and step in `facts`, otherwise
--- nil and the reason.
---@param directory string
---@param facts { phase: string, digest: string, step?: integer }?
---@return table? manifest
---@return string? reason
---@return boolean? stray whether it is intact but belongs to another phase or step
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

-- Read the checkpoint of a step: { step, directory, state, checksum, manifest }; or nil, the reason, and whether it is
-- a stray.
local function read_step(place, step, owner)
  local directory = M.directory_of(place, step)
  local found, reason, stray = M.inspect(directory, facts_of(owner, step))
  if not found then return nil, reason, stray end
  local state, fault = json.read(within(directory, "training.json"))
  if not state then return nil, fault, false end
  if state.step ~= step then -- manifests of version 0.1.0 do not record the step
    return nil, string.format("%s is a stray: it belongs to step %s", directory, state.step), true
  end
  return { step = step, directory = directory, state = state, checksum = found.checksum, manifest = found }
end

--- The intact checkpoints of the owner, newest first.
---@param place string
---@param owner { phase: string, digest: string }
---@return table[] each as M.newest returns it
function M.sound(place, owner)
  local list = {}
  for _, step in ipairs(M.steps(place)) do list[#list + 1] = read_step(place, step, owner) end
  return list
end

--- Find the newest intact checkpoint of the owner: { step, directory, state, checksum }, or nil. Calls `warn` with a
--- line about each checkpoint that is skipped.
---@param place string
---@param warn fun(text: string)
---@param owner { phase: string, digest: string }? any owner by default
---@return table?
function M.newest(place, warn, owner)
  for _, step in ipairs(M.steps(place)) do
    local found, reason = read_step(place, step, owner)
    if found then return found end
    warn(string.format("%s; skipping this checkpoint", reason))
  end
end

--- The directory of the newest checkpoint of a phase, by the phase's own record; nil if there is none. A line says so
--- if the phase has not been trained to its end.
---@param directory string
---@return string?
function M.of_directory(directory)
  if not core.is_directory(directory) then return nil end
  local function warn(text) print(string.format("warning: %s", text)) end
  local record = settings.phase(directory)
  local found = M.newest(directory, warn, record and { phase = record.name, digest = record.digest })
  if found and not found.state.done then
    warn(string.format("%s is not trained to its end; its weights are those of step %d", directory, found.step))
  end
  return found and found.directory
end
checkpoint.set_newest(M.of_directory)

--- The optimizer tensors of a checkpoint. Large ones stay in their file until they are read, because memory
--- may not hold all of them twice.
---@param found table result of M.newest
---@return table<string, tensor|bam.StoredTensor>
function M.tensors(found)
  local tensors = core.open_tensors(within(found.directory, "training.safetensors"))
  for name, stored in pairs(tensors) do
    if #stored < 1000 then tensors[name] = stored:read() end
  end
  return tensors
end

-- ---- removing ----

--- Move damaged checkpoints after a step aside, so that training can resume from that step. Strays stay in place.
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
      warn(string.format("%s was moved to %s", directory, core.set_aside(directory)))
    end
  end
end

-- Does the manifest assign the checkpoint of a step to the owner? The checkpoint may be damaged.
local function is_own(place, step, owner)
  local found = manifest.read(M.directory_of(place, step))
  return found ~= nil and not manifest.stray(found, facts_of(owner, step))
end

-- Delete the owner's checkpoints up to a step, except the newest two.
local function prune(place, step, owner)
  local kept = 0
  for _, other in ipairs(M.steps(place)) do
    if other <= step and is_own(place, other, owner) then
      kept = kept + 1
      if kept > KEPT then core.remove_directory(M.directory_of(place, other)) end
    end
  end
end

--- Delete the owner's checkpoints, to train from the beginning.
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

--- Is this the name of a directory that is staged only under the phase's lock?
---@param name string
---@return boolean
function M.stages(name) return name:find "^step%-%d+$" ~= nil or name == "best" end

-- Fill a staged directory by `write(directory)`, add the manifest, and publish it.
local function commit(path, facts, write)
  atomic_dir.write(path, function(directory)
    write(directory)
    manifest.write(directory, facts)
  end)
end

--- Write the checkpoint of a step, and delete the owner's older ones, except the newest two. Anything at its path that
--- does not belong to the owner is moved aside.
---@param place string the phase's directory
---@param model table
---@param tensors table<string, tensor> state of the optimizer, also when training has ended: another phase may go on
---@param state table plain data, with the field `step`
---@param owner { phase: string, digest: string, parents: table }
function M.save(place, model, tensors, state, owner)
  local directory = M.directory_of(place, state.step)
  local facts = { phase = owner.phase, digest = owner.digest, parents = owner.parents,
                  step = state.step }
  local replaces = is_own(place, state.step, owner)
  local aside = core.is_directory(directory) and core.set_aside(directory)
  commit(directory, facts, function(fresh)
    saving.write(model, fresh)
    core.save(within(fresh, "training.safetensors"), tensors)
    core.write_file(within(fresh, "training.json"), json.encode(state, { indent = 2 }))
  end)
  if replaces then core.remove_directory(aside) end
  prune(place, state.step, owner)
end

--- Write only the model, as the best so far.
---@param place string
---@param model table
---@param state table plain data on it, with the field `step`
---@param owner { phase: string, digest: string, parents: table }
function M.save_best(place, model, state, owner)
  local facts = { phase = owner.phase, digest = owner.digest, parents = owner.parents,
                  step = state.step }
  commit(within(place, "best"), facts, function(directory)
    saving.write(model, directory)
    core.write_file(within(directory, "best.json"), json.encode(state, { indent = 2 }))
  end)
end

return M
