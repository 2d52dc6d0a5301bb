--- Cases of single ops at the paper's sizes, by group.
local bam = require "bam"
local core = require "bam.core"
local sizes = require "tests.gpu.timing.sizes"

local ops = core.ops
local M, groups = {}, {}

local function leaf(dtype, ...)
  local x = bam.randn(...):to(dtype)
  x.requires_grad = true
  return x
end

-- Forward and backward of f(...) with gradients of all inputs, which are dropped.
local function both(f, inputs, grad)
  return function()
    for _, x in ipairs(inputs) do x.grad = nil end
    f(table.unpack(inputs)):backward(grad)
  end
end

-- A plain copy of 4 GB, and the product that a card is rated by: what all other rows are shares of.
function groups.ceilings(s, case)
  local n = s.tiny and 1024 or 1 << 30
  local x, y = bam.rand(n), bam.zeros(n)
  case { case = "copy", dtype = "f32", bytes = 8 * n, step = function() y:copy_(x) end }
  local m = s.tiny and 32 or 8192
  local a, b = bam.randn(m, m):to(s.dtype), bam.randn(m, m):to(s.dtype)
  case { case = "product", m = m, n = m, k = m, flops = 2 * m ^ 3, step = function() return ops.matmul(a, b) end }
end

-- Forward and backward of each linear layer of models.
local function linear_layers(s, case, models, fp8)
  for _, size in ipairs(s.tiny and { "tiny" } or models) do
    local d = sizes.of(size)
    local head = d.width // d.heads
    local qkv = (d.heads + 2 * (d.kv_heads or d.heads)) * head
    for name, shape in pairs { qkv = { d.width, qkv }, out = { d.heads * head, d.width },
                               gate_up = { d.width, 2 * d.ffn }, down = { d.ffn, d.width } } do
      local x, w = leaf(s.dtype, s.tokens, shape[1]), leaf(s.dtype, shape[2], shape[1])
      local grad = bam.randn(s.tokens, shape[2]):to(s.dtype)
      local function linear(a, b) return ops.linear(a, b, nil, nil, fp8) end
      case { case = string.format(fp8 and "%s %s in FP8" or "%s %s", size, name), m = s.tokens, n = shape[2],
             k = shape[1], dtype = fp8 and "fp8" or s.dtype, flops = 6 * s.tokens * shape[1] * shape[2],
             step = both(linear, { x, w }, grad) }
    end
  end
end

function groups.products(s, case) linear_layers(s, case, { "small", "large" }, false) end

-- With the passes that encode their operands.
groups["products in FP8"] = function(s, case) linear_layers(s, case, { "large" }, true) end

-- Causal attention over 8 rows of 2048 tokens, in documents of 512 and without.
function groups.attention(s, case)
  local B, T, K = table.unpack(s.tiny and { 2, 32, 16 } or { 8, 2048, 128 })
  for _, heads in ipairs(s.tiny and { { 2, 1 } } or { { 18, 6 }, { 72, 6 }, { 72, 24 }, { 8, 8 }, { 32, 8 } }) do
    local q, k, v = leaf(s.dtype, B, T, heads[1], K), leaf(s.dtype, B, T, heads[2], K), leaf(s.dtype, B, T, heads[2], K)
    local grad = bam.randn(B, T, heads[1], K):to(s.dtype)
    local documents = ops.document_starts(bam.arange(0, T - 1):div(T // 4):floor():to("i64"):expand(B, T):contiguous())
    local flops = 2 * B * heads[1] * T * T * K -- two products, of which the causal half is needed
    for name, mask in pairs { ["one document"] = false, ["four documents"] = documents } do
      local share = mask and 1 / 4 or 1
      local function attend(a, b, c) return ops.attention(a, b, c, mask or nil) end
      local function forward() return attend(q:detach(), k:detach(), v:detach()) end
      case { case = string.format("forward, %s", name), heads = heads[1], kv_heads = heads[2], rows = B, time = T,
             width = K, flops = share * flops, step = forward }
      case { case = string.format("forward and backward, %s", name), heads = heads[1], kv_heads = heads[2], rows = B,
             time = T, width = K, flops = share * 3.5 * flops,
             step = both(attend, { q, k, v }, grad) }
    end
  end
end

function groups.head(s, case)
  local T, D, V = table.unpack(s.tiny and { 32, 16, 300 } or { 8192, 2304, 256000 })
  local x, w, targets = leaf(s.dtype, T, D), leaf(s.dtype, V, D), bam.randint(0, V - 1, T)
  case { case = "head and loss", rows = T, width = D, vocab = V, flops = 6 * T * D * V,
         step = both(function(a, b) return ops.linear_cross_entropy(a, b, targets) end, { x, w }) }
end

function groups.optimizer(s, case)
  local p = leaf(s.dtype, s.tiny and 64 or 16384, s.tiny and 64 or 32768)
  p.grad = bam.randn(p.shape) -- of f32, as those of parameters of bf16 are
  local optimizer = bam.optim.AdamW({ p }, { lr = 1e-4 })
  local n = p:count()
  case { case = "AdamW", dtype = s.dtype, parameters = n, bytes = 28 * n, step = function() optimizer:step() end }
  case { case = "clip", dtype = s.dtype, parameters = n, bytes = 4 * n, step = function() optimizer:clip(1) end }
end

function groups.norm(s, case)
  local T, D = s.tokens, s.tiny and 64 or 2304
  local size = s.dtype == "bf16" and 2 or 4
  for name, f in pairs { layer_norm = ops.layer_norm, rms_norm = ops.rms_norm } do
    local x, w, grad = leaf(s.dtype, T, D), leaf("f32", D), bam.randn(T, D):to(s.dtype)
    if s.dtype ~= "f32" then w = leaf(s.dtype, D) end
    case { case = name, rows = T, width = D, bytes = 5 * size * T * D, step = both(f, { x, w }, grad) }
  end
end

groups["routed FFN"] = function(s, case)
  local d, T, N = sizes.of(s.tiny and "tiny" or "large"), s.tokens, sizes.EXPERTS
  local x, grad = leaf(s.dtype, T, d.width), bam.randn(T, d.width):to(s.dtype)
  local flops = 18 * T * d.width * d.ffn
  local up, down = leaf(s.dtype, 2 * d.ffn, d.width), leaf(s.dtype, d.width, d.ffn)
  case { case = "dense FFN of equal FLOPs", rows = T, flops = flops,
         step = both(function(a, b, c) return ops.linear(ops.swiglu(ops.linear(a, b)), c) end, { x, up, down }, grad) }
  up, down = leaf(s.dtype, N, 2 * d.ffn, d.width), leaf(s.dtype, N, d.width, d.ffn)
  local gates, experts = bam.ones(T, 1):to(s.dtype), bam.randint(1, N, T, 1)
  case { case = "routed FFN", rows = T, experts = N, flops = flops,
         step = both(function(a, b, c) return ops.routed_ffn(a, gates, experts, b, c) end, { x, up, down }, grad) }
end

--- Measure the cases of a group; false if there is no such group.
---@param name string
---@param options table with `tiny` and `device`
---@param case fun(of: table): number?
---@return boolean
function M.run(name, options, case)
  local group = groups[name]
  if not group then return false end
  group({ tiny = options.tiny, dtype = sizes.dtype(options.device), tokens = options.tiny and 64 or 16384 }, case)
  return true
end

return M
