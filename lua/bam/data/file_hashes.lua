-- Content hashes of files. They are cached by path, size, change time and inode, so that only files that changed are
-- read again. The index is only an optimization: if it is damaged, or another process writes it at the same time,
-- files are hashed again.
local core = require "bam.core"
local json = require "bam.util.json"

local M = {}

local function index_path(cache) return string.format("%s/hashes.json", cache) end

-- The indexed files by path; empty if the index is damaged.
local function read_index(cache)
  local index = json.read(index_path(cache))
  local fine = type(index) == "table" and type(index.files) == "table"
    and index.digest == core.hash(json.encode(index.files))
  return fine and index.files or {}
end

local function is_same(entry, info)
  return type(entry) == "table" and type(entry.hash) == "string" and entry.size == info.size
    and entry.modified == info.modified and entry.inode == info.inode
end

-- Merge new entries into the index, which other processes may have extended, and drop files that no longer exist.
local function write_index(cache, new)
  local index = read_index(cache)
  for path, entry in pairs(new) do index[path] = entry end
  for path in pairs(index) do
    if type(path) ~= "string" or not core.file_info(path) then index[path] = nil end
  end
  core.make_directory(cache)
  core.remove_staged(cache)
  local digest = core.hash(json.encode(index))
  core.write_file(index_path(cache), json.encode({ digest = digest, files = index }, { indent = 1 }))
end

--- Hash the contents of files.
---@param paths string[] of files
---@param cache string directory
---@return table<string, string> hashes by path
function M.of(paths, cache)
  local index, hashes, new = read_index(cache), {}, {}
  for _, path in ipairs(paths) do
    local absolute = core.absolute(path)
    local info = core.file_info(path)
    local entry = index[absolute]
    if not (info and is_same(entry, info)) then
      entry = { hash = core.hash_file(path) } -- raises if the file is gone
      if info then
        entry.size, entry.modified, entry.inode = info.size, info.modified, info.inode
        new[absolute] = entry
      end
    end
    hashes[path] = entry.hash
  end
  if next(new) then core.try(write_index, cache, new) end -- a cache may be read-only
  return hashes
end

return M
