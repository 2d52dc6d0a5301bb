-- Lists, options and sizes: whatever a script puts into them is honoured or refused, never dropped.
local bam = require "bam"
local core = require "bam.core"

local function fails(pattern, f, ...)
  local ok, message = pcall(f, ...)
  assert(not ok, string.format("no error, expected `%s`", pattern))
  assert(string.find(message, pattern, 1, true), string.format("expected `%s` in `%s`", pattern, message))
end
local function shape(x, expected) assert(table.concat(x.shape, ",") == expected, tostring(x)) end
local x = bam.ones(2, 3)

-- ---- options among the entries of a list ----
shape(x:sum { 1, keepdim = true }, "1,3")
shape(x:sum { 1, 2, keepdim = true }, "1,1")
shape(x:sum({ 1, keepdim = true }), "1,3")
shape(bam.concat { x, x, dim = 2 }, "2,6")
shape(bam.stack { x, x, dim = 3 }, "2,3,2")
shape(x:pad({ 0, 1, value = 5 }, { 0, 0 }), "2,4")
assert(x:pad { 1, 0, value = 5 }[1][1]:item() == 5)
assert(bam.zeros { 2, dtype = "f64" }.dtype == "f64" and #bam.zeros { 2, dtype = "f64" } == 2)
assert(bam.randn { 2, requires_grad = true }.requires_grad)
assert(bam.randint(0, 5, { 2, dtype = "i32" }).dtype == "i32")
assert(bam.tensor { 1.5, dtype = "f64" }.dtype == "f64" and #bam.tensor { dtype = "f64" } == 0)
assert(bam.tensor { { 1, 2 }, { 3, 4 }, dtype = "f64" }.dtype == "f64")
local mixed = { keepdim = true } -- whatever the order of its keys
mixed[1] = 1
shape(x:sum(mixed), "1,3")

fails("sum: no option `kepdim`; did you mean `keepdim`?", x.sum, x, { 1, kepdim = true })
fails("concat: no option `dims`; did you mean `dim`?", bam.concat, { x, x, dims = 2 })
fails("stack: no option `axis`; there are `dim`", bam.stack, { x, axis = 2 })
fails("reshape: no option `foo`; there are `sizes`", x.reshape, x, { 3, 2, foo = 1 })
fails("permute: no option `x`; there are `dims`", x.permute, x, { 2, 1, x = 1 })
fails("zeros: no option `dtyp`; did you mean `dtype`?", bam.zeros, { 2, dtyp = "f64" })
fails("tensor: no option `dtyp`; did you mean `dtype`?", bam.tensor, { 2, dtyp = "f64" })
fails("tensor: expected a list, but there is the key `dtype`", bam.tensor, { { 1, dtype = "f64" } })
fails("index: expected a list, but there is the key `step`", function() return x[{ 1, step = 2 }] end)
fails("index: range: expected a list, but there is the key `step`", function() return x[{ { 1, 2, step = 2 } }] end)
fails("full: sizes: expected a list, but there is the key `dtype`", bam.full, { 2, dtype = "f64" }, 1)

-- ---- once, not twice ----
fails("concat: `dim` is given twice", bam.concat, { x, x, dim = 2 }, 1)
fails("concat: `dim` is given twice", bam.concat, { x, x, dim = 2 }, { dim = 1 })
fails("sum: `keepdim` is given twice", x.sum, x, { 1, keepdim = true }, true)
fails("sum: `dim` is given twice", x.sum, x, 1, { dim = 2 })
fails("zeros: options stand in the list and after it; give them once", bam.zeros, { 2, dtype = "f64" }, {})
fails("tensor: options stand in the list and after it", bam.tensor, { 2, dtype = "f64" }, { dtype = "f64" })

-- ---- flags are true or false ----
fails("zeros: option requires_grad: expected true or false, got the string \"no\"", bam.zeros, 2,
      { requires_grad = "no" })
fails("backward: option retain: expected true or false, got 0", x.backward, x:sum(), { retain = 0 })

-- ---- sizes that are nil ----
local cfg = { width = 4 }
for _, name in ipairs { "zeros", "ones", "empty", "rand", "randn" } do
  local make = bam[name]
  fails(name .. ": argument 1 is nil; expected a size, or options", make, nil)
  fails(name .. ": argument 2 is nil; expected a size, or options", make, 8, cfg.widht)
  fails(name .. ": argument 2 is nil; expected a size, or options", make, 8, nil, 2)
  fails(name .. ": argument 2 is nil; expected a size, or options", make, 8, nil, { dtype = "f64" })
  fails(name .. ": entry 1 of the list is nil; its last is 2", make, { cfg.widht, 8 })
  shape(make(8, cfg.width), "8,4")
  shape(make({ 8 }, nil), "8")
  shape(make(), "")
end
fails("threads: expected an integer, got nil", bam.threads, cfg.widht)
fails("randint: argument 3 is nil; expected a size, or options", bam.randint, 0, 5, nil)
fails("arange: argument 2 is nil; expected a number, or options", bam.arange, 5, cfg.widht)
fails("arange: argument 3 is nil; expected a number, or options", bam.arange, 5, 7, nil)
fails("reshape", x.reshape, x, 6, nil)
fails("reshape", x.reshape, x, nil)
fails("expand", x.expand, x, 2, nil)
fails("full", bam.full, nil, 1)
fails("eye", bam.eye, nil)
fails("linspace", bam.linspace, 0, 1, nil)

-- ---- holes, and lengths that are none ----
local function border(power, value) -- `#` is 2^power
  local t = {}
  for k = power, 3, -1 do t[1 << k] = value end
  for i = 1, 5000 do
    t[i] = value
    if #t == 1 << power and i % 8 == 7 and i > 100 then return t end
  end
  error "the border is elsewhere"
end
local long, tokens = border(61, 4), bam.zeros(16, { dtype = "i32" })
fails("of the list is nil; its last is 2305843009213693952", core.pack_windows, tokens, tokens, long, 4)
fails("merges: entry", core.bpe, { label = "x", words = { "a" }, merges = border(62, 1), special = {}, always = {},
                                   patterns = {} })
for _, f in ipairs { bam.zeros, bam.tensor, bam.concat, core.zero, core.grad_norm, function(t) return x[t] end,
                     function(t) return x:sum(t) end, function(t) return x:reshape(t) end,
                     function(t) core.record(t, {}, print) end, function(t) core.nearest("x", t) end } do
  fails("of the list is nil; its last is", f, border(61, 1))
  fails("entry 2 of the list is nil; its last is 3", f, { 1, nil, 3 })
  fails("expected a list, but there is the key", f, { [1.5] = 1, 1 })
  fails("expected a list, but there is the key", f, { [0] = 1, 1 })
  fails("expected a plain list, got a table with a metatable", f, setmetatable({}, { __index = { 1 } }))
end

-- ---- what table.pack gives is a list ----
shape(bam.concat(table.pack(x, x)), "4,3")
shape(bam.concat(table.pack(x, x), 2), "2,6")
shape(bam.zeros(table.pack(2, 3)), "2,3")
fails("concat: entry 3 of the list is nil; its last is 3", bam.concat, table.pack(x, x, nil))
assert(bam.one_hot(bam.tensor { 1, 3 }, { n = 3 }):count() == 6)

-- ---- the lists of modules that are written in Lua ----
local w = bam.ones(2, { requires_grad = true })
local function leaves() return bam.ones(2, { requires_grad = true }), bam.ones(3, { requires_grad = true }) end
assert(bam.optim.AdamW { leaves(), lr = 0.5 }.lr == 0.5 and bam.optim.SGD({ leaves() }, { lr = 0.5 }).lr == 0.5)
local head, rest = leaves()
local grouped = bam.optim.AdamW { { params = { head }, weight_decay = 0 }, { params = { rest } , name = "rest" }, lr = 2 }
assert(grouped.lr == 2)
fails("optim.AdamW: no option `lrr`; did you mean `lr`?", bam.optim.AdamW, { w, lrr = 0.5 })
fails("optim.AdamW: options stand in the list and after it", bam.optim.AdamW, { w, lr = 0.5 }, { lr = 0.5 })
fails("optim.SGD: entry 2 of the list is nil; its last is 3", bam.optim.SGD, { w, nil, w })
fails("entry 1 of the parameters has no use for `lr`", bam.optim.SGD, { { name = "w", tensor = w, lr = 2 } })
fails("option betas: entry 1 of the list is nil", bam.optim.AdamW, { w }, { betas = { nil, 0.9 } })
fails("expected two numbers", bam.optim.AdamW, { w }, { betas = { 0.9, 0.95, 0.99 } })

fails("nn.Sequential: expected a list, but there is the key `foo`", bam.nn.Sequential, { bam.tanh, foo = bam.tanh })
fails("nn.Sequential: entry 2 of the list is nil; its last is 3", bam.nn.Sequential, { bam.tanh, nil, bam.tanh })
fails("split: sizes: expected a list, but there is the key `dim`", x.split, x, { 1, 1, dim = 2 })
fails("split: sizes: entry 1 of the list is nil", x.split, x, { nil, 2 })
fails("split: sizes: expected a list, got the string \"2\"", x.split, x, "2")
fails("requires_grad: expected true or false", w.requires_grad_, w, "no")

local f64 = bam.ones(2, { dtype = "f64", requires_grad = true })
assert(bam.gradcheck(bam.tanh, { f64 }, { eps = 1e-5 }))
fails("gradcheck: no option `tolerence`; did you mean `tolerance`?", bam.gradcheck, bam.tanh, { f64 }, { tolerence = 1 })
fails("gradcheck: inputs: expected a list, but there is the key `eps`", bam.gradcheck, bam.tanh, { f64, eps = 1 })
fails("debug: no option `nann`; did you mean `nan`?", bam.debug, { nan = true, nann = true })

fails("schedule.piecewise: points: expected a list, but there is the key `warmup`", bam.schedule.piecewise,
      { { 0, 1 }, warmup = 1 })
fails("schedule.piecewise: point 1: expected two entries, got 3", bam.schedule.piecewise, { { 0, 1, 2 } })
fails("schedule.piecewise: point 1: expected a list, but there is the key `value`", bam.schedule.piecewise,
      { { 0, 1, value = 2 } })
fails("schedule.sequence: part 1: expected two entries, got 1", bam.schedule.sequence, { { 1 } })

fails("compare: entry 1 of the list is nil; its last is 2", bam.compare, { nil, "x", on = {} })
fails("compare: no option `base_`; did you mean `base`?", bam.compare, { "x", on = {}, base_ = 1 })
fails("spread: no option `referense`; did you mean `reference`?", bam.spread, { {}, referense = {} })
fails("mix: option experts: expected a list, but there is the key `kv`", bam.mix, { experts = { "a", "b", kv = 1 } })
fails("ensemble: option models: expected a list, but there is the key `prior`", bam.ensemble, { models = { prior = {} } })
fails("tokenizer.train: option texts: entry 2 of the list is nil", bam.tokenizer.train, { texts = { "a", nil, "b" } })
fails("tokenizer.train: option special: expected a list, but there is the key `eos`", bam.tokenizer.train,
      { texts = { "a" }, special = { "<x>", eos = "<y>" } })

-- ---- long words are near to none ----
assert(core.nearest(("x"):rep(41), { "y", ("x"):rep(41) }) == nil and core.nearest(("x"):rep(200), { "keepdim" }) == nil)
assert(core.nearest("kepdim", { ("k"):rep(300), "keepdim" }) == "keepdim")
