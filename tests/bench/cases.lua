-- What the benchmark measures. A case has a title, the line that makes tests/bench/peer.py do the
-- same work, and prepare(), which gives a function that does it once. `flops` and `bytes` are those
-- of the mathematics: nothing counts that is computed again, and each array counts once. `per` is
-- how many small operations one call does.
local bam = require "bam"
local nn = bam.nn

local cases = {}

local function add(case)
  case.peer = string.format("%s %s", case.kind, table.concat(case.sizes, " "))
  cases[#cases + 1] = case
end

local function grad(...) return bam.randn(...):requires_grad_() end

-- ---- matrix products ----

local function matmul(batch, m, k, n)
  local title = string.format("matmul %dx%d · %dx%d", m, k, k, n)
  add {
    title = batch > 1 and string.format("%s, %d at once", title, batch) or title,
    kind = "matmul", sizes = { batch, m, k, n }, flops = 2 * batch * m * k * n,
    prepare = function()
      local a = batch > 1 and bam.randn(batch, m, k) or bam.randn(m, k)
      local b = batch > 1 and bam.randn(batch, k, n) or bam.randn(k, n)
      return function() local y <close> = bam.matmul(a, b) end
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
  local forward_flops = 4 * B * H * K * T * (T + 1) // 2
  add {
    title = string.format("attention %s, B=%d T=%d H=%d%s K=%d",
                          backward and "fwd+bwd" or "forward", B, T, H,
                          G ~= H and string.format(" G=%d", G) or "", K),
    kind = "attention", sizes = { B, T, H, G, K, backward and 1 or 0 },
    flops = (backward and 3 or 1) * forward_flops,
    prepare = function()
      local q, k, v = bam.randn(B, T, H, K), bam.randn(B, T, G, K), bam.randn(B, T, G, K)
      if not backward then return function() local y <close> = bam.attention(q, k, v) end end
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

local function layer_norm(rows, D)
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

local function head(rows, D, V)
  add {
    title = string.format("linear_cross_entropy fwd+bwd, %dx%d, V=%d", rows, D, V),
    kind = "linear_cross_entropy", sizes = { rows, D, V }, flops = 6 * rows * D * V,
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

-- ---- the optimiser, the interpreter ----

add {
  title = "AdamW, 10 M parameters", kind = "adamw", sizes = { 10000000 }, bytes = 4 * 7 * 10000000,
  prepare = function()
    local p = grad(10000000)
    local opt = bam.optim.AdamW({ p }, { lr = 1e-3, weight_decay = 0.1 })
    p.grad:copy_(bam.randn(10000000))
    return function() opt:step() end
  end,
}

add {
  title = "add of 2 elements, recorded", kind = "add", sizes = { 1000 }, per = 1000,
  prepare = function()
    local a, b = grad(2), bam.randn(2)
    return function()
      for _ = 1, 1000 do local _ = a + b end
    end
  end,
}

-- ---- a whole model ----

local Block = nn.module "Block"

function Block:init(width, heads, hidden)
  self.norm = nn.LayerNorm(width, { bias = false })
  self.attn = nn.Attention { width = width, heads = heads }
  self.ffn = nn.SwiGLU { width = width, hidden = hidden }
end

-- `branch` is what the block before adds to the residual stream x: added and normalised at once.
function Block:forward(x, branch)
  local h
  if branch then h, x = self.norm(x, branch) else h = self.norm(x) end
  return x, self.attn(h) + self.ffn(h)
end

local Model = nn.module "Model"

function Model:init(layers, width, heads, hidden, vocabulary)
  self.embed = nn.Embedding(vocabulary, width)
  self.layers = {}
  for i = 1, layers do self.layers[i] = Block(width, heads, hidden) end
  self.norm = nn.LayerNorm(width, { bias = false })
  self.head = nn.Linear(width, vocabulary, { bias = false })
end

function Model:forward(tokens, targets)
  local x, branch = self.embed(tokens), nil
  for _, layer in ipairs(self.layers) do x, branch = layer(x, branch) end
  local h = self.norm(x, branch)
  return bam.linear_cross_entropy(h, self.head.weight, targets, { scale = 1 / targets:count() })
end

local function model(layers, D, H, F, V, B, T, update)
  local matrices = layers * (4 * D * D + 3 * D * F) + V * D
  add {
    title = string.format("%s, %d layers, width %d, %dx%d tokens",
                          update and "training step" or "model fwd+bwd", layers, D, B, T),
    kind = "model", sizes = { layers, D, H, F, V, B, T, update and 1 or 0 }, tokens = B * T,
    flops = B * T * (6 * matrices + 6 * layers * T * D),
    prepare = function()
      local net = Model(layers, D, H, F, V)
      local opt = bam.optim.AdamW(net, { lr = 1e-4 })
      local tokens, targets = bam.randint(0, V - 1, B, T), bam.randint(0, V - 1, B, T)
      local function step()
        opt:zero_grad()
        net(tokens, targets):backward()
        if update then
          opt:clip(1)
          opt:step()
        end
      end
      return function() bam.scope(step) end
    end,
  }
end

model(4, 128, 4, 352, 2048, 8, 256, false)
model(4, 128, 4, 352, 2048, 8, 256, true)

return cases
