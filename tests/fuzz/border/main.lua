-- A round of the border fuzzer: calls of random functions with random values, in random
-- circumstances. border.c runs it; `fuzz` has what it needs of C.
local fuzz = ...
package.loaded.fuzz = fuzz
fuzz.start(0)

local core = require "own"
local callbacks = require "callbacks"
local checks = require "checks"
local describe = require "describe"
local limits = require "limits"
local messages = require "messages"
local random = require "random"
local samples = require "samples"
local surface = require "surface"
local values = require "values"

local one_in, upto, between = random.one_in, random.upto, random.between

local MEMORY = 64 << 20
local DEPTH = 3

core.threads(between(1, 2))
local functions = surface.functions()
callbacks.may_tamper = one_in(10)

-- A fault that border_plants.c put there.
local planted = core.planted and { name = "core.planted", f = core.planted }

-- ---- what is called, with what ----

-- Something to call: { name, f, object = for methods }.
local function pick()
  if planted and one_in(10) then return planted end
  local kind = random.weighted { 5, "function", 4, "method", 2, "operator" }
  if kind == "operator" then return random.choose(surface.operators) end
  if kind == "method" then
    local object = values.from_pool(function(value) return #surface.methods(value) > 0 end)
    if object ~= nil then
      local method = random.choose(surface.methods(object))
      return { name = method.name, f = method.f, object = object }
    end
  end
  return random.choose(functions)
end

-- A value near the one given.
local function mutated(value, depth)
  if one_in(3) then return values.any() end
  if type(value) == "number" then return one_in(2) and value + random.choose { -1, 1, 0.5 } or values.number() end
  if values.is_tensor(value) then return values.tensor() end
  if type(value) == "table" and not debug.getmetatable(value) and depth < 3 then
    local keys = {}
    for key in next, value do
      if (type(key) == "string" or type(key) == "number") and #keys < 50 then keys[#keys + 1] = key end
    end
    table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
    if #keys == 0 or one_in(5) then
      value[#keys + 1] = values.any(1)
    else
      local key = random.choose(keys)
      value[key] = mutated(value[key], depth + 1)
    end
    return value
  end
  return values.any()
end

-- The arguments of a call, bred from ones that were fine, or random.
local function arguments(entry)
  local args = not one_in(5) and samples.arguments(entry.f)
  if not args then
    args = { n = between(0, 5) }
    for i = 1, args.n do args[i] = values.any() end
  elseif not one_in(3) then
    for _ = 1, upto(2) do
      local at = upto(args.n + 1)
      args[at] = mutated(args[at], 0)
      args.n = math.max(args.n, at)
    end
    if one_in(8) then args.n = math.max(0, args.n - 1) end
  end
  if entry.object ~= nil and not one_in(20) then
    args[1] = entry.object
    args.n = math.max(args.n, 1)
  elseif values.is_tensor(args[1]) and one_in(3) then
    args[1] = values.tensor()
  end
  if limits.SMALL[entry.name] or limits.SMALL[entry.name:match "[^.]*$"] then
    for i = 1, args.n do args[i] = limits.shrunk(args[i]) end
  end
  return args
end

-- ---- circumstances ----

local function unpack_all(args) return table.unpack(args, 1, args.n) end

-- Ways to run f(...): as it is, in a coroutine, a scope, without gradients, as a finalizer, ...
local WAYS = {
  24, function(f, ...) return f(...) end,
  3, function(f, ...)
    local run = coroutine.wrap(f)
    local results = table.pack(run(...))
    for _ = 1, upto(3) - 1 do pcall(run, results[1]) end
    return unpack_all(results)
  end,
  2, function(f, ...) return core.scope(f, ...) end,
  2, function(f, ...) return core.with_grad(false, f, ...) end,
  1, function(f, ...)
    local args = table.pack(...)
    setmetatable({}, { __gc = function()
      callbacks.runs = callbacks.runs + 1
      return not callbacks.ended and f(unpack_all(args))
    end })
    collectgarbage()
  end,
  1, function(f, ...)
    local args, x = table.pack(...), core.ones(2, { requires_grad = true })
    local y = core.record({ x }, { core.ones(2) }, function(g) pcall(f, unpack_all(args)) return g end)[1]
    core.backward(core.ops.sum(y))
  end,
}

-- What is short while the call runs; returns how many requests for memory Lua has.
local function arrange_failures()
  local kind = random.weighted { 12, "none", 2, "engine", 1, "limit", 2, "lua" }
  if kind == "engine" then core.fail_allocation(upto(12)) end
  if kind == "limit" then core.memory_limit(upto(1 << 16)) end
  return kind == "lua" and upto(one_in(2) and 20 or 200) or -1
end

local function restore()
  core.fail_allocation(0)
  core.memory_limit(MEMORY)
  core.check_nan(false)
  core.tf32(false)
end

-- ---- a call ----

local depth = 0

local function text_of(args)
  return function() return describe.arguments(args) end
end

local function look_at_failure(entry, args, message, before, runs)
  if callbacks.tampered or callbacks.runs > runs or depth > 1 then return end
  local bound = entry.object == nil or entry.object == args[1]
  if bound and not entry.name:find "^operator" then messages.look_at(message, entry.name, text_of(args)) end
  local change = before and checks.changed(before)
  if change and callbacks.runs == runs then -- no finalizer ran while it was looked for
    fuzz.finding(("%s failed (%s) and changed %s; arguments: %s"):format(entry.name, tostring(message), change,
      describe.arguments(args)))
  end
end

local function keep_results(entry, args, results)
  if entry.f and not one_in(3) then samples.record(entry.f, args) end
  for i = 2, math.min(results.n, 5) do values.add(results[i]) end
  if type(results[2]) == "table" and not debug.getmetatable(results[2]) then
    for i = 1, math.min(#results[2], 3) do values.add(results[2][i]) end
  end
end

-- Make one call. Nested ones are made by callbacks.
local function call(number)
  if depth >= DEPTH then return end
  local entry = pick()
  local args = arguments(entry)
  for i = 1, args.n do
    if limits.leads_out(args[i]) then return end
  end
  local way, armed = random.weighted(WAYS), one_in(25)
  if fuzz.tracing and number then
    fuzz.trace(("call %d: %s(%s)%s"):format(number, entry.name, describe.arguments(args), armed and " armed" or ""))
  end
  for i = 1, args.n do
    if values.is_tensor(args[i]) then values.add(args[i]) end
  end
  local runs = callbacks.runs -- from before the snapshot: a finalizer may run while it is taken
  local before = depth == 0 and one_in(30) and checks.snapshot(args, entry.f) or nil
  local requests = arrange_failures()
  depth = depth + 1
  callbacks.borrowed[depth] = args
  if armed then callbacks.arm() end
  local results = table.pack(fuzz.guarded(requests, way, entry.f, unpack_all(args)))
  if armed then callbacks.disarm() end
  restore()
  callbacks.borrowed[depth] = nil
  if results[1] then
    keep_results(entry, args, results)
  else
    look_at_failure(entry, args, results[2], before, runs)
  end
  depth = depth - 1
end
callbacks.call = call

-- ---- the round ----

local function live_objects()
  collectgarbage()
  collectgarbage()
  collectgarbage()
  return core.memory().objects
end

local function play()
  samples.load()
  for _ = 1, 10 do values.add(values.fresh_tensor()) end
  for number = 1, fuzz.calls do
    if fuzz.start(number) then
      callbacks.most = callbacks.runs + 20
      local fine, message = pcall(call, number)
      depth = 0
      if not fine then
        restore()
        if not callbacks.tampered then fuzz.finding(("the fuzzer itself fails: %s"):format(tostring(message))) end
      end
      if number % 100 == 0 then checks.read_all() end
    end
  end
  fuzz.start(fuzz.calls + 1)
end

restore()
local before = live_objects()
play()
callbacks.ended = true
if one_in(2) then -- else the state is closed with all that lives
  for i = #values.pool, 1, -1 do values.pool[i] = nil end
  samples.clear()
  callbacks.borrowed = {}
  package.loaded.examples = nil
  local left = live_objects() - before
  if left ~= 0 and not callbacks.tampered and fuzz.lost() == 0 then
    fuzz.finding(("%d engine objects are left when all values are gone"):format(left))
  end
end
