-- Every binding with its n-th engine allocation failing, n = 1, 2, ... until none is left to fail:
-- an error that says so, nothing leaked, nothing broken.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local cases = require "tests.lua.support.bindings"

-- What is made of several bindings.
local function case(name, run) cases[#cases + 1] = { name = name, run = run } end

local model = bam.nn.Sequential { bam.nn.Linear(4, 6), bam.nn.LayerNorm(6), bam.nn.Linear(6, 2) }
local x, path = bam.randn(3, 4), os.tmpname()
case("printing", function() return tostring(x), tostring(bam.arange(2000)), tostring(x:gt(0)) end)
case("views", function()
  return x:transpose(1, 2):flatten():split(5), x:unsqueeze(1):squeeze(), x:t():chunk(2)
end)
case("a model", function()
  local own = bam.nn.Linear(4, 2)
  bam.scope(function() own(x):sum():backward() end)
end)
case("a training step", function()
  local own = bam.nn.Linear(4, 2)
  local optimizer = bam.optim.AdamW(own, { lr = 0.1 })
  bam.scope(function()
    optimizer:zero_grad()
    own(x):sum():backward()
    optimizer:clip(1)
    optimizer:step()
  end)
end)
case("checkpoint", function()
  local w = bam.ones(4, 4, { requires_grad = true })
  bam.checkpoint(function(v) return (v:matmul(w)):tanh() end, x):sum():backward()
end)
case("custom", function()
  local square = bam.custom { forward = function(ctx, v) ctx.v = v return v * v end,
                              backward = function(ctx, g) return 2 * ctx.v * g end }
  local v = bam.ones(3, { requires_grad = true })
  square(v):sum():backward()
end)
case("a model's state", function()
  bam.save(path, model:state())
  model:load_state((bam.load(path)))
end)

local dense = bam.models.parallel { layers = 1, width = 4, heads = 2, ffn = 4, vocab = 8 }
local experts = { dense:build { seed = 1 }, dense:build { seed = 2 } }
local ids = bam.tensor { { 1, 2, 3 } }
case("a mixture", function()
  local mixed = bam.mix { experts = experts, attention = { kv = "shared", routing = 1 } }:build()
  bam.scope(function() mixed:loss(ids, ids):backward() end)
end)
case("a checkpoint", function()
  local directory = string.format("%s-checkpoint", path)
  experts[1]:save(directory)
  bam.load(directory)
end)
case("an ensemble", function() bam.ensemble { models = experts }:loss(ids, ids) end)

local function live_objects()
  collectgarbage()
  collectgarbage()
  return core.memory().objects
end

-- Run with the n-th allocation failing. Was there an n-th?
local function fail_at(n, run)
  local before = core.memory().requests
  core.fail_allocation(n)
  local ok, message = pcall(run)
  core.fail_allocation(0)
  local reached = core.memory().requests - before >= n
  if ok then
    expect.no(reached, ("allocation %d failed without an error"):format(n))
    return false
  end
  expect.yes(reached, ("an error although nothing failed: %s"):format(message))
  expect.contains(tostring(message), "out of memory", ("allocation %d"):format(n))
  return true
end

local total = 0
for _, c in ipairs(cases) do
  test(c.name, function()
    c.run()
    local objects, n = live_objects(), 0
    repeat
      n = n + 1
      local more = fail_at(n, c.run)
      expect.equal(live_objects() - objects, 0, ("objects leaked when allocation %d failed"):format(n))
    until not more
    total = total + n - 1
    c.run()
  end)
end
os.execute(string.format("rm -rf '%s' '%s-checkpoint'", path, path))
print(("%d bindings, %d failing allocations"):format(#cases, total))
