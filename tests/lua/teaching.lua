-- Errors that teach: what a PyTorch user writes on the first day, and where the message leads. Written by hand. The
-- code that messages tell to write is run.
local bam = require "bam"
local check = require "bam.util.check"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local rows = require "bam.util.other_names"
local test = require "tests.lua.support.test"

local nn = bam.nn

-- What code runs with: the names that messages and cases use.
local function environment()
  local e = { bam = bam, nn = nn, math = math, pairs = pairs, ipairs = ipairs }
  e.x, e.y = bam.rand(2, 3), bam.rand(2, 3)
  e.w = bam.ones(2, 2, { requires_grad = true })
  e.m = nn.Linear(3, 4)
  e.o = bam.optim.AdamW(e.m)
  e.loss = e.m(e.x):sum()
  e.logits, e.targets = bam.randn(2, 3), bam.tensor { 0, 2 }
  e.tokenizer = bam.tokenizer.train { texts = { "the party" }, vocab = 260 }
  e.text = bam.corpus({ law = "law.txt" }, { vocab = 300 })
  e.phase = require("bam.train.phase").new { name = "seed", steps = 2, before = 0, step_tokens = 64 }
  return e
end

local function message_of(code)
  local fine, message = pcall(assert(load(code, "=script", "t", environment())))
  return fine and "no error" or message
end

-- ---- the table of other names ----

local WHERE = { schedule = "bam.schedule.", phase = "phase.", text = "text.", tokenizer = "tokenizer.",
                models = "bam.models.", bam = "bam.", tensor = "x.", module = "m.", nn = "nn.", optim = "bam.optim.", optimizer = "o." }

for owner, list in pairs(rows) do
  test("names of " .. owner, function()
    local known = {}
    for _, row in ipairs(list) do
      local code = row[2]
      if code and not code:find '"cuda"' then
        local f = load("return " .. code, "=" .. row[1], "t", environment())
        expect.yes(f, "this is Lua: " .. code)
        f()
      end
      for name in row[1]:gmatch "%S+" do
        expect.no(known[name], owner .. " has " .. name .. " twice")
        known[name] = true
        local message = message_of("return " .. WHERE[owner] .. name)
        expect.contains(message, { name, code or row[3] }, WHERE[owner] .. name)
        expect.matches(message, "^script:1: ", WHERE[owner] .. name)
      end
    end
  end)
end

test("names that are elsewhere in bam", function()
  expect.contains(message_of "bam.unsqueeze(x, 1)", "bam has no `unsqueeze`; it is a method of tensors: x:unsqueeze(...)")
  expect.contains(message_of "bam.Linear(3, 4)", "bam has no `Linear`; it is bam.nn.Linear")
  expect.contains(message_of "nn.softmax(x)", "bam.nn has no `softmax`; it is bam.softmax")
  expect.contains(message_of "nn.AdamW(m)", "bam.nn has no `AdamW`; it is bam.optim.AdamW")
  expect.contains(message_of "x:arange()", "a tensor has no method or property `arange`; it is bam.arange")
end)

test("a field of a module may have such a name", function()
  local Mine = nn.module "Mine"
  function Mine:init(half) self.half = half end
  function Mine:forward(x) return self.half and x * 0.5 or x end
  local x = bam.ones(2)
  expect.equal(Mine(true)(x), { 0.5, 0.5 })
  expect.equal(Mine()(x), { 1, 1 }, "where it is nil")
  expect.equal(nn.Linear(2, 3, { bias = false }).bias, nil, "other fields may be absent")
  local Sub = nn.module("Sub", nn.Linear)
  function Sub:cuda() return "mine" end
  expect.equal(Sub(2, 3):cuda(), "mine", "a method of one's own")
  expect.equal(Sub(2, 3)(x).shape, { 3 }, "inherited methods")
end)

-- ---- colons ----

local COLONS = {
  ["x.sum()"] = "sum: argument 1 (x) is missing: a tensor; call a method with a colon: x:sum()",
  ["x.to 'f64'"] = 'to: argument 1 (x): expected a tensor or a number, got the string "f64"; call a method with a '
    .. "colon: x:to()",
  ["x.size()"] = "size: expected a tensor, got nothing; call it with a colon: x:size(dim)",
  ["x.item()"] = "item: expected a tensor, got nothing; call it with a colon: x:item()",
  ["x.close()"] = "close: expected a tensor, got nothing; call it with a colon: x:close()",
  ["loss.backward()"] = "backward: expected a tensor, got nothing; call it with a colon: x:backward()",
  ["x.unsqueeze(1)"] = "unsqueeze: expected a tensor, got 1; call it with a colon: x:unsqueeze()",
  ["x.zero_()"] = "zero_: expected a tensor, got nothing; call it with a colon: x:zero_()",
  ["o.step()"] = "step: expected an optimizer, got nothing; call it with a colon: opt:step()",
  ["o.zero_grad()"] = "zero_grad: expected an optimizer, got nothing; call it with a colon: opt:zero_grad()",
  ["m.train()"] = "train: expected a module, got nothing; call it with a colon: m:train()",
  ["m.parameters()"] = "parameters: expected a module, got nothing; call it with a colon: m:parameters()",
  ["m.forward(x)"] = "forward: expected a module, got a tensor of shape (2, 3); call it with a colon: m:forward()",
}
for code, message in pairs(COLONS) do
  test("a dot for a colon: " .. code, function() expect.equal(message_of(code), "script:1: " .. message) end)
end

test("a dot for a colon in a class of one's own", function()
  expect.contains(message_of [[
    local Mine = nn.module "Mine"
    function Mine:init() self.part = nn.Linear(3, 4) end
    function Mine:forward(x) return self.part(x) end
    Mine().forward(x)]], "a tensor has no method or property `part`; `self` is a tensor here, because a method was called "
    .. "with a dot")
end)

test("classes as in Python", function()
  expect.contains(message_of "local Net = nn.module 'Net'; function Net:__init__() end",
                  "script:1: nn.module: `__init__` is called `init`: function Net:init(...)")
  expect.contains(message_of "local Net = nn.module 'Net'; function Net:__call__(x) end", "function Net:forward(...)")
  expect.contains(message_of [[
    local Net = nn.module "Net"
    function Net.init(width) self.part = nn.Linear(4, width) end
    function Net.forward(x) return x end
    Net(3)]], "got a Net; a method is defined with a colon: function Net:init(...)")
end)

test("methods work after the check of self", function()
  local x = bam.tensor { { 1, 2 }, { 3, 4 } }
  expect.equal(x:t(), { { 1, 3 }, { 2, 4 } })
  expect.equal(x:flatten():chunk(2)[2], { 3, 4 })
  local total, trainable = nn.Linear(2, 3):count()
  expect.equal({ total, trainable }, { 9, 9 }, "all results")
end)

-- ---- arguments ----

local ARGUMENTS = {
  ["nn.Linear { 3, 4 }"] = "nn.Linear: inputs: expected an integer of at least 1, got a table; write it with round "
    .. "brackets: nn.Linear(3, 4)",
  ["nn.Linear(3, 4, false)"] = "nn.Linear: expected a table of options, got false; write { bias = false }",
  ["bam.optim.AdamW(m, 1e-3)"] = "optim.AdamW: expected a table of options, got 0.001; write { lr = 0.001 }",
  ["bam.optim.AdamW(m:state())"] = "got tensors by name, as m:state() gives them; pass the module, or m:parameters()",
  ["bam.schedule.steppp {}"] = "bam.schedule has no `steppp`; there are constant, cosine,",
  ["nn.Attention(8, 2)"] = "got 8; options have names: { heads = ..., width = ... }",
  ["bam.optim.AdamW(m, { lr = bam.schedule.cosine { peak = 1 } })"] = "got a schedule; schedule:at(step, steps) is its number at "
    .. "a step",
  ["bam.randint(5, 1, 2)"] = "randint: 5 to 1 is empty", ["bam.eye(-1)"] = "eye: size 1 is negative: -1",
  ["bam.schedule.cosine(1e-3)"] = "schedule.cosine: expected a table of options, got 0.001; write { peak = 0.001 }",
  ["bam.zeros(2, 3, 'f64')"] = 'got the string "f64" as argument 3; write { dtype = "f64" }',
  ["bam.zeros(2, 3, 'float64')"] = 'got the string "float64" as argument 3; write { dtype = "f64" }',
  ["bam.zeros(2, 3, 'cuda')"] = 'got the string "cuda" as argument 3; write { device = "cuda" }',
  ["bam.zeros(2, true)"] = "got true as argument 2; write { requires_grad = true }",
  ["bam.tensor(1, 2, 3)"] = "tensor: expected a value or one list of values, and then options, got several numbers; "
    .. "write bam.tensor { 1, 2 }",
  ["x:to 'float32'"] = 'no dtype "float32"; did you mean "f32"?',
  ["x:to 'gpu'"] = 'no device "gpu"; devices are called "cpu" and "cuda"',
  ["bam.concat(x, y)"] = "concat: expected a list of tensors as argument 1, got a tensor of shape (2, 3); put them in "
    .. "braces: { x, y }",
  ["bam.no_grad()"] = "no_grad: expected a function, got nothing; write bam.no_grad(function() ... end)",
  ["bam.scope()"] = "scope: expected a function, got nothing; write bam.scope(function() ... end)",
  ["bam.checkpoint()"] = "checkpoint: expected a function, got nothing",
  ["for p in m:parameters() do end"] = "m:parameters() is a list: for i, p in ipairs(m:parameters()) do",
  ["nn.Module()"] = 'nn.Module: write a class: local Mine = nn.module "Mine"',
  ["bam.save(m, 'm.safetensors')"] = 'save: the path comes first: bam.save("m.safetensors", value)',
  ["bam.save('m.safetensors', m)"] = 'save: "m.safetensors": expected tensors by name, got a Linear: save its state',
  ["bam.load 'nowhere.pt'"] = 'load: cannot read "nowhere.pt": No such file or directory',
  ["bam.train { name = 's', model = 1, data = 2 }"] = "train: option `lr` is missing: a number, or a schedule such as "
    .. "bam.schedule.cosine { peak = 1e-3 }",
  ["bam.train { name = 's' }"] = "train: option `data` is missing: text to train on",
  ["x:size()"] = "size: `dim` is missing: x:size(1); x.shape has all sizes",
  ["return x['1:2']"] = "a tensor has no method or property `1:2`; ranges are lists",
  ["return x.foo"] = "a tensor has no method or property `foo`; help(x) lists them",
}
for code, message in pairs(ARGUMENTS) do
  test("arguments: " .. code, function() expect.contains(message_of(code), message) end)
end

test("a file of PyTorch says how to convert it", function()
  local path = os.tmpname()
  os.remove(path)
  core.write_file(path .. ".pt", "PK\3\4")
  expect.raises(string.format('save_file(torch.load("%s.pt"), "%s.safetensors")', path, path), bam.load, path .. ".pt")
  os.remove(path .. ".pt")
end)

test("numbers of things", function()
  expect.equal(check.count(1, "document"), "1 document")
  expect.equal(check.count(0, "document"), "0 documents")
  expect.equal(check.count(1234, "token"), "1,234 tokens")
end)

test("lists of parameters are lists", function()
  local m = nn.Linear(3, 4)
  local list = m:parameters()
  expect.equal({ #list, list[1].name }, { 2, "weight" })
  expect.equal(bam.optim.AdamW(list).steps, 0)
  expect.equal(bam.optim.AdamW({ { params = m:parameters(), lr_scale = 0.5 } }).steps, 0)
  expect.equal(bam.optim.AdamW(m:parameters(), { lr = 0.5 }).lr, 0.5)
end)

-- ---- the method called is the one named ----

local NAMED = {
  ["w:add_(1)"] = "add_: this tensor requires a gradient", ["w:zero_()"] = "zero_: this tensor requires a gradient",
  ["w:fill_(1)"] = "fill_: this tensor requires a gradient", ["w:copy_(w)"] = "copy_: this tensor requires a gradient",
  ["x:mul_(bam.zeros(5))"] = "mul_: shapes (2, 3) and (5) do not broadcast",
  ["x:mul_()"] = "mul_: argument 2 (b): expected a tensor or a number, got nil", ["x:maximum_ 'a'"] = "maximum_: argument 2 (b): expected a tensor",
  ["x:copy_(bam.zeros(5))"] = "copy_: shape (5) does not broadcast to (2, 3)",
  ["x[1] = bam.zeros(5)"] = "index: value: shape (5) does not broadcast to (3)",
  ["x[5] = 1"] = "index: position 5 is out of range: dimension 1 has 2 positions",
  ["return x[bam.tensor { 7 }]"] = "index: position 7",
  ["x:slice(1, 2, 9)"] = "slice: positions 2 to 9 are out of range: dimension 1 has 2 positions",
  ["x:slice(3, 1, 1)"] = "slice: dimension 3 is out of range 1 to 2",
  ["x:split({ 1, 5 })"] = "split: ", ["x:chunk(2, 5)"] = "chunk: dimension 5 is out of range 1 to 2",
  ["x:transpose(1, 3)"] = "transpose: dimension 3 is out of range", ["x:unsqueeze(0)"] = "unsqueeze: dimension 0 is",
  ["x:flatten(2, 1)"] = "flatten: dimension 2 is after dimension 1",
}
for code, message in pairs(NAMED) do
  test("the method is named: " .. code, function() expect.contains(message_of(code), "script:1: " .. message) end)
end

-- ---- iterating, printing, in-place ----

test("pairs iterates over rows", function()
  local x, seen = bam.tensor { { 1, 2 }, { 3, 4 } }, {}
  for i, row in pairs(x) do seen[i] = row:totable() end
  expect.equal(seen, { { 1, 2 }, { 3, 4 } })
  for _, row in pairs(x) do row:zero_() end
  expect.equal(x, { { 0, 0 }, { 0, 0 } }, "rows are views")
  for _ in pairs(bam.zeros(0)) do error "there is none" end
  expect.raises("pairs: a 0-dimensional tensor has no rows; x:item() is its value", pairs, bam.tensor(1))
end)

test("ipairs says to use pairs", function()
  local rows_seen = 0
  expect.raises("index: ipairs(x) reads on until it finds nil, which a tensor does not have; write "
    .. "`for i, row in pairs(x) do` or `for i = 1, #x do`", function()
    for _ in ipairs(bam.zeros(2, 3)) do rows_seen = rows_seen + 1 end
  end)
  expect.equal(rows_seen, 2)
  expect.contains(message_of "return x[3]", "position 3 is out of range", "nobody else is told so")
end)

test("a closed tensor prints as such", function()
  local x = bam.zeros(2)
  x:close()
  expect.equal(tostring(x), "tensor (closed)")
  local y
  bam.scope(function() y = bam.zeros(2) end)
  expect.matches(tostring(y), "^tensor %(released by the scope at .*teaching.lua:%d+%)$")
  expect.raises("expected a table of options, got a closed tensor", bam.optim.AdamW, nn.Linear(2, 2), x)
end)

test("maximum_ and minimum_", function()
  local x = bam.tensor { 1.0, 5.0, 3.0 }
  expect.same(x:maximum_(2), x)
  expect.equal(x, { 2, 5, 3 })
  expect.equal(x:minimum_(bam.tensor { 9.0, 4.0, 3.0 }), { 2, 4, 3 })
  expect.equal(bam.tensor({ 1, 5 }):maximum_(3), { 3, 5 })
  expect.raises("minimum_: the result is f32 and does not fit into i64", function() bam.tensor({ 1 }):minimum_(0.5) end)
end)

-- ---- counting from 1 ----

local COUNTS = {
  ["x.shape[0]"] = "sizes: a list counts from 1, got 0; x.shape[1] is the first size and x:size(-1) the last",
  ["x.shape[-1]"] = "sizes: a list counts from 1, got -1; x.shape[1] is the first size and x:size(-1) the last",
  ["x.strides[0]"] = "sizes: a list counts from 1, got 0",
  ["m:parameters()[0]"] = "m:parameters(): a list counts from 1, got 0; list[#list] is the last",
  ["x[0]"] = "index: counts from 1 (or from -1 at the end), got 0",
  ["x[{ { 0, 1 } }]"] = "index: range {0, 1} is out of range: dimension 1 has 2 positions, counted from 1; the end is included",
  ["x:slice(1, 0, 1)"] = "slice: positions 0 to 1 are out of range: dimension 1 has 2 positions, counted from 1; the end is",
  ["x:unsqueeze(0)"] = "unsqueeze: dimension 0 is out of range 1 to 3; they count from 1",
  ["x:transpose(0, 1)"] = "transpose: dimension 0 is out of range 1 to 2; they count from 1",
  ["x:size(0)"] = "size: dimension: counts from 1 (or from -1 at the end), got 0",
}
for code, message in pairs(COUNTS) do
  test("counting from 1: " .. code, function() expect.contains(message_of("local _ = " .. code), "script:1: " .. message) end)
end

test("a shape is a plain list in all else", function()
  local x = bam.zeros(2, 3)
  local shape, seen = x.shape, {}
  for i, size in ipairs(shape) do seen[i] = size end
  expect.equal({ seen, #shape, { table.unpack(shape) } }, { { 2, 3 }, 2, { 2, 3 } })
  expect.yes(shape == bam.ones(2, 3).shape and shape == { 2, 3 } and shape ~= { 2, 4 } and shape ~= { 2, 3, 1 },
             "shapes are compared by their sizes")
  expect.equal({ tostring(shape), tostring(bam.tensor(1).shape) }, { "{ 2, 3 }", "{}" })
  shape[2] = 4
  expect.equal({ bam.zeros(shape):size(2), x:size(2) }, { 4, 3 }, "a copy, which may be changed and used")
  expect.equal(bam.json.encode { x.shape }, "[[2,3]]")
  expect.equal({ shape.name or "none", shape[3] or "none" }, { "none", "none" })
end)

test("a dimension that is nil is a variable that is not there", function()
  expect.contains(message_of "return x:sum(dim)", "script:1: sum: argument 2 (dim) is nil; leave it out for the default")
  expect.contains(message_of "return x:softmax(nil)", "softmax: argument 2 (dim) is nil")
  expect.equal(bam.ones(2, 3):sum(nil, true), { { 6 } }, "unless arguments follow")
end)

test("an operator with nil says nothing of colons", function()
  expect.equal(message_of "return nil * x", "script:1: mul: argument 1 (a): expected a tensor or a number, got nil")
end)
