-- Argument checks: values against kinds, tables of options against the known names. Errors name the function and the
-- option, say what to do, and point to a line of the script, never of this file.
local core = require "bam.core"

local M = {}

--- Raise an error at the innermost line outside bam's own modules.
---@param format string as in string.format
---@param ... any
function M.fail(format, ...)
  local level = 2
  local info = debug.getinfo(level, "S")
  while info and (info.what == "C" or info.source:find("=bam/", 1, true) == 1) do
    level = level + 1
    info = debug.getinfo(level, "S")
  end
  error(string.format(format, ...), level)
end

--- Is `value` a tensor?
---@param value any
---@return boolean
function M.is_tensor(value) return getmetatable(value) == "tensor" end

--- Is `value` callable? Functions are, and so are classes and modules of bam.nn.
---@param value any
---@return boolean
function M.is_callable(value)
  local metatable = getmetatable(value)
  return type(value) == "function" or type(metatable) == "table" and metatable.__call ~= nil
end

--- Format a number of things: "1 document", "1,200 documents".
---@param n integer
---@param noun string in the singular
---@return string
function M.count(n, noun) return string.format(n == 1 and "%s %s" or "%s %ss", M.thousands(n), noun) end

--- Format an integer with separators: "587,209,728".
---@param n integer
---@return string
function M.thousands(n)
  local text = tostring(n)
  local k
  repeat text, k = text:gsub("^(%d+)(%d%d%d)", "%1,%2") until k == 0
  return text
end

--- Format a shape for messages: "(4, 768)".
---@param shape integer[]
---@return string
function M.shape(shape) return string.format("(%s)", table.concat(shape, ", ")) end

--- Describe `value` for messages.
---@param value any
---@return string
function M.describe(value)
  local kind, metatable = type(value), getmetatable(value)
  if metatable == "tensor" then
    if core.closed(value) then return "a closed tensor" end
    return string.format("a tensor of shape %s", M.shape(value.shape))
  end
  if kind == "string" then
    return #value <= 40 and string.format('the string "%s"', value) or "a string"
  end
  if kind == "number" or kind == "boolean" or kind == "nil" then return tostring(value) end
  return string.format("a %s", type(metatable) == "table" and metatable.__name or kind)
end

local function is_number(x) return type(x) == "number" and x == x and math.abs(x) < math.huge end
local function integer(x) return type(x) == "number" and math.tointeger(x) or nil end

-- The position of the first nil in a list.
local function hole(list)
  local i = 1
  while rawget(list, i) ~= nil do i = i + 1 end
  return i
end

--- The metatables of lists that are plain in all but their messages, as a set: that of x.shape, and others.
M.plain = { [debug.getregistry()["bam.Sizes"]] = true }

--- Has it a metatable? Plain lists count as having none.
---@param value any
---@return boolean
function M.has_metatable(value)
  local metatable = debug.getmetatable(value)
  return metatable ~= nil and not M.plain[metatable]
end

-- A value that describes its own contents, such as a module.
local function reads_itself(t)
  local metatable = M.has_metatable(t) and getmetatable(t)
  return type(metatable) == "table" and (metatable.__index or metatable.__len or metatable.__pairs)
end

-- The length of a list, and its named entries.
local function read_list(what, list)
  if type(list) ~= "table" or reads_itself(list) then
    M.fail("%s: expected a list, got %s", what, M.describe(list))
  end
  local n, last, named = 0, 0, nil
  for key, value in next, list do
    if math.type(key) == "integer" and key > 0 then
      n, last = n + 1, math.max(last, key)
    elseif key == "n" and math.type(value) == "integer" then -- of table.pack
      last = math.max(last, value)
    elseif type(key) == "string" then
      named = named or {}
      named[key] = value
    else
      M.fail("%s: expected a list, but there is the key %s", what, M.describe(key))
    end
  end
  if n < last then
    M.fail("%s: entry %d of the list is nil; its last is %d", what, hole(list), last)
  end
  return n, named
end

--- The length of a list. Raises if the table has a named field or a nil.
---@param what string for messages
---@param list any
---@return integer
function M.list(what, list)
  local n, named = read_list(what, list)
  if named then M.fail("%s: expected a list, but there is the key `%s`", what, next(named)) end
  return n
end

--- The length of a list and the options given with it: as named fields, as in { a, b, lr = 1 }, or in the table
--- `options`.
---@param what string for messages
---@param list any
---@param options? table
---@return integer
---@return table? options
function M.list_with_options(what, list, options)
  local n, named = read_list(what, list)
  if named and options ~= nil then
    M.fail("%s: options are given both in the list and after it; give them once", what)
  end
  return n, named or options
end

-- Kinds: a description, and a function that returns the converted value, or nil if the value is not of the kind.
local kinds = {
  any = { "a value", function(x) return x end },
  boolean = { "true or false", function(x) if type(x) == "boolean" then return x end end },
  string = { "a string", function(x) return type(x) == "string" and x or nil end },
  table = { "a table", function(x) return type(x) == "table" and x or nil end },
  list = { "a list", function(x, what) return M.list(what, x) and x end },
  tensor = { "a tensor", function(x) return M.is_tensor(x) and x or nil end },
  callable = { "a function", function(x) return M.is_callable(x) and x or nil end },
  integer = { "an integer", integer },
  count = { "an integer of at least 0",
            function(x) x = integer(x) return x and x >= 0 and x or nil end },
  size = { "an integer of at least 1",
           function(x) x = integer(x) return x and x >= 1 and x or nil end },
  extent = { "an integer from 1 to 2147483647",
             function(x) x = integer(x) return x and x >= 1 and x < 1 << 31 and x or nil end },
  few = { "an integer from 1 to 4096",
          function(x) x = integer(x) return x and x >= 1 and x <= 4096 and x or nil end },
  number = { "a finite number", function(x) return is_number(x) and x or nil end },
  positive = { "a number above 0", function(x) return is_number(x) and x > 0 and x or nil end },
  rate = { "a number of at least 0", function(x) return is_number(x) and x >= 0 and x or nil end },
  share = { "a number from 0 to 1",
            function(x) return is_number(x) and x >= 0 and x <= 1 and x or nil end },
  fraction = { "a number from 0 to below 1",
               function(x) return is_number(x) and x >= 0 and x < 1 and x or nil end },
  dtype = { 'the dtype "f32" or "f64"',
            function(x) return (x == "f32" or x == "f64") and x or nil end },
}

--- Convert `value` to a kind (integral floats become integers), or raise an error that starts with `what`.
---@param what string such as "nn.Linear: inputs"
---@param value any
---@param kind string
---@param expects? string what the message says in place of the kind
---@return any
function M.value(what, value, kind, expects)
  local is_list = not (expects and kind == "list" and (type(value) ~= "table" or M.has_metatable(value)))
  local result = nil
  if is_list then result = kinds[kind][2](value, what) end
  if result == nil then
    local hints, got = require "bam.util.hints", M.describe(value)
    M.fail("%s: expected %s, got %s%s", what, expects or kinds[kind][1], got,
           got == "a schedule" and hints.SCHEDULE or hints.braces(what, value, kinds[kind][1]) .. hints.module(value))
  end
  return result
end

--- Describe a kind: "a number above 0".
---@param kind string
---@return string
function M.kind_text(kind) return kinds[kind][1] end

--- Check the rule { kind, default } of an option defined by a script.
---@param what string for messages
---@param name any of the option
---@param rule any
function M.rule(what, name, rule)
  if type(name) ~= "string" or not name:find "^%a[%w_]*$" then
    M.fail("%s: options: expected names of letters, digits and _, got %s", what, M.describe(name))
  end
  M.value(string.format("%s: options.%s", what, name), rule, "table")
  if kinds[rule[1]] == nil then
    M.fail("%s: options.%s: expected { kind, default }, as in { \"rate\", 0.1 }; kinds are %s", what, name,
           table.concat(M.sorted_names(kinds), ", "))
  end
  if rule[2] ~= nil then M.value(string.format("%s: default of option %s", what, name), rule[2], rule[1]) end
end

--- The end of a message: "; did you mean `x`?", or "" if no name is similar; and after it what `rest` says.
---@param word any
---@param names string[]
---@param rest? string "there are a, b"
---@return string
function M.suggestion(word, names, rest)
  local near = type(word) == "string" and core.nearest(word, names)
  if near and rest then
    return string.format("; did you mean `%s`? %s%s", near, rest:sub(1, 1):upper(), rest:sub(2))
  end
  return near and string.format("; did you mean `%s`?", near) or rest and string.format("; %s", rest) or ""
end

--- The keys of a table of names, sorted.
---@param t table<string, any>
---@return string[]
function M.sorted_names(t)
  local names = {}
  for name in pairs(t) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- The old names in a spec, { old = new }. An option { kind, default, was = "old" } is also accepted under its old name.
local function old_names(what, given, spec)
  local renamed = {}
  for name, rule in pairs(spec) do
    if rule.was then
      renamed[rule.was] = name
      if given[rule.was] ~= nil and given[name] ~= nil then
        M.fail("%s: option `%s` is the old name of `%s`; give one of them", what, rule.was, name)
      end
    end
  end
  return renamed
end

--- Check the options of a call. Returns a new table with defaults filled in. `spec` has { kind, default } for each
--- name; an option without a default is required, unless its entry is { kind, optional = true }. An entry with
--- was = "old" also accepts an old name; the result has the new one. `expects` says what a missing or wrong one is.
---@param what string the function, for messages
---@param given? table
---@param spec table<string, table>
---@return table
function M.options(what, given, spec)
  if given == nil then given = {} end
  if type(given) ~= "table" or getmetatable(given) then
    M.fail("%s: expected a table of options, got %s%s", what, M.describe(given),
           require("bam.util.hints").option(given, spec, kinds))
  end
  local names, options, renamed = M.sorted_names(spec), {}, old_names(what, given, spec)
  for name in pairs(given) do
    if type(name) ~= "string" then
      M.fail("%s: options must have names, but there is %s%s", what, M.describe(given[name]),
             require("bam.util.hints").list_option(spec))
    end
    if not (spec[name] or renamed[name]) then
      M.fail("%s: no option `%s`%s", what, name, require("bam.util.hints").option_name(name, names))
    end
  end
  for _, name in ipairs(names) do
    local rule, value = spec[name], given[name]
    if value == nil and rule.was then value = given[rule.was] end
    if value ~= nil then
      options[name] = M.value(string.format("%s: option %s", what, name), value, rule[1], rule.expects)
    elseif rule[2] ~= nil then
      options[name] = rule[2]
    elseif not rule.optional then
      M.fail("%s: option `%s` is missing: %s", what, name, rule.expects or kinds[rule[1]][1])
    end
  end
  return options
end

--- Make reading an unknown name of module `t` an error that suggests the most similar name.
---@param t table
---@param what string the module's name
---@return table t
function M.guard(t, what)
  return setmetatable(t, { __name = what, __index = function(_, name)
    if type(name) ~= "string" then return nil end
    local owner = what:match "[^.]+$"
    M.fail("%s has no `%s`%s", what, name, require("bam.util.hints").hint(owner, name, M.sorted_names(t)))
  end })
end

--- The field of a value, or nil if it has none; also of values for which asking for an unknown name is an error.
---@param value any
---@param name string
---@return any
function M.field(value, name)
  local fine, field = pcall(function() return value[name] end)
  return fine and field or nil
end

-- ---- methods ----

local originals = setmetatable({}, { __mode = "k" }) -- the functions that M.methods has wrapped

--- Make the methods of a class check what they are called on: a method called with a dot is an error that says how to
--- call it. `init` is left alone, and functions of which `skip` holds true by name.
---@param class table
---@param is_own fun(self: any): boolean
---@param expected string "a module"
---@param variable string stands for an object in messages: "m"
---@param skip? table<string, any>
function M.methods(class, is_own, expected, variable, skip)
  for name, method in next, class do
    if type(method) == "function" and name ~= "init" and not (skip and skip[name]) then
      local function checked(self, ...)
        if is_own(self) then return method(self, ...) end
        local got = self == nil and "nothing" or M.describe(self)
        return M.fail("%s: expected %s, got %s; call it with a colon: %s:%s()", name, expected, got, variable, name)
      end
      class[name], originals[checked] = checked, method
    end
  end
end

--- The function as it was written, of one that M.methods has wrapped; any other as it is.
---@param f function
---@return function
function M.original(f) return originals[f] or f end

return M
