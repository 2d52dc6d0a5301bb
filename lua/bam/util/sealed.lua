-- Records in JSON files with a digest of everything else in them, so that a changed bit is found, also one in a name.
local core = require "bam.core"
local json = require "bam.util.json"

local M = {}

--- The digest of everything in a record but its field `key`.
---@param record table
---@param key string
---@return string hex
function M.digest(record, key)
  local rest = {}
  for name, value in pairs(record) do
    if name ~= key then rest[name] = value end
  end
  return core.hash(json.encode(rest))
end

--- Store the digest of a record in its field `key`.
---@param record table
---@param key string
---@return table record
function M.seal(record, key)
  record[key] = M.digest(record, key)
  return record
end

--- Check a record that was read. Version 0.1.0 stored no digest, and only the fields `before`.
---@param record any
---@param key string
---@param before table<string, true>
---@return "sound"|"changed"|"unsealed"
function M.check(record, key, before)
  if type(record) ~= "table" then return "changed" end
  if record[key] ~= nil then return record[key] == M.digest(record, key) and "sound" or "changed" end
  for name in pairs(record) do
    if not before[name] then return "changed" end
  end
  return "unsealed"
end

return M
