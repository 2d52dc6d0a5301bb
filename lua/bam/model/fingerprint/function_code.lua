-- A function as part of a fingerprint (code.lua): the lines that define it, the local variables
-- around it that it mentions, and the globals and modules that it reads. What would give other
-- results without any of this changing is refused by name: random numbers that no checkpoint saves,
-- files, the time.
local bytecode = require "bam.model.fingerprint.bytecode"
local check = require "bam.util.check"
local core = require "bam.core"
local library = require "bam.model.fingerprint.library"
local source_text = require "bam.model.fingerprint.source_text"

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

--- Refuse the library's function called `name`, if need be.
---@param out table
---@param name string
function M.check_allowed(out, name)
  if REFUSED[name] and not out.is_tolerant then
    check.fail("identity: the function at %s uses %s: %s", out.place or "?", name, REFUSED[name])
  end
end

-- ---- what it reads ----

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

-- Write what is read of `value` by the names in `node`. Of a library's table that is all of it; of
-- another these come first, so that what is refused is refused in them, and then the rest.
local function write_read(out, value, node)
  local is_library = out.names[value] ~= nil
  if is_library then out.write(value) end
  for _, key in ipairs(type(value) == "table" and check.sorted_names(node.keys) or {}) do
    local field = rawget(value, key)
    if is_library or type(field) == "function" or type(field) == "table" then
      out.add(key)
      write_read(out, field, node.keys[key])
    end
  end
  if not is_library then out.write(value) end
end

-- Write the modules that are required where `node` is the function require.
local function write_required(out, node)
  if node.has_unknown_argument then
    check.fail("identity: the function at %s requires a module by a computed name; which one cannot "
               .. "be told: write its name", out.place)
  end
  for _, name in ipairs(check.sorted_names(node.arguments or {})) do
    local ok, value = pcall(require, name)
    out.add("module", name)
    if ok then out.write(value) end
  end
end

-- Write the globals that are read by the names in `node`.
local function write_globals(out, env, node)
  if node.is_whole then
    check.fail("identity: the function at %s reads globals by computed names, or hands all of them on; "
               .. "which ones cannot be told: write their names", out.place)
  end
  for _, key in ipairs(check.sorted_names(node.keys)) do
    local value = lookup(env, key)
    out.add("global", key)
    if value == require then write_required(out, node.keys[key]) end
    if value == _G then
      write_globals(out, _G, node.keys[key])
    else
      write_read(out, value, node.keys[key])
    end
  end
end

local function write_upvalue(out, name, value, node)
  if name == "_ENV" then
    if type(value) == "table" then write_globals(out, value, node) end
    return
  end
  out.add(name)
  if value == _G then return write_globals(out, _G, node) end
  if value == require then write_required(out, node) end
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

--- Write a function.
---@param out table with names, add, write, place, is_tolerant
---@param f function
function M.write(out, f)
  local info = debug.getinfo(f, "S")
  if info.what == "C" then return write_c_function(out) end
  write_text(out, f, info)
  local before = out.place
  out.place = string.format("%s:%d", info.short_src, info.linedefined)
  local own = library.is_own(f)
  local nodes = own and {} or bytecode.reads(f)
  local i, name, value = 1, debug.getupvalue(f, 1)
  while name do
    if not own or name ~= "_ENV" then
      write_upvalue(out, name, value, nodes[i] or NOTHING)
    end
    i = i + 1
    name, value = debug.getupvalue(f, i)
  end
  out.place = before
end

return M
