-- Numbers on their way into tensors: what fits a dtype, and the exact values of arange and linspace.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local function same(x, ...)
  local got, want = x:totable(), { ... }
  expect.equal(#got, #want, string.format("%d elements, expected %d", #got, #want))
  for i = 1, #want do expect.equal(got[i], want[i], string.format("element %d is %s, not %s", i, got[i], want[i])) end
end

test("what a dtype of integers cannot hold is refused, however it is written, and nothing changes", function()
  local limits = { u8 = { 0, 255 }, i32 = { -1 << 31, (1 << 31) - 1 }, i64 = { math.mininteger, math.maxinteger } }
  local ways = {
    tensor = function(y, v) return bam.tensor({ { 1, 2 }, { 3, v } }, { dtype = y.dtype }) end,
    scalar = function(y, v) return bam.tensor(v, { dtype = y.dtype }) end,
    full = function(y, v) return bam.full({ 2 }, v, { dtype = y.dtype }) end,
    element = function(y, v) y[2] = v end,
    range = function(y, v) y[{ { 1, 2 } }] = v end,
    all = function(y, v) y[{}] = v end,
    list = function(y, v) y[{}] = { 1, v, 1 } end,
    mask = function(y, v) y[y:eq(7)] = v end,
    positions = function(y, v) y[bam.tensor { 1, 3 }] = v end,
    fill_ = function(y, v) y:fill_(v) end,
    copy_ = function(y, v) y:copy_(v) end,
    pad = function(y, v) return bam.pad(y, { 1 }, { 1 }, v) end,
    arange = function(y, v) return bam.arange(v, v, { dtype = y.dtype }) end,
    linspace = function(y, v) return bam.linspace(v, v, 2, { dtype = y.dtype }) end,
  }
  local operators = { -- numbers with a fraction make these f32, or are refused
    masked_fill = function(y, v) return bam.masked_fill(y, y:eq(7), v) end,
    add = function(y, v) return y + v end,
    where = function(y, v) return bam.where(y:eq(7), y, v) end,
  }
  local function refused(name, way, dtype, v, pattern)
    local y = bam.full({ 3 }, 7, { dtype = dtype })
    local ok, message = pcall(way, y, v)
    expect.no(ok, string.format("%s takes %s into %s", name, v, dtype))
    expect.contains(message, pattern, string.format("%s of %s: %s", name, v, message))
    same(y, 7, 7, 7)
  end

  for dtype, limit in pairs(limits) do
    for name, way in pairs(ways) do
      way(bam.full({ 3 }, 7, { dtype = dtype }), 9) -- what fits goes in
      way(bam.full({ 3 }, 7, { dtype = dtype }), 9.0)
      if name ~= "pad" then way(bam.full({ 3 }, 7, { dtype = dtype }), limit[2]) end -- its value is a double
      way(bam.full({ 3 }, 7, { dtype = dtype }), limit[1])
      for _, v in ipairs { 2.0 ^ 63, -2.0 ^ 63 - 2048, 1e300, math.huge, -math.huge, 0 / 0 } do
        if not (name == "linspace" or name == "arange") or v == v and math.abs(v) < math.huge then
          refused(name, way, dtype, v, string.format("not fit %s (", dtype))
        end
      end
      if name ~= "linspace" then refused(name, way, dtype, 1.5, "holds whole numbers") end
      if dtype ~= "i64" then
        refused(name, way, dtype, limit[2] + 1, "fit " .. dtype)
        refused(name, way, dtype, limit[1] - 1, "fit " .. dtype)
        refused(name, way, dtype, limit[2] + 1.0, "fit " .. dtype)
        refused(name, way, dtype, 1 << 40, "fit " .. dtype)
      end
    end
    for name, way in pairs(operators) do
      if dtype ~= "i64" then refused(name, way, dtype, limit[2] + 1, "fit " .. dtype) end
    end
  end
  expect.raises("masked_fill: 300 does not fit u8", bam.masked_fill, bam.zeros(1, { dtype = "u8" }),
                bam.tensor { true }, bam.tensor(300))
  expect.raises("tensor: NaN does not fit i64", bam.tensor, { 0 / 0 }, { dtype = "i64" })
  expect.raises("the bounds 300 and inf exclude every u8", bam.clamp, bam.zeros(1, { dtype = "u8" }), { min = 300 })
  expect.raises("the bounds -inf and -1 exclude every u8", bam.clamp, bam.zeros(1, { dtype = "u8" }), { max = -1 })
  same(bam.clamp(bam.tensor({ 0, 255 }, { dtype = "u8" }), -5, 300), 0, 255)
  expect.raises("9007199254740993 is not exact as a float", bam.clamp, bam.tensor { 1 }, { min = (1 << 53) + 1 })
  same(bam.clamp(bam.tensor { math.maxinteger }, { max = math.maxinteger }), math.maxinteger)
end)

test("conversions of tensors, and of numbers to bool, are the user's own wish", function()
  same(bam.tensor({ 300.7, -1, 0 / 0 }):to "u8", 255, 0, 0)
  same(bam.tensor({ 2, 0, -0.5 }, { dtype = "bool" }), true, false, true)
end)

test("a list is read in the dtype of what it goes to: 0.1 is not rounded to f32 first", function()
  local y = bam.zeros(2, { dtype = "f64" })
  y[{}] = { 0.1, 1 / 3 }
  same(y, 0.1, 1 / 3)
end)

local f64, i64 = { dtype = "f64" }, { dtype = "i64" }
bam.seed(5)

test("linspace: both ends exactly", function()
  for _ = 1, 2000 do
    local ends = (bam.randn(2, f64) * 10 ^ (bam.rand(1, f64):item() * 20 - 10)):totable()
    local n = bam.randint(2, 100, 1):item()
    local x = bam.linspace(ends[1], ends[2], n, f64)
    expect.equal(#x, n)
    expect.equal(x[1]:item(), ends[1])
    expect.equal(x[-1]:item(), ends[2])
    local whole = bam.randint(-1000, 1000, 2):totable()
    local y, steps = bam.linspace(whole[1], whole[2], n, i64):totable(), n - 1
    for i = 0, steps do -- in integers, so exactly; towards 0
      local v = whole[1] * steps + i * (whole[2] - whole[1])
      expect.equal(y[i + 1], (v < 0 and -(-v // steps) or v // steps), string.format("%d", y[i + 1]))
    end
  end
  same(bam.linspace(-1.7e308, 1.7e308, 3, f64), -1.7e308, 0, 1.7e308)
  same(bam.linspace(math.mininteger, math.maxinteger, 3, i64), math.mininteger, 0, math.maxinteger)
  same(bam.linspace(8680131335536356089, 8680131335536356089, 2, i64), 8680131335536356089, 8680131335536356089)
  same(bam.linspace(-3.5, 3.5, 3, { dtype = "i32" }), -3, 0, 3)
  same(bam.linspace(5, 1, 1), 5)
  same(bam.linspace(5, 1, 0))
  expect.raises("the ends must be finite", bam.linspace, math.huge, math.huge, 3, i64)
  expect.raises("the ends must be finite", bam.linspace, 0, 0 / 0, 3)
  expect.raises("the count is negative: -1", bam.linspace, 0, 1, -1)
end)

test("arange: first + i * step up to `last`, which counts when rounding alone parts it from a step", function()
  same(bam.arange(0, 0.3, 0.1, f64), 0, 0.1, 0.2, 0.3)
  same(bam.arange(0, -1, -0.25, f64), 0, -0.25, -0.5, -0.75, -1)
  same(bam.arange(0, 2.9999999999, 1.0, f64), 0, 1, 2)
  expect.equal(#bam.arange(-1.7e308, 1.7e308, 1e308, f64), 4)
  expect.yes(bam.arange(-1.7e308, 1.7e308, 1e308, f64):isfinite():all():item())
  same(bam.arange(1.0, 3.0, i64), 1, 2, 3)
  same(bam.arange(3, 1.5))
  for _ = 1, 2000 do -- decimal numbers: the end is a step, and then it is not
    local first, step, n = bam.randint(-100, 100, 1):item(), bam.randint(1, 30, 1):item(), bam.randint(1, 500, 1):item()
    local x = bam.arange(first / 10, (first + n * step) / 10, step / 10, f64)
    expect.equal(#x, n + 1)
    expect.equal(x[-1]:item(), (first + n * step) / 10)
    expect.equal(#bam.arange(first / 10, (first + n * step) / 10 - 1e-9, step / 10, f64), n)
  end
  expect.equal(#bam.arange(0, 1, 1e-7), 10000001)
  expect.raises("the numbers must be finite, got inf", bam.arange, 1, 5, math.huge)
  expect.raises("the numbers must be finite, got -inf", bam.arange, 1.0, -math.huge)
  expect.raises("the step is 0", bam.arange, 1, 5, 0)
  expect.raises("the step is 0", bam.arange, 1, 5, 0.0)
  expect.raises("are too many", bam.arange, 0, 1e300)
end)

test("f16 and bf16 are rounded once, also from lists", function()
  same(bam.tensor({ 1 + 2 ^ -11 + 2 ^ -40 }, { dtype = "f16" }):to "f64", 1.0009765625)
  same(bam.tensor({ (1 << 40) + (1 << 32) + 1 }, { dtype = "bf16" }):to "i64", 1108101562368)
end)

print("values: ok")
