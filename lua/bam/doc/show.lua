-- help(): prints what is known about a function, a module, a class or a value. The texts are the doc comments of Lua
-- sources and the documentation of C functions; see entry.lua. Nothing here runs code of the thing asked about: values
-- are read raw.
local catalog = require "bam.doc.catalog"
local comments = require "bam.doc.comment"
local entries = require "bam.doc.entry"
local natives = require "bam.doc.native"
local sources = require "bam.doc.source"

local WIDTH = 80

-- ---- text ----

--- Words as lines of at most WIDTH bytes, each after `indent`.
local function wrapped(words, indent)
  local lines, line = {}, nil
  for _, word in ipairs(words) do
    if line and #line + 1 + #word > WIDTH then
      lines[#lines + 1], line = line, nil
    end
    line = line and string.format("%s %s", line, word) or indent .. word
  end
  lines[#lines + 1] = line
  return lines
end

local function say(lines)
  for _, line in ipairs(lines) do io.write(line, "\n") end
end

local function words_of(text)
  local words = {}
  for word in text:gmatch "%S+" do words[#words + 1] = word end
  return words
end

--- Adds paragraphs to `out`, rewrapped; indented lines are kept.
local function add_text(out, lines)
  local words = {}
  local function flush()
    table.move(wrapped(words, ""), 1, #words, #out + 1, out)
    words = {}
  end
  for _, line in ipairs(lines) do
    if line == "" or line:find "^  " then
      flush()
      out[#out + 1] = line
    else
      table.move(words_of(line), 1, #line, #words + 1, words)
    end
  end
  flush()
end

--- Adds "name: type - text", the lines after the first one indented more.
local function add_item(out, indent, name, item)
  local text = string.format(item.text == "" and "%s %s" or "%s %s - %s", name, item.type, item.text)
  local lines = wrapped(words_of(text), indent)
  for i, line in ipairs(lines) do out[#out + 1] = i == 1 and line or "    " .. line end
end

local function named(item) return string.format(item.optional and "%s?:" or "%s:", item.name) end

--- The fields of a type: of a class that is options, written in Lua or in C.
local function fields_of(kind)
  local name = kind:match "^[%w_.]+"
  local class = sources.classes()[name]
  if class then return #class.methods == 0 and class.fields or {} end
  return natives.fields(name) or {}
end

--- Adds the fields of a type, and theirs, each indented more.
local function add_fields(out, kind, indent)
  if #indent == 8 then return end
  for _, field in ipairs(fields_of(kind)) do
    add_item(out, indent, named(field), field)
    add_fields(out, field.type, indent .. "  ")
  end
end

--- The text on a function: how it is called, what it does, parameters and results.
local function function_lines(name, f)
  local entry = entries.of_function(f)
  local comment, out = entry.comment, {}
  if #comment.text == 0 then return out end
  out[1] = entries.signature(name or entry.name or "function", entry)
  add_text(out, comment.text)
  if entry.op then return out end
  for _, param in ipairs(comment.params) do
    add_item(out, "  ", named(param), param)
    add_fields(out, param.type, "    ")
  end
  for _, result in ipairs(comment.returns) do add_item(out, "  ", "returns", result) end
  return out
end

local function first_sentence(f) return comments.summary(entries.of_function(f).comment) end

-- ---- names ----

local function is_function(value) return type(value) == "function" end
local function is_anything() return true end

--- The public item of a value: its first name from `bam` on; nil if it is not public.
local function item_of(value)
  for _, item in ipairs(catalog.items()) do
    if rawequal(item.value, value) then return item end
  end
end

--- The public item of a name: "nn.Linear", "bam.nn.Linear", "nn.Linear:forward", "x:chunk", "chunk".
local function find_item(name)
  local method = name:find "^%w+:" and "x" .. name:match ":.*"
  for _, path in ipairs { "bam." .. name, name, "x:" .. name, method or name } do
    for _, item in ipairs(catalog.items()) do
      if item.path == path or item.path == path:gsub("%.([%w_]+)$", ":%1") then return item end
    end
  end
end

--- Follows "string.rep" from the globals, or "bam.core.glob" from a module, raw.
local function follow(name)
  local module, rest = name, ""
  while module and not package.loaded[module] do
    module, rest = module:match "^(.*)[.:]([%w_]+)$", "." .. (module:match "[%w_]+$" or "") .. rest
  end
  local value = module and package.loaded[module] or _G
  for key in (module and rest or name):gmatch "[^.:]+" do
    if type(value) ~= "table" then return nil end
    value = rawget(value, key)
  end
  return value
end

--- All public names that contain a text.
local function similar(text)
  local found = {}
  for _, item in ipairs(catalog.items()) do
    if (item.name or item.path):lower():find(text:lower(), 1, true) then found[#found + 1] = item.path end
  end
  return found
end

-- ---- printing ----

local function help_function(name, f)
  local lines = function_lines(name, f)
  if #lines == 0 then lines = { (name or "function") .. ": a function without a description" } end
  say(lines)
end

--- The functions of a table, one a line; without a class's init, which is how the class is called.
local function say_functions(t)
  for _, key in ipairs(catalog.names(t, catalog.is_function)) do
    if key ~= "init" or not catalog.is_class(t) then
      io.write(("  %-20s %s\n"):format(key, first_sentence(t[key])))
    end
  end
end

local function say_names(title, names)
  if #names > 0 then say { title, table.unpack(wrapped(names, "  ")) } end
end

local function say_comment(comment)
  local out = {}
  add_text(out, comment.text)
  say(out)
end

--- A table: the text of its module, how to call it, its functions one a line, its other names.
local function help_table(name, t)
  local item = item_of(t)
  io.write(name or item and item.path or "table", "\n")
  if item and item.module then say_comment((sources.of_module(item.module))) end
  local metatable = debug.getmetatable(t)
  local call = catalog.is_class(t) and t.init or metatable and rawget(metatable, "__call")
  if is_function(call) then say(function_lines(name or item and item.path, call)) end
  say_functions(t)
  say_names("Also:", catalog.names(t, function(value) return not catalog.is_function(value) end))
end

--- The methods that an object has from a table; nil if it is a class or a plain table.
local function methods_of(t)
  local metatable = not catalog.is_class(t) and debug.getmetatable(t)
  local methods = metatable and (rawget(metatable, "__methods") or rawget(metatable, "__index"))
  return type(methods) == "table" and methods or nil
end

--- A module of nn, a schedule, a description of a model: its methods and its fields.
local function help_object(t, methods)
  io.write(("a %s\n"):format(rawget(debug.getmetatable(t), "__name") or "table"))
  say_functions(methods)
  local base = debug.getmetatable(methods)
  local inherited = base and rawget(base, "__index")
  if type(inherited) == "table" then
    say_names("Methods of all modules:", catalog.names(inherited, is_function))
  end
  say_names("Fields:", catalog.names(t, is_anything))
end

local function help_value(value)
  local metatable = debug.getmetatable(value) or {}
  io.write(("a %s\n"):format(rawget(metatable, "__name") or type(value)))
  for _, kind in ipairs { "properties", "methods" } do
    local names = rawget(metatable, "__" .. kind)
    if type(names) == "table" then
      say_names(kind .. ":", #names > 0 and names or catalog.names(names, is_anything))
    end
  end
end

local function help_overview()
  local names = {}
  for _, item in ipairs(catalog.items()) do
    if item.kind == "module" then
      io.write(("%-14s %s\n"):format(item.path, comments.summary((sources.of_module(item.module)))))
    elseif item.kind == "function" and item.owner == "bam" then
      names[#names + 1] = item.name
    end
  end
  say_names("Functions of bam:", names)
  say { 'help(f), help "matmul" or help(value) explains one; Tab completes names;',
        "`_` is the last result; Ctrl-C interrupts." }
end

local show

--- Explains a name: of something public, of a module, or of a global. Returns whether there is one.
local function show_name(name)
  local item = find_item(name)
  if item then return show(item.value, item.path) end
  local value = follow(name)
  if value ~= nil and type(value) ~= "string" then return show(value, name) end
  local near = similar(name)
  io.write(("help: nothing is called '%s'\n"):format(name))
  say_names("Similar names:", near)
  return false
end

--- Prints what is known about a function, a module, a value, or the name of one; without an argument, an
--- overview.
---@return boolean found
function show(...)
  local subject, name = ...
  local kind = type(subject)
  if kind == "string" then return show_name(subject) end
  local methods = kind == "table" and methods_of(subject)
  if select("#", ...) == 0 then
    help_overview()
  elseif catalog.is_function(subject) then
    local item = not name and item_of(subject)
    help_function(name or item and item.path, subject)
  elseif kind ~= "table" then
    help_value(subject)
  elseif methods and not (item_of(subject) or {}).module then
    help_object(subject, methods)
  else
    help_table(name, subject)
  end
  return true
end

return show
