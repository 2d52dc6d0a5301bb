-- The manifest of a checkpoint, written last: whose checkpoint it is (phase, digest of the phase, step,
-- the phases that it came from), the digest of every file beside it, and a checksum of all that. A
-- checkpoint is sound, damaged, or a stray: sound, but another phase's or step's.
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"

local M = {}

local NAME = "manifest.json"

local function within(directory, name) return string.format("%s/%s", directory, name) end

local function checksum(manifest)
  local rest = {}
  for name, value in pairs(manifest) do
    if name ~= "checksum" then rest[name] = value end
  end
  return core.hash(json.encode(rest))
end

--- Write the manifest of a checkpoint whose other files are there.
---@param directory string
---@param facts { phase: string, digest: string, step: integer, parents: table<string, string> } with
--- the checksums of the checkpoints that the phase began with, by their phases' names
function M.write(directory, facts)
  local files = {}
  for _, name in ipairs(core.list_directory(directory)) do
    local path = within(directory, name)
    files[name] = { bytes = core.file_info(path).size, digest = core.hash_file(path) }
  end
  local manifest = { version = core.release, phase = facts.phase, digest = facts.digest,
                     step = facts.step, parents = facts.parents, files = files }
  manifest.checksum = checksum(manifest)
  core.write_file(within(directory, NAME), json.encode(manifest, { indent = 2 }))
end

-- Does a manifest list files beside it, with sizes and digests?
local function lists_files(files)
  if type(files) ~= "table" then return false end
  for name, entry in pairs(files) do
    if type(name) ~= "string" or name:find "/" or type(entry) ~= "table"
      or math.type(entry.bytes) ~= "integer" or type(entry.digest) ~= "string" then
      return false
    end
  end
  return true
end

--- The manifest in a checkpoint's directory, or nil and what is wrong with it. One of version 0.1.0
--- does not say whose it is.
---@param directory string
---@return table? manifest
---@return string? fault
function M.read(directory)
  local path = within(directory, NAME)
  local manifest, fault = json.read(path)
  if not manifest then return nil, fault end
  if type(manifest) == "table" and lists_files(manifest.files)
    and (manifest.checksum == checksum(manifest)
         or not manifest.version and manifest.checksum == core.hash(json.encode(manifest.files))) then
    return manifest
  end
  return nil, string.format("%s is damaged: it contradicts itself", path)
end

-- What is wrong with one file, or nil. That it cannot be read just now is an error, not damage.
local function fault_of_file(path, entry)
  local info = core.file_info(path)
  if not info then return string.format("%s is missing", path) end
  if info.size ~= entry.bytes then
    return string.format("%s has %d bytes instead of %d", path, info.size, entry.bytes)
  end
  if core.hash_file(path) ~= entry.digest then
    return string.format("%s is damaged: its digest is not the manifest's", path)
  end
end

--- What is wrong with the files of a checkpoint, or nil when all are as they were written.
---@param directory string
---@param manifest table what M.read gave
---@return string? fault
function M.fault(directory, manifest)
  for _, name in ipairs(check.sorted_names(manifest.files)) do
    local fault = fault_of_file(within(directory, name), manifest.files[name])
    if fault then return fault end
  end
  for _, name in ipairs(core.list_directory(directory)) do
    if name ~= NAME and not manifest.files[name] and name:sub(1, 1) ~= "." then
      return string.format("%s is not in the manifest beside it", within(directory, name))
    end
  end
end

--- Whose checkpoint it is, when that is not whose it should be; nil when it is.
---@param manifest table
---@param facts { phase: string, digest: string, step?: integer } what it should be
---@return string? stray
function M.stray(manifest, facts)
  if not manifest.version then return nil end
  if manifest.phase ~= facts.phase or manifest.digest ~= facts.digest then
    return string.format("it belongs to phase %s-%s", manifest.phase, manifest.digest:sub(1, 8))
  end
  if facts.step and manifest.step ~= facts.step then
    return string.format("it is that of step %d", manifest.step)
  end
end

return M
