-- What lives between forward and backward: what gradients need, and no results that nothing reads. And what scripts can
-- still hold stays open.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local nn = bam.nn
local B, T, D, F = 8, 64, 64, 256

local function describe(kind, layers, more)
  local o = { layers = layers, width = D, heads = 4, kv_heads = 2, head_width = 16, ffn = F, vocab = 64, context = T,
              tied = true }
  for name, value in pairs(more or {}) do o[name] = value end
  return bam.models[kind](o)
end

local function new_batch()
  local function ids() return bam.randint(0, 63, B, T) end
  return { ids = ids(), targets = ids(), tokens = B * T }
end

-- Floats per token at the peak of a step, besides what is there before and after it.
local function peak(d)
  bam.seed(1)
  collectgarbage()
  local model, batch = d:build(), new_batch()
  for _, p in ipairs(model:parameters()) do p.tensor.grad = bam.zeros(p.tensor.shape) end
  local live = bam.memory().live
  bam.loop.gradients(model, batch)
  return (bam.memory().peak - live) / (4 * B * T)
end

-- Floats that backward needs of a layer: what norms, attention and FFN save. Queries, keys and values take 2 D, the result
-- of attention D, SwiGLU's halves and their product 3 F. Norms save the sum and keep their result for what follows;
-- those of post_norm save what they read.
local SAVED = {
  parallel = 5 * D + 3 * F,
  sequential = 7 * D + 3 * F,
  post_norm = 7 * D + 3 * F,
}

local layers = 2 -- the counter never falls, so that each model must be larger than those before

for _, kind in ipairs { "parallel", "sequential", "post_norm" } do
  test(string.format("a layer of %s keeps what backward needs", kind), function()
    local less = peak(describe(kind, layers))
    local floats = peak(describe(kind, layers + 1)) - less
    layers = layers + 2
    expect.compare(floats, ">=", SAVED[kind])
    expect.compare(floats, "<=", SAVED[kind] + 20, "statistics and parts of size classes included")
  end)
end

-- ---- what others may hold ----

-- A layer of a script that keeps what it returns, as those do that look into a model.
local Keeper = nn.module "Keeper"
function Keeper:init(o) self.inner = nn.Linear(o.width, o.width, { std = o.std }) end
function Keeper:forward(x)
  local y = self.inner(x)
  self._kept = y
  return y
end

local function run(d)
  local model, batch = d:build(), new_batch()
  return model, core.scope(function()
    model:loss(batch.ids, batch.targets):backward()
    return model.layers[1].ffn._kept and model.layers[1].ffn._kept:sum():item()
  end)
end

for _, kind in ipairs { "parallel", "sequential", "post_norm" } do
  test(string.format("results of a script's layer stay open in %s", kind), function()
    local _, sum = run(describe(kind, 2, { ffn = Keeper }))
    expect.yes(sum, "the kept result can be read")
  end)
end

test("results of a layer whose forward a script replaces stay open", function()
  local original, kept = nn.SwiGLU.forward, {}
  nn.SwiGLU.forward = function(self, x)
    kept[#kept + 1] = original(self, x)
    return kept[#kept]
  end
  local model, batch = describe("parallel", 2):build(), new_batch()
  core.scope(function()
    model:loss(batch.ids, batch.targets)
    expect.equal(#kept, 2)
    for _, y in ipairs(kept) do expect.equal(y:sum().ndim, 0) end
  end)
  nn.SwiGLU.forward = original
end)

test("results of a layer within SwiGLU that a script replaces stay open", function()
  local model, batch = describe("parallel", 2):build(), new_batch()
  local Wrapped, kept = nn.module "Wrapped", {}
  function Wrapped:init(inner) self.inner = inner end
  function Wrapped:forward(x)
    kept[#kept + 1] = self.inner(x)
    return kept[#kept]
  end
  for _, layer in ipairs(model.layers) do layer.ffn.down = Wrapped(layer.ffn.down) end
  core.scope(function()
    model:loss(batch.ids, batch.targets)
    for _, y in ipairs(kept) do expect.equal(y:sum().ndim, 0) end
    expect.equal(#kept, 2)
  end)
end)
