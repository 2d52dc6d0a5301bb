-- The options of a definition (an optimizer, a merge method) as plain data for a fingerprint: values as they are,
-- functions and objects by the hash of their code.
local closure_hash = require "bam.model.fingerprint.closure_hash"

local M = {}

--- A value as plain data, 2.0 as 2. Names that begin with "_" are left out.
---@param value any
---@return any
function M.plain(value)
  if type(value) == "function" or type(value) == "table" and getmetatable(value) then
    return closure_hash.hash(value)
  end
  if type(value) ~= "table" then
    return math.type(value) == "float" and math.tointeger(value) or value
  end
  local t = {}
  for name, field in pairs(value) do
    if type(name) ~= "string" or name:sub(1, 1) ~= "_" then t[name] = M.plain(field) end
  end
  return t
end

return M
