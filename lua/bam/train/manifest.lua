-- The manifest of a checkpoint, written last: the phase and step that the checkpoint belongs to, the phases it started
-- from, the digest of every file beside it, and a checksum of all this. A checkpoint is sound, damaged, or a stray:
-- sound, but of another phase or step.
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"
local sealed = require "bam.util.sealed"

local M = {}

local NAME = "manifest.json"

local function within(directory, name) return string.format("%s/%s", directory, name) end

--- Write the manifest of a checkpoint, after all of its other files.
---@param directory string
---@param facts { phase: string, digest: string, step: integer, parents: table<string, string> } parents has the
--- checksums of the checkpoints that the phase started from, by phase name
function M.write(directory, facts)
  local files = {}
  for _, name in ipairs(core.list_directory(directory)) do
    local path = within(directory, name)
    files[name] = { bytes = core.file_info(path).size, digest = core.hash_file(path) }
  end
  local manifest = { version = core.release, phase = facts.phase, digest = facts.digest,
                     step = facts.step, parents = facts.parents, files = files }
  core.write_file(within(directory, NAME), json.encode(sealed.seal(manifest, "checksum"), { indent = 2 }))
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

--- Read the manifest in a checkpoint's directory. Returns nil and the fault if it is damaged. Manifests of version
--- 0.1.0 do not record the phase.
---@param directory string
---@return table? manifest
---@return string? fault
function M.read(directory)
  local path = within(directory, NAME)
  local manifest, fault = json.read(path)
  if not manifest then return nil, fault end
  if type(manifest) == "table" and lists_files(manifest.files)
    and (manifest.checksum == sealed.digest(manifest, "checksum")
         or not manifest.version and manifest.checksum == core.hash(json.encode(manifest.files))) then
    return manifest
  end
  return nil, string.format("%s is damaged: its checksum is wrong", path)
end

--- A digest of the tensors of a checkpoint: of its weights and of the optimizer's state. Equal for a phase that was
--- trained again to the same bits.
---@param manifest table
---@return string hex
function M.tensors(manifest)
  local digests = {}
  for name, entry in pairs(manifest.files) do
    if name:find "%.safetensors$" then digests[name] = entry.digest end
  end
  return core.hash(json.encode(digests))
end

--- Is `known`, which a phase that started from a checkpoint has recorded, of this checkpoint? Before 0.2.0 it was the
--- manifest's checksum.
---@param known string?
---@param manifest table
---@return boolean
function M.is_of(known, manifest) return known == M.tensors(manifest) or known == manifest.checksum end

-- Check one file; nil if it is intact. A file that exists but cannot be read is an error, not damage.
local function fault_of_file(path, entry)
  local info = core.file_info(path)
  if not info then return string.format("%s is missing", path) end
  if info.size ~= entry.bytes then
    return string.format("%s has %d bytes instead of %d", path, info.size, entry.bytes)
  end
  if core.hash_file(path) ~= entry.digest then
    return string.format("%s is damaged: its digest does not match the manifest", path)
  end
end

--- Check the files of a checkpoint against its manifest. Returns nil if they are intact.
---@param directory string
---@param manifest table result of M.read
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

--- Check that a checkpoint belongs to the expected phase and step. Returns what it belongs to otherwise.
---@param manifest table
---@param facts { phase: string, digest: string, step?: integer } expected
---@return string? stray
function M.stray(manifest, facts)
  if not manifest.version then return nil end
  if manifest.phase ~= facts.phase or manifest.digest ~= facts.digest then
    return string.format("it belongs to phase %s-%s", manifest.phase, manifest.digest:sub(1, 8))
  end
  if facts.step and manifest.step ~= facts.step then
    return string.format("it belongs to step %d", manifest.step)
  end
end

return M
