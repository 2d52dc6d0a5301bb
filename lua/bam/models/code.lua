-- What a router written in Lua is, as a hash: the text of its functions, and what they use. A
-- function counts by the lines that define it and by the values of the local variables around it
-- that it mentions, a table by its fields, a class by its bases too, a tensor by its values; what
-- belongs to bam or Lua counts by its name. Of other userdata only the kind is known.
local check = require "bam.check"
local core = require "bam.core"
local embedded = require "bam.embedded"

local M = {}

-- ---- what belongs to bam and to Lua ----

local LUA = { "coroutine", "debug", "io", "math", "os", "package", "string", "table", "utf8" }

local function add_names(names, name, module)
  if type(module) ~= "table" then return end
  names[module] = names[module] or name
  for _, key in ipairs(check.sorted_names(module)) do
    local value = rawget(module, key)
    if type(value) ~= "string" and type(value) ~= "number" and type(value) ~= "boolean" then
      names[value] = names[value] or string.format("%s.%s", name, key)
    end
  end
end

-- Names of modules and of what is in them, by value.
local function library_names()
  local names = {}
  for _, name in ipairs(LUA) do add_names(names, name, package.loaded[name]) end
  for _, name in ipairs(check.sorted_names(package.loaded)) do
    if name == "bam" or name:find "^bam%." then add_names(names, name, package.loaded[name]) end
  end
  names[_G] = "_G"
  for _, name in ipairs(check.sorted_names(_G)) do -- what a script has put there is its own
    local value = rawget(_G, name)
    if type(value) == "function" and debug.getinfo(value, "S").what == "C" then
      names[value] = names[value] or name
    end
  end
  return names
end

-- ---- the text of a function ----

local function fail_to_read(info, message)
  check.fail("identity: the function at %s:%d counts by its text, which cannot be read: %s",
             info.short_src, info.linedefined, message)
end

-- The text that a function is part of; "@" begins the path of a file, "=" what is none.
local function text_around(info)
  local mark, rest = info.source:sub(1, 1), info.source:sub(2)
  if mark == "@" then
    local file, message = io.open(rest, "rb")
    if not file then fail_to_read(info, message) end
    local text = file:read "a"
    file:close()
    return text
  end
  if mark ~= "=" then return info.source end
  return embedded.source(rest) or fail_to_read(info, "it stands in no file; put it into one")
end

local function text_of(info)
  local text, lines, number = text_around(info), {}, 0
  if info.what == "main" then return text end
  for line in string.gmatch(text .. "\n", "(.-)\r?\n") do
    number = number + 1
    if number >= info.linedefined then lines[#lines + 1] = line end
    if number == info.lastlinedefined then return table.concat(lines, "\n") end
  end
  return fail_to_read(info, "the file is shorter than it was when the function was read from it")
end

-- ---- walking values ----

-- Keys that can be put in order, in order.
local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do
    if type(key) == "string" or math.type(key) then keys[#keys + 1] = key end
  end
  table.sort(keys, function(a, b)
    if type(a) == type(b) then return a < b end
    return type(a) == "number"
  end)
  return keys
end

local write -- of any value

local function write_function(out, f)
  local info = debug.getinfo(f, "S")
  if info.what == "C" then return out.add "a function in C" end
  out.add("function", text_of(info))
  local i, name, value = 1, debug.getupvalue(f, 1)
  while name do
    if name ~= "_ENV" then
      out.add(name)
      write(out, value)
    end
    i = i + 1
    name, value = debug.getupvalue(f, i)
  end
end

local function write_table(out, t)
  local metatable = getmetatable(t)
  if type(metatable) == "table" then
    out.add("a", tostring(metatable.__name))
    if type(metatable.__index) == "table" then write(out, metatable.__index) end
  end
  out.add "{"
  for _, key in ipairs(sorted_keys(t)) do
    write(out, key)
    write(out, t[key])
  end
  out.add "}"
end

local function write_tensor(out, x)
  out.add("tensor", x.dtype, check.shape(x.shape), core.hash_tensor(x))
end

local writers = { ["function"] = write_function, table = write_table }

function write(out, value)
  local kind = type(value)
  if kind == "string" then return out.add("string", value) end
  if kind == "number" or kind == "boolean" or kind == "nil" then
    return out.add(math.type(value) == "float" and string.format("%.17g", value) or tostring(value))
  end
  if out.names[value] then return out.add("library", out.names[value]) end
  if out.seen[value] then return out.add("again", tostring(out.seen[value])) end
  out.count = out.count + 1
  out.seen[value] = out.count
  if check.is_tensor(value) then return write_tensor(out, value) end
  local writer = writers[kind]
  if writer then return writer(out, value) end
  out.add(kind)
end

--- The hash of a function or class and of what it uses.
---@param value any
---@return string
function M.hash(value)
  local parts = {}
  local out = { names = library_names(), seen = {}, count = 0 }
  function out.add(...) -- with lengths, so that no two lists of strings become one text
    for _, part in ipairs { ... } do parts[#parts + 1] = string.pack("<s8", part) end
  end
  write(out, value)
  return core.hash(table.concat(parts))
end

return M
