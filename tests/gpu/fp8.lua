-- Products of linear layers in FP8 on "cuda": the mixture of attention gives the bits of the ops that it is made of, a
-- model has FP8 where m:fp8() says and nowhere else, and its losses are near those in bf16. Values of the op `linear` are
-- tested in tests/engine/test_fp8.c. Run by tests/gpu/window.sh on a GPU, and over the shim of tests/simt.
local bam = require "bam"
local core = require "bam.core"

local ops = core.ops

bam.device "cuda"
bam.seed(1)
if not core.multiplies_fp8() then error "this device has no FP8; it takes compute capability 8.9" end

local function bits(x) return core.hash_tensor(x:contiguous()) end

local function same(a, b, what) assert(a.dtype == b.dtype and bits(a) == bits(b), what) end

local function leaf(...)
  local x = (bam.rand(...) * 2 - 1):to "bf16"
  x.requires_grad = true
  return x
end

-- How far two tensors are apart, in relation to the largest element.
local function distance(a, b)
  a, b = a:to "f64", b:to "f64"
  return ((a - b):abs():max() / b:abs():max()):item()
end

-- ---- attention ----

local B, T, D, N, H, K = 2, 16, 32, 2, 2, 16 -- N experts of H heads, with keys and values of one

-- The op in the ops that it is made of; queries are in the order (expert, head).
local function in_several_ops(x, qkv, out, gates, fp8)
  local all = ops.view(ops.linear(x, qkv, nil, nil, fp8), B, T, -1, K)
  local q, k = ops.rope(ops.narrow(all, 3, 1, N * H)), ops.rope(ops.narrow(all, 3, N * H + 1, 1))
  local o = ops.attention(q, k, ops.narrow(all, 3, N * H + 2, 1))
  o = ops.to(ops.mul(ops.view(o, B, T, N, H * K), ops.reshape(gates, B, T, N, 1)), "bf16")
  return ops.linear(ops.view(o, B, T, N * H * K), out, nil, nil, fp8)
end

local function in_one_op(x, qkv, out, gates, fp8)
  return ops.mixture_of_attention(x, qkv, out, gates, nil, nil, nil, nil, { heads = H, kv_heads = 1, fp8 = fp8 })
end

local function gradients_of(f, fp8)
  bam.seed(2)
  local inputs = { leaf(B, T, D), leaf((N * H + 2) * K, D), leaf(D, N * H * K), bam.rand(B, T, N) }
  inputs[4].requires_grad = true
  local y = f(inputs[1], inputs[2], inputs[3], inputs[4], fp8)
  y:backward((bam.rand(B, T, D) * 2 - 1):to "bf16")
  for i, x in ipairs(inputs) do inputs[i] = x.grad end
  return y, inputs
end

local one, one_grads = gradients_of(in_one_op, true)
local several, several_grads = gradients_of(in_several_ops, true)
local narrow, narrow_grads = gradients_of(in_one_op, false)
same(one, several, "attention in one op and in several")
assert(distance(one, narrow) > 0.005, "attention is not in FP8")
-- The gradients of queries and keys are rounded to bf16 in other places, and E5M2 has 3 significant bits.
for i = 1, 4 do
  local near, apart = distance(one_grads[i], several_grads[i]), distance(one_grads[i], narrow_grads[i])
  assert(near < 0.04 and apart > 3 * near, string.format("gradient %d: %g from several ops, %g from bf16", i, near, apart))
end

-- ---- a model ----

local ids = bam.randint(0, 49, 2, 16)

local function model_of(seed)
  bam.seed(seed)
  local dense = bam.models.parallel { layers = 2, width = 32, heads = 2, ffn = 32, vocab = 50, context = 16 }
  local mix = bam.mix { experts = { dense:build(), dense:build() }, attention = { kv = "shared" }, ffn = { top_k = 1 } }
  return dense:build():to "bf16", mix:build():to "bf16"
end

local function losses(model)
  local optimizer, list = bam.optim.AdamW(model), {}
  model:train()
  for step = 1, 6 do
    optimizer:zero_grad()
    local loss = model:loss(ids, ids)
    loss:backward()
    optimizer:step(3e-3)
    list[step] = loss:item()
  end
  return list
end

local dense, mixture = model_of(3)
local before = dense(ids)
assert(dense:fp8() == dense)
assert(distance(dense(ids), before) > 1e-3, "m:fp8() changes products")
same(dense:fp8(false)(ids), before, "m:fp8(false) takes it back")
for name, m in mixture:fp8():named_modules() do
  local is_attention = name:find "attention$" ~= nil
  assert((m._fp8 or false) == is_attention, name)
end

-- Batches whose tokens are not a multiple of 16 are computed in bf16.
local few = ids:narrow(2, 1, 9):contiguous()
local plain = dense(few)
same(dense:fp8()(few), plain, "18 tokens")

for i = 1, 2 do
  local narrow_model, model = select(i, model_of(3)), select(i, model_of(3))
  local want, got = losses(narrow_model), losses(model:fp8())
  assert(bits(model.embed.weight) ~= bits(narrow_model.embed.weight))
  for step = 1, #want do
    assert(math.abs(got[step] / want[step] - 1) < 0.02, string.format("step %d: %g, not %g", step, got[step], want[step]))
  end
  assert(got[#got] < got[1])
end
