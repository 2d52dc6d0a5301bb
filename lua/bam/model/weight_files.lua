-- Weights in several safetensors files with an index, as Hugging Face has them: weights-00001-of-00003.safetensors and
-- so on, and weights.safetensors.index.json, which says in which file each tensor is.
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"

local M = {}

--- The size of a file beyond which weights are divided.
M.BYTES = 4 << 30

local function within(directory, name) return string.format("%s/%s", directory, name) end

--- A JSON file that holds an object.
---@param path string
---@return table
function M.read_json(path)
  local text = core.read_file(path)
  local ok, value = core.try(json.decode, text)
  if not ok then check.fail("%s: %s", path, (value:gsub("^.-:%d+: ", ""))) end
  if type(value) ~= "table" then
    check.fail("%s: expected an object, got %s", path, check.describe(value))
  end
  return value
end

--- Divide a list into parts of at most `limit` bytes, or of one element.
---@param list table[]
---@param limit integer
---@param bytes_of fun(element: table): integer
---@return table[][]
function M.divide(list, limit, bytes_of)
  local parts, bytes = { {} }, 0
  for _, element in ipairs(list) do
    local n = bytes_of(element)
    if bytes > 0 and bytes + n > limit then
      parts[#parts + 1], bytes = {}, 0
    end
    table.insert(parts[#parts], element)
    bytes = bytes + n
  end
  return parts
end

--- Write the parts of a list of tensors, each to its file, and the index.
---@param directory string
---@param stem string what the names of the files begin with: "model"
---@param parts table[][] elements with the field `name`
---@param bytes_of fun(element: table): integer
---@param write fun(path: string, part: table[])
function M.write(directory, stem, parts, bytes_of, write)
  local map, total = {}, 0
  for i, part in ipairs(parts) do
    local name = string.format("%s-%05d-of-%05d.safetensors", stem, i, #parts)
    write(within(directory, name), part)
    for _, element in ipairs(part) do
      map[element.name], total = name, total + bytes_of(element)
    end
  end
  local index = { metadata = { total_size = total }, weight_map = map }
  core.write_file(within(directory, string.format("%s.safetensors.index.json", stem)),
                  json.encode(index, { indent = 2 }))
end

--- The names of the files that an index lists, sorted.
---@param path string of the index
---@return string[]
function M.files(path)
  local map = M.read_json(path).weight_map
  if type(map) ~= "table" then check.fail("%s: it has no table `weight_map`", path) end
  local files, seen = {}, {}
  for _, name in pairs(map) do
    if type(name) ~= "string" or not name:find "^[%w._-]+$" or name:find "^%." then
      check.fail("%s: %s is not the name of a file beside it", path, check.describe(name))
    end
    if not seen[name] then files[#files + 1] = name end
    seen[name] = true
  end
  table.sort(files)
  return files
end

--- The tensors of all files, which stay there until they are read.
---@param directory string
---@param files string[]
---@return table<string, bam.StoredTensor>
function M.open(directory, files)
  local tensors = {}
  for _, file in ipairs(files) do
    for name, tensor in pairs((core.open_tensors(within(directory, file), "load"))) do
      if tensors[name] then
        check.fail("%s: `%s` is in two of its files", directory, name)
      end
      tensors[name] = tensor
    end
  end
  return tensors
end

--- Raise an error for a tensor that an index lists and no file holds.
---@param directory string for messages
---@param path string of the index
---@param tensors table<string, bam.StoredTensor> those of the files
function M.check_map(directory, path, tensors)
  for name, file in pairs(M.read_json(path).weight_map) do
    if not tensors[name] then
      check.fail("%s: its index says that `%s` is in %s, which does not hold it; download them again", directory, name,
                 file)
    end
  end
end

return M
