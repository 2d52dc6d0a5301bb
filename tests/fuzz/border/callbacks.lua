-- Functions, metatables and finalizers that do something to the values of the call in which they
-- run: close or empty them, call on, raise, yield.
local core = require "own"
local random = require "random"
local values = require "values"

local M = { runs = 0, tampered = false, borrowed = {} }
values.callbacks = M

local one_in, upto, choose = random.one_in, random.upto, random.choose

-- A value that some call under way has been given.
local function borrowed()
  local args = M.borrowed[#M.borrowed]
  if args == nil or args.n == 0 then return values.from_pool() end
  local value = args[upto(args.n)]
  while type(value) == "table" and #value > 0 and #value < 100 and one_in(2) do value = value[upto(#value)] end
  return value
end

local function close(value)
  if type(value) ~= "userdata" then return end
  local metatable = debug.getmetatable(value)
  local f = metatable and rawget(metatable, "__close")
  if f then f(value) end
end

-- Replace a function of a loaded module of bam's: what is inside must not trust it.
local function tamper()
  local names = {}
  for _, name in ipairs(random.names(package.loaded)) do
    if name:find "^bam" and type(package.loaded[name]) == "table" then names[#names + 1] = name end
  end
  local module = package.loaded[choose(names)]
  local keys = random.names(module)
  if #keys > 0 and M.may_tamper then
    M.tampered = true
    rawset(module, choose(keys), one_in(4) and values.any() or M.callback())
  end
end

local ACTIONS = {
  6, function() close(borrowed()) end,
  2, function() close(values.from_pool()) end,
  4, function()
    local t = borrowed()
    if type(t) == "table" and not debug.getmetatable(t) then
      local what = upto(4)
      if what == 1 then for k in next, t do t[k] = nil end
      elseif what == 2 then t[#t + 1] = values.any(1)
      elseif what == 3 then t[1] = t
      else t[upto(4)] = nil end
    end
  end,
  4, function() M.call() end,
  2, function() collectgarbage() end,
  1, function() collectgarbage "step" end,
  2, function() error(one_in(2) and "a callback's error" or values.any(1), 0) end,
  2, function() if coroutine.isyieldable() then coroutine.yield(values.any(1)) end end,
  2, function()
    local x = borrowed()
    if values.is_tensor(x) then
      if one_in(2) then x.grad = nil else x.requires_grad = one_in(2) end
    end
  end,
  2, function() local x = borrowed() if values.is_tensor(x) then core.methods.fill_(x, 1) end end,
  2, function() local x = borrowed() if values.is_tensor(x) then x:sum():backward() end end,
  1, tamper,
}

--- Do something hostile. Not when the state is being closed: Lua finalizes nothing that is made then.
function M.act()
  M.runs = M.runs + 1
  if M.runs > M.most or M.ended then return end
  random.weighted(ACTIONS)()
end

--- A function for an argument, a metamethod or a finalizer.
function M.callback()
  local acts, gives = random.between(0, 2), upto(5)
  return function(...)
    if M.ended then return end
    for _ = 1, acts do M.act() end
    if gives == 1 then return ... end
    if gives == 2 then return values.tensor() end
    if gives == 3 then return values.any(1) end
    if gives == 4 then return (select(select("#", ...) > 1 and 2 or 1, ..., nil)) end
  end
end

local EVENTS = { "__index", "__newindex", "__len", "__call", "__pairs", "__tostring", "__eq", "__lt", "__le", "__add",
                 "__unm", "__close", "__gc", "__name", "__metatable", "__concat" }

function M.metatable()
  local metatable = {}
  for _ = 1, upto(3) do
    metatable[choose(EVENTS)] = one_in(6) and values.any(2) or M.callback()
  end
  return metatable
end

-- A finalizer's way to act: directly, as a tail call, or inside a coroutine.
local function finalizer(f)
  local way = upto(3)
  if way == 1 then return function() pcall(f) end end
  if way == 2 then return function() return f() end end
  return function() coroutine.wrap(f)() end
end

--- Make garbage whose finalizers act, and have the collector run when a call asks for memory.
function M.arm()
  collectgarbage "stop"
  for _ = 1, upto(3) do setmetatable({}, { __gc = finalizer(M.act) }) end
  collectgarbage("incremental", 200, 1000, 30) -- a step is a whole cycle
  collectgarbage "restart"                     -- due at once, or after some KB
  if one_in(2) then collectgarbage("step", -upto(3)) end
end

--- The collector as it was, mostly: entering the generational mode is a whole cycle.
function M.disarm()
  if one_in(4) then collectgarbage "generational" else collectgarbage("incremental", 200, 100, 13) end
end

return M
