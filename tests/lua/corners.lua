-- Corners that once went wrong: aliased arguments, failing backward passes, deep tables, the end of
-- the program.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local f64 = { dtype = "f64", requires_grad = true }
local function same(x, expected) expect.equal(table.concat(x:totable(), " "), expected, tostring(x)) end

test("positions that are being overwritten", function()
  local x = bam.tensor { 2, 1, 3 }
  x[x] = 1 << 40
  same(x, "1099511627776 1099511627776 1099511627776")
end)

local m = bam.arange(10):reshape(5, 2)

test("a mask in a list must fit its dimension", function()
  same(m[{ bam.tensor { true, false, false, false, true }, 1 }], "1 9")
  expect.raises("the mask at entry 1 has shape (2); dimension 1 has 5 positions", function()
    return m[{ bam.tensor { true, false }, 1 }]
  end)
  expect.raises("the mask at entry 1 has shape (2, 2)", function()
    return m[{ bam.tensor { { true, false }, { true, true } }, 1 }]
  end)
end)

test("entries behind positions of another number of dimensions", function()
  local cube = bam.arange(24):reshape(2, 3, 4)
  local picked = cube[{ {}, bam.tensor { { 1, 2 }, { 3, 1 } }, 2 }]
  expect.equal(table.concat(picked.shape, " "), "2 2 2")
  same(picked:flatten(), "2 6 10 2 14 18 22 14")
  expect.equal(cube[{ bam.tensor(2), 2, 3 }]:item(), 19)
end)

test("arange is exact in integers", function()
  local big = math.maxinteger
  same(bam.arange(big - 1, big), string.format("%d %d", big - 1, big))
  same(bam.arange((1 << 53) + 1, (1 << 53) + 3), "9007199254740993 9007199254740994 9007199254740995")
  same(bam.arange(math.mininteger, big, big), string.format("%d -1 %d", math.mininteger, big - 1))
  same(bam.arange(5, -1, -3), "5 2 -1")
  expect.equal(#bam.arange(1, 0), 0)
  expect.equal(#bam.arange(0, 1, -1), 0)
  expect.raises("are too many", bam.arange, math.mininteger, big)
end)

local function custom(backward)
  local function forward(_, a, b) return b and a + b or a + 1 end
  return bam.custom { forward = forward, backward = backward }
end

test("gradients of custom ops", function()
  local a = bam.ones(1, 5, f64)
  local wrong = custom(function() return bam.ones(4, 3) end)
  expect.raises("gradient 1 has shape (4, 3), and the input (1, 5)", function() wrong(a):sum():backward() end)
  expect.equal(a.grad, nil)

  local skips = bam.custom { forward = function(_, p, _, r) return p * r end,
                             backward = function(_, g) return g * 2, g * 3 end }
  local p, r = bam.ones(2, f64), bam.ones(2, f64)
  skips(p, nil, r):sum():backward()
  same(p.grad, "2.0 2.0")
  same(r.grad, "3.0 3.0")

  local shared = bam.ones(2, f64) * 1
  local writes = custom(function(_, g) return g:mul_(5) end)
  expect.raises("wrote gradient 1 of its arguments in place", function()
    ((writes(shared) + shared) * 2):sum():backward()
  end)
end)

test("a backward that fails leaves nothing that the next one would count", function()
  local u, v = bam.ones(3, f64), bam.ones(3, f64)
  local half = u * 2
  local broken = custom(function(_, g) return g, bam.ones(7) end)
  expect.raises("gradient 2 has shape (7)", function() broken(half, v):sum():backward() end)
  half:sum():backward()
  same(u.grad, "2.0 2.0 2.0")
end)

test("with every allocation failing once: gradients are whole or absent, and the next walk is right", function()
  local w, b = bam.full({ 4 }, 2, f64), bam.zeros(4, f64)
  local input = bam.tensor({ { 1, 2, 3, 5 }, { 4, 0, 1, 1 } }, { dtype = "f64" })
  local loss = (bam.layer_norm(input, w, b):exp() * 3):sum()
  loss:backward { retain = true }
  local dw, db = table.concat(w.grad:totable(), " "), table.concat(b.grad:totable(), " ")
  local n, done = 0, false
  while not done do
    n, w.grad, b.grad = n + 1, nil, nil
    core.fail_allocation(n)
    done = pcall(loss.backward, loss, { retain = true })
    core.fail_allocation(0)
    for _, pair in ipairs { { w, dw }, { b, db } } do
      expect.yes(pair[1].grad == nil or table.concat(pair[1].grad:totable(), " ") == pair[2])
    end
    w.grad, b.grad = nil, nil
    loss:backward { retain = true }
    same(w.grad, dw)
    same(b.grad, db)
  end
  expect.compare(n, ">", 3)
end)

test("one tensor as several inputs", function()
  for _, fn in ipairs {
    function(z) return z + z * z end, function(z) return z - z:exp() * z end,
    function(z) return z % (z * z) end,
    function(z) return bam.index_add(z, bam.tensor { 2, 1, 1 }, z * z) end,
    function(z) return bam.add_layer_norm(z, z * z, z[1]) end,
    function(z) return bam.add_layer_norm(z * z, z, z[1]) end,
  } do expect.yes(bam.gradcheck(fn, { bam.randn(3, 4, f64) })) end
  local ids = bam.tensor { 1, 2, 3, 0 }
  expect.yes(bam.gradcheck(function(z) return bam.linear_cross_entropy(z, z, ids, { chunk = 2 }) end,
                       { bam.randn(4, 6, f64) }))
  local q = bam.randn(1, 300, 2, 8, f64)
  bam.attention(q * 1, q * 1, q * 1):sum():backward()
  local expected = q.grad
  q.grad = nil
  bam.attention(q, q, q):sum():backward()
  expect.compare((q.grad - expected):abs():max():item(), "<", 1e-12)
end)

test("leaves of a dtype that only stores", function()
  local stored = bam.ones(2, { dtype = "bf16", requires_grad = true })
  ;(stored:to "f32" * 2 + stored:to "f32"):sum():backward()
  same(stored.grad, "3.0 3.0")
end)

test("a gradient is not its own", function()
  local leaf = bam.ones(2)
  expect.raises("has a gradient itself", function() leaf.grad = leaf end)
  local g1, g2 = bam.ones(2), bam.ones(2)
  g1.grad = g2
  expect.raises("has a gradient itself", function() g2.grad = g1 end)
end)

test("a failing recomputation leaves the random numbers as they were", function()
  local runs = 0
  local risky = bam.checkpoint(function(z)
    runs = runs + 1
    local dropped = bam.dropout(z, 0.5)
    expect.equal(runs, 1, "no second time")
    return dropped
  end, bam.ones(3, f64))
  bam.rand(5)
  local before = table.concat(core.random_state(), " ")
  expect.raises("no second time", function() risky:sum():backward() end)
  expect.equal(table.concat(core.random_state(), " "), before)
end)

test("printing is allowed while hunting NaNs", function()
  bam.debug { nan = true }
  expect.contains(tostring(bam.full({ 2000 }, 0 / 0)), "nan")
  expect.raises("already holds a NaN", function() return bam.full({ 2 }, 0 / 0) + 1 end)
  bam.debug { nan = false }
end)

test("views with wrong arguments", function()
  expect.raises("slice: first: expected an integer, got nil", m.slice, m, 1)
  expect.raises("transpose: expected a dimension, got nil", m.transpose, m, 1)
  expect.raises("squeeze: expected a dimension, got 1", m.squeeze, m, "1")
end)

test("options are plain tables: a metatable could close the tensor meanwhile", function()
  local victim = bam.ones(3)
  local trap = setmetatable({ dim = 1 }, { __index = function() victim:close() end })
  expect.raises("expected a plain table of options", bam.softmax, victim, trap)
end)

test("long chains of tables leave a scope", function()
  local kept = bam.scope(function()
    local list = { bam.ones(1) }
    for _ = 1, 300000 do list = { list } end
    return list
  end)
  while type(kept) == "table" do kept = kept[1] end
  expect.equal(kept:item(), 1)
end)

test("a finalizer that outlives the engine gets an error", function()
  local program = arg and arg[1]
  if program then
    local script = [[x = setmetatable({}, { __gc = function()
    print(pcall(function() return require("bam").zeros(2) + 1 end)) end }) require("bam")]]
    local pipe = assert(io.popen(string.format("%s -e '%s' 2>&1", program, script:gsub("\n", " "))))
    local output = pipe:read "a"
    expect.yes(pipe:close(), output)
    expect.contains(output, "bam is closed")
  end
end)

test("with `scale` the gradients are handed out once", function()
  local h = bam.randn(3, 4):requires_grad_()
  local once = bam.linear_cross_entropy(h, bam.randn(5, 4):requires_grad_(), bam.tensor { 0, 1, 2 }, { scale = 1 })
  once:backward(nil, { retain = true })
  local first = h.grad:clone()
  local ok, message = pcall(once.backward, once)
  expect.no(ok, message)
  expect.contains(message, "handed out once")
  expect.equal((h.grad - first):abs():max():item(), 0)
end)
