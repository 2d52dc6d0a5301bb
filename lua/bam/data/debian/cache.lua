-- A directory of text that is made once: files of documents, and manifest.json, written last,
-- which has the size and the hash of each. It appears as a whole, and is made anew when a file is
-- not what the manifest says.
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"

local M = {}

local MANIFEST = "manifest.json"
local SEPARATOR = "\n<|endoftext|>\n"

-- What is wrong with a file that the manifest describes, or nil.
local function fault_of(path, entry)
  if type(entry) ~= "table" then return string.format("is not described in %s", MANIFEST) end
  local file <close> = io.open(path, "rb")
  if not file or core.is_directory(path) then return "is missing" end
  if file:seek "end" ~= entry.bytes then
    return string.format("has not the %s bytes that it had", tostring(entry.bytes))
  end
  if core.hash_file(path) ~= entry.hash then return "has changed" end
end

-- The manifest of a directory; or nil and what is wrong, without that when nothing is there.
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

-- Delete a directory of ours: the files that belong there, and nothing else.
local function remove(directory, names)
  for _, name in ipairs(names) do os.remove(string.format("%s/%s", directory, name)) end
  os.remove(string.format("%s/%s", directory, MANIFEST))
  local fine, reason = os.remove(directory)
  if not fine then
    check.fail("%s is damaged and cannot be removed (%s); remove it by hand", directory, reason)
  end
end

-- Let what was made appear, unless another process has been faster.
local function publish(staged, directory, format, names)
  local fine, message = core.uninterrupted(pcall, core.commit_directory, staged, directory)
  if fine then return end
  pcall(core.discard_directory, staged)
  if not inspect(directory, format, names) then error(message, 0) end
end

--- The directory's manifest. What is not there yet, or damaged, is made first.
---@param directory string
---@param format integer of the manifest and of all that it stands for
---@param names string[] of the files
---@param report fun(text: string)
---@param make fun(): table gives `files`, a list of texts by the file's name, and `facts`, a table
--- that goes into the manifest
---@return table manifest
function M.open(directory, format, names, report, make)
  local manifest, fault = inspect(directory, format, names)
  if manifest then return manifest end
  if fault then
    report(string.format("the text in %s is damaged: %s; it is made anew", directory, fault))
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
