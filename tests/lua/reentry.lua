-- Finalizers, callbacks and replaced functions that close, empty or change what a binding is using. Meant for
-- AddressSanitizer (make asan FILTER=lua/reentry); here it checks that every call ends in a right value or a clear error.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

-- ---- finalizers at every point where Lua collects ----

-- What the finalizers do, one after the other; each of the ways to run it hides "__gc" from the stack differently.
local mischief = {}
local WAYS = {
  function(f) f() end,
  function(f) return f() end,
  function(f) coroutine.wrap(f)() end,
  function(f) return coroutine.wrap(function() return pcall(f) end)() end,
  function(f) local _ <close> = setmetatable({}, { __close = f }) end,
  function(f) table.sort({ 1, 2 }, function() f() return false end) end,
  function(f) return (string.gsub("a", "a", function() f() end)) end,
}
local runs, armed = 0, true
local function arm(way)
  setmetatable({}, { __gc = function()
    if not armed then return end
    arm(way % #WAYS + 1)
    runs = runs + 1
    return WAYS[way](function() for _, act in ipairs(mischief) do act() end end)
  end })
end

-- Run f(make) many times, with finalizers that do `acts`, while Lua collects as often as it can.
local function hammer(rounds, f, ...)
  mischief = { ... }
  armed = true
  collectgarbage("incremental", 1, 1000, 1)
  collectgarbage "restart" -- begin at once
  for way = 1, #WAYS do arm(way) end
  for _ = 1, rounds do f() end
  armed, mischief = false, {}
  collectgarbage "generational"
  collectgarbage()
end

local x, y, list, named
local function close_all()
  if x then x:close() end
  if y then y:close() end
end
local function empty_all()
  for i = #list, 1, -1 do list[i] = nil end
  for name in pairs(named) do named[name] = nil end
end
local function fresh()
  x, y = bam.ones(4, 4, { requires_grad = true }), bam.ones(4, 4)
  list, named = { bam.ones(4), bam.ones(4), bam.ones(4) }, { a = bam.ones(4), b = bam.ones(4) }
end

local path, text, npy, saved
test("finalizers at every point where Lua collects", function()
  fresh()

  path, text, npy = os.tmpname(), os.tmpname(), os.tmpname()
  saved = os.tmpname()
  bam.save(saved, named)
  core.write_file(text, ("a line of text\n"):rep(50))
  local calls = {
    function() return x:totable() end,
    function() return x.shape, x.strides, x.grad, x.dtype, x.device end,
    function() return tostring(x), #x, x:size(1), x:count() end,
    function() return x + 1, x * y, -x, y // 2, x ^ 2.5 end,
    function() return bam.softmax(x, { dim = -1 }), x:sum { dim = 1, keepdim = true }, x:reshape(2, -1) end,
    function() return bam.concat(list, 1), bam.stack(list, { dim = 1 }) end,
    function() return x[1], x[{ 1, { 1, 2 } }], x[y:gt(0)], y[{ { 1, 4, 2 } }], y[bam.tensor { 1, 2 }] end,
    function() y[1] = { 1, 2, 3, 4 } end,
    function() y[{ {}, 1 }] = 2.5 end,
    function() y[bam.tensor { 1, 2 }] = bam.ones(2, 4) end,
    function() y:copy_(3.7) return y[{ 1, 1 }]:item() end,
    function() x:sum():backward() return x.grad end,
    function() bam.matmul(x, y):backward(bam.ones(4, 4)) end,
    function() return core.grad_norm(list), core.zero(list) end,
    function() core.attach(list, list, { bam.ones(4), bam.ones(4), bam.ones(4) }) end,
    function() core.record(list, { bam.ones(2), bam.ones(2) }, function() end) end,
    function() bam.save(path, named, { key = "value", other = "value" }) bam.load(path) end,
    function() return bam.load(saved, { "a" }) end,
    function() bam.save_npy(npy, x) return bam.load_npy(npy) end,
    function() return core.hash_tensor(x) end,
    function() return bam.tensor { list and { 1, 2 } or { 3 }, { 3, 4.5 } }, bam.full({ 2, 2 }, 3.3) end,
    function() x.requires_grad = true x.grad = y end,
    function() return bam.scope(function() return { x * 2, x + y } end) end,
    function() return bam.no_grad(function() return x * 2 end) end,
    function() return bam.checkpoint(function(a) return a * y end, x):sum():backward() end,
    function() return core.pack_windows(bam.arange(12):to "i32", bam.arange(0, 0), { 0, 2 }, 4) end,
  }
  for _, call in ipairs(calls) do
    for _, act in ipairs { close_all, empty_all, function() close_all() empty_all() end } do
      hammer(12, function()
        fresh()
        pcall(call)
      end, act)
    end
    fresh()
    local ok, message = pcall(call) -- and nothing is broken afterwards
    expect.yes(ok, message)
  end
  expect.compare(runs, ">", 500)
end)

test("values are right in spite of it", function()
  hammer(300, function()
    x = bam.ones(64)
    local ok, sum = pcall(function() return (bam.softmax(x * 2.5, -1) + 1):sum():item() end)
    expect.yes(not ok and sum:find "this tensor was closed" or ok and math.abs(sum - 65) < 1e-3, sum)
  end, close_all)
end)

local nested

test("a list that is put into itself, or changed, while it is read", function()
  hammer(300, function()
    nested = { { 1, 2 }, { 3, 4 } }
    local ok, value = pcall(bam.tensor, nested)
    if ok then
      expect.equal(value:sum():item(), 10)
    else
      expect.yes(value:find("the list was changed", 1, true) or value:find("tensor:", 1, true), value)
    end
  end, function() nested[2] = nested nested[1] = { {}, "x" } end)
  hammer(300, function()
    nested = { 1, 2, 3, 4 }
    local ok, value = pcall(bam.tensor, nested)
    expect.yes(not ok or value:sum():item() == 10 and #value == 4)
  end, function() nested[#nested] = nil end)
end)

test("closing takes effect at once for scripts, and its memory is free when the binding has ended", function()
  local big = bam.ones(1000)
  local live = core.memory().live
  setmetatable({}, { __gc = function() big:close() end })
  collectgarbage()
  expect.raises("this tensor was closed", function() return big:sum() end)
  expect.compare(core.memory().live, "<", live, "closed, but not released")
  local function raise() error "no" end
  for _, bad in ipairs { function() bam.softmax(bam.ones(2), "a") end, function() bam.concat {} end,
                         function() core.bpe(setmetatable({}, { __index = raise })) end,
                         function() bam.scope(raise) end, function() bam.no_grad(raise) end,
                         function() coroutine.wrap(core.bpe)(setmetatable({}, { __index = raise })) end,
                         function() bam.scope(core.bpe, setmetatable({}, { __index = raise })) end } do
    big = bam.ones(1000)
    live = core.memory().live
    pcall(bad) -- an error does not leave a binding running
    big:close()
    expect.compare(core.memory().live, "<", live, "closed, but not released")
  end
end)

-- ---- while the engine collects ----

-- Run f while memory is so short that the engine asks Lua to collect, with a finalizer that calls `act`.
local function press(f, act)
  local said
  for k = 1, 60 do
    core.memory_limit(0)
    collectgarbage()
    collectgarbage "stop"
    setmetatable({}, { __gc = function()
      said = said or table.pack(pcall(act))
    end })
    pcall(core.memory_limit, core.memory().reserved + 1 + 64 * k)
    pcall(f)
    core.memory_limit(0)
    collectgarbage "restart"
  end
  return said
end

test("what a function of core.try or uninterrupted closes is free at once", function()
  for _, call in ipairs { core.try, core.uninterrupted } do
    local live, inside = bam.memory().live, nil
    call(function()
      for _ = 1, 3 do bam.zeros(1000):close() end
      inside = bam.memory().live
    end)
    expect.equal(inside, live)
  end
end)

test("finalizers while memory is short", function()
  local w = bam.ones(64, 64, { requires_grad = true })
  local node = (w * 2):narrow(1, 1, 8)
  local seed = bam.ones(8, 64)
  press(function() (node * 3):sum():backward() end, function() core.backward(node, seed) end)
  local victim = bam.ones(3)
  press(function() return bam.ones(512, 512) end, function() victim:close() end)
  expect.raises("this tensor was closed", function() return victim + 1 end)
  local lock = core.lock(path .. ".lock")
  press(function() return bam.ones(512, 512) end, function() lock:release() end)
  os.remove(path .. ".lock")
end)

test("readers", function()
  local reader
  hammer(200, function()
    reader = core.text_open(text)
    while true do
      local ok, line = pcall(reader.next, reader)
      if not ok then expect.contains(line, "closed") break end
      if not line then break end
      expect.compare(#line, ">", 0)
    end
  end, function() if reader then reader:close() end end)
end)

test("replaced functions of loaded modules", function()
  local tensor = core.tensor
  local target = bam.zeros(3)
  core.tensor = function() target:close() return nil end
  target[{ { 1, 2 } }] = { 5, 6 }
  core.tensor = tensor
  expect.equal(target:sum():item(), 11)
end)

-- ---- callbacks ----

-- The backward of a custom op that closes what the walk uses, empties what it got, and walks back itself.
test("a backward that closes what the walk uses", function()
  do
    local root, seed
    local op = bam.custom { forward = function(_, a) return a * 2 end,
      backward = function(_, g)
        root:close()
        seed:close()
        local back = g * 2
        g:close()
        return back
      end }
    local v = bam.ones(3, { requires_grad = true })
    root, seed = op(v) * 3, bam.ones(3)
    root:backward(seed)
    expect.equal(v.grad:sum():item(), 18)
    expect.raises("this tensor was closed", function() return root + 1 end)
  end
  do
    local y1, z
    local op = bam.custom { forward = function(_, a) return a * 2 end,
      backward = function(_, g) z:backward() return g * 2 end }
    local v = bam.ones(1, { requires_grad = true })
    y1 = op(v)
    z = (y1 * 3):sum()
    expect.raises("started a backward pass that reached itself", y1.backward, y1)
    z = (op(v) * 3):sum()
    expect.raises("started a backward pass that reached itself", z.backward, z, { retain = true })
    v.grad = nil
    z = (op(v) * 3):sum()
    op = bam.custom { forward = function(_, a) return a * 2 end,
      backward = function(_, g) pcall(z.backward, z) return g * 2 end }
    z = (op(v) * 3):sum() -- a refused walk leaves the gradients of the one around alone
    local outer = z * 1
    outer:backward(nil, { retain = true })
    expect.equal(v.grad:item(), 6)
    op = bam.custom { forward = function(_, a) return a * 2 end,
      backward = function(_, g) z:backward() return g * 2 end }
    v.grad = nil
    local other = bam.ones(1, { requires_grad = true })
    z = (other * 5):sum() -- another graph is fine
    op(v):backward()
    expect.equal(v.grad:item(), 2)
    expect.equal(other.grad:item(), 5)
  end
  expect.raises("gradient 1 was closed", function()
    local v = bam.ones(1, { requires_grad = true })
    local op = bam.custom { forward = function(_, a) return a * 2 end,
      backward = function(_, g) local r = g * 2 r:close() return r end }
    op(v):backward()
  end)
  expect.raises("gradient 1 is a string, not a tensor", function()
    local v = bam.ones(1, { requires_grad = true })
    bam.custom { forward = function(_, a) return a * 2 end, backward = function() return "g" end }(v):backward()
  end)
end)

test("scopes inside finalizers, callbacks that end scopes, and errors through all of it", function()
  hammer(100, function()
    local kept = bam.scope(function()
      local a = bam.ones(4)
      return { a + 1, bam.scope(function() return a * 2 end) }
    end)
    expect.equal(kept[1]:sum():item(), 8)
    expect.equal(kept[2]:sum():item(), 8)
  end, function() pcall(bam.scope, function() local _ = bam.ones(4) error "inside" end) end)
end)

test("random graphs of custom ops and checkpoints, walked, closed and dropped from anywhere", function()
  local pool = {}
  local function pick() return pool[math.random(math.max(#pool, 1))] end
  local function vandal(ctx, g)
    local other, dice = pick(), math.random(8)
    if dice == 1 and other then pcall(other.backward, other, bam.ones(3), { retain = math.random(2) == 1 }) end
    if dice == 2 and other then other:close() end
    if dice == 3 then collectgarbage() end
    if dice == 4 then error "no" end
    return g * 3, ctx.a
  end
  local function reckless(ctx, a)
    ctx.a, ctx.pool = a, pool
    return a:detach() * 3
  end
  local make
  local makers = {
    function() return bam.ones(3, { requires_grad = true }) end,
    function(v) return v * 2 + (pick() or 1) end,
    function(v) local h = pick() return bam.checkpoint(function(a) return a * (h or 2) end, v) end,
    function(v) return bam.checkpoint(function(a) return a + (pick() or 1) end, v) end,
    function(v)
      local h = pick() or v
      return bam.checkpoint(function(a) return bam.checkpoint(function(c) return c * a end, h) + h end, v)
    end,
    function(v) return bam.custom { forward = reckless, backward = vandal }(v) end,
    function() return bam.scope(function() return make() end) end,
    function() return bam.scope(function() return { make() } end)[1]:keep() end,
  }
  function make() return makers[math.random(#makers)](pick() or bam.ones(3, { requires_grad = true })) end
  local acts = {
    function(v) v:close() end,
    function(v) v:backward(bam.ones(3)) end,
    function(v) v:backward(bam.ones(3), { retain = true }) end,
    function(v) v.grad = nil end,
    function() pool[#pool] = nil end,
    function() pool[#pool + 1] = make() end,
  }
  local function act()
    local v = pick()
    if v then pcall(acts[math.random(#acts)], v) end
  end
  math.randomseed(5)
  hammer(1500, function()
    for _ = 30, #pool do pool[#pool] = nil end
    local ok, made = pcall(make)
    if ok then pool[#pool + 1] = made end
    act()
  end, act)
  pool = {}
end)

test("a custom op of very many inputs", function()
  for _, n in ipairs { 32767, 32768, 40000, 70000 } do
    local v = bam.ones(1, { requires_grad = true })
    local inputs = {}
    for i = 1, n do inputs[i] = v end
    local out = core.record(inputs, { bam.ones(1) }, function(g)
      local grads = {}
      for i = 1, n do grads[i] = g end
      return table.unpack(grads)
    end)[1]
    out:backward()
    expect.equal(v.grad:item(), n)
    out = core.record(inputs, { bam.ones(1) }, function(g) return g, nil, g end)[1]
    v.grad = nil
    out:backward() -- what is missing is nil
    expect.equal(v.grad:item(), 2)
  end
  local many = {}
  for i = 1, (1 << 20) + 1 do many[i] = x end
  expect.raises("a list of 1048577 tensors is too long", bam.concat, many)
end)

test("a finalizer that requires bam, and uses it, while bam is being loaded", function()
  local program = arg and arg[1]
  if program then
    local script = [[
    local started, loading, ways = false, false, {
      function(core) core.scope(function() return core.zeros(2) end) end,
      function(core) core.json_decode "[null]" end,
      function(core) local _ = core.zeros(2) + core.ones(2) end }
    for i = 1, 3000 do -- Lua runs a few at each allocation, once it has begun
      setmetatable({}, { __gc = function()
        started = true
        if loading then pcall(function() ways[i % 3 + 1](require "bam.core") end) end
      end })
    end
    collectgarbage("incremental", 1, 40, 0)
    collectgarbage "restart"
    while not started do local _ = {} end
    loading = true
    local core = require "bam.core"
    local null = core.json_decode "[null]"[1]
    local sum = 0
    for _ = 1, 200 do sum = sum + core.scope(function() return core.ones(3) end):count() end
    assert(sum == 600)
    collectgarbage()
    assert(null == core.json_decode "[null]"[1])]]
    for _ = 1, 2 do
      local pipe = assert(io.popen(string.format("'%s' -e '%s' 2>&1", program, script)))
      local said = pipe:read "a"
      expect.yes(pipe:close(), said)
      expect.equal(said, "")
    end
  end

  for _, name in ipairs { path, text, npy, saved } do os.remove(name) end
end)

print("reentry: ok", runs)
