-- How something is called, in one line: what Tab shows after an opening bracket.
local catalog = require "bam.doc.catalog"
local entries = require "bam.doc.entry"

--- The call of a function, a class or a definition: "bam.softmax(x, dim = -1)". Nil if nothing is documented.
---@param name string as it was typed
---@param value any
---@return string?
return function(name, value)
  local metatable = type(value) == "table" and debug.getmetatable(value)
  local call = metatable and rawget(metatable, "__call")
  if catalog.is_class(value) then
    value = value.init
  elseif type(call) == "function" and not catalog.is_function(value) then
    value = call
  end
  if not catalog.is_function(value) then return nil end
  local entry = entries.of_function(value)
  if #entry.comment.text == 0 then return nil end
  return entries.signature(name, entry)
end
