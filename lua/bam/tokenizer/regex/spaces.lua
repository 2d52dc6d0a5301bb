-- Unicode's White_Space, which has not changed for long.
local M = {}

--- Its ranges, first and last character.
M.ranges = { { 9, 13 }, { 0x20, 0x20 }, { 0x85, 0x85 }, { 0xa0, 0xa0 }, { 0x1680, 0x1680 },
             { 0x2000, 0x200a }, { 0x2028, 0x2029 }, { 0x202f, 0x202f }, { 0x205f, 0x205f },
             { 0x3000, 0x3000 } }

---@param code integer
---@return boolean
function M.has(code)
  for _, range in ipairs(M.ranges) do
    if code >= range[1] and code <= range[2] then return true end
  end
  return false
end

return M
