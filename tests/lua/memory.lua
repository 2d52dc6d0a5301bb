-- What once read or wrote outside a tensor's memory, or asked for more memory than there is: each is
-- an error now, or right. Under ASan engine/core/assert.h checks that every view lies in its storage.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local function same(x, expected) expect.equal(table.concat(x:totable(), " "), expected, tostring(x)) end
local big = math.maxinteger

test("no dimension disappears when a tensor expands", function()
  expect.raises("expand: (3) does not expand to (): only sizes of 1 can grow",
                function() return bam.arange(3):expand {} end)
  expect.raises("expand: (0) does not expand to ()", function() return bam.zeros(4):narrow(1, 5, 0):expand {} end)
  expect.raises("expand: (1, 1) does not expand to (1)", function() return bam.zeros(1, 1):expand(1) end)
  expect.equal(bam.tensor(7):expand({}):item(), 7)
  same(bam.tensor(7):expand(3), "7 7 7")
end)

test("sizes beside a size of 0", function()
  local empty = bam.zeros(0)
  for _, sizes in ipairs { { 0, 1 << 62, 1 << 62 }, { 1 << 62, 1 << 62, 0 }, { 1 << 40, 0, 1 << 40 }, { 0, big } } do
    expect.raises("overflow", function() return empty:reshape(sizes) end)
    expect.raises("overflow", function() return empty:view(sizes) end)
    expect.raises("overflow", function() return bam.zeros(sizes) end)
    expect.raises("overflow",
                  function() return bam.zeros(1, 0, 1):expand(sizes[1], 0, sizes[3] or sizes[2]):reshape(sizes) end)
  end
  expect.equal(empty:reshape(0, 1 << 30, 1 << 20):permute(3, 2, 1):count(), 0)
  expect.equal(#empty:reshape(0, 4, 3):sum(1):flatten(), 12)
end)

test("positions of a tensor that has none", function()
  local scalar = bam.tensor(5)
  for _, positions in ipairs { bam.ones(2, 2, { dtype = "i64" }), bam.tensor { 1 }, bam.tensor(1) } do
    expect.raises("index: a 0-dimensional tensor has no positions", function() return scalar[positions] end)
  end
  expect.raises("into a tensor with 0", function() scalar[bam.tensor { 1 }] = 3 end)
  same(scalar[bam.tensor(true)], "5")
end)

local x = bam.arange(5)

test("steps as large as integers are", function()
  same(x[{ { 1, 3, big } }], "1")
  same(x[{ { 2, 5, 3 } }], "2 5")
  same(x[{ { 1, 5, 4 } }], "1 5")
  expect.equal(#x[{ { 3, 2, big } }], 0)
  expect.equal(#x[{ { 3, 2, 2 } }], 0)
  expect.raises("the step of a range must be positive", function() return x[{ { 1, 3, math.mininteger } }] end)
  expect.raises("is out of range", function() return x[{ { math.mininteger, big } }] end)
end)

test("views at the end of their storage", function()
  local y = bam.zeros(4, 6)
  expect.equal(y:narrow(1, 5, 0):narrow(2, 7, 0):count(), 0)
  expect.equal(y:narrow(2, 7, 0):select(1, 4):count(), 0)
  expect.equal(y:narrow(1, 5, 0):transpose(1, 2):flip():count(), 0)
  same(y:narrow(2, 7, 0):sum(2), "0.0 0.0 0.0 0.0")
end)

test("more tables than fit", function()
  expect.raises("totable: a tensor of shape (1099511627776, 0, 3) takes more than 4096 MB of tables; convert it in parts",
        function() return bam.zeros(1, 0, 3):expand(1 << 40, 0, 3):totable() end)
  expect.raises("totable: a tensor of shape (1099511627776, 5)", function() return x:expand(1 << 40, 5):totable() end)
  expect.raises("totable:", function() return bam.zeros(1):expand(1 << 28):totable() end)
  expect.equal(#bam.zeros(1, 0, 1 << 40):totable(), 1)
  expect.equal(#bam.zeros(0, 1 << 40):totable(), 0)
  expect.compare(#tostring(bam.zeros(1, 0, 3):expand(1 << 40, 0, 3)), "<", 200)
end)

test("an empty bool tensor is false: other bytes than 0 and 1 never arise", function()
  for n = 64, 4096, 504 do
    bam.full({ n }, 2, { dtype = "u8" }):close() -- its bytes are used again
    local mask, row = bam.empty(n, { dtype = "bool" }), bam.arange(n)
    expect.equal(mask:sum():item(), 0)
    expect.equal(row[mask]:count(), 0)
    row[mask] = 7
    expect.equal(row, bam.arange(n))
  end
end)

test("many rows of nothing are no work", function()
  local rows = bam.zeros(1, 0, 3):expand(1 << 40, 0, 3)
  for _, f in ipairs { function() return rows:cumsum(2) end, function() return rows:softmax(2) end,
                       function() return rows:sort(2) end, function() return rows:log_softmax(3) end,
                       function() return rows:flip() end,
                       function() return rows:to "f64" end, function() return rows + 1 end,
                       function() return rows:masked_select(rows:gt(0)) end,
                       function() return rows:permute(3, 2, 1):clone() end,
                       function() return bam.linear(rows, bam.ones(2, 3)) end,
                       function() return bam.concat({ rows, rows }, 2) end } do
    expect.equal(f():count(), 0)
  end
end)
