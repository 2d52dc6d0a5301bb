-- What bamlua says to the commonest mistakes: what is wrong, where, and what to do. Written by
-- hand: when the program says something else, the program is wrong. Each case is a line of a
-- script, and the message must begin with that line's place.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local CASES = {
  -- names
  { "bam.matmull(a, b)", "bam has no `matmull`; did you mean `matmul`?" },
  { "a:summ()", "a tensor has no method or property `summ`; did you mean `sum`?" },
  { "a.shpe = 3", "cannot set `shpe` of a tensor; x.grad and x.requires_grad can be set" },
  { "a.sum()", "sum: argument 1 (x) is missing: a tensor; call a method with a colon: x:sum()" },
  { "local t = {} t.a = { b = t } bam.options(t)", "options: options.a.b is a table that contains itself" },
  { "bam.nn.Liner(3, 4)", "bam.nn has no `Liner`; did you mean `Linear`?" },

  -- making tensors
  { "bam.zeros(2, '3')",
    "zeros: expected sizes and then options, got the string \"3\" as argument 2" },
  { "bam.zeros(2, -3)", "zeros: size 2 is negative: -3" },
  { "bam.zeros(1.5)", "zeros: expected an integer, got 1.5" },
  { "bam.zeros(2, { dtyp = 'f64' })", "zeros: no option `dtyp`; did you mean `dtype`?" },
  { "bam.zeros(2, { dtype = 'f31' })", 'zeros: no dtype "f31"; did you mean "f32"?' },
  { "bam.zeros(2, { dtype = 'complex' })",
    'zeros: no dtype "complex"; there are bool u8 i32 i64 f16 bf16 f32 f64' },
  { "bam.zeros(2, { dtype = 32 })", "zeros: expected a dtype such as \"f32\", got 32" },
  { "bam.zeros(2, { device = 'gpu' })",
    'zeros: no device "gpu"; bam.devices() lists the devices of this machine' },
  { "bam.tensor { { 1, 2 }, { 3 } }",
    "tensor: lists of different lengths in dimension 2: 2 and 1" },
  { "bam.tensor { 1, 'x' }", "tensor: expected numbers or booleans, found the string \"x\"" },
  { "bam.tensor { 1, true }", "tensor: booleans and numbers are mixed" },
  { "bam.tensor(a)", "tensor: this is a tensor already; x:clone() copies it" },
  { "bam.arange(1, 5, 0)", "arange: the step is 0" },

  -- shapes
  { "bam.matmul(a, bam.zeros(5, 2))", "matmul: inner sizes differ: (2, 3) x (5, 2)" },
  { "bam.matmul(a, a)", "matmul: inner sizes differ: (2, 3) x (2, 3); transpose the second?" },
  { "return a + bam.zeros(4)",
    "add: shapes (2, 3) and (4) do not broadcast: sizes must be equal or 1, "
      .. "counted from the last" },
  { "a:reshape(4, 2)", "reshape: (2, 3) has 6 elements and does not fit into (4, 2)" },
  { "a:reshape(4, -1)", "reshape: (2, 3) has 6 elements and does not fit into (4, -1)" },
  { "a:t():view(6)", "view: this layout cannot be viewed so without a copy; use x:reshape(...)" },
  { "a:sum(3)", "sum: dimension 3 is out of range 1 to 2 (or -2 to -1)" },
  { "a:sum(0)", "sum: argument 2 (dim): dimensions count from 1 (or from -1 at the end), got 0" },
  { "bam.concat({ a, bam.zeros(2, 4) }, 1)",
    "concat: tensor 1 is (2, 3) and tensor 2 is (2, 4); they may differ only "
      .. "in the dimension they are joined along" },
  { "bam.concat {}", "concat: the list of tensors is empty" },
  { "bam.concat { a, 3 }", "concat: entry 2 of the list is 3, not a tensor" },
  { "a:item()", "item: a tensor of shape (2, 3) does not have exactly one element; index it first" },
  { "a:squeeze(1)", "squeeze: dimension 1 has size 2, not 1" },
  { "bam.linear(a, bam.zeros(4, 5))",
    "linear: x is (2, 3) and weight (4, 5): their last sizes differ" },

  -- dtypes
  { "bam.matmul(a, i)", 'matmul: f32 x i64; convert one: x:to "f32"' },
  { "bam.softmax(i)", 'softmax: computes in f32 or f64, and `x` is i64; write x:to "f32"' },
  { "return i // 0", 'floordiv: an integer divisor is zero; compute in floats: x:to "f32"' },
  { "bam.where(i, a, a)", 'where: the condition is i64, not bool; compare first, or x:to "bool"' },
  { "return bam.zeros(2, { dtype = 'bf16' }) + 1",
    'add: input 1 is bf16, which only stores values; compute in f32: x:to "f32"' },
  { "i.requires_grad = true",
    'requires_grad: only floating-point tensors have gradients, but this is i64; '
      .. 'convert it first: x:to "f32"' },

  -- arguments
  { "bam.matmul(a)", "matmul: argument 2 (b) is missing: a tensor" },
  { "bam.matmul(a, 'x')",
    "matmul: argument 2 (b): expected a tensor or a number, got the string \"x\"" },
  { "a:softmax(1, 2)", "softmax: 3 arguments are too many; see help(\"softmax\")" },
  { "a:softmax { axis = 1 }", "softmax: no option `axis`; there are `dim`" },
  { "a:topk()", "topk: `k` is missing" },
  { "a:topk(4)", "topk: k is 4, but dimension 2 has 3 elements" },
  { "a:dropout(1.5)", "dropout: p must be between 0 and 1, not 1.5" },
  { "bam.embedding(i + 99, bam.zeros(5, 2))",
    "embedding: token id 100 (element 1 of `ids`) is outside 0 .. 4" },
  { "bam.cross_entropy(bam.zeros(2, 5), bam.tensor { 0, 5 })",
    "cross_entropy: token id 5 (element 2 of `targets`) is outside 0 .. 4" },

  -- indexing and operators
  { "return a[3]", "index: position 3 is out of range: dimension 1 has 2 positions" },
  { "return a[0]", "index: counts from 1 (or from -1 at the end), got 0" },
  { "return a[1.5]", "index: expected an integer, got 1.5" },
  { "return a[{ 1, 2, 3 }]", "index: 3 entries for a tensor of shape (2, 3)" },
  { "return a[{ { 1, 9 } }]", "index: range {1, 9} is out of range: dimension 1 has 2 positions" },
  { "return a[bam.tensor { 7 }]",
    "index: position 7 (element 1 of positions) is outside 1 .. 2" },
  { "return a < b",
    "Lua turns the result of < and <= into one boolean; use x:lt(y), x:le(y), x:gt(y), x:ge(y)" },
  { "return a + nil", "add: argument 2 (b): expected a tensor or a number, got nil" },

  -- differentiation
  { "w:backward()",
    "backward: a tensor of shape (2, 2) needs a seed gradient; "
      .. "reduce it first (x:sum():backward()) or pass one" },
  { "a:sum():backward()",
    "backward: nothing here requires a gradient; "
      .. "make a leaf with { requires_grad = true } before computing" },
  { "local y = (w * w):sum() y:backward() y:backward()",
    "backward: the graph below sum was released by an earlier backward; "
      .. "pass { retain = true } there, or "
      .. "compute the forward again" },
  { "w[1] = 5",
    "index: this tensor requires a gradient, so it cannot be written in place; write inside bam.no_grad(f), or out of place" },
  { "local x = w * 1 local y = (x * x):sum() bam.no_grad(function() x:fill_(0) end) y:backward()",
    "backward of mul: a tensor saved for it was changed in place; change a copy (x:clone()) "
      .. "or write out of place" },

  -- lifetimes
  { "local x = bam.zeros(1) x:close() return x + 1", "this tensor was closed" },
  { "local x bam.scope(function() x = bam.zeros(1) end) return x + 1",
    "this tensor was released by the scope at script:1; return it from there or x:keep() it" },

  -- files
  { "bam.load 'missing.safetensors'",
    'load: cannot read "missing.safetensors": No such file or directory; '
      .. 'check the name, and the directory that it is relative to' },
  { "bam.load(42)", "load: expected the path of a file, got 42" },
  { "bam.save('x.safetensors', { a = 1 })", "save: `a` is 1, not a tensor" },
  { "bam.load_npy '/dev/null'",
    'load_npy: cannot read "/dev/null": it is a pipe or device; '
      .. 'copy its contents to a file first' },

  -- modules and optimizers
  { "bam.nn.Linear(3)", "nn.Linear: outputs: expected an integer of at least 1, got nil" },
  { "bam.nn.Linear(3, 4, { biass = true })", "nn.Linear: no option `biass`; did you mean `bias`?" },
  { "bam.optim.AdamW(bam.nn.Linear(3, 4), { lr = -1 })",
    "optim.AdamW: option lr: expected a number of at least 0, got -1" },
  { "bam.schedule.cosine { peek = 1 }", "schedule.cosine: no option `peek`; did you mean `peak`?" },
}

local function message_of(code)
  local environment = { bam = bam, a = bam.zeros(2, 3), b = bam.zeros(2, 3) }
  environment.i = bam.ones(2, { dtype = "i64" })
  environment.w = bam.ones(2, 2, { requires_grad = true })
  local ok, message = pcall(assert(load(code, "=script", "t", environment)))
  return ok and "no error" or message
end

arg = { [0] = arg[0] } -- bam.options reads it, and the suite passes arguments that are no flags of a recipe
for _, case in ipairs(CASES) do
  test(case[1], function() expect.equal(message_of(case[1]), "script:1: " .. case[2]) end)
end
