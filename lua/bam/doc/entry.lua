-- What is documented about one function, whether it is written in Lua or in C.
local catalog = require "bam.doc.catalog"
local native = require "bam.doc.native"
local source = require "bam.doc.source"

local M = {}

--- The documentation of a function, or of an object that is called like one: its comment, the names of its parameters
--- without self, the name that it has in its source, and whether it is an op. A function without a comment has one
--- without text.
---@param f function|table
---@return { comment: table, parameters: string[], name: string?, op: table? }
function M.of_function(f)
  local own, own_parameters = catalog.own_comment(f)
  if own then return { comment = own, parameters = own_parameters } end
  local found = native.all().by_function[f]
  if found then
    local names = {}
    for name in found.usage:match("%((.*)%)"):gmatch "[%w_.]+" do names[#names + 1] = name end
    return { comment = found.comment, parameters = names, name = found.name, op = found.op, usage = found.usage }
  end
  if debug.getinfo(f, "S").what == "C" then
    return { comment = { text = {}, params = {}, fields = {}, returns = {} }, parameters = {} }
  end
  local parsed, name = source.of_function(f)
  return { comment = parsed, parameters = source.parameters(f), name = name }
end

--- How a function is called: "bam.nn.Linear(inputs, outputs, options?)". Ops show their defaults.
---@param name string
---@param entry table as of_function gives it
---@return string
function M.signature(name, entry)
  if entry.op then return name .. entry.usage:match "%(.*%)$" end
  local optional, shown = {}, {}
  for _, param in ipairs(entry.comment.params) do optional[param.name] = param.optional end
  for i, parameter in ipairs(entry.parameters) do
    shown[i] = optional[parameter] and parameter .. "?" or parameter
  end
  return string.format("%s(%s)", name, table.concat(shown, ", "))
end

return M
