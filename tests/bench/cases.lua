-- What the benchmark measures: loaded with a function that is given sizes and gives those to use. A
-- case has a title, the kind and sizes that make tests/bench/peer.py do the same work, and prepare(),
-- which gives a function that does it once. A case that PyTorch takes no part in may have another side
-- of its own, `other` = { name, step }. `flops` and `bytes` are those of the mathematics: nothing
-- counts that is computed again, and each array counts once. `per` is how many small operations one
-- call does. With `tf32` products may be computed from tf32. Of cases with `ceiling` the speeds are
-- those that others on a device have their shares of. Where new tensors go to a device there are
-- larger cases too, and they come first.
local bam = require "bam"
local models = require "tests.bench.models"

local used = ...
local cases = {}

local function add(case)
  if case.tf32 then case.title = string.format("%s, tf32", case.title) end
  cases[#cases + 1] = case
end

local function grad(...) return bam.randn(...):requires_grad_() end

-- ---- matrix products ----

local function matmul(batch, m, k, n, more)
  batch, m, k, n = used(batch, m, k, n)
  local title = string.format("matmul %dx%d · %dx%d", m, k, k, n)
  add {
    title = batch > 1 and string.format("%s, %d at once", title, batch) or title,
    kind = "matmul", sizes = { batch, m, k, n }, flops = 2 * batch * m * k * n,
    ceiling = more and more.ceiling, tf32 = more and more.tf32,
    prepare = function()
      local a = batch > 1 and bam.randn(batch, m, k) or bam.randn(m, k)
      local b = batch > 1 and bam.randn(batch, k, n) or bam.randn(k, n)
      return function() bam.matmul(a, b):close() end
    end,
  }
end

matmul(1, 512, 512, 512)
matmul(1, 1024, 1024, 1024)
matmul(1, 2048, 128, 384)  -- the demo model's projections: tokens x width · width x outputs
matmul(1, 2048, 352, 128)
matmul(1, 2048, 128, 2048) -- its head
matmul(32, 256, 32, 256)   -- as attention does it

-- ---- layers ----

local function attention(B, T, H, G, K, backward)
  B, T, H, G, K = used(B, T, H, G, K)
  local forward_flops = 4 * B * H * K * T * (T + 1) // 2
  add {
    title = string.format("attention %s, B=%d T=%d H=%d%s K=%d",
                          backward and "fwd+bwd" or "forward", B, T, H,
                          G ~= H and string.format(" G=%d", G) or "", K),
    kind = "attention", sizes = { B, T, H, G, K, backward and 1 or 0 },
    flops = (backward and 3 or 1) * forward_flops,
    prepare = function()
      local q, k, v = bam.randn(B, T, H, K), bam.randn(B, T, G, K), bam.randn(B, T, G, K)
      if not backward then return function() bam.attention(q, k, v):close() end end
      local seed = bam.randn(B, T, H, K)
      for _, x in ipairs { q, k, v } do x.requires_grad = true end
      return function()
        q.grad, k.grad, v.grad = nil, nil, nil
        local y <close> = bam.attention(q, k, v)
        y:backward(seed)
      end
    end,
  }
end

for _, backward in ipairs { false, true } do
  attention(8, 256, 4, 4, 32, backward)
  attention(2, 1024, 8, 8, 64, backward)
end
attention(2, 1024, 8, 2, 64, true)
attention(1, 8192, 4, 4, 32, true)

local function layer_norm(rows, D)
  rows, D = used(rows, D)
  add {
    title = string.format("layer_norm fwd+bwd, %dx%d", rows, D),
    kind = "layer_norm", sizes = { rows, D }, bytes = 4 * 5 * rows * D,
    prepare = function()
      local x, weight, seed = grad(rows, D), grad(D), bam.randn(rows, D)
      return function()
        x.grad, weight.grad = nil, nil
        local y <close> = bam.layer_norm(x, weight)
        y:backward(seed)
      end
    end,
  }
end

layer_norm(2048, 128)
layer_norm(8192, 1024)

local function head(rows, D, V, alone)
  rows, D, V = used(rows, D, V)
  add {
    title = string.format("linear_cross_entropy fwd+bwd, %dx%d, V=%d", rows, D, V),
    kind = not alone and "linear_cross_entropy" or nil, sizes = { rows, D, V }, flops = 6 * rows * D * V,
    prepare = function()
      local x, weight = grad(rows, D), (bam.randn(V, D) * D ^ -0.5):detach():requires_grad_()
      local targets = bam.randint(0, V - 1, rows)
      return function()
        x.grad, weight.grad = nil, nil
        local loss <close> = bam.linear_cross_entropy(x, weight, targets, { scale = 1 / rows })
        loss:backward()
      end
    end,
  }
end

head(2048, 128, 2048)
head(512, 512, 32000)
head(2048, 128, 256000, true) -- PyTorch, which makes 2 GB of logits, did not finish a round in 10 minutes

local function embedding(tokens, V, D)
  tokens, V, D = used(tokens, V, D)
  add {
    title = string.format("embedding fwd+bwd, %d tokens, V=%d D=%d", tokens, V, D),
    kind = "embedding", sizes = { tokens, V, D }, bytes = 4 * (3 * tokens + V) * D,
    prepare = function()
      local vectors, seed = grad(V, D), bam.randn(tokens, D)
      local ids = bam.randint(0, V - 1, tokens)
      return function()
        vectors.grad = nil
        local y <close> = bam.embedding(ids, vectors)
        y:backward(seed)
      end
    end,
  }
end

-- ---- mixtures ----

-- A weight [rows, columns], or of as many dimensions as there are sizes.
local function weight(...)
  local sizes = { ... }
  return (bam.randn(...) * sizes[#sizes] ^ -0.5):detach():requires_grad_()
end

-- A function that calls `step` on the leaves, whose gradients it drops first.
local function fresh(leaves, step)
  return function()
    for _, x in ipairs(leaves) do x.grad = nil end
    bam.scope(step, table.unpack(leaves))
  end
end

local function mixture_of_attention(B, T, D, H, N, shared)
  B, T, D, H, N = used(B, T, D, H, N)
  local rows = (N + 2 * (shared and 1 or N)) * D
  local products = 2 * B * T * D * (N + rows + N * D)
  add {
    title = string.format("mixture of attention fwd+bwd, B=%d T=%d D=%d H=%d N=%d, %s KV", B, T, D,
                          H, N, shared and "shared" or "own"),
    kind = "mixture_of_attention", sizes = { B, T, D, H, N, shared and 1 or 0 },
    flops = 3 * (products + 4 * B * N * D * T * (T + 1) // 2),
    prepare = function()
      local seed, options = bam.randn(B, T, D), { heads = H, kv_heads = H }
      local leaves = { grad(B, T, D), weight(N, D), weight(rows, D), weight(D, N * D) }
      return fresh(leaves, function(h, router, qkv, out)
        local gates = bam.softmax(bam.linear(h, router))
        bam.mixture_of_attention(h, qkv, out, gates, options):backward(seed)
      end)
    end,
  }
end

mixture_of_attention(8, 256, 128, 4, 4, true)
mixture_of_attention(8, 256, 128, 4, 4, false)

local function routed_ffn(tokens, D, F, N, k)
  tokens, D, F, N, k = used(tokens, D, F, N, k)
  add {
    title = string.format("routed FFN fwd+bwd, %d tokens, D=%d F=%d N=%d top-%d", tokens, D, F, N,
                          k),
    kind = "routed_ffn", sizes = { tokens, D, F, N, k }, flops = 6 * tokens * D * (N + k * 3 * F),
    prepare = function()
      local seed, coefficients = bam.randn(tokens, D), bam.tensor { 0.01, 0.001 }
      local leaves = { grad(tokens, D), weight(N, D), weight(N, 2 * F, D), weight(N, D, F) }
      return fresh(leaves, function(x, router, gate_up, down)
        local gates, experts, losses = bam.route(bam.linear(x, router), k)
        local y = bam.routed_ffn(x, gates, experts, gate_up, down)
        local loss = (y * seed):sum() + (losses * coefficients):sum()
        loss:backward()
      end)
    end,
  }
end

routed_ffn(2048, 128, 352, 4, 1)
routed_ffn(2048, 128, 352, 4, 2)

-- ---- the optimizer, the interpreter ----

local function adamw(count)
  count = used(count)
  add {
    title = string.format("AdamW, %s parameters",
                          count < 1e6 and count or string.format("%d M", count // 1000000)),
    kind = "adamw", sizes = { count }, bytes = 4 * 7 * count,
    prepare = function()
      local p = grad(count)
      local opt = bam.optim.AdamW({ p }, { lr = 1e-3, weight_decay = 0.1 })
      p.grad:copy_(bam.randn(count))
      return function() opt:step() end
    end,
  }
end

adamw(10000000)

local function copy(count)
  count = used(count)
  add {
    title = string.format("copy of %.0f MB", 4 * count / 1e6),
    kind = "copy", sizes = { count }, bytes = 4 * 2 * count, ceiling = true,
    prepare = function()
      local from, to = bam.randn(count), bam.zeros(count)
      return function() to:copy_(from) end
    end,
  }
end

add {
  title = "add of 2 elements, recorded", kind = "add", sizes = { 1000 }, per = 1000,
  prepare = function()
    local a, b = grad(2), bam.randn(2)
    return function()
      for _ = 1, 1000 do local _ = a + b end
    end
  end,
}

-- ---- whole models ----

local SMALL = { width = 128, heads = 4, ffn = 352, vocab = 2048, batch = 8, length = 256 }
local WIDE = { width = 512, heads = 8, ffn = 1408, vocab = 2048, batch = 8, length = 256 }
local PAPER = { width = 512, heads = 8, ffn = 1408, vocab = 32000, batch = 4, length = 256 }
local LARGE = { width = 768, heads = 12, ffn = 2048, vocab = 32000, batch = 8, length = 1024 }

local function model(title, of, layers, update, mixing, tf32)
  local case = { update = update, mixing = mixing, experts = mixing and 4 }
  case.layers = used(layers)
  case.width, case.heads, case.ffn, case.vocab = used(of.width, of.heads, of.ffn, of.vocab)
  case.batch, case.length = used(of.batch, of.length)
  case = models.case(title, case)
  case.tf32 = tf32
  add(case)
end

model("model fwd+bwd", SMALL, 4, false)
model("training step", SMALL, 4, true)
model("training step, dense", SMALL, 3, true)
model("training step, BTX", SMALL, 3, true, { experts = "mean" })
model("training step, BAM shared KV", SMALL, 3, true, { kv = "shared", routing = "soft" })
model("training step, BAM KV experts", SMALL, 3, true, { kv = "own", routing = "soft" })

model("training step, dense", WIDE, 2, true)
model("training step, BTX", WIDE, 1, true, { experts = "mean" })
model("training step, BAM shared KV", WIDE, 1, true, { kv = "shared", routing = "soft" })
model("training step, BAM KV experts", WIDE, 1, true, { kv = "own", routing = "soft" })
model("training step, dense, 32,000 words", PAPER, 1, true)

-- ---- a device's ----

if bam.device() ~= "cpu" then
  local others = cases
  cases = {}
  matmul(1, 4096, 4096, 4096, { ceiling = true })
  matmul(1, 4096, 4096, 4096, { ceiling = true, tf32 = true })
  copy(128000000)
  attention(4, 2048, 16, 16, 64, false)
  attention(4, 2048, 16, 16, 64, true)
  layer_norm(16384, 2048)
  head(8192, 1024, 32000)
  embedding(16384, 32000, 1024)
  adamw(100000000)
  local shared = { kv = "shared", routing = "soft" }
  model("training step, dense", LARGE, 12, true)
  model("training step, BAM shared KV", LARGE, 12, true, shared)
  model("training step, dense", LARGE, 12, true, nil, true)
  model("training step, BAM shared KV", LARGE, 12, true, shared, true)
  table.move(others, 1, #others, #cases + 1, cases)
end

return cases
