-- Parallel blocks route tokens to FFN experts before they compute attention. The results are those of one layer after
-- the other: losses, gradients to the last bit, random numbers, and what is left alone when a script writes a layer.
local bam = require "bam"
local core = require "bam.core"
local early_routing = require "bam.nn.moe.early_routing"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local nn = bam.nn
local B, T, D = 3, 16, 24

local function attention(more)
  local o = { width = D, heads = 2, experts = 3, std = 0.3, jitter = 0.2 }
  for name, value in pairs(more or {}) do o[name] = value end
  return nn.MixtureOfAttention(o)
end

local function ffn(more)
  local o = { width = D, hidden = 20, experts = 4, top_k = 2, std = 0.3, jitter = 0.1 }
  for name, value in pairs(more or {}) do o[name] = value end
  return nn.RoutedFFN(o)
end

-- One layer after the other: what `call_both` must be indistinguishable from.
local function in_turn(first, second, h, batch)
  local y = first(h, batch)
  return y, second(h, batch)
end

-- Everything that two layers give, as numbers.
local function results(call, first, second)
  bam.seed(11)
  local x = bam.randn(B, T, D)
  local batch = { routing = {} }
  x.requires_grad = true
  local h = x * 1.5 -- of which each layer adds up several gradients
  local a, b = call(first, second, h, batch)
  local total = (a * a):sum() + (b * a):sum()
  for _, record in ipairs(batch.routing) do
    if record.losses then total = total + record.losses:sum() end
  end
  total:backward()
  local list = { total:item(), x.grad:totable(), bam.rand(3):totable(), #batch.routing }
  for _, record in ipairs(batch.routing) do list[#list + 1] = record.module end
  for _, layer in ipairs { first, second } do
    for _, p in ipairs(layer:parameters()) do
      list[#list + 1] = p.tensor.grad:totable()
      p.tensor.grad = nil
    end
  end
  return list
end

local function expect_same(first, second)
  expect.equal(results(early_routing.call_both, first, second), results(in_turn, first, second))
end

test("bits are those of one layer after the other", function()
  expect_same(attention(), ffn())
  expect_same(attention { kv = "shared", keys_apart = true }, ffn { top_k = 1 })
  expect_same(attention { routing = 2, qk_norm = "head" }, ffn { activation = "gelu" })
  expect_same(attention { experts = 1, qkv_bias = true, out_bias = true }, ffn())
end)

test("the FFN's tokens are sorted before attention is computed", function()
  local first, second, names = attention(), ffn(), {}
  local real = {}
  for _, name in ipairs { "expert_order", "mixture_of_attention", "routed_ffn", "rand" } do
    local holder = name == "rand" and core or core.ops
    real[name] = holder[name]
    holder[name] = function(...)
      names[#names + 1] = name
      return real[name](...)
    end
  end
  local function call(f) f(first, second, bam.randn(B, T, D), {}) end
  local good, message = pcall(function()
    call(early_routing.call_both)
    names[#names + 1] = "|"
    call(in_turn)
  end)
  for name, f in pairs(real) do (name == "rand" and core or core.ops)[name] = f end
  assert(good, message)
  expect.equal(table.concat(names, " "), "rand rand expert_order mixture_of_attention routed_ffn | "
               .. "rand mixture_of_attention rand expert_order routed_ffn")
end)

test("routers of scripts run in their order", function()
  local seen = {}
  local function noisy(what, k)
    return function()
      return function(h, batch)
        seen[#seen + 1] = what
        batch.notes = (batch.notes or "") .. what
        local gates = (h:sum(-1, true):expand(B, T, k) + bam.rand(B, T, k)):softmax(-1)
        local experts = k == 2 and (bam.rand(B, T, k) * 4):floor():to "i64" + 1 or nil
        return gates, experts
      end
    end
  end
  expect_same(attention { router = noisy("a", 3) }, ffn { router = noisy("f", 2) })
  expect.equal(table.concat(seen), "afaf")
end)

test("a layer whose forward a script has written is called as a whole", function()
  local names = {}
  local Own = nn.module("Own", nn.RoutedFFN)
  function Own:forward(h, batch)
    names[#names + 1] = "own"
    return nn.RoutedFFN.forward(self, h, batch)
  end
  local router = function()
    return function(h)
      names[#names + 1] = "router"
      return h:sum(-1, true), bam.ones(B, T, 1, { dtype = "i64" })
    end
  end
  local first = attention()
  function first.forward(self, h, batch)
    names[#names + 1] = "attention"
    return nn.MixtureOfAttention.forward(self, h, batch)
  end
  local own = Own { width = D, hidden = 20, experts = 4, router = router }
  early_routing.call_both(attention(), own, bam.randn(B, T, D), {})
  early_routing.call_both(first, ffn { router = router }, bam.randn(B, T, D), {})
  expect.equal(table.concat(names, " "), "own router attention router")
  local x = bam.randn(B, T, D)
  local a, b = early_routing.call_both(function(h) return h + 1 end, function(h) return h * 2 end, x, {})
  expect.equal({ a:totable(), b:totable() }, { (x + 1):totable(), (x * 2):totable() })
end)

test("a failure in attention leaves the order of backward as it was", function()
  local first = attention()
  first.out = bam.randn(5, 5)
  expect.raises("mixture_of_attention", function()
    early_routing.call_both(first, ffn(), bam.randn(B, T, D), {})
  end)
  local place = core.reserve_nodes()
  expect.compare(core.reserve_nodes(), ">", place)
  expect_same(attention(), ffn())
end)

test("as many experts as gates", function()
  local router = function()
    return function(h) return h:sum(-1, true), bam.ones(B, T, 2, { dtype = "i64" }) end
  end
  expect.raises("gates are (3, 16, 1); experts must have the same shape, one per gate, and are (3, 16, 2)", function()
    ffn { router = router }(bam.randn(B, T, D))
  end)
end)
