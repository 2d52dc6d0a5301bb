-- Tables that cannot be changed. Reading, #, pairs and ipairs work as on plain ones; assigning is
-- an error that says what to do instead. The values live in a table of their own, apart from the
-- one that scripts see, so that every assignment is noticed.
local check = require "bam.check"

local M = {}

local contents = setmetatable({}, { __mode = "k" })

--- A kind of such tables, to be given to M.new.
---@param name string what one is called
---@param advice string the end of the message to who assigns a field
---@param methods? table<string, function>
---@return table metatable
function M.kind(name, advice, methods)
  methods = methods or {}
  local metatable = { __name = name, __methods = methods }
  function metatable:__index(key)
    local value = contents[self][key]
    if value == nil then return methods[key] end
    return value
  end
  function metatable:__newindex(key)
    check.fail("%s: a %s cannot be changed; %s", tostring(key), name, advice)
  end
  function metatable:__pairs() return next, contents[self] end
  function metatable:__len() return #contents[self] end
  return metatable
end

--- A table of a kind, with these values.
---@param values table ours from now on
---@param kind table what M.kind gave
---@return table
function M.new(values, kind)
  local self = setmetatable({}, kind)
  contents[self] = values
  return self
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
