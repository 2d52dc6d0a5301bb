-- Registries of definitions, found by name without regard to case. Scripts may add definitions but not replace bam's
-- own. Also what all definitions share: printing their options, which are rules as for check.options with an
-- additional field `doc`, and storing their functions.
local check = require "bam.util.check"

local M = {}

local Registry = {} -- methods
local metatable = { __name = "registry", __index = Registry }

local function a(noun) return string.format(noun:find "^[aeiou]" and "an %s" or "a %s", noun) end

function metatable:__tostring() return string.format("registry of %ss", self.noun) end

--- Create an empty registry.
---@param noun string name of one entry: "optimizer"
---@param kind table the metatable of its definitions
---@param advice string function that creates definitions: "bam.optim.define"
---@return table registry
function M.new(noun, kind, advice)
  return setmetatable({ noun = noun, kind = kind, advice = advice, by_name = {} }, metatable)
end

--- Check the name of a definition that a script adds.
---@param what string for messages
---@param name string
function Registry:check_name(what, name)
  if not name:find "^%a[%w_]*$" then
    check.fail('%s: name: expected letters, digits and _, got "%s"', what, name)
  end
  local before = self.by_name[name:lower()]
  if before and before.is_builtin then
    check.fail("%s: %s: bam has %s of this name; choose another", what, name, a(self.noun))
  end
end

--- Add a complete definition. It replaces one of the same name.
---@param d table with fields name, doc, spec and is_builtin
---@param functions string[] the fields with functions, which are hidden from scripts
---@return table d
function Registry:add(d, functions)
  M.hide(d, functions)
  self.by_name[d.name:lower()] = setmetatable(d, self.kind)
  return d
end

--- The names of all definitions, in lower case and sorted.
---@return string[]
function Registry:names() return check.sorted_names(self.by_name) end

--- Look up a definition by name. A definition is returned as it is.
---@param what string for messages
---@param x any
---@return table
function Registry:find(what, x)
  if getmetatable(x) == self.kind then return x end
  local found = type(x) == "string" and self.by_name[x:lower()]
  if found then return found end
  local names = self:names()
  if type(x) == "string" then
    check.fail('%s: no %s is called "%s"%s', what, self.noun, x,
               check.suggestion(x:lower(), names, string.format("there are %s", table.concat(names, ", "))))
  end
  return check.fail("%s: expected the name of %s or a result of %s, got %s", what, a(self.noun), self.advice,
                    check.describe(x))
end

--- Make a `define` for bam's own definitions, whose names scripts cannot define again.
---@param define fun(given: table): table
---@return fun(given: table): table
function M.builtin(define)
  --- Define one of bam's own, whose name scripts cannot define again.
  ---@param given table as for `define`
  ---@return table definition
  return function(given)
    local d = define(given)
    d.is_builtin = true
    return d
  end
end

-- ---- options ----

--- Check the rules of a definition's options.
---@param what string for messages
---@param rules table<string, table>
---@param reserved table<string, true> names that they cannot have
function M.check_rules(what, rules, reserved)
  for name, rule in pairs(rules) do
    check.rule(what, name, rule)
    if reserved[name] then check.fail("%s: options: an option cannot be called `%s`", what, name) end
  end
end

--- Split what chooses a definition: a name, a definition, or { either, option = value, ... }.
---@param choice any
---@return any chosen
---@return table options
function M.split(choice)
  if type(choice) ~= "table" or getmetatable(choice) then return choice, {} end
  local options = {}
  for key, value in pairs(choice) do
    if key ~= 1 then options[key] = value end
  end
  return choice[1], options
end

local function show(value)
  if type(value) == "table" then
    local items = {}
    for i, item in ipairs(value) do items[i] = show(item) end
    return string.format("{ %s }", table.concat(items, ", "))
  end
  return type(value) == "number" and string.format("%g", value) or tostring(value)
end

--- Format an option and its default: "lr = 0.001 (a number of at least 0)".
---@param name string
---@param rule table
---@return string
function M.option_text(name, rule)
  local default = rule[2] ~= nil and string.format(" = %s", show(rule[2])) or ""
  return string.format("%s%s (%s)", name, default, check.kind_text(rule[1]))
end

--- Format all options on one line.
---@param spec table<string, table>
---@return string
function M.options_text(spec)
  local parts = {}
  for i, name in ipairs(check.sorted_names(spec)) do parts[i] = M.option_text(name, spec[name]) end
  return table.concat(parts, ", ")
end

--- The help() text of a definition: its description and its options.
---@param d table with fields doc and spec
---@param otherwise string the text where `doc` is empty
---@param class string name of the class of the options
---@return table comment
function M.comment(d, otherwise, class)
  local text = {}
  for line in d.doc:gmatch "[^\n]+" do text[#text + 1] = line end
  if #text == 0 then text[1] = otherwise end
  return { text = text, fields = {}, options = { class = class, names = check.sorted_names(d.spec), rules = d.spec } }
end

-- ---- functions of definitions ----

local code_of = setmetatable({}, { __mode = "k" }) -- by definition

--- Move the functions out of a new definition. Scripts hold definitions, but only bam may call their functions.
---@param d table
---@param names string[] the fields that hold them
function M.hide(d, names)
  local code = {}
  for _, name in ipairs(names) do code[name], d[name] = d[name], nil end
  code_of[d] = code
end

--- The functions of a definition, by name.
---@param d table
---@return table
function M.code(d) return code_of[d] end

return M
