-- Arguments that were fine once, by function: recorded from tests/lua/support/bindings.lua, which
-- has a script for every binding, from examples.lua, and from calls that succeed. Kept as
-- templates, since tensors may be closed meanwhile.
local core = require "own"
local fuzz = require "fuzz"
local random = require "random"
local values = require "values"

local M = {}

local MOST = 6
local by_function = {}

-- ---- templates ----

local Tensor = {} -- the metatable of a tensor's template

local function tensor_template(x)
  local fine, t = pcall(function()
    local t = { shape = x.shape, dtype = x.dtype, grad = x.requires_grad and x.is_leaf }
    if not x.dtype:find "^[fb]" and core.methods.count(x) > 0 then
      t.low, t.high = core.methods.item(core.ops.min(x)), core.methods.item(core.ops.max(x))
    end
    return t
  end)
  return fine and setmetatable(t, Tensor) or setmetatable({ shape = {}, dtype = "f32" }, Tensor)
end

-- A copy of plain tables with templates for tensors; all else by reference.
local function template(value, depth, known)
  if values.is_tensor(value) then return tensor_template(value) end
  if type(value) ~= "table" or depth > 6 or debug.getmetatable(value) then return value end
  if known[value] then return known[value] end
  local copy, n = {}, 0
  known[value] = copy
  for k, v in next, value do
    n = n + 1
    if n > 300 then break end
    copy[k] = template(v, depth + 1, known)
  end
  return copy
end

local function filled(value, known)
  if type(value) ~= "table" then return value end
  local metatable = debug.getmetatable(value)
  if metatable == Tensor then
    local x = values.new_tensor(value.shape, value.dtype, value.low, value.high)
    if value.grad then x.requires_grad = true end
    return x
  end
  if metatable then return value end
  if known[value] then return known[value] end
  local copy = {}
  known[value] = copy
  for k, v in next, value do copy[k] = filled(v, known) end
  return copy
end

--- Remember the arguments of a call of f that went well.
function M.record(f, args)
  local list = by_function[f]
  if not list then
    list = {}
    by_function[f] = list
  end
  local copy = template({ table.unpack(args, 1, math.min(args.n, 20)) }, 0, {})
  copy.n = math.min(args.n, 20)
  if #list < MOST then list[#list + 1] = copy else list[random.upto(MOST)] = copy end
end

--- An argument list like one that was fine, or nil when none is known.
function M.arguments(f)
  local list = by_function[f]
  if not list then return nil end
  local kept = random.choose(list)
  local args = {}
  for i = 1, kept.n do args[i] = filled(kept[i], {}) end
  args.n = kept.n
  return args
end

-- ---- where the first come from ----

-- bam.core with functions that record what they are given.
local function recorder()
  local proxy = {}
  local function wrap(from, into)
    for name, value in next, from do
      into[name] = type(value) ~= "function" and value or function(...)
        M.record(value, table.pack(...))
        return value(...)
      end
    end
    return into
  end
  wrap(core, proxy)
  proxy.ops, proxy.methods = wrap(core.ops, {}), wrap(core.methods, {})
  proxy.planted = nil -- has no script
  proxy.fail_allocation = core.fail_allocation
  return proxy
end

--- Run some of the scripts for bindings, and the examples.
function M.load()
  local real, tmpname = package.loaded["bam.core"], os.tmpname
  package.loaded["bam.core"] = recorder()
  os.tmpname = function() return "scratch" end -- luacheck: ignore
  local cases = dofile(fuzz.root .. "/tests/lua/support/bindings.lua")
  package.loaded["bam.core"], os.tmpname = real, tmpname -- luacheck: ignore
  for _, case in ipairs(cases) do
    if random.one_in(3) then
      local fine, message = pcall(case.run)
      if not fine then fuzz.finding(("the script for %s fails: %s"):format(case.name, message)) end
    end
  end
  for _, example in ipairs(require "examples") do
    if random.one_in(example.seldom and 30 or 3) then
      for _, call in ipairs(example.calls) do
        local fine, result = pcall(call[1], table.unpack(call, 2, #call))
        if not fine then fuzz.finding(("the example %s fails: %s"):format(example.name, result)) end
        M.record(call[1], table.pack(table.unpack(call, 2, #call)))
        values.add(result)
      end
    end
  end
end

--- Forget everything.
function M.clear() by_function = {} end

return M
