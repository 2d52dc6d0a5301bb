-- The pool of values that calls take from and give to, and values made on the spot: good-looking
-- ones and hostile ones.
local core = require "own"
local embedded = require "bam.embedded"
local random = require "random"

local M = { pool = {} }

local POOL = 60
local upto, between, one_in, choose = random.upto, random.between, random.one_in, random.choose

function M.is_tensor(value) return type(value) == "userdata" and getmetatable(value) == "tensor" end

local function is_closed(tensor) return not pcall(core.methods.count, tensor) end

--- Keep a value; the pool forgets another for it when it is full.
function M.add(value)
  local kind = type(value)
  if kind == "nil" or kind == "boolean" then return end
  if M.is_tensor(value) and (is_closed(value) or core.methods.count(value) > 1e5) then return end
  if kind == "string" and #value > 1e5 then return end
  if #M.pool < POOL then M.pool[#M.pool + 1] = value else M.pool[upto(POOL)] = value end
end

--- One of the pool that accept(value) takes, or nil.
function M.from_pool(accept)
  local n = #M.pool
  for _ = 1, n > 0 and 8 or 0 do
    local value = M.pool[upto(n)]
    if accept == nil or accept(value) then return value end
  end
end

-- ---- tensors ----

local DTYPES = { "f32", "f32", "f32", "f32", "f64", "i64", "i64", "i32", "u8", "bool", "bf16", "f16" }
local SIZES = { 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 8 }

function M.shape()
  local shape = {}
  for d = 1, one_in(30) and between(5, 8) or between(0, 4) do shape[d] = choose(SIZES) end
  return shape
end

--- A new tensor of that shape and dtype.
function M.new_tensor(shape, dtype, low, high)
  dtype = dtype or choose(DTYPES)
  if dtype == "bool" then return core.ops.gt(core.rand(shape), 0.5) end
  if dtype == "f32" or dtype == "f64" then
    return (one_in(8) and core.zeros or one_in(20) and core.empty or core.randn)(shape, { dtype = dtype })
  end
  local made = core.randint(low or 0, high or 5, shape)
  return dtype == "i64" and made or core.ops.to(made, dtype)
end

local VIEWS = {
  function(x) return core.methods.transpose(x, upto(x.ndim), upto(x.ndim)) end,
  function(x) return x[upto(#x)] end,
  function(x) return x[{ { upto(#x), #x } }] end,
  function(x) return core.methods.unsqueeze(x, upto(x.ndim + 1)) end,
  function(x) return core.methods.expand(core.methods.unsqueeze(x, 1), 2, table.unpack(x.shape)) end,
  function(x) return core.methods.flatten(x) end,
  function(x) return core.methods.mul(x, 2) end,
  function(x) return core.methods.detach(x) end,
}

function M.fresh_tensor()
  local x = M.new_tensor(M.shape())
  if x.dtype:find "^f" and one_in(3) then pcall(function() x.requires_grad = true end) end
  for _ = 1, one_in(3) and upto(3) or 0 do
    local fine, view = pcall(choose(VIEWS), x)
    if fine and core.methods.count(view) <= 5000 then x = view end
  end
  return x
end

function M.tensor()
  return not one_in(4) and M.from_pool(M.is_tensor) or M.fresh_tensor()
end

-- ---- other values ----

local HUGE = { math.maxinteger, math.mininteger, math.maxinteger - 1, 1 << 62, 1 << 61, 1 << 53, 1 << 40,
               1 << 32, (1 << 32) - 1, 1 << 31, (1 << 31) - 1, -(1 << 31), -(1 << 40), 1 << 16, 1 << 15, 1000,
               2.0 ^ 53, 2.0 ^ 63, -2.0 ^ 63, 2.0 ^ 64, 1e308, -1e308, 1e-320, math.huge, -math.huge, 0 / 0,
               0.5, 1.5, -0.0, 1e6, 0.1, 255, 256, 65504, 65505 }

function M.number()
  if one_in(4) then return choose(HUGE) end
  return one_in(6) and between(-3, 8) + 0.0 or between(-3, 8)
end

local STRINGS = { "", "a", "b", "f32", "f64", "i64", "i32", "u8", "bool", "bf16", "f16", "cpu", "cuda", "cuda:1",
                  "mean", "sum", "none", "shared", "soft", "1", "-1", "nan", "x\0y", "\xff\xfe", "%s%n%d", "text",
                  "file.safetensors", "file.npy", "file.jsonl", "directory", "directory/file", "*", "[", "caf\u{e9}",
                  '{"a": [1, 2, {"b": null}]}', "[1e999]", "a b c <s> abab", ("x"):rep(300), ("ab"):rep(5000),
                  "file.txt.gz", "tokenizer.json", "config.json", "\n", "..x" }

function M.string()
  if one_in(4) then
    local bytes = {}
    for i = 1, upto(12) do bytes[i] = string.char(random.upto(256) - 1) end
    return table.concat(bytes)
  end
  return choose(STRINGS)
end

local option_names

-- Names of options: whatever the sources declare as a field or a parameter.
local function any_option()
  if not option_names then
    local known = { heads = true, dtype = true, dim = true, keepdim = true, requires_grad = true }
    for _, module in ipairs(embedded.modules()) do
      local path = module:gsub("%.", "/")
      local text = embedded.source(path .. ".lua") or embedded.source(path .. "/init.lua") or ""
      for name in text:gmatch "@field%s+([%w_]+)" do known[name] = true end
    end
    local docs = core.docs()
    for _, text in ipairs(docs.functions) do
      for name in text:gmatch "@field%s+([%w_]+)" do known[name] = true end
    end
    for _, op in ipairs(docs.ops) do
      for _, attribute in ipairs(op.attributes) do known[attribute.name] = true end
    end
    option_names = random.names(known)
  end
  return choose(option_names)
end

-- ---- tables ----

-- Entries at every power of 2, so that # may be anything up to 2^61.
local function sparse(value)
  local t = {}
  for i = 0, 62 do t[1 << i] = value end
  return t
end

local function deep(depth)
  local t = {}
  for _ = 1, depth do t = { t } end
  return t
end

local TABLES = {
  6, function() -- sizes, positions
    local t = {}
    for i = 1, between(0, 4) do t[i] = one_in(12) and M.number() or between(0, 4) end
    return t
  end,
  3, function() -- numbers, nested
    local t = {}
    for i = 1, between(0, 3) do
      t[i] = one_in(2) and { M.number(), M.number() } or { between(1, 3), between(1, 4) }
    end
    return t
  end,
  4, function() -- tensors
    local t = {}
    for i = 1, between(0, 4) do t[i] = M.tensor() end
    return t
  end,
  5, function() -- options
    local t = {}
    for _ = 1, upto(3) do t[any_option()] = M.any(1) end
    return t
  end,
  2, function() -- a list with options in it, or holes
    local t = { M.any(1), M.any(1) }
    t[any_option()] = M.any(1)
    t[upto(8)] = M.any(1)
    return t
  end,
  1, function() return sparse(M.any(2)) end,
  1, function() local t = { M.any(1) } t[upto(3)] = t return t end,
  1, function() return deep(choose { 10, 150, 210, 3000 }) end,
  2, function() return setmetatable({ M.any(1) }, M.callbacks.metatable()) end,
  1, function() return core.json_decode '{"a": [], "b": {}, "c": [1, null]}' end,
}

function M.table() return random.weighted(TABLES)() end

-- ---- anything ----

local function is_object(value) return type(value) == "userdata" or type(value) == "table" end

local ANY = {
  10, function() return M.tensor() end,
  8, function() return M.number() end,
  3, function() return M.string() end,
  6, function() return M.table() end,
  3, function() return M.callbacks.callback() end,
  2, function() return one_in(2) end,
  2, function() return nil end,
  4, function() return M.from_pool() end,
  3, function() return M.from_pool(is_object) end,
  1, function() return coroutine.create(M.callbacks.callback()) end,
}

--- Any value; `depth` keeps tables within tables few.
function M.any(depth)
  if depth and depth > 1 or depth and one_in(2) then return one_in(2) and M.number() or M.tensor() end
  return random.weighted(ANY)()
end

return M
