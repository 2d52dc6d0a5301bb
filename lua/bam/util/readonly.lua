-- Tables that cannot be changed. Reading, #, pairs and ipairs work as on plain ones; assigning is
-- an error that says what to do instead. The table that scripts see is empty, so that every
-- assignment is noticed; its values, and after them its methods, are found by way of __index.
local check = require "bam.util.check"

local M = {}

---@class readonly.Kind
---@field name string what one is called
---@field advice string the end of the message to who assigns a field
---@field methods? table<string, function>
---@field text? fun(self: table): string how one prints

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

--- A table with these values.
---@param values table ours from now on
---@param kind readonly.Kind
---@return table
function M.new(values, kind)
  setmetatable(values, { __index = kind.methods })
  return setmetatable({}, metatable_of(values, kind))
end

--- Is `value` one of a kind?
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
