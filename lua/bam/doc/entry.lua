-- What is documented about one function, whether it is written in Lua or in C.
local catalog = require "bam.doc.catalog"
local native = require "bam.doc.native"
local source = require "bam.doc.source"

local M = {}

local KINDS = { rate = "number", fraction = "number", share = "number", positive = "number", number = "number",
                count = "integer", size = "integer", extent = "integer", few = "integer", integer = "integer",
                boolean = "boolean", string = "string", list = "table", table = "table", callable = "function" }

local function default_text(value)
  if type(value) ~= "table" then
    return string.format(type(value) == "number" and "%.14g" or type(value) == "string" and "%q" or "%s", value)
  end
  local items = {}
  for i, item in ipairs(value) do items[i] = default_text(item) end
  return string.format("{ %s }", table.concat(items, ", "))
end

-- A field of options from a rule of check.options: { kind, default, doc =, type = }; `type` is for those of several
-- kinds.
local function option_field(name, rule)
  local default = rule[2] ~= nil and string.format("%s by default", default_text(rule[2])) or nil
  local text = rule.doc and default and string.format("%s; %s", rule.doc, default) or rule.doc or default or ""
  return { name = name, optional = rule[2] ~= nil or rule.optional, type = rule.type or KINDS[rule[1]] or "any",
           text = text }
end

-- The comment of an object that documents itself. Its options become a class, as if it were declared with @class.
local function own_entry(own, parameters)
  if own.options then
    local class = { name = own.options.class, text = {}, fields = {}, methods = {} }
    for i, name in ipairs(own.options.names) do class.fields[i] = option_field(name, own.options.rules[name]) end
    source.classes()[class.name] = class
  end
  return { comment = own, parameters = parameters }
end

--- The documentation of a function, or of an object that is called like one: its comment, the names of its parameters
--- without self, the name that it has in its source, and whether it is an op. A function without a comment has one
--- without text.
---@param f function|table
---@return { comment: table, parameters: string[], name: string?, op: table?, place: string? } place is "file:line" of
--- a function that is not bam's
function M.of_function(f)
  local own, own_parameters = catalog.own_comment(f)
  if own then return own_entry(own, own_parameters) end
  local found = native.all().by_function[f]
  if found then
    local names = {}
    for name in found.usage:match("%((.*)%)"):gmatch "[%w_.]+" do names[#names + 1] = name end
    return { comment = found.comment, parameters = names, name = found.name, op = found.op, usage = found.usage }
  end
  if debug.getinfo(f, "S").what == "C" then
    return { comment = { text = {}, params = {}, fields = {}, returns = {} }, parameters = {} }
  end
  local parsed, name, place = source.of_function(f)
  return { comment = parsed, parameters = source.parameters(f), name = name, place = place }
end

--- How a function is called: "bam.nn.Linear(inputs, outputs, options?)". Ops show their defaults.
---@param name string
---@param entry table as of_function gives it
---@return string
function M.signature(name, entry)
  if entry.op then
    local arguments = entry.usage:match "%(.*%)$"
    return name .. (name:find ":" and arguments:gsub("^%([%w_]+,? ?", "(") or arguments)
  end
  local optional, shown = {}, {}
  for _, param in ipairs(entry.comment.params) do optional[param.name] = param.optional end
  for i, parameter in ipairs(entry.parameters) do
    shown[i] = optional[parameter] and parameter .. "?" or parameter
  end
  return string.format("%s(%s)", name, table.concat(shown, ", "))
end

return M
