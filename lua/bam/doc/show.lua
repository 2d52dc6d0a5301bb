-- help(): tells about a function, a module or a value, from the comments in the sources.
-- Lua functions are documented by the `---` block above their definition, ops by the table `docs`
-- of bam.core, other C functions by their declarations in bam/meta.lua, modules by the comment at
-- the top of their file. Nothing here runs code of the thing asked about: values are read raw.
local embedded = require "bam.embedded"
local core = require "bam.core"

local WIDTH = 80

--- The lines of the file that a function was defined in, nil when it cannot be read.
local function source_lines(source)
  local text
  if source:sub(1, 1) == "=" then
    text = embedded.source(source:sub(2))
  elseif source:sub(1, 1) == "@" then
    local file = io.open(source:sub(2), "r")
    text = file and file:read "a"
    if file then file:close() end
  end
  if not text then return nil end
  local lines = {}
  for line in (text .. "\n"):gmatch "(.-)\r?\n" do lines[#lines + 1] = line end
  return lines
end

--- The `---` lines right above line `at`, without their dashes.
local function block_above(lines, at)
  local first = at
  while first > 1 and lines[first - 1]:match "^%s*%-%-%-" do first = first - 1 end
  local block = {}
  for i = first, at - 1 do block[#block + 1] = lines[i]:match "^%s*%-%-%-%s?(.*)$" end
  return block
end

--- The fields of the `@class`es that a file declares: { [class] = { { name, type and text } } }.
local function classes_of(lines)
  local classes, current = {}, nil
  for _, line in ipairs(lines) do
    local class = line:match "^%-%-%-@class%s+(%S+)"
    local field, rest = line:match "^%-%-%-@field%s+(%S+)%s*(.*)$"
    if class then
      current = {}
      classes[class] = current
    elseif field and current then
      current[#current + 1] = { field, rest }
    end
  end
  return classes
end

--- Adds the fields of the class that `text` begins with, if it is one, each indented more.
local function add_fields(out, text, classes, indent)
  for _, field in ipairs(#indent < 8 and classes[text:match "^[%w_.]+"] or {}) do
    out[#out + 1] = ("%s%s: %s"):format(indent, field[1], field[2])
    add_fields(out, field[2], classes, indent .. "  ")
  end
end

--- LuaCATS tags as plain text: parameters and results one a line, with the fields of options below
--- them, everything else as it is. `lines` are those of the file.
local function plain(block, lines)
  local out, classes = {}, classes_of(lines)
  for _, line in ipairs(block) do
    local param, rest = line:match "^@param%s+(%S+)%s*(.*)$"
    local result = line:match "^@return%s+(.*)$"
    if param then
      out[#out + 1] = ("  %s: %s"):format(param, rest)
      add_fields(out, rest, classes, "    ")
    elseif result then
      out[#out + 1] = "  returns " .. result
    elseif not line:match "^@" then
      out[#out + 1] = line
    end
  end
  return out
end

--- "matmul(a, b)": the name with the parameters as they were declared, less the object itself.
local function signature(name, f)
  local info, params = debug.getinfo(f, "u"), {}
  for i = 1, info.nparams do params[i] = debug.getlocal(f, i) end
  if params[1] == "self" then table.remove(params, 1) end
  if info.isvararg then params[#params + 1] = "..." end
  return ("%s(%s)"):format(name, table.concat(params, ", "))
end

local declared -- by function: what bam/meta.lua says; read when it is first needed

--- The text on a C function as bam/meta.lua has it, an empty list if it has none.
local function declaration(f)
  if not declared then
    declared = {}
    local lines = source_lines "=bam/meta.lua" or {}
    for at, line in ipairs(lines) do
      local owner, name, parameters = line:match "^function (%w+)[.:]([%w_]+)(%b()) end$"
      local known = owner and (owner == "methods" and core.methods or core) or {}
      if known[name] then
        declared[known[name]] = plain(block_above(lines, at), lines)
        table.insert(declared[known[name]], 1, name .. parameters)
      end
    end
  end
  return declared[f] or {}
end

--- The text on a function, as a list of lines; empty when it has no comment. C functions bring
--- their own signature.
local function function_lines(name, f)
  local info = debug.getinfo(f, "S")
  if info.what == "C" then
    local text, lines = core.docs[f], {}
    if not text then return declaration(f) end
    for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
    return lines
  end
  local source = source_lines(info.source)
  if not source then return {} end
  local lines = plain(block_above(source, info.linedefined), source)
  name = name or source[info.linedefined]:match "function%s+([%w_.:]+)" or "function"
  if #lines > 0 then table.insert(lines, 1, signature(name, f)) end
  return lines
end

--- The text of an embedded module.
local function module_text(name)
  local path = name:gsub("%.", "/")
  return embedded.source(path .. ".lua") or embedded.source(path .. "/init.lua") or ""
end

--- Is it for users? Then its file begins with three dashes.
local function is_public(name) return module_text(name):match "^%-%-%-" ~= nil end

--- The comment at the top of the file of an embedded module.
local function module_lines(name)
  local text, lines = module_text(name), {}
  for line in text:gmatch "(.-)\r?\n" do
    local comment = line:match "^%-%-+%s?(.*)$"
    if not comment then break end
    lines[#lines + 1] = comment
  end
  return lines
end

--- The first sentence of some lines, less what is said of parameters.
local function first_sentence(lines)
  local text = {}
  for _, line in ipairs(lines) do
    if line:match "^  " then break end
    text[#text + 1] = line
  end
  local joined = table.concat(text, " ")
  return joined:match "^(.-%.)%s" or joined
end

--- The names of a table that are public, sorted, for which `accept(value)` holds.
local function public_names(t, accept)
  local names = {}
  for name, value in next, t do
    local public = type(name) == "string" and name:match "^%a"
    if public and accept(value) then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local function is_function(value) return type(value) == "function" end
local function is_anything() return true end

--- Words as indented lines of text.
local function wrapped(words)
  local lines, line = {}, " "
  for _, word in ipairs(words) do
    if #line + 1 + #word > WIDTH then
      lines[#lines + 1], line = line, " "
    end
    line = line .. " " .. word
  end
  if line ~= " " then lines[#lines + 1] = line end
  return lines
end

local function say(lines)
  for _, line in ipairs(lines) do io.write(line, "\n") end
end

local INTERNAL = { ["bam.core"] = true, ["bam.embedded"] = true }

--- The modules of bam that are loaded, by value: {[module] = name}, and their sorted names.
local function loaded_modules()
  local names, by_value = {}, {}
  for name, value in next, package.loaded do
    if (name == "bam" or name:match "^bam%.") and not INTERNAL[name] then
      names[#names + 1], by_value[value] = name, name
    end
  end
  table.sort(names)
  return by_value, names
end

--- Is it a class of nn.module?
local function is_class(value)
  local metatable = type(value) == "table" and debug.getmetatable(value)
  return metatable and tostring(rawget(metatable, "__name")):match "^class " ~= nil
end

--- Where the public API keeps a value: "bam.matmul"; nil when nowhere. Methods are told by their
--- class.
local function name_of(value)
  local _, modules = loaded_modules()
  for _, module in ipairs(modules) do
    local t = package.loaded[module]
    for key, candidate in next, type(t) == "table" and not is_class(t) and t or {} do
      if rawequal(candidate, value) and type(key) == "string" then return module .. "." .. key end
    end
  end
end

--- Follows "nn.Linear" from a table, raw.
local function follow(t, path)
  for key in (path or ""):gmatch "[^.:]+" do
    if type(t) ~= "table" then return nil end
    t = rawget(t, key)
  end
  return t
end

--- The method of that name of a type of bam, and its full name.
local function find_method(name)
  for key, metatable in next, debug.getregistry() do
    local is_type = type(key) == "string" and key:match "^bam%." and type(metatable) == "table"
    local methods = is_type and rawget(metatable, "__methods")
    local method = type(methods) == "table" and rawget(methods, name)
    if method then return method, key .. ":" .. name end
  end
end

--- All names of the public API that contain a text, for when there is none that equals it.
local function similar(text)
  local found, _, modules = {}, loaded_modules()
  for _, module in ipairs(modules) do
    local t = package.loaded[module]
    for _, name in ipairs(type(t) == "table" and public_names(t, is_anything) or {}) do
      if name:lower():find(text:lower(), 1, true) then found[#found + 1] = module .. "." .. name end
    end
  end
  return found
end

local function help_function(name, f)
  local lines = function_lines(name, f)
  if #lines == 0 then lines = { (name or "function") .. ": a function without a description" } end
  say(lines)
end

--- The functions of a table, one a line; less a class's init, which is how the class is called.
local function say_functions(t)
  for _, key in ipairs(public_names(t, is_function)) do
    local lines = function_lines(key, t[key])
    table.remove(lines, 1)
    if key ~= "init" or not is_class(t) then
      io.write(("  %-20s %s\n"):format(key, first_sentence(lines)))
    end
  end
end

local function say_names(title, names)
  if #names > 0 then say { title, table.unpack(wrapped(names)) } end
end

--- A table: the text of its module, how to call it, its functions one a line, its other names.
local function help_table(name, t)
  io.write(name or "table", "\n")
  local module = loaded_modules()[t]
  if module then say(module_lines(module)) end
  local metatable = debug.getmetatable(t)
  local call = is_class(t) and t.init or metatable and rawget(metatable, "__call")
  if is_function(call) then say(function_lines(name, call)) end
  say_functions(t)
  say_names("Also:", public_names(t, function(value) return not is_function(value) end))
end

--- The methods that an object has from a table, nil when it is no object: a class, a plain table.
local function methods_of(t)
  local metatable = not is_class(t) and debug.getmetatable(t)
  local methods = metatable and (rawget(metatable, "__methods") or rawget(metatable, "__index"))
  return type(methods) == "table" and methods or nil
end

--- A module of nn, a schedule, a description of a model: what it can do and what it holds.
local function help_object(t, methods)
  io.write(("a %s\n"):format(rawget(debug.getmetatable(t), "__name") or "table"))
  say_functions(methods)
  local base = debug.getmetatable(methods)
  local inherited = base and rawget(base, "__index")
  if type(inherited) == "table" then
    say_names("Methods of all modules:", public_names(inherited, is_function))
  end
  say_names("Fields:", public_names(t, is_anything))
end

local function help_value(value)
  local metatable = debug.getmetatable(value) or {}
  io.write(("a %s\n"):format(rawget(metatable, "__name") or type(value)))
  for _, kind in ipairs { "properties", "methods" } do
    local names = rawget(metatable, "__" .. kind)
    if type(names) == "table" then
      local list = #names > 0 and names or public_names(names, is_anything)
      say { kind .. ":", table.unpack(wrapped(list)) }
    end
  end
end

local function help_overview()
  local _, modules = loaded_modules()
  for _, module in ipairs(modules) do
    if is_public(module) then
      io.write(("%-22s %s\n"):format(module, first_sentence(module_lines(module))))
    end
  end
  local bam = package.loaded.bam
  if type(bam) == "table" then
    say { "Functions of bam:", table.unpack(wrapped(public_names(bam, is_function))) }
  end
  say { 'help(f), help("matmul") or help(value) tells more; Tab completes names;',
        "`_` is the last result; Ctrl-C stops what runs." }
end

local show

--- Looks a name up in bam, among its modules, the methods of its types and the globals. Was it found?
local function show_name(name)
  local value, full = follow(package.loaded.bam, name), "bam." .. name
  if value == nil then value, full = package.loaded[name], name end
  if value == nil then
    local module, key = name:match "^(.*)%.([%w_]+)$"
    value, full = follow(package.loaded[module], key), name
  end
  if value == nil then value, full = find_method(name) end
  if value == nil then value, full = follow(_G, name), name end
  if value ~= nil and type(value) ~= "string" then return show(value, full) end
  local near = similar(name)
  io.write(("help: nothing is called '%s'\n"):format(name))
  if #near > 0 then say { "Similar names:", table.unpack(wrapped(near)) } end
  return false
end

--- Prints what is known about a function, a module, a value, or the name of one; without an argument, an
--- overview.
---@return boolean found
function show(...)
  local subject, name = ...
  local kind = type(subject)
  if kind == "string" then return show_name(subject) end
  name = name or name_of(subject) or loaded_modules()[subject]
  local methods = kind == "table" and methods_of(subject)
  if select("#", ...) == 0 then
    help_overview()
  elseif kind == "function" then
    help_function(name, subject)
  elseif kind ~= "table" then
    help_value(subject)
  elseif methods then
    help_object(subject, methods)
  else
    help_table(name, subject)
  end
  return true
end

return show
