-- Lists, options and sizes: whatever a script puts into them is honoured or refused, never dropped.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local function shape(x, expected) expect.equal(table.concat(x.shape, ","), expected, tostring(x)) end
local x = bam.ones(2, 3)

test("options among the entries of a list", function()
  shape(x:sum { 1, keepdim = true }, "1,3")
  shape(x:sum { 1, 2, keepdim = true }, "1,1")
  shape(x:sum({ 1, keepdim = true }), "1,3")
  shape(bam.concat { x, x, dim = 2 }, "2,6")
  shape(bam.stack { x, x, dim = 3 }, "2,3,2")
  shape(x:pad({ 0, 1, value = 5 }, { 0, 0 }), "2,4")
  expect.equal(x:pad { 1, 0, value = 5 }[1][1]:item(), 5)
  expect.equal(bam.zeros { 2, dtype = "f64" }.dtype, "f64")
  expect.equal(#bam.zeros { 2, dtype = "f64" }, 2)
  expect.yes(bam.randn { 2, requires_grad = true }.requires_grad)
  expect.equal(bam.randint(0, 5, { 2, dtype = "i32" }).dtype, "i32")
  expect.equal(bam.tensor { 1.5, dtype = "f64" }.dtype, "f64")
  expect.equal(#bam.tensor { dtype = "f64" }, 0)
  expect.equal(bam.tensor { { 1, 2 }, { 3, 4 }, dtype = "f64" }.dtype, "f64")
  local mixed = { keepdim = true } -- whatever the order of its keys
  mixed[1] = 1
  shape(x:sum(mixed), "1,3")

  expect.raises("sum: no option `kepdim`; did you mean `keepdim`?", x.sum, x, { 1, kepdim = true })
  expect.raises("concat: no option `dims`; did you mean `dim`?", bam.concat, { x, x, dims = 2 })
  expect.raises("stack: no option `axis`; there are `dim`", bam.stack, { x, axis = 2 })
  expect.raises("reshape: no option `foo`; there are `sizes`", x.reshape, x, { 3, 2, foo = 1 })
  expect.raises("permute: no option `x`; there are `dims`", x.permute, x, { 2, 1, x = 1 })
  expect.raises("zeros: no option `dtyp`; did you mean `dtype`?", bam.zeros, { 2, dtyp = "f64" })
  expect.raises("tensor: no option `dtyp`; did you mean `dtype`?", bam.tensor, { 2, dtyp = "f64" })
  expect.raises("tensor: expected a list, but there is the key `dtype`", bam.tensor, { { 1, dtype = "f64" } })
  expect.raises("index: expected a list, but there is the key `step`", function() return x[{ 1, step = 2 }] end)
  expect.raises("index: range: expected a list, but there is the key `step`",
                function() return x[{ { 1, 2, step = 2 } }] end)
  expect.raises("full: sizes: expected a list, but there is the key `dtype`", bam.full, { 2, dtype = "f64" }, 1)
end)

test("once, not twice", function()
  expect.raises("concat: `dim` is given twice", bam.concat, { x, x, dim = 2 }, 1)
  expect.raises("concat: `dim` is given twice", bam.concat, { x, x, dim = 2 }, { dim = 1 })
  expect.raises("sum: `keepdim` is given twice", x.sum, x, { 1, keepdim = true }, true)
  expect.raises("sum: `dim` is given twice", x.sum, x, 1, { dim = 2 })
  expect.raises("zeros: options are given both in the list and after it; give them once", bam.zeros, { 2, dtype = "f64" }, {})
  expect.raises("tensor: options are given both in the list and after it", bam.tensor, { 2, dtype = "f64" }, { dtype = "f64" })
end)

test("flags are true or false", function()
  expect.raises("zeros: option requires_grad: expected true or false, got the string \"no\"", bam.zeros, 2,
                { requires_grad = "no" })
  expect.raises("backward: option retain: expected true or false, got 0", x.backward, x:sum(), { retain = 0 })
end)

test("sizes that are nil", function()
  local cfg = { width = 4 }
  for _, name in ipairs { "zeros", "ones", "empty", "rand", "randn" } do
    local make = bam[name]
    expect.raises(name .. ": argument 1 is nil; expected a size, or options", make, nil)
    expect.raises(name .. ": argument 2 is nil; expected a size, or options", make, 8, cfg.widht)
    expect.raises(name .. ": argument 2 is nil; expected a size, or options", make, 8, nil, 2)
    expect.raises(name .. ": argument 2 is nil; expected a size, or options", make, 8, nil, { dtype = "f64" })
    expect.raises(name .. ": entry 1 of the list is nil; its last is 2", make, { cfg.widht, 8 })
    shape(make(8, cfg.width), "8,4")
    shape(make({ 8 }, nil), "8")
    shape(make(), "")
  end
  expect.raises("threads: expected an integer, got nil", bam.threads, cfg.widht)
  expect.raises("randint: argument 3 is nil; expected a size, or options", bam.randint, 0, 5, nil)
  expect.raises("arange: argument 2 is nil; expected a number, or options", bam.arange, 5, cfg.widht)
  expect.raises("arange: argument 3 is nil; expected a number, or options", bam.arange, 5, 7, nil)
  expect.raises("reshape", x.reshape, x, 6, nil)
  expect.raises("reshape", x.reshape, x, nil)
  expect.raises("expand", x.expand, x, 2, nil)
  expect.raises("full", bam.full, nil, 1)
  expect.raises("eye", bam.eye, nil)
  expect.raises("linspace", bam.linspace, 0, 1, nil)
end)

local function border(power, value) -- `#` is 2^power
  local t = {}
  for k = power, 3, -1 do t[1 << k] = value end
  for i = 1, 5000 do
    t[i] = value
    if #t == 1 << power and i % 8 == 7 and i > 100 then return t end
  end
  error "the border is elsewhere"
end

test("holes, and lengths that are none", function()
  local long, tokens = border(61, 4), bam.zeros(16, { dtype = "i32" })
  expect.raises("of the list is nil; its last is 2305843009213693952", core.pack_windows, tokens, tokens, long, 4)
  expect.raises("merges: entry", core.bpe, { label = "x", words = { "a" }, merges = border(62, 1), special = {},
                  always = {}, patterns = {} })
  for _, f in ipairs { bam.zeros, bam.tensor, bam.concat, core.zero, core.grad_norm, function(t) return x[t] end,
                       function(t) return x:sum(t) end, function(t) return x:reshape(t) end,
                       function(t) core.record(t, {}, print) end, function(t) core.nearest("x", t) end } do
    expect.raises("of the list is nil; its last is", f, border(61, 1))
    expect.raises("entry 2 of the list is nil; its last is 3", f, { 1, nil, 3 })
    expect.raises("expected a list, but there is the key", f, { [1.5] = 1, 1 })
    expect.raises("expected a list, but there is the key", f, { [0] = 1, 1 })
    expect.raises("expected a plain list, got a table with a metatable", f, setmetatable({}, { __index = { 1 } }))
  end
end)

test("what table.pack gives is a list", function()
  shape(bam.concat(table.pack(x, x)), "4,3")
  shape(bam.concat(table.pack(x, x), 2), "2,6")
  shape(bam.zeros(table.pack(2, 3)), "2,3")
  expect.raises("concat: entry 3 of the list is nil; its last is 3", bam.concat, table.pack(x, x, nil))
  expect.equal(bam.one_hot(bam.tensor { 1, 3 }, { n = 3 }):count(), 6)
end)

test("the lists of modules that are written in Lua", function()
  local w = bam.ones(2, { requires_grad = true })
  local function leaves() return bam.ones(2, { requires_grad = true }), bam.ones(3, { requires_grad = true }) end
  expect.equal(bam.optim.AdamW { leaves(), lr = 0.5 }.lr, 0.5)
  expect.equal(bam.optim.SGD({ leaves() }, { lr = 0.5 }).lr, 0.5)
  local head, rest = leaves()
  local grouped = bam.optim.AdamW { { params = { head }, weight_decay = 0 },
                                    { params = { rest } , name = "rest" }, lr = 2 }
  expect.equal(grouped.lr, 2)
  expect.raises("optim.AdamW: no option `lrr`; did you mean `lr`?", bam.optim.AdamW, { w, lrr = 0.5 })
  expect.raises("optim.AdamW: options are given both in the list and after it", bam.optim.AdamW, { w, lr = 0.5 }, { lr = 0.5 })
  expect.raises("optim.SGD: entry 2 of the list is nil; its last is 3", bam.optim.SGD, { w, nil, w })
  expect.raises("entry 1 of the parameters has no use for `lr`", bam.optim.SGD, { { name = "w", tensor = w, lr = 2 } })
  expect.raises("option betas: entry 1 of the list is nil", bam.optim.AdamW, { w }, { betas = { nil, 0.9 } })
  expect.raises("expected two numbers", bam.optim.AdamW, { w }, { betas = { 0.9, 0.95, 0.99 } })

  expect.raises("nn.Sequential: expected a list, but there is the key `foo`", bam.nn.Sequential,
                { bam.tanh, foo = bam.tanh })
  expect.raises("nn.Sequential: entry 2 of the list is nil; its last is 3", bam.nn.Sequential,
                { bam.tanh, nil, bam.tanh })
  expect.raises("split: sizes: expected a list, but there is the key `dim`", x.split, x, { 1, 1, dim = 2 })
  expect.raises("split: sizes: entry 1 of the list is nil", x.split, x, { nil, 2 })
  expect.raises("split: sizes: expected a list, got the string \"2\"", x.split, x, "2")
  expect.raises("requires_grad: expected true or false", w.requires_grad_, w, "no")

  local f64 = bam.ones(2, { dtype = "f64", requires_grad = true })
  expect.yes(bam.gradcheck(bam.tanh, { f64 }, { eps = 1e-5 }))
  expect.raises("gradcheck: no option `tolerence`; did you mean `tolerance`?", bam.gradcheck, bam.tanh, { f64 },
                { tolerence = 1 })
  expect.raises("gradcheck: inputs: expected a list, but there is the key `eps`", bam.gradcheck, bam.tanh,
                { f64, eps = 1 })
  expect.raises("debug: no option `nann`; did you mean `nan`?", bam.debug, { nan = true, nann = true })

  expect.raises("schedule.piecewise: points: expected a list, but there is the key `warmup`",
                bam.schedule.piecewise, { { 0, 1 }, warmup = 1 })
  expect.raises("schedule.piecewise: point 1: expected two entries, got 3", bam.schedule.piecewise, { { 0, 1, 2 } })
  expect.raises("schedule.piecewise: point 1: expected a list, but there is the key `value`",
                bam.schedule.piecewise, { { 0, 1, value = 2 } })
  expect.raises("schedule.sequence: part 1: expected two entries, got 1", bam.schedule.sequence, { { 1 } })

  expect.raises("compare: entry 1 of the list is nil; its last is 2", bam.compare, { nil, "x", on = {} })
  expect.raises("compare: no option `base_`; did you mean `base`?", bam.compare, { "x", on = {}, base_ = 1 })
  expect.raises("spread: no option `referense`; did you mean `reference`?", bam.spread, { {}, referense = {} })
  expect.raises("mix: option experts: expected a list, but there is the key `kv`", bam.mix,
                { experts = { "a", "b", kv = 1 } })
  expect.raises("ensemble: option models: expected a list, but there is the key `prior`", bam.ensemble,
                { models = { prior = {} } })
  expect.raises("tokenizer.train: option texts: entry 2 of the list is nil", bam.tokenizer.train,
                { texts = { "a", nil, "b" } })
  expect.raises("tokenizer.train: option special: expected a list, but there is the key `eos`",
                bam.tokenizer.train, { texts = { "a" }, special = { "<x>", eos = "<y>" } })
end)

test("long words are near to none", function()
  expect.equal(core.nearest(("x"):rep(41), { "y", ("x"):rep(41) }), nil)
  expect.equal(core.nearest(("x"):rep(200), { "keepdim" }), nil)
  expect.equal(core.nearest("kepdim", { ("k"):rep(300), "keepdim" }), "keepdim")
end)
