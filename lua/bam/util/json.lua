--- JSON as Lua values. An object is a table with string keys, an array a list, null is `json.null`. Integers stay
--- integers, 1.0 is a float. Decoded values encode to the same JSON, even an empty array: arrays carry a mark,
--- which `json.array` adds to lists of your own.
local check = require "bam.util.check"
local core = require "bam.core"

local M = {}

-- How C represents null and arrays: the unique null value, and the metatable that marks arrays.
local sample = core.json_decode "[null]"
local mark = getmetatable(sample)

function mark.__tostring(list) return string.format("json.array of %d", #list) end

--- JSON null, decoded and encoded. It is equal only to itself.
M.null = sample[1]

--- Parse UTF-8 JSON: an object, an array or a single value. Integers beyond 64 bits become floats, as in Lua.
--- Errors name the byte: malformed text, a duplicate key, half a surrogate pair, a number beyond the range of a
--- float, more than 64 levels, more than 10 million values.
---@param text string
---@return any
function M.decode(text) return core.json_decode(text) end

--- Read the object or array in a JSON file that may be missing or damaged. A file that cannot be read at the moment
--- (too many open files, no permission, a disk error) is an error, as it may be intact.
---@param path string
---@return table? value nil if the file is missing, malformed or something else
---@return string? message what is wrong in that case
function M.read(path)
  local info = core.file_info(path)
  if not info then return nil, string.format("%s is missing", path) end
  if info.kind ~= "file" then return nil, string.format("%s is not a file", path) end
  local ok, value = core.try(core.json_decode, core.read_file(path))
  if not ok then return nil, string.format("%s is damaged: %s", path, value) end
  if type(value) == "table" then return value end
  return nil, string.format("%s holds no object, but %s", path, check.describe(value))
end

--- Write JSON on one line without spaces, or indented. A table with keys 1 to n is an array, one with string keys
--- an object, {} an empty object, json.array {} an empty array. Keys are sorted, so equal values give equal texts;
--- floats round-trip exactly. A value that JSON cannot represent is an error that says where it is.
---@param value any
---@param options? { indent?: integer } spaces per level, 0 to 16; 0 by default
---@return string
function M.encode(value, options)
  local o = check.options("json.encode", options, { indent = { "integer", 0 } })
  return core.json_encode(value, o.indent)
end

--- Copy a value without its numbers that JSON cannot represent: a field that is NaN or infinite is left out.
---@param value any
---@return any
function M.finite(value)
  if type(value) == "number" then return value == value and math.abs(value) < math.huge and value or nil end
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, field in pairs(value) do copy[key] = M.finite(field) end
  return setmetatable(copy, getmetatable(value))
end

--- Mark a list as an array, so that it is encoded as one even if it is empty.
---@param list table
---@return table list
function M.array(list)
  local metatable = getmetatable(check.value("json.array", list, "table"))
  if metatable ~= nil and metatable ~= mark then
    check.fail("json.array: expected a plain list, got one with a metatable")
  end
  return setmetatable(list, mark)
end

return check.guard(M, "bam.json")
