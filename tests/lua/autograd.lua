-- Autograd from Lua: accumulation, no_grad, views, custom ops, checkpoints, in-place detection, deep graphs.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local function leaf(values) return bam.tensor(values, { dtype = "f64", requires_grad = true }) end

local x = leaf { 1, 2, 3 }

test("gradients collect and accumulate", function()
  expect.equal(x.grad, nil)
  expect.yes(x.is_leaf)
  local y = (x * x):sum()
  expect.yes(y.requires_grad)
  expect.no(y.is_leaf)
  y:backward()
  expect.equal(x.grad, { 2, 4, 6 })
  ;(x * 10):sum():backward()
  expect.equal(x.grad, { 12, 14, 16 })
  x.grad = nil
  (x * x):backward(bam.tensor({ 1, 0, 2 }, { dtype = "f64" }))
  expect.equal(x.grad, { 2, 0, 12 })
  x.grad = nil
  local twice = (x * 3):sum()
  twice:backward(nil, { retain = true })
  twice:backward()
  expect.equal(x.grad, { 6, 6, 6 })
  expect.raises("was released by an earlier backward", twice.backward, twice)
  expect.raises("needs a seed gradient", function() (x * 2):backward() end)
  expect.raises("the seed gradient has shape (2), the tensor (3)", function() (x * 2):backward(bam.zeros(2)) end)
  expect.raises("nothing here requires a gradient", function() bam.ones(1):backward() end)
  expect.raises("only floating-point tensors have gradients", function() bam.tensor({ 1 }).requires_grad = true end)
  expect.raises("no option `retian`; did you mean `retain`?", function() (x * 2):sum():backward { retian = true } end)
end)

test("a property gives a new handle: closing it takes the gradient from nobody", function()
  x.grad:close()
  expect.equal(x.grad, { 6, 6, 6 })
end)

test("what is not recorded", function()
  expect.no((x:detach() * 2).requires_grad)
  expect.no(bam.no_grad(function() return x * 2 end).requires_grad)
  expect.yes(bam.no_grad(function() return bam.enable_grad(function() return x * 2 end) end).requires_grad)
  expect.raises("boom", bam.no_grad, function() error "boom" end)
  expect.yes((x * 2).requires_grad, "recording is back on after an error")
  expect.no(x:gt(1).requires_grad)
end)

local function check(f, ...)
  local inputs = { ... }
  for i, x0 in ipairs(inputs) do inputs[i] = x0:to("f64"):detach():requires_grad_() end
  expect.yes(bam.gradcheck(f, inputs))
end
bam.seed(3)

test("views and broadcasts", function()
  check(function(a) return a:reshape(3, 4):t():reshape(-1) end, bam.randn(2, 6))
  check(function(a) return a[2] * a[1] end, bam.randn(2, 3))
  check(function(a) return a[{ { 1, 2 }, 2 }] + a[{ 3, 1 }] end, bam.randn(3, 2))
  check(function(a) return a:expand(4, 3, 2) * 2 end, bam.randn(3, 1))
  check(function(a, b) return a + b * a end, bam.randn(2, 1, 3), bam.randn(4, 1))
  check(function(a) local p = a:split(2, 2) return p[1] * p[2] + p[1] end, bam.randn(3, 4))
  check(function(a) return a[bam.tensor { 2, 2, 1 }] end, bam.randn(2, 3))
  check(function(a) return a[bam.tensor { { true, false }, { true, true } }] end, bam.randn(2, 2))
  check(function(a) return a:permute(2, 3, 1):contiguous() end, bam.randn(2, 3, 2))
  check(function(a) return a:to("f64"):clone() end, bam.randn(2))
  expect.raises("central differences", bam.gradcheck, bam.custom {
    forward = function(_, a) return a * a end,
    backward = function(_, g) return g end,
  }, { leaf { 2, 3 } })
end)

test("changing what backward needs", function()
  local w = leaf { 1, 2 }
  local product = (w * w):sum()
  bam.no_grad(function() w:add_(1) end)
  expect.raises("a tensor saved for it was changed in place", product.backward, product)
  expect.raises("cannot be written in place; write inside bam.no_grad", function() w:add_(1) end)
  expect.raises("loses its gradient", function() local buffer = bam.zeros(2) buffer[1] = w[1] end)
end)

test("custom ops", function()
  local calls = 0
  local scaled = bam.custom {
    name = "scaled",
    forward = function(ctx, a, k, b)
      ctx.k = k
      return a * k, b + 1
    end,
    backward = function(ctx, ga, gb)
      calls = calls + 1
      return ga and ga * ctx.k, gb
    end,
  }
  local a, b = leaf { 1, 2 }, leaf { 3, 4 }
  local u = scaled(a, 5, b)
  u:sum():backward()
  expect.equal(a.grad, { 5, 5 })
  expect.equal(b.grad, nil)
  expect.equal(calls, 1)
  expect.yes(bam.gradcheck(function(p, q) return scaled(p, 2, q) end, { leaf { 1, 2 }, leaf { 0.5, 1 } }))
  local broken = bam.custom { forward = function(_, p) return p * 1 end, backward = function() return "no" end }
  expect.raises("gradient 1 is a string, not a tensor", function() broken(a):sum():backward() end)
  local raising = bam.custom { forward = function(_, p) return p * 1 end, backward = function() error "oops" end }
  expect.raises("oops", function() raising(a):sum():backward() end)
  expect.raises("`forward` and `backward` are both needed", bam.custom, { forward = print })
  expect.raises("no option `backwards`; did you mean `backward`?", bam.custom, { forward = print, backwards = print })
end)

bam.seed(5)

test("checkpoints: the same gradients, recomputed", function()
  local weight, input = bam.randn(4, 4):requires_grad_(), bam.randn(3, 4):requires_grad_()
  local runs = 0
  local function layer(h)
    runs = runs + 1
    return bam.dropout(bam.matmul(h, weight):tanh(), 0.5)
  end
  local function gradients(f)
    weight.grad, input.grad = nil, nil
    bam.seed(9)
    f(input):sum():backward()
    return weight.grad:clone(), input.grad:clone()
  end
  local wg, ig = gradients(layer)
  local wc, ic = gradients(function(h) return bam.checkpoint(layer, h) end)
  expect.equal((wg - wc):abs():max():item(), 0)
  expect.equal((ig - ic):abs():max():item(), 0)
  expect.equal(runs, 3, "forward runs once more in backward")
  weight.grad = nil
  bam.checkpoint(function(h) return bam.matmul(h, weight) end, bam.ones(1, 4)):sum():backward()
  expect.yes(weight.grad, "parameters inside get gradients even when no argument needs one")
end)

test("NaN hunting", function()
  bam.debug { nan = true }
  expect.raises("log made a NaN at", function() return bam.log(bam.tensor { -1.0 }) end)
  do -- in a backward, made of other ops
    local zero = bam.zeros(1, { requires_grad = true })
    local z = bam.sqrt(zero * zero)
    local line = debug.getinfo(1, "l").currentline - 1
    expect.raises(string.format("in the backward of mul at tests/lua/autograd.lua:%d, made a NaN", line),
                  function() z:backward() end)
  end
  expect.raises("input 1 already holds a NaN", function() return bam.tensor { 0 / 0 } * 2 end)
  local zero = leaf { 0 }
  expect.raises("backward of sqrt", function() (zero:sqrt() * 0):sum():backward() end)
  bam.debug { nan = false }
  expect.raises("debug: expected a table of options, got true", bam.debug, true)
end)

collectgarbage()
collectgarbage()

test("deep graphs neither recurse nor leak", function()
  local objects = bam.memory().objects
  do
    local deep = leaf { 1 }
    local z = deep
    for _ = 1, 100000 do z = z + 1 end
    z:sum():backward()
    expect.equal(deep.grad, { 1 })
    z = deep
    for _ = 1, 100000 do z = z * 1 end -- dropped without a backward
  end
  collectgarbage()
  collectgarbage()
  expect.equal(bam.memory().objects, objects, "a deep graph leaks")
end)

print("autograd: ok")
