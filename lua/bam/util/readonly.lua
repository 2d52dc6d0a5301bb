-- Read-only tables. Reading, #, pairs and ipairs work as on plain tables; assigning raises an error that says what to
-- do instead. The table that scripts see is empty, so that every assignment is caught; values and methods are found
-- through __index.
local check = require "bam.util.check"

local M = {}

---@class readonly.Kind
---@field name string noun for messages
---@field advice string end of the error message for assignments
---@field methods? table<string, function>
---@field text? fun(self: table): string its printed form

-- The metatable of one table; help() reads `__methods`.
local function metatable_of(values, kind)
  return {
    __name = kind.name, __index = values, __tostring = kind.text, kind = kind,
    __methods = kind.methods or {},
    __newindex = function(_, key)
      check.fail("%s: a %s cannot be changed; %s", tostring(key), kind.name, kind.advice)
    end,
    __pairs = function() return next, values end,
    __len = function() return #values end,
  }
end

--- Create a read-only table of these values.
---@param values table ownership passes to the result
---@param kind readonly.Kind
---@return table
function M.new(values, kind)
  setmetatable(values, { __index = kind.methods })
  return setmetatable({}, metatable_of(values, kind))
end

--- Is `value` of this kind?
---@param value any
---@param kind readonly.Kind
---@return boolean
function M.is(value, kind)
  local metatable = getmetatable(value)
  return type(metatable) == "table" and rawget(metatable, "kind") == kind
end

--- A plain table with the same values.
---@param self table
---@return table
function M.copy(self)
  local copy = {}
  for key, value in pairs(self) do copy[key] = value end
  return copy
end

return M
