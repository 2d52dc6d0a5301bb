-- bam.scope and bam.no_grad in coroutines: both belong to the coroutine that entered them, also while it is suspended.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local function is_open(x) return pcall(function() return x.shape end) end

-- Whether ops are recorded now.
local function records() return (bam.ones(1, { requires_grad = true }) * 2).requires_grad end

test("a coroutine yields inside a scope", function()
  local inner, result
  local co = coroutine.wrap(function()
    result = bam.scope(function(a, b)
      inner = bam.ones(3)
      expect.equal({ a, b }, { 1, 2 })
      expect.equal(coroutine.yield(inner), "back")
      return inner * 2
    end, 1, 2)
    return "done"
  end)
  expect.same(co(), inner)
  expect.equal(inner, { 1, 1, 1 }, "suspended, and not released")
  local other = bam.zeros(2)
  expect.equal(co "back", "done")
  expect.no(is_open(inner), "released at the end")
  expect.equal(result, { 2, 2, 2 }, "what the scope returned")
  expect.equal(other, { 0, 0 }, "what others made meanwhile")
end)

test("what is made while a scope is suspended is not its own", function()
  local co = coroutine.wrap(function() bam.scope(function() coroutine.yield() end) end)
  local inside, outside
  bam.scope(function()
    co()
    inside = bam.ones(1)
    outside = bam.ones(1):keep()
  end)
  expect.no(is_open(inside))
  expect.yes(is_open(outside))
  local x = bam.ones(1)
  co()
  expect.yes(is_open(x))
end)

test("scopes of coroutines interleave", function()
  local a, b
  local co = coroutine.wrap(function()
    bam.scope(function()
      coroutine.yield()
      a = bam.ones(1)
      coroutine.yield()
    end)
  end)
  co()
  bam.scope(function()
    co()
    b = bam.ones(1)
  end)
  expect.yes(is_open(a), "of the coroutine's scope, which goes on")
  expect.no(is_open(b), "of the main scope")
  co()
  expect.no(is_open(a))
end)

test("a coroutine without a scope is in that of the one that resumed it", function()
  local x
  local co = coroutine.wrap(function() for i = 1, 2 do x = bam.ones(i) coroutine.yield(x) end end)
  local kept = bam.scope(function() return co() end)
  expect.yes(is_open(kept))
  bam.scope(co)
  expect.yes(is_open(x), "results leave")
  bam.scope(function() x = nil coroutine.wrap(function() x = bam.ones(1) end)() end)
  expect.no(is_open(x))
end)

test("results leave to the scope around", function()
  local x
  bam.scope(function()
    coroutine.wrap(function() x = bam.scope(function() return bam.ones(1) end) end)()
    expect.yes(is_open(x))
  end)
  expect.no(is_open(x))
  local y, z
  local co = coroutine.wrap(function()
    bam.scope(function()
      y = bam.scope(function() coroutine.yield() return bam.ones(1) end)
      expect.yes(is_open(y))
      coroutine.yield()
    end)
  end)
  co()
  co()
  z = y
  expect.yes(is_open(z))
  co()
  expect.no(is_open(z))
end)

test("no_grad is of the coroutine", function()
  local seen = {}
  local co = coroutine.wrap(function()
    bam.no_grad(function()
      seen[1] = records()
      coroutine.yield()
      seen[2] = records()
      bam.enable_grad(function()
        coroutine.yield()
        seen[3] = records()
      end)
      seen[4] = records()
    end)
    seen[5] = records()
  end)
  co()
  expect.yes(records())
  co()
  expect.yes(records())
  bam.no_grad(function()
    co()
    expect.no(records())
  end)
  expect.yes(records())
  expect.equal(seen, { false, false, true, false, false }, "resumed inside no_grad at the end")
end)

test("errors after a yield", function()
  local inner
  local co = coroutine.create(function()
    bam.scope(function()
      inner = bam.ones(1)
      bam.no_grad(function()
        coroutine.yield()
        error { code = 7 }
      end)
    end)
  end)
  expect.yes(coroutine.resume(co))
  local fine, problem = coroutine.resume(co)
  expect.no(fine)
  expect.equal(problem.code, 7)
  expect.no(is_open(inner))
  expect.yes(records())
  co = coroutine.wrap(function()
    local ok, message = pcall(bam.scope, function() coroutine.yield() error("oh", 0) end)
    return ok, message, records()
  end)
  co()
  expect.equal({ co() }, { false, "oh", true })
end)

test("closing a suspended coroutine ends them", function()
  local inner
  local co = coroutine.create(function()
    bam.no_grad(bam.scope, function()
      inner = bam.ones(1)
      coroutine.yield()
    end)
  end)
  coroutine.resume(co)
  expect.yes(is_open(inner))
  expect.yes(coroutine.close(co))
  expect.no(is_open(inner))
  expect.yes(records())
  local x = bam.ones(1)
  collectgarbage()
  expect.yes(is_open(x))
end)

test("collecting a suspended coroutine ends them", function()
  collectgarbage()
  collectgarbage()
  local before = bam.memory().live
  for _ = 1, 20 do
    coroutine.wrap(function()
      bam.no_grad(bam.scope, function()
        local x = bam.ones(1000)
        coroutine.yield(x)
      end)
    end)()
  end
  expect.yes(records())
  collectgarbage()
  collectgarbage()
  expect.equal(bam.memory().live, before)
  expect.yes(records())
end)

test("coroutines in the backward of a custom op", function()
  local seen = {}
  local double = bam.custom {
    forward = function(_, x) return x * 2 end,
    backward = function(_, grad)
      coroutine.wrap(function() seen[1] = records() end)()
      bam.enable_grad(function() seen[2] = records() end)
      seen[3] = records()
      return grad * 2
    end,
  }
  local x = bam.ones(2, { requires_grad = true })
  local y = double(x) * x
  y:sum():backward()
  expect.equal(seen, { false, true, false })
  expect.equal(x.grad, { 4, 4 })
  expect.yes(records())
end)

test("a scope in a generator of batches", function()
  local function batches(n)
    return coroutine.wrap(function()
      for i = 1, n do bam.scope(function() coroutine.yield(bam.full({ 2 }, i)) end) end
    end)
  end
  local total = 0
  for batch in batches(3) do total = total + batch:sum():item() end
  expect.equal(total, 12)
end)
