-- Hashes Lua values that contain code, such as a router written by the user.
--   function   its source lines, the values of its upvalues, and those of the globals that it reads (see bytecode.lua)
--   table      its fields and its metatable; a class also its bases
--   tensor     its values
--   functions and tables of bam and Lua: their names
--   other userdata: only the type name
local check = require "bam.util.check"
local core = require "bam.core"
local library = require "bam.model.fingerprint.library"

local M = {}

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

-- What adds strings to `parts`: with lengths, so that no two lists of strings become one text.
local function adder(parts)
  return function(...)
    for _, part in ipairs { ... } do parts[#parts + 1] = string.pack("<s8", part) end
  end
end

local write -- of any value

-- f() while what is refused is tolerated: a table that is used holds functions that may not be.
local function tolerating(out, f, ...)
  local before = out.is_tolerant
  out.is_tolerant = true
  f(out, ...)
  out.is_tolerant = before
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
  pair.add, pair.write = adder(parts), function(x) write(pair, x) end
  write(pair, key)
  write(pair, value)
  return core.hash(table.concat(parts))
end

-- A model's tokenizer says no more than its tokenizer.json, and may be made of it at any time.
local function is_derived(t, key) return key == "tokenizer" and rawget(t, "tokenizer_json") ~= nil end

local function write_fields(out, t)
  out.add "{"
  for _, key in ipairs(sorted_keys(t)) do
    if not is_derived(t, key) then
      write(out, key)
      write(out, t[key])
    end
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
  if type(metatable) ~= "table" or not check.has_metatable(t) then return tolerating(out, write_fields, t) end
  local known = KNOWN[metatable.__name]
  if known then return out.add(metatable.__name, known(t)) end
  write_metatable(out, metatable)
  if is_class(metatable) then return write_fields(out, t) end
  tolerating(out, write_fields, t)
end

local function write_tensor(out, x)
  if out.is_quick then
    return out.add("tensor", string.format("%p", x), tostring(core.version(x)))
  end
  out.add("tensor", x.dtype, check.shape(x.shape), core.hash_tensor(x))
end

local function write_function(out, f) require("bam.model.fingerprint.function_code").write(out, f) end

local writers = { ["function"] = write_function, table = write_table }

function write(out, value)
  local kind = type(value)
  if kind == "string" then return out.add("string", value) end
  if kind == "number" or kind == "boolean" or kind == "nil" then
    return out.add(math.type(value) == "float" and string.format("%.17g", value) or tostring(value))
  end
  local name = out.names[value]
  if name then
    require("bam.model.fingerprint.function_code").check_allowed(out, name)
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

local function hash_of(value, names, is_quick)
  local parts = {}
  local out = { names = names, seen = {}, count = 0, is_quick = is_quick }
  out.add, out.write = adder(parts), function(x) write(out, x) end
  write(out, value)
  return core.hash(table.concat(parts))
end

--- The hash of a function or class and of what it uses.
---@param value any
---@return string
function M.hash(value) return hash_of(value, library.names()) end

--- A function for hashes that are compared within one process, in less time: it takes for granted
--- that libraries stay as they are now, and looks at tensors' counts of changes, not at their values.
---@return fun(value: any): string
function M.quick_hash()
  local names = library.names()
  return function(value) return hash_of(value, names, true) end
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
