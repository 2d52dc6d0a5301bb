-- A directory of text that is built once: files of documents, and manifest.json with the size and hash of each file,
-- which is written last. It appears atomically, and is rebuilt if a file does not match the manifest.
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"

local M = {}

local MANIFEST = "manifest.json"
local SEPARATOR = "\n<|endoftext|>\n"

-- Check a file against its entry in the manifest. Returns nil if they match.
local function fault_of(path, entry)
  if type(entry) ~= "table" then return string.format("is not described in %s", MANIFEST) end
  local file <close> = io.open(path, "rb")
  if not file or core.is_directory(path) then return "is missing" end
  if file:seek "end" ~= entry.bytes then
    return string.format("does not have the %s bytes of the manifest", tostring(entry.bytes))
  end
  if core.hash_file(path) ~= entry.hash then return "has changed" end
end

-- Read the manifest of a directory. Returns nil and the fault if it is damaged, nil alone if there is none.
local function inspect(directory, format, names)
  if not core.is_directory(directory) then return nil end
  local path = string.format("%s/%s", directory, MANIFEST)
  local manifest = json.read(path)
  if not manifest or manifest.format ~= format or type(manifest.files) ~= "table" then
    return nil, string.format("%s is missing or cannot be read", MANIFEST)
  end
  for _, name in ipairs(names) do
    local fault = fault_of(string.format("%s/%s", directory, name), manifest.files[name])
    if fault then return nil, string.format("%s %s", name, fault) end
  end
  return manifest
end

local function write(directory, format, names, made)
  local manifest = made.facts
  manifest.format, manifest.files = format, {}
  for _, name in ipairs(names) do
    local text = table.concat(made.files[name], SEPARATOR) .. "\n"
    core.write_file(string.format("%s/%s", directory, name), text)
    manifest.files[name] = { bytes = #text, documents = #made.files[name], hash = core.hash(text) }
  end
  core.write_file(string.format("%s/%s", directory, MANIFEST),
                  json.encode(manifest, { indent = 2 }) .. "\n")
end

-- Delete a directory of ours: only the files that belong to it.
local function remove(directory, names)
  for _, name in ipairs(names) do os.remove(string.format("%s/%s", directory, name)) end
  os.remove(string.format("%s/%s", directory, MANIFEST))
  local fine, reason = os.remove(directory)
  if not fine then
    check.fail("%s is damaged and cannot be removed (%s); remove it by hand", directory, reason)
  end
end

-- Publish the result, unless another process was faster.
local function publish(staged, directory, format, names)
  local fine, message = core.uninterrupted(pcall, core.commit_directory, staged, directory)
  if fine then return end
  pcall(core.discard_directory, staged)
  if not inspect(directory, format, names) then error(message, 0) end
end

--- Return the manifest of a directory, which is built first if it is missing or damaged.
---@param directory string
---@param format integer version of the manifest and of everything that it describes
---@param names string[] names of the files
---@param report fun(text: string)
---@param make fun(): table returns `files`, lists of texts by file name, and `facts`, a table that goes into the
--- manifest
---@return table manifest
function M.open(directory, format, names, report, make)
  local manifest, fault = inspect(directory, format, names)
  if manifest then return manifest end
  if fault then
    report(string.format("the text in %s is damaged: %s; rebuilding it", directory, fault))
  end
  local made = make()
  if fault then remove(directory, names) end
  local staged = core.stage_directory(directory)
  local fine, message = pcall(write, staged, format, names, made)
  if not fine then
    pcall(core.discard_directory, staged)
    error(message, 0)
  end
  publish(staged, directory, format, names)
  return assert(inspect(directory, format, names))
end

return M
