-- Autograd from Lua: accumulation, no_grad, views, custom ops, checkpoints, in-place detection, deep graphs.
local bam = require "bam"

local function leaf(values) return bam.tensor(values, { dtype = "f64", requires_grad = true }) end
local function same(x, expected)
  local got = x:totable()
  assert(#got == #expected)
  for i, v in ipairs(expected) do assert(got[i] == v, string.format("unexpected value:\n%s", x)) end
end
local function fails(pattern, f, ...)
  local ok, message = pcall(f, ...)
  assert(not ok, string.format("no error, expected `%s`", pattern))
  assert(string.find(message, pattern, 1, true), string.format("expected `%s` in `%s`", pattern, message))
end

-- ---- gradients collect and accumulate ----
local x = leaf { 1, 2, 3 }
assert(x.grad == nil and x.is_leaf)
local y = (x * x):sum()
assert(y.requires_grad and not y.is_leaf)
y:backward()
same(x.grad, { 2, 4, 6 })
;(x * 10):sum():backward()
same(x.grad, { 12, 14, 16 })
x.grad = nil
(x * x):backward(bam.tensor({ 1, 0, 2 }, { dtype = "f64" }))
same(x.grad, { 2, 0, 12 })
x.grad = nil
local twice = (x * 3):sum()
twice:backward(nil, { retain = true })
twice:backward()
same(x.grad, { 6, 6, 6 })
fails("was dropped by an earlier backward", twice.backward, twice)
fails("needs a seed gradient", function() (x * 2):backward() end)
fails("the seed gradient has shape (2), the tensor (3)", function() (x * 2):backward(bam.zeros(2)) end)
fails("nothing here requires a gradient", function() bam.ones(1):backward() end)
fails("only floating point has gradients", function() bam.tensor({ 1 }).requires_grad = true end)
fails("no option `retian`; did you mean `retain`?", function() (x * 2):sum():backward { retian = true } end)

-- a property gives a new handle: closing it takes the gradient from nobody
x.grad:close()
same(x.grad, { 6, 6, 6 })

-- ---- what is not recorded ----
assert(not (x:detach() * 2).requires_grad)
assert(not bam.no_grad(function() return x * 2 end).requires_grad)
assert(bam.no_grad(function() return bam.enable_grad(function() return x * 2 end) end).requires_grad)
fails("boom", bam.no_grad, function() error "boom" end)
assert((x * 2).requires_grad, "recording is back on after an error")
assert(not x:gt(1).requires_grad)

-- ---- views and broadcasts ----
local function check(f, ...)
  local inputs = { ... }
  for i, x0 in ipairs(inputs) do inputs[i] = x0:to("f64"):detach():requires_grad_() end
  assert(bam.gradcheck(f, inputs))
end
bam.seed(3)
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
fails("central differences", bam.gradcheck, bam.custom {
  forward = function(_, a) return a * a end,
  backward = function(_, g) return g end,
}, { leaf { 2, 3 } })

-- ---- changing what backward needs ----
local w = leaf { 1, 2 }
local product = (w * w):sum()
bam.no_grad(function() w:add_(1) end)
fails("a tensor it needs was changed in place since", product.backward, product)
fails("is being differentiated; write inside bam.no_grad", function() w:add_(1) end)
fails("loses its gradient", function() local buffer = bam.zeros(2) buffer[1] = w[1] end)

-- ---- custom ops ----
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
same(a.grad, { 5, 5 })
assert(b.grad == nil and calls == 1)
assert(bam.gradcheck(function(p, q) return scaled(p, 2, q) end, { leaf { 1, 2 }, leaf { 0.5, 1 } }))
local broken = bam.custom { forward = function(_, p) return p * 1 end, backward = function() return "no" end }
fails("gradient 1 is a string, not a tensor", function() broken(a):sum():backward() end)
local raising = bam.custom { forward = function(_, p) return p * 1 end, backward = function() error "oops" end }
fails("oops", function() raising(a):sum():backward() end)
fails("`forward` and `backward` are both needed", bam.custom, { forward = print })
fails("no option `backwards`; did you mean `backward`?", bam.custom, { forward = print, backwards = print })

-- ---- checkpoints: the same gradients, recomputed ----
bam.seed(5)
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
assert((wg - wc):abs():max():item() == 0 and (ig - ic):abs():max():item() == 0)
assert(runs == 3, "forward runs once more in backward")
weight.grad = nil
bam.checkpoint(function(h) return bam.matmul(h, weight) end, bam.ones(1, 4)):sum():backward()
assert(weight.grad, "parameters inside get gradients even when no argument needs one")

-- ---- NaN hunting ----
bam.debug { nan = true }
fails("log made a NaN at", function() return bam.log(bam.tensor { -1.0 }) end)
fails("input 1 already holds a NaN", function() return bam.tensor { 0 / 0 } * 2 end)
local zero = leaf { 0 }
fails("backward of sqrt", function() (zero:sqrt() * 0):sum():backward() end)
bam.debug { nan = false }
fails("debug: expected a table of options, got true", bam.debug, true)

-- ---- deep graphs neither recurse nor leak ----
collectgarbage()
collectgarbage()
local objects = bam.memory().objects
do
  local deep = leaf { 1 }
  local z = deep
  for _ = 1, 100000 do z = z + 1 end
  z:sum():backward()
  same(deep.grad, { 1 })
  z = deep
  for _ = 1, 100000 do z = z * 1 end -- dropped without a backward
end
collectgarbage()
collectgarbage()
assert(bam.memory().objects == objects, "a deep graph leaks")
print("autograd: ok")
