-- bam.custom and bam.checkpoint: what their graphs keep alive, what leaves a scope with a result, what is noticed when it
-- changes, and results that a recomputation shares with the graph around it.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local function leaf(...) return bam.tensor({ ... }, { dtype = "f64", requires_grad = true }) end
local square = bam.custom { name = "square", forward = function(ctx, a) ctx.a = a return a * a end,
                            backward = function(ctx, g) return g * ctx.a * 2 end }

local function objects()
  collectgarbage()
  collectgarbage()
  collectgarbage()
  return core.memory().objects
end
local w = leaf(1, 2, 3)

test("cycles are collected", function()
  for name, make in pairs {
    ["a checkpoint whose function holds the result"] = function()
      local y
      y = bam.checkpoint(function(x) return x * 2 + (y and 1 or 0) end, w)
      return y
    end,
    ["a custom op whose ctx holds the result"] = function()
      local t = {}
      t.y = bam.custom { forward = function(ctx, x) ctx.t = t return x:detach() * 2 end,
                         backward = function(ctx, g) return ctx.t and g * 2 end }(w)
      return t.y
    end,
    ["what was computed from such a result"] = function()
      local t = {}
      local y = bam.custom { forward = function(ctx, x) ctx.t = t return x:detach() * 2 end,
                             backward = function(ctx, g) return ctx.t and g * 2 end }(w)
      t.z = (square(y) + bam.checkpoint(function(a) return t and a * y end, w)):sum()
      return t.z
    end,
  } do
    local before = objects()
    for _ = 1, 20 do make() end
    expect.equal(objects(), before, name .. " is never collected")
    local last = make()
    for _ = 1, 3 do collectgarbage() end
    last:sum():backward() -- what can still be reached is complete
    last = nil
    w.grad = nil
    expect.equal(objects(), before, name)
  end
end)

test("a walk that holds the only way to the graph, while everything is collected that can be", function()
  local greedy = bam.custom { forward = function(ctx, a) ctx.a = a return a * 1 end,
    backward = function(ctx, g) collectgarbage() collectgarbage() return g * ctx.a / ctx.a end }
  local x = leaf(1, 2, 3)
  local root = (function()
    local y = x
    for _ = 1, 5 do y = greedy(y * 2) + bam.checkpoint(function(a) return greedy(a) * 0 end, y) end
    return y:sum()
  end)()
  root:backward()
  expect.equal(x.grad, { 32, 32, 32 })
end)

test("kept results do not keep the functions of graphs that backward has gone through", function()
  local kept, before = {}, nil
  for i = 1, 300 do
    local loss = square(w * 2):sum()
    loss:backward()
    kept[i] = loss
    if i == 100 then before = objects() end
  end
  expect.equal(objects() - before, 200 * 3, "a spent graph keeps more than its result") -- tensor, storage, node
end)

test("results that leave a scope can be differentiated", function()
  local x = leaf(1, 2, 3)
  local deep = bam.custom { forward = function(ctx, a) ctx.list = { { a } } return a * a end,
                            backward = function(ctx, g) return g * ctx.list[1][1] * 2 end }
  local function captured()
    local h = x * 2
    return bam.checkpoint(function(a) return a * h end, h)
  end
  local function captured_deeper()
    local h = { x * 2 }
    local function inner(a) return a * h[1] end
    return bam.checkpoint(function(a) return inner(a) end, h[1])
  end
  local function captured_by_backward()
    local h = x * 2
    return bam.custom { forward = function(_, a) return a * h end, backward = function(_, g) return g * h * 2 end }(h)
  end
  local cases = {
    custom = function() return square(x * 2) end,
    checkpoint = function() return bam.checkpoint(function(a) return a * a end, x * 2) end,
    deep = function() return deep(x * 2) end,
    table = function() return { y = { square(x * 2) } } end,
    later = function() return square(x * 2) + 0 end,
    joined = function() return square(x * 2) / 2 + bam.checkpoint(function(a) return a * a end, x * 2) / 2 end,
    nested = function() return bam.scope(function() return square(x * 2) end) end,
    captured = captured, captured_deeper = captured_deeper, captured_by_backward = captured_by_backward,
  }
  for name, f in pairs(cases) do
    x.grad = nil
    local y = bam.scope(f)
    if type(y) == "table" then y = y.y[1] end
    y:sum():backward()
    expect.equal(x.grad[3]:item(), 24, name)
    x.grad = nil
    local kept
    bam.scope(function()
      local result = f()
      kept = (type(result) == "table" and result.y[1] or result):keep()
    end)
    kept:sum():backward()
    expect.equal(x.grad[3]:item(), 24, name .. ", kept")
  end
  -- Only with its result does it leave.
  local before = objects()
  local lost
  bam.scope(function()
    lost = square(x * 2)
  end)
  expect.raises("released by the scope", function() return lost + 1 end)
  lost = nil
  x.grad = nil
  expect.compare(objects(), "<=", before)
end)

test("in-place changes of what ctx holds", function()
  local x = leaf(1, 2, 3)
  local h = x:detach() * 1
  h.requires_grad = true
  local y = square(h)
  bam.no_grad(function() h:mul_(5) end)
  expect.raises("backward of square: a tensor in ctx was changed in place since", function() y:sum():backward() end)
  local scratch = bam.custom { forward = function(ctx, a) ctx.deep = { buffer = a * 0 } return a * 2 end,
    backward = function(ctx, g) return ctx.deep.buffer:copy_(g):mul_(2) end }
  local z = scratch(x):sum()
  z:backward(nil, { retain = true }) -- backward may write what is its own
  z:backward()
  expect.equal(x.grad, { 4, 4, 4 })
  local held
  local holder = bam.custom { forward = function(ctx, a) ctx.held = a * 1 held = ctx.held ctx.me = ctx return a * 2 end,
                              backward = function(_, g) return g * 2 end }
  z = holder(x):sum()
  held:close() -- of no use to backward
  x.grad = nil
  z:backward()
  expect.equal(x.grad, { 2, 2, 2 })
end)

-- ---- recomputations that use results of the graph around them ----

-- The gradients of f(x) with bam.checkpoint are those of f without.
local function agrees(name, f, retain)
  local function gradient(checkpoint)
    local x = leaf(1, 2, 3)
    local y = f(x, checkpoint)
    for _ = 1, retain and 2 or 0 do y:backward(nil, { retain = true }) end
    y:backward()
    return x.grad
  end
  local expected = gradient(function(g, ...) return g(...) end):totable()
  local found = gradient(bam.checkpoint):totable()
  for i, value in ipairs(expected) do
    expect.close(found[i], value, 1e-9 * math.abs(value), ("%s: %s, not %s"):format(name, found[i], value))
  end
end

test("gradients with bam.checkpoint equal those without", function()
  for name, f in pairs {
    two = function(x, checkpoint)
      local h = x * 2
      local function g(a) return a * h end
      return (checkpoint(g, x) + checkpoint(g, x)):sum()
    end,
    only_captured = function(x, checkpoint)
      local h = (x * 2):exp()
      return checkpoint(function() return h * h end):sum()
    end,
    returned = function(x, checkpoint)
      local h = x * 3
      local a, b = checkpoint(function(v) return h * 1, v * 2 end, x)
      return (a * b * h):sum()
    end,
    nested = function(x, checkpoint)
      local h = x:sin()
      return checkpoint(function(a)
        local k = a * h
        return checkpoint(function(b) return b * h * k end, a) + checkpoint(function(b) return b + k * h end, k)
      end, x * 2):sum()
    end,
    chain = function(x, checkpoint)
      local h, y = x * 2, x
      for _ = 1, 4 do
        local before = y
        y = checkpoint(function(a) return (a * h + before):tanh() end, y)
      end
      return (y * h):sum()
    end,
    through_custom = function(x, checkpoint)
      local function inner() -- nothing but the function holds h
        local h = square(x)
        return checkpoint(function(a) return a * h end, x)
      end
      local y = inner()
      return (y + checkpoint(function(a) return square(a) * y end, x)):sum()
    end,
  } do
    agrees(name, f)
    agrees(name .. ", retained", f, true)
  end
end)

test("what it uses must be what it used", function()
  local x = leaf(1, 2, 3)
  local h = x * 2
  local y = bam.checkpoint(function(a) return a * h end, x)
  h = y * 3
  expect.raises("recorded after the first run", function() y:sum():backward(nil, { retain = true }) end)
  h = x * 2
  expect.raises("recorded after the first run", function() y:sum():backward(nil, { retain = true }) end)
end)

test("a failure in between leaves no gradient behind that the next walk would count", function()
  local x, bad = leaf(1, 2, 3), true
  local h = x * 2
  local function g(a)
    if bad and core.is_recording() then
      local r = a * h
      bad = false
      return bam.custom { forward = function(_, v) return v * 1 end, backward = function() error "no" end }(r)
    end
    return a * h
  end
  local y = (bam.checkpoint(g, x) + h):sum()
  expect.raises("no", y.backward, y, nil, { retain = true })
  x.grad = nil
  y:backward()
  expect.equal(x.grad, { 6, 10, 14 })
end)
