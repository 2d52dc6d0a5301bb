-- Tensors from Lua: making, indexing, assigning, views, dtypes, printing. Expected values are written by hand.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

-- Compare a tensor's nested lists with `expected` exactly.
local function same(x, expected)
  local function equal(a, b)
    if type(a) ~= "table" then return a == b and math.type(a) == math.type(b) end
    if type(b) ~= "table" or #a ~= #b then return false end
    for i = 1, #a do if not equal(a[i], b[i]) then return false end end
    return true
  end
  local got = x.ndim > 0 and x:totable() or x:item()
  expect.yes(equal(got, expected), string.format("unexpected value:\n%s", x))
end

local function shape(x) return table.concat(x.shape, " ") end

test("making", function()
  same(bam.tensor { 1, 2, 3 }, { 1, 2, 3 })
  expect.equal(bam.tensor({ 1, 2 }).dtype, "i64")
  expect.equal(bam.tensor({ 1, 2.5 }).dtype, "f32")
  expect.equal(bam.tensor({ true }).dtype, "bool")
  expect.equal(bam.tensor(2.5).ndim, 0)
  same(bam.tensor({ 1, 2 }, { dtype = "f64" }), { 1.0, 2.0 })
  same(bam.tensor((1 << 53) + 1), (1 << 53) + 1)
  expect.equal(shape(bam.tensor {}), "0")
  expect.equal(shape(bam.tensor { {}, {} }), "2 0")
  same(bam.arange(3), { 1, 2, 3 })
  same(bam.arange(2, 8, 3), { 2, 5, 8 })
  same(bam.arange(3, 1, -1), { 3, 2, 1 })
  expect.equal(bam.arange(5, 1):count(), 0)
  same(bam.linspace(0, 1, 3), { 0.0, 0.5, 1.0 })
  same(bam.eye(2), { { 1.0, 0.0 }, { 0.0, 1.0 } })
  same(bam.full({ 2 }, 7), { 7, 7 })
  same(bam.full({ 2 }, true), { true, true })
  expect.equal(shape(bam.zeros(2, 3)), "2 3")
  expect.equal(shape(bam.zeros({ 2, 3 }, { dtype = "u8" })), "2 3")
  expect.equal(shape(bam.zeros(0, 3)), "0 3")
  expect.equal(bam.zeros({}):item(), 0)
  expect.raises("lists of different lengths in dimension 2: 2 and 1", bam.tensor, { { 1, 2 }, { 3 } })
  expect.raises("booleans and numbers are mixed", bam.tensor, { 1, true })
  expect.raises("at most 8 dimensions", bam.zeros, 1, 1, 1, 1, 1, 1, 1, 1, 1)
  expect.raises("overflows 64 bits", bam.zeros, 1 << 40, 1 << 40)
  expect.raises("size 1 is negative: -2", bam.zeros, -2)
  expect.raises("out of memory on cpu: asked for", bam.zeros, 1 << 45)
  expect.raises("no option `dytpe`; did you mean `dtype`?", bam.zeros, 2, { dytpe = "f32" })
  expect.raises('no dtype "f23"; did you mean "f32"?', bam.zeros, 2, { dtype = "f23" })
end)

-- the same numbers for one seed, whatever the number of threads
local function draw(threads)
  bam.threads(threads)
  bam.seed(42)
  return bam.randn(1000):totable(), bam.randint(1, 6, 100):totable()
end

test("the seed decides, not the number of threads", function()
  local a1, b1 = draw(1)
  local a2, b2 = draw(2)
  for i = 1, 1000 do expect.equal(a1[i], a2[i]) end
  for i = 1, 100 do expect.equal(b1[i], b2[i]) expect.compare(b1[i], ">=", 1) expect.compare(b1[i], "<=", 6) end

  same(bam.randperm(100):sort(), bam.arange(100):totable())
  expect.equal(bam.randperm(0):count(), 0)
  expect.raises("size 1 is negative: -1", bam.randperm, -1)
  expect.raises("i64", bam.randperm, 3, { dtype = "f32" })
end)

local m = bam.tensor { { 1, 2, 3 }, { 4, 5, 6 } }

test("indexing", function()
  same(m[1], { 1, 2, 3 })
  same(m[-1], { 4, 5, 6 })
  same(m[2.0], { 4, 5, 6 })
  same(m[1][3], 3)
  same(m[{ 1, 3 }], 3)
  same(m[{ { 1, 2 } }], { { 1, 2, 3 }, { 4, 5, 6 } })
  same(m[{ 2, { 1, 2 } }], { 4, 5 })
  same(m[{ {}, 2 }], { 2, 5 })
  same(m[{ {}, { 1, 3, 2 } }], { { 1, 3 }, { 4, 6 } })
  same(m[{ {}, { 2, 1 } }], { {}, {} })
  same(m[m:gt(2)], { 3, 4, 5, 6 })
  same(m[bam.tensor { true, false }], { { 1, 2, 3 } })
  same(m[bam.tensor { 2, 2, -1 + 2 }], { { 4, 5, 6 }, { 4, 5, 6 }, { 1, 2, 3 } })
  same(m[{ {}, bam.tensor { 3, 1 } }], { { 3, 1 }, { 6, 4 } })
  same(m[{ 1, bam.tensor { { 1, 2 }, { 3, 3 } } }], { { 1, 2 }, { 3, 3 } })
  same(bam.arange(2, 4)[bam.tensor { { 1 }, { 3 } }], { { 2 }, { 4 } })
  same(bam.bytes "az", { 97, 122 })
  expect.equal(#m, 2)
  expect.raises("position 3 is out of range: dimension 1 has 2 positions", function() return m[3] end)
  expect.raises("counts from 1 (or from -1 at the end), got 0", function() return m[0] end)
  expect.raises("expected an integer, got 1.5", function() return m[1.5] end)
  expect.raises("range {1, 4} is out of range: dimension 2 has 3 positions", function() return m[{ 1, { 1, 4 } }] end)
  expect.raises("3 entries for a tensor of shape (2, 3)", function() return m[{ 1, 1, 1 }] end)
  expect.raises("a tensor has no method or property `1`", function() return m["1"] end)
end)

local function assigned(f)
  local x = m:clone()
  f(x)
  return x
end

test("assigning", function()
  same(assigned(function(x) x[1] = 0 end), { { 0, 0, 0 }, { 4, 5, 6 } })
  same(assigned(function(x) x[{ 2, 1 }] = 9 end), { { 1, 2, 3 }, { 9, 5, 6 } })
  same(assigned(function(x) x[{ {}, { 2, 3 } }] = 0 end), { { 1, 0, 0 }, { 4, 0, 0 } })
  same(assigned(function(x) x[2] = { 7, 8, 9 } end), { { 1, 2, 3 }, { 7, 8, 9 } })
  same(assigned(function(x) x[1] = x[2] end), { { 4, 5, 6 }, { 4, 5, 6 } })
  same(assigned(function(x) x[x:gt(4)] = -1 end), { { 1, 2, 3 }, { 4, -1, -1 } })
  same(assigned(function(x) x[bam.tensor { 2 }] = 0 end), { { 1, 2, 3 }, { 0, 0, 0 } })
  same(assigned(function(x) x:add_(1):mul_(2) end), { { 4, 6, 8 }, { 10, 12, 14 } })
  same(assigned(function(x) x:zero_()[1]:fill_(3) end), { { 3, 3, 3 }, { 0, 0, 0 } })
  same(assigned(function(x) x[{ {}, { 1, 2 } }] = x[{ {}, { 2, 3 } }] end), { { 2, 3, 3 }, { 5, 6, 6 } })
  expect.raises("div_: the result is f32 and does not fit into i64", function() m:clone():div_(2) end)
  expect.raises("shape (2) does not broadcast to (3)",
                function() assigned(function(x) x[1] = bam.tensor { 1, 2 } end) end)
  expect.raises("several elements of an expanded view share memory", function() bam.zeros(1, 2):expand(3, 2):fill_(1) end)
  expect.raises("cannot set `dtype` of a tensor", function() m.dtype = "f32" end)
end)

test("views share storage", function()
  local base = bam.arange(6)
  local view = base:reshape(2, 3)
  view[{ 1, 2 }] = 20
  same(base, { 1, 20, 3, 4, 5, 6 })
  same(view:t(), { { 1, 4 }, { 20, 5 }, { 3, 6 } })
  same(view:transpose(1, 2):reshape(-1), { 1, 4, 20, 5, 3, 6 })
  same(view:unsqueeze(1):squeeze(1), { { 1, 20, 3 }, { 4, 5, 6 } })
  same(view:slice(2, 2, 3), { { 20, 3 }, { 5, 6 } })
  same(view:flatten(), { 1, 20, 3, 4, 5, 6 })
  same(bam.arange(2):reshape(2, 1):expand(2, 2), { { 1, 1 }, { 2, 2 } })
  local pieces = base:split { 1, 2, 3 }
  same(pieces[2], { 20, 3 })
  same(base:split(4)[2], { 5, 6 })
  same(base:chunk(3)[3], { 5, 6 })
  expect.equal(view:t():is_contiguous(), false)
  expect.yes(view:t():contiguous():is_contiguous())
  expect.raises("(6) has 6 elements and does not fit into (4, 2)", function() base:reshape(4, 2) end)
  expect.raises("cannot be viewed so without a copy", function() view:t():view(6) end)
  expect.raises("2 dimensions given for a tensor that has 1", function() base:permute(1, 2) end)
  expect.raises("the sizes add up to 5, but dimension 1 has 6", function() base:split { 2, 3 } end)
end)

test("operators and dtypes", function()
  same(m + 1, { { 2, 3, 4 }, { 5, 6, 7 } })
  same(2 * m - m, { { 1, 2, 3 }, { 4, 5, 6 } })
  same(m / 2, { { 0.5, 1.0, 1.5 }, { 2.0, 2.5, 3.0 } })
  same(bam.tensor { 7, -7 } // 2, { 3, -4 })
  same(bam.tensor { 7, -7 } % 3, { 1, 2 })
  same(bam.tensor { math.mininteger } // -1, { math.mininteger })
  same(-bam.tensor { 1, 2 } ^ 2, { -1, -4 })
  same((m + 0.5)[1], { 1.5, 2.5, 3.5 })
  expect.equal((m + 0.5).dtype, "f32")
  expect.equal((m:to "i32" + 1).dtype, "i32")
  expect.equal((bam.ones(2) * 2).dtype, "f32")
  expect.equal((bam.tensor({ 1 }, { dtype = "u8" }) + bam.tensor({ 1 }, { dtype = "i32" })).dtype, "i32")
  same(bam.tensor { true, false } & bam.tensor { true, true }, { true, false })
  same(~bam.tensor { true, false }, { false, true })
  same(bam.tensor({ 1.9, -1.9, 3e9 }):to "i32", { 1, -1, 2147483647 })
  same(bam.tensor({ 1.0, 0.1 }):to "bf16":to "f32", { 1.0, 0.10009765625 })
  same(bam.tensor({ 65504.0, 1e-8, 70000.0 }):to "f16":to "f32", { 65504.0, 0.0, math.huge })
  expect.raises("use x:lt(y)", function() return m < m end)
  expect.raises("shapes (2, 3) and (2) do not broadcast", function() return m + bam.tensor { 1, 2 } end)
  expect.yes(m:same(m))
  expect.no(m:same(m:clone()))
  expect.equal(getmetatable(m), "tensor")
end)

test("printing", function()
  expect.equal(tostring(bam.tensor { { 1, -20 }, { 300, 4 } }),
               "tensor i64 (2, 2) on cpu\n [[  1 -20],\n  [300   4]]")
  expect.equal(tostring(bam.tensor { 0.5, 2 }), "tensor f32 (2) on cpu\n [0.5000 2.0000]")
  expect.equal(tostring(bam.zeros(0, 2)), "tensor f32 (0, 2) on cpu\n []")
  for _, sizes in ipairs { { 2000 }, { 100, 100 }, { 7, 7, 7, 7, 7, 7, 7, 7 } } do
    local _, numbers = string.gsub(tostring(bam.zeros(sizes)), "0%.", "")
    expect.compare(numbers, "<=", 1000, "more than 1000 elements printed")
  end
end)

test("lifetime", function()
  local closed = bam.ones(2)
  closed:close()
  expect.raises("this tensor was closed", function() return closed:sum() end)
  do
    local _ <close> = bam.ones(1000)
  end
  local kept, inner
  local result = bam.scope(function()
    local lost = bam.ones(2)
    kept = bam.ones(3):keep()
    inner = lost
    return { deep = { bam.ones(4) } }
  end)
  same(result.deep[1], { 1.0, 1.0, 1.0, 1.0 })
  same(kept, { 1.0, 1.0, 1.0 })
  expect.raises("this tensor was released by the scope at", function() return inner:sum() end)
  expect.raises("inside", bam.scope, function() error "inside" end)
end)

test("a finalizer that closes a tensor while an op is using it", function()
  local x = bam.ones(64)
  for _ = 1, 2000 do
    setmetatable({ x * 2.5 }, { __gc = function(t) t[1]:close() end })
    local y = bam.softmax(x * 2.5, -1) + x
    expect.close(y:sum():item(), 65, 1e-3)
  end
end)

test("tensor bytes press on Lua's collector: a loop that drops 4 GB of tensors stays small", function()
  local before = bam.memory().live
  for _ = 1, 1000 do local _ = bam.zeros(1000000) end
  expect.compare(bam.memory().peak, "<", before + 1e9, "unreachable tensors pile up")
end)

print("tensor: ok")
