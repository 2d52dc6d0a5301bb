-- help(): prints what is known about a function, a module, a class or a value. The texts are the doc comments of Lua
-- sources and the documentation of C functions; see entry.lua. Nothing here runs code of the thing asked about: values
-- are read raw.
local catalog = require "bam.doc.catalog"
local check = require "bam.util.check"
local comments = require "bam.doc.comment"
local entries = require "bam.doc.entry"
local find = require "bam.doc.find"
local hints = require "bam.util.hints"
local natives = require "bam.doc.native"
local pager = require "bam.doc.pager"
local sources = require "bam.doc.source"
local text = require "bam.doc.text"

-- ---- functions ----

local function named(item) return string.format(item.optional and "%s?:" or "%s:", item.name) end

local function add_value(out, indent, name, item)
  text.add_item(out, indent, string.format(item.text == "" and "%s %s" or "%s %s - %s", name, item.type, item.text))
end

-- The fields of a type: of a class that is options, written in Lua or in C.
local function fields_of(kind)
  local name = kind:match "^[%w_.]+"
  local class = sources.classes()[name]
  if class then return #class.methods == 0 and class.fields or {} end
  return natives.fields(name) or {}
end

-- Add the fields of a type, and theirs, each indented more.
local function add_fields(out, kind, indent)
  if #indent == 8 then return end
  for _, field in ipairs(fields_of(kind)) do
    add_value(out, indent, named(field), field)
    add_fields(out, field.type, indent .. "  ")
  end
end

-- A name under which a function can be called: of a method in bam's sources an object stands for its class.
local function callable_name(name, entry)
  if name then return name end
  local own = entry.name or "function"
  if not entry.place then own = own:gsub("^M%.", "") end
  return (own:gsub("^(%u)(%w*):", function(first, rest) return string.format("%s%s:", first:lower(), rest) end))
end

-- Add how a function is called, what it does, its parameters and results, and where it is defined if it is not bam's.
local function add_function(out, name, f)
  local entry = entries.of_function(f)
  local comment = entry.comment
  if #comment.text == 0 and not entry.place then
    out[#out + 1] = (name or "function") .. ": a function without a description"
    return
  end
  out[#out + 1] = entries.signature(callable_name(name, entry), entry)
  text.add_text(out, comment.text)
  for _, param in ipairs(entry.op and {} or comment.params) do
    add_value(out, "  ", named(param), param)
    add_fields(out, param.type, "    ")
  end
  for _, result in ipairs(entry.op and {} or comment.returns) do add_value(out, "  ", "returns", result) end
  if entry.place then out[#out + 1] = string.format("Defined at %s.", entry.place) end
end

local function add_library(out, entry)
  out[#out + 1] = entry.usage
  text.add_text(out, { entry.text })
end

local function first_sentence(f)
  local entry = find.in_library(f)
  return entry and entry.text or comments.summary(entries.of_function(f).comment)
end

-- ---- tables and values ----

local function is_function(value) return type(value) == "function" end
local function is_anything() return true end

-- Add the functions of a table, one a line; without a class's init, which is how the class is called.
local function add_functions(out, t)
  for _, key in ipairs(catalog.names(t, catalog.is_function)) do
    if key ~= "init" or not catalog.is_class(t) then text.add_row(out, key, first_sentence(t[key])) end
  end
end

-- Add a table: the text of its module, how to call it, its functions one a line, its other names.
local function add_table(out, name, t)
  local item = find.item_of(t)
  out[#out + 1] = name or item and item.path or "table"
  if item and item.module then text.add_text(out, sources.of_module(item.module).text) end
  local metatable = debug.getmetatable(t)
  local call = catalog.is_class(t) and t.init or metatable and rawget(metatable, "__call")
  if is_function(call) and (catalog.is_class(t) or #entries.of_function(call).comment.text > 0) then
    add_function(out, name or item and item.path, call)
  end
  add_functions(out, t)
  text.add_names(out, "Also:", catalog.names(t, function(value) return not catalog.is_function(value) end))
end

-- The methods that an object has from a table; nil if it is a class or a plain table.
local function methods_of(t)
  local metatable = not catalog.is_class(t) and debug.getmetatable(t)
  local methods = metatable and (rawget(metatable, "__methods") or rawget(metatable, "__index"))
  return type(methods) == "table" and methods or nil
end

-- Add a module of nn, a schedule, a description of a model: its methods and its fields.
local function add_object(out, t, methods)
  out[#out + 1] = string.format("a %s", rawget(debug.getmetatable(t), "__name") or "table")
  add_functions(out, methods)
  local base = debug.getmetatable(methods)
  local inherited = base and rawget(base, "__index")
  if type(inherited) == "table" then
    text.add_names(out, "Methods of all modules:", catalog.names(inherited, is_function))
  end
  text.add_names(out, "Fields:", catalog.names(t, is_anything))
end

-- Add a value that is neither a table nor a function.
local function add_plain(out, value)
  local metatable = debug.getmetatable(value) or {}
  if check.is_tensor(value) then
    out[#out + 1] = check.describe(value)
  else
    out[#out + 1] = string.format("a %s", rawget(metatable, "__name") or type(value))
  end
  for _, kind in ipairs { "properties", "methods" } do
    local names = rawget(metatable, "__" .. kind)
    if type(names) == "table" then
      text.add_names(out, kind .. ":", #names > 0 and names or catalog.names(names, is_anything))
    end
  end
end

local function add_overview(out)
  local names = {}
  for _, item in ipairs(catalog.items()) do
    if item.kind == "module" then
      out[#out + 1] = string.format("%-14s %s", item.path, comments.summary((sources.of_module(item.module))))
    elseif item.kind == "function" and item.owner == "bam" then
      names[#names + 1] = item.name
    end
  end
  text.add_names(out, "Functions of bam:", names)
  out[#out + 1] = 'help(f), help "matmul", help "x:chunk" or help(value) explains one; help "word" searches.'
  out[#out + 1] = "Tab completes names; `_` is the last result; Ctrl-C interrupts."
end

-- ---- asking ----

local function add_any(out, value, name)
  local methods = type(value) == "table" and methods_of(value)
  local item = not name and find.item_of(value)
  local entry = find.in_library(value)
  if entry then
    add_library(out, entry)
  elseif catalog.is_function(value) then
    add_function(out, name or item and item.path, value)
  elseif type(value) ~= "table" then
    add_plain(out, value)
  elseif methods and not (find.item_of(value) or {}).module then
    add_object(out, value, methods)
  else
    add_table(out, name, value)
  end
end

local MOST = 20 -- names that are listed

local function add_list(out, found)
  for i = 1, math.min(#found, MOST) do text.add_row(out, found[i].path, found[i].text()) end
  if #found > MOST then out[#out + 1] = string.format("  and %d more", #found - MOST) end
end

-- Add what has this name besides `path`.
local function add_others(out, word, path)
  local others = {}
  for _, one in ipairs(find.named(word)) do
    if one.path ~= path and one.path ~= "x:" .. word then others[#others + 1] = one.path end
  end
  text.add_names(out, "See also:", others)
end

-- What PyTorch's or NumPy's name is called here, or nil.
local function elsewhere(name)
  local word = name:match "[%w_]+$" or name
  for _, owner in ipairs { "bam", "tensor", "nn", "optim", "module", "optimizer" } do
    local known = hints.known(owner, word)
    if known then return known end
  end
end

-- Add a class, which is what a function takes or returns: its text, fields and methods.
local function add_class(out, name, class)
  out[#out + 1] = name
  text.add_text(out, class.text)
  for _, field in ipairs(class.fields) do add_value(out, "  ", named(field), field) end
  for _, method in ipairs(class.methods) do
    local call = string.format("%s%s(%s)", method.separator, method.name, table.concat(method.parameters, ", "))
    text.add_row(out, call, comments.summary(method.comment))
  end
end

-- The class of a name: "bam.Phase", "Phase".
local function class_of(name)
  local classes = sources.classes()
  for _, path in ipairs { name, string.format("bam.%s", name) } do
    if classes[path] then return classes[path], path end
  end
end

local SHORTEST = 3 -- letters that are searched for

-- Add what is nearest to a name that does not exist.
local function add_similar(out, name)
  local known = elsewhere(name)
  if known then
    out[#out + 1] = string.format("help: nothing is called '%s'; %s", name, known)
    return
  end
  local found = #name >= SHORTEST and find.containing(name) or {}
  local near = find.nearest(name)
  local hint = near and #found == 0 and string.format("; did you mean %s?", near.path) or ""
  out[#out + 1] = string.format("help: nothing is called '%s'%s", name, hint)
  if #found > 0 then out[#out + 1] = "Similar names, or texts with the word:" end
  add_list(out, found)
end

-- Add what a name stands for. Returns whether there is such a thing.
local function add_name(out, name)
  local item, value, field = find.item(name), find.value(name), find.property(name)
  local several = find.named(name)
  if item then
    add_any(out, item.value, item.path)
    add_others(out, name, item.path)
  elseif find.in_library(name) then
    add_library(out, find.in_library(name))
  elseif field then
    add_value(out, "", string.format("x.%s:", field.name), field)
  elseif value ~= nil and type(value) ~= "string" then
    add_any(out, value, name)
  elseif class_of(name) then
    local class, path = class_of(name)
    add_class(out, path, class)
  elseif #several == 1 then
    return add_name(out, several[1].path)
  elseif #several > 1 then
    out[#out + 1] = string.format("Several have the name '%s':", name)
    add_list(out, several)
  else
    add_similar(out, name)
    return false
  end
  return true
end

--- Print what is known about a function, a module, a value, or the name of one; without an argument, an overview. On a
--- terminal that it does not fit, by the pager.
---@param ... any
---@return boolean found
return function(...)
  local out, found = {}, true
  local subject = ...
  if select("#", ...) == 0 then
    add_overview(out)
  elseif type(subject) == "string" then
    found = add_name(out, subject)
  else
    add_any(out, subject)
  end
  pager.print(out)
  return found
end
