-- Undefined globals. None, True and False, constants of Python, would be nil without a word and change what a script
-- means: reading them is an error, unless the script watches its globals itself.
local M = {}

local CONSTANTS = { None = true, True = true, False = true }

--- The message of an error about a constant of Python; nil of other names.
---@param name any
---@return string?
function M.constant(name)
  if not CONSTANTS[name] then return nil end
  return string.format("undefined global '%s'; %s", name, require("bam.util.other_globals").hint(name))
end

-- The metatable that scripts get, unless they have one.
local metatable = { __index = function(_, name)
  local message = M.constant(name)
  if message then error(message, 2) end
end }

--- Make reading None, True or False an error.
function M.watch()
  if getmetatable(_G) == nil then setmetatable(_G, metatable) end
end

--- Let `reader` answer for undefined globals.
---@param reader fun(globals: table, name: any): any
function M.watch_with(reader)
  local own = getmetatable(_G)
  if own == nil or own == metatable then setmetatable(_G, { __index = reader }) end
end

return M
