-- The checkpoints of a phase: directories step-00000120, each a model's checkpoint (config.json,
-- model.safetensors, ...) with the state of training beside it (training.safetensors,
-- training.json) and a manifest, written last, with the digest of every file and of itself. One
-- appears by a rename, whole. The newest two are kept: when one turns out damaged, the one before
-- serves.
local check = require "bam.check"
local checkpoint = require "bam.models.checkpoint"
local core = require "bam.core"
local json = require "bam.json"
local staged = require "bam.staged"

local M = {}

local MANIFEST = "manifest.json"
local KEPT = 2

local function within(directory, name) return string.format("%s/%s", directory, name) end

--- The directory of a step's checkpoint.
---@param place string
---@param step integer
---@return string
function M.directory_of(place, step) return string.format("%s/step-%08d", place, step) end

-- ---- the manifest ----

-- The digest of a manifest's list of files.
local function checksum(files) return core.hash(json.encode(files)) end

local function write_manifest(directory)
  local files = {}
  for _, name in ipairs(core.list_directory(directory)) do
    local path = within(directory, name)
    files[name] = { bytes = core.file_info(path).size, digest = core.hash_file(path) }
  end
  local manifest = { files = files, checksum = checksum(files) }
  core.write_file(within(directory, MANIFEST), json.encode(manifest, { indent = 2 }))
end

-- What is wrong with one file, or nil.
local function fault_of_file(path, entry)
  local info = core.file_info(path)
  if not info then return string.format("%s is missing", path) end
  if info.size ~= entry.bytes then
    return string.format("%s has %d bytes instead of %d", path, info.size, entry.bytes)
  end
  local ok, digest = pcall(core.hash_file, path)
  if not ok then return tostring(digest) end
  if digest ~= entry.digest then
    return string.format("%s is damaged: its digest is not the manifest's", path)
  end
end

-- Does a manifest list files beside it, with sizes and digests?
local function lists_files(files)
  for name, entry in pairs(files) do
    if type(name) ~= "string" or name:find "/" or type(entry) ~= "table"
      or math.type(entry.bytes) ~= "integer" or type(entry.digest) ~= "string" then
      return false
    end
  end
  return true
end

--- What is wrong with a checkpoint, or nil when it is as it was written.
---@param directory string
---@return string?
function M.fault(directory)
  local manifest, message = json.read(within(directory, MANIFEST))
  if not manifest then return message end
  local files = manifest.files
  if type(files) ~= "table" or manifest.checksum ~= checksum(files) or not lists_files(files) then
    return string.format("%s is damaged: it contradicts itself", within(directory, MANIFEST))
  end
  for _, name in ipairs(check.sorted_names(files)) do
    local fault = fault_of_file(within(directory, name), files[name])
    if fault then return fault end
  end
end

-- ---- writing ----

-- Fill a staged directory by `write(directory)`, add the manifest, and let it appear. A step's that
-- is there goes first, as it may hold other files; the step before serves until the new one is
-- there.
local function commit(path, write)
  staged.replace(path, function(directory)
    write(directory)
    write_manifest(directory)
    if path:find "/step%-%d+$" and core.is_directory(path) then core.remove_directory(path) end
  end)
end

--- The steps of the checkpoints in `place`, from the newest down.
---@param place string
---@return integer[]
function M.steps(place)
  local steps = {}
  for _, name in ipairs(core.is_directory(place) and core.list_directory(place) or {}) do
    local step = name:match "^step%-(%d+)$"
    if step then steps[#steps + 1] = math.tointeger(tonumber(step)) end
  end
  table.sort(steps, function(a, b) return a > b end)
  return steps
end

--- Write the checkpoint of a step, and delete all but the newest two.
---@param place string the phase's directory
---@param step integer
---@param model table
---@param tensors table<string, tensor>? state of the optimiser; nil when training has ended
---@param state table plain data
function M.save(place, step, model, tensors, state)
  commit(M.directory_of(place, step), function(directory)
    checkpoint.write(model, directory)
    if tensors then core.save(within(directory, "training.safetensors"), tensors) end
    core.write_file(within(directory, "training.json"), json.encode(state, { indent = 2 }))
  end)
  local steps = M.steps(place)
  for i = KEPT + 1, #steps do core.remove_directory(M.directory_of(place, steps[i])) end
end

--- Write a model alone, as the best so far.
---@param place string
---@param model table
---@param state table plain data on it
function M.save_best(place, model, state)
  commit(within(place, "best"), function(directory)
    checkpoint.write(model, directory)
    core.write_file(within(directory, "best.json"), json.encode(state, { indent = 2 }))
  end)
end

-- ---- reading ----

--- The newest checkpoint that is not damaged: { step, directory, state }, or nil. `warn` is called
--- with a line about each damaged one.
---@param place string
---@param warn fun(text: string)
---@return table?
function M.newest(place, warn)
  for _, step in ipairs(M.steps(place)) do
    local directory = M.directory_of(place, step)
    local fault = M.fault(directory)
    local state, message
    if not fault then state, message = json.read(within(directory, "training.json")) end
    if state then return { step = step, directory = directory, state = state } end
    warn(string.format("%s; it is passed over", fault or message))
  end
end

--- The tensors of an unfinished checkpoint's optimiser.
---@param found table what newest gave
---@return table<string, tensor>
function M.tensors(found) return (core.load(within(found.directory, "training.safetensors"))) end

--- Delete the checkpoints above a step, which are damaged.
---@param place string
---@param step integer
function M.clear_above(place, step)
  for _, other in ipairs(M.steps(place)) do
    if other > step then core.remove_directory(M.directory_of(place, other)) end
  end
end

--- Delete all checkpoints, for training anew.
---@param place string
function M.clear(place)
  M.clear_above(place, -1)
  if core.is_directory(within(place, "best")) then core.remove_directory(within(place, "best")) end
end

return M
