-- What a router written in Lua is, as a hash: the text of its functions, and what they use. A
-- function counts by the lines that define it, by the values of the local variables around it that
-- it mentions, and by those of the globals that it reads (bytecode.lua tells which); a table by its
-- fields and its metatable, a class by its bases too, a tensor by its values; what belongs to bam or
-- Lua by its name. Of other userdata only the kind is known. What would give other results without
-- any of this changing (random numbers that no checkpoint saves, files, the time) is refused.
local bytecode = require "bam.models.bytecode"
local check = require "bam.check"
local core = require "bam.core"
local library = require "bam.models.library"
local source_text = require "bam.models.source_text"

local M = {}

-- ---- what no fingerprint can hold ----

local RANDOM = "no checkpoint saves its state; use bam.rand or bam.randn"
local OUTSIDE = "what it gives is in no fingerprint; read it in the recipe, and let the function use "
                .. "the value"
local REFUSED = {
  ["math.random"] = RANDOM, ["math.randomseed"] = RANDOM,
  ["load"] = "code made while it runs is in no fingerprint; write it as a function",
}
for _, name in ipairs { "dofile", "loadfile", "io.open", "io.lines", "io.read", "io.popen",
                        "os.getenv", "os.time", "os.date", "os.clock", "bam.clock" } do
  REFUSED[name] = OUTSIDE
end

local function check_allowed(out, name)
  if REFUSED[name] and not out.is_tolerant then
    check.fail("identity: the function at %s uses %s: %s", out.place or "?", name, REFUSED[name])
  end
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

-- f() while what is refused is tolerated: a table that is used holds functions that may not be.
local function tolerating(out, f, ...)
  local before = out.is_tolerant
  out.is_tolerant = true
  f(out, ...)
  out.is_tolerant = before
end

-- ---- functions ----

-- Several functions may begin on one line, which then does not tell them apart: their code does.
local function write_text(out, f, info)
  local text = source_text.of(f, info)
  out.add("function", text)
  local _, count = text:match "^[^\n]*":gsub("%f[%w_]function%f[^%w_]", "")
  if count > 1 then out.add(core.hash(string.dump(f, true))) end
end

local function lookup(t, key)
  local value = rawget(t, key)
  if value ~= nil or t == _G or not getmetatable(t) then return value end
  local ok, found = pcall(function() return t[key] end)
  return ok and found or nil
end

-- Write what is read of `value` by the names in `node`: all of it, unless it is a library's table.
local function write_read(out, value, node)
  if type(value) ~= "table" or not out.names[value] then return write(out, value) end
  write(out, value)
  for _, key in ipairs(check.sorted_names(node.keys)) do
    out.add(key)
    write_read(out, rawget(value, key), node.keys[key])
  end
end

-- Write the globals that are read by the names in `node`.
local function write_globals(out, env, node, strings)
  for _, key in ipairs(check.sorted_names(node.keys)) do
    local value = lookup(env, key)
    out.add("global", key)
    if value == _G then
      write_globals(out, _G, node.keys[key], strings)
    else
      write_read(out, value, node.keys[key])
    end
  end
  for _, key in ipairs(node.dynamic and check.sorted_names(strings) or {}) do
    local value = lookup(env, key)
    if value ~= nil and value ~= _G then
      out.add("global", key)
      write(out, value)
    end
  end
end

-- Write the modules that a function requires, by the names among its constants.
local function write_required(out, reads)
  for _, name in ipairs(check.sorted_names(reads.constants)) do
    local is_there = package.loaded[name] ~= nil
      or name:find "^[%w_][%w_./-]*$" and package.searchpath(name, package.path) ~= nil
    local ok, value = pcall(function() return is_there and require(name) end)
    if ok and is_there then
      out.add("module", name)
      write(out, value)
    end
  end
end

local function uses(reads, f)
  for i, node in pairs(reads.upvalues) do
    local name, value = debug.getupvalue(f, i)
    if value == require or name == "_ENV" and node.keys.require then return true end
  end
end

local function write_upvalue(out, name, value, node, strings)
  if name == "_ENV" then
    if type(value) == "table" then write_globals(out, value, node, strings) end
    return
  end
  out.add(name)
  if value == _G then return write_globals(out, _G, node, strings) end
  write_read(out, value, node)
end

-- One that belongs to no module, such as what coroutine.wrap and string.gmatch give.
local function write_c_function(out)
  if not out.is_tolerant then
    check.fail("identity: the function at %s uses a function in C that no module names, such as "
               .. "coroutine.wrap makes; what it is cannot be told", out.place or "?")
  end
  out.add "a function in C"
end

local NOTHING = { keys = {} }

local function write_function(out, f)
  local info = debug.getinfo(f, "S")
  if info.what == "C" then return write_c_function(out) end
  write_text(out, f, info)
  local before = out.place
  out.place = string.format("%s:%d", info.short_src, info.linedefined)
  local own = library.is_own(f)
  local reads = own and { upvalues = {} } or bytecode.reads(f)
  local i, name, value = 1, debug.getupvalue(f, 1)
  while name do
    if not own or name ~= "_ENV" then
      write_upvalue(out, name, value, reads.upvalues[i] or NOTHING, reads.strings)
    end
    i = i + 1
    name, value = debug.getupvalue(f, i)
  end
  if not own and uses(reads, f) then write_required(out, reads) end
  out.place = before
end

-- ---- tables ----

-- The rest of a metatable is what the script has put there: bam's own functions do not count.
local function write_metatable(out, metatable)
  out.add("a", tostring(metatable.__name))
  if type(metatable.__index) == "table" then write(out, metatable.__index) end
  for _, key in ipairs(sorted_keys(metatable)) do
    local value = metatable[key]
    if key ~= "__index" and key ~= "__name"
      and not (type(value) == "function" and (library.is_own(value) or out.names[value])) then
      write(out, key)
      write(out, value)
    elseif key == "__index" and type(value) == "function" and not library.is_own(value) then
      write(out, value)
    end
  end
end

-- A key that cannot be put in order, with its value, as a hash: these can.
local function hash_pair(out, key, value)
  local parts = {}
  local pair = setmetatable({ seen = setmetatable({}, { __index = out.seen }) }, { __index = out })
  function pair.add(...)
    for _, part in ipairs { ... } do parts[#parts + 1] = string.pack("<s8", part) end
  end
  write(pair, key)
  write(pair, value)
  return core.hash(table.concat(parts))
end

local function write_fields(out, t)
  out.add "{"
  for _, key in ipairs(sorted_keys(t)) do
    write(out, key)
    write(out, t[key])
  end
  local hashes = {}
  for key, value in pairs(t) do
    if type(key) ~= "string" and not math.type(key) then
      hashes[#hashes + 1] = hash_pair(out, key, value)
    end
  end
  table.sort(hashes)
  out.add(table.unpack(hashes))
  out.add "}"
end

-- What knows better what it is than its fields do.
local KNOWN = {
  phase = function(phase) return phase.identity end,
  ["bam.text"] = function(text) return text:digest() end,
}

local function is_class(metatable) return type(metatable.__index) == "table" end

local function write_table(out, t)
  local metatable = debug.getmetatable(t)
  if type(metatable) ~= "table" then return tolerating(out, write_fields, t) end
  local known = KNOWN[metatable.__name]
  if known then return out.add(metatable.__name, known(t)) end
  write_metatable(out, metatable)
  if is_class(metatable) then return write_fields(out, t) end
  tolerating(out, write_fields, t)
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
  local name = out.names[value]
  if name then
    check_allowed(out, name)
    return out.add("library", name)
  end
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
  local out = { names = library.names(), seen = {}, count = 0 }
  function out.add(...) -- with lengths, so that no two lists of strings become one text
    for _, part in ipairs { ... } do parts[#parts + 1] = string.pack("<s8", part) end
  end
  write(out, value)
  return core.hash(table.concat(parts))
end

--- What the script has changed in bam, and replaced in Lua's libraries, as hashes by path; nil when
--- nothing is.
---@return table<string, string>?
function M.patches()
  local patches = {}
  for _, change in ipairs(library.changes()) do patches[change.path] = M.hash(change.value) end
  return next(patches) and patches or nil
end

return M
