--- JSON as Lua values: an object is a table with string keys, an array a list, null is
--- `json.null`, and the rest is what it is in Lua: an integer stays an integer, 1.0 a float.
--- What was decoded encodes to the same values, also an empty array: arrays bear a mark, which
--- `json.array` puts on lists of your own.
local check = require "bam.check"
local core = require "bam.core"

local M = {}

-- What C makes of null and of arrays: the one value, and the metatable that is the mark.
local sample = core.json_decode "[null]"
local mark = getmetatable(sample)

function mark.__tostring(list) return string.format("json.array of %d", #list) end

--- What null is decoded to and encoded from; it equals only itself.
M.null = sample[1]

--- The value of a JSON text in UTF-8: an object, an array, or a string, number, true, false or null
--- alone. An integer beyond 64 bits becomes a float, as in Lua's own text. Errors name the byte:
--- malformed text, a key twice in one object, half a surrogate pair, a number beyond a float,
--- objects and arrays more than 64 deep, and more than 10 million values.
---@param text string
---@return any
function M.decode(text) return core.json_decode(text) end

--- The object or array in a JSON file that may be missing or damaged. That it cannot be read just now (too
--- many open files, no permission, a fault of the disk) is an error: the file may be sound.
---@param path string
---@return table? value nil when it is missing, malformed or something else
---@return string? message then: what is wrong
function M.read(path)
  local info = core.file_info(path)
  if not info then return nil, string.format("%s is missing", path) end
  if info.kind ~= "file" then return nil, string.format("%s is not a file", path) end
  local ok, value = core.try(core.json_decode, core.read_file(path))
  if not ok then return nil, string.format("%s is damaged: %s", path, value) end
  if type(value) == "table" then return value end
  return nil, string.format("%s holds no object, but %s", path, check.describe(value))
end

--- The JSON text of a value: without spaces on one line, or indented. A table with the keys 1 to n
--- is an array, one with string keys an object, {} an empty object, json.array {} an empty array.
--- Keys are sorted, so that equal values give equal texts; floats are read back exactly. What JSON
--- cannot hold is an error that says where it is.
---@param value any
---@param options? { indent: integer } how many spaces each level is indented by, 0 to 16
---@return string
function M.encode(value, options)
  local o = check.options("json.encode", options, { indent = { "integer", 0 } })
  return core.json_encode(value, o.indent)
end

--- Marks a list as an array, so that it is encoded as one even when it is empty.
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
