-- A BAM block (soft attention experts with shared KV, a top-1 routed FFN, auxiliary losses; BAM §3, §4) written with
-- public ops: it proves that the op interface carries the method. Attention experts run as heads of one
-- attention, in (KV head, expert, group) order, and agree with the loop over experts that defines them.
local bam = require "bam"

bam.seed(7)
local B, T, D, H, G, K, F, N = 2, 9, 16, 4, 2, 4, 12, 3
local DTYPE = { dtype = "f64" }

local function matrix(rows, columns) return (bam.randn(rows, columns, DTYPE) * 0.3):detach():requires_grad_() end

-- ---- parameters, under the names of a checkpoint ----
local function new_parameters()
  local p = { norm = bam.ones(D, { dtype = "f64", requires_grad = true }) }
  p["self_attn.k_proj.weight"] = matrix(G * K, D)
  p["self_attn.v_proj.weight"] = matrix(G * K, D)
  p["self_attn.router.weight"] = matrix(N, D)
  p["mlp.router.weight"] = matrix(N, D)
  for e = 0, N - 1 do
    local attention, ffn = string.format("self_attn.experts.%d.", e), string.format("mlp.experts.%d.", e)
    p[attention .. "q_proj.weight"] = matrix(H * K, D)
    p[attention .. "o_proj.weight"] = matrix(D, H * K)
    p[ffn .. "gate_up.weight"] = matrix(2 * F, D)
    p[ffn .. "down_proj.weight"] = matrix(D, F)
  end
  return p
end

local function expert(p, e, name) return p[string.format("self_attn.experts.%d.%s.weight", e - 1, name)] end

-- ---- the definition: a loop over experts ----
local function attention_loop(p, h)
  local gates = bam.linear(h, p["self_attn.router.weight"]):softmax(-1) -- [B, T, N]
  local k = bam.rope(bam.linear(h, p["self_attn.k_proj.weight"]):reshape(B, T, G, K))
  local v = bam.linear(h, p["self_attn.v_proj.weight"]):reshape(B, T, G, K)
  local sum
  for e = 1, N do
    local q = bam.rope(bam.linear(h, expert(p, e, "q_proj")):reshape(B, T, H, K))
    local o = bam.attention(q, k, v):reshape(B, T, H * K)
    local y = bam.linear(o, expert(p, e, "o_proj")) * gates:narrow(-1, e, 1)
    sum = sum and sum + y or y
  end
  return sum
end

-- ---- the same as one QKV GEMM, one attention over N·H heads, one output GEMM ----
local R = H // G -- query heads per KV head

-- [H*K, D] rows per expert -> [G*N*R*K, D] in (KV head, expert, group) order.
local function stack_queries(p)
  local list = {}
  for e = 1, N do list[e] = expert(p, e, "q_proj"):reshape(G, R * K, D) end
  return bam.stack(list, 2):reshape(G * N * R * K, D)
end

-- [D, H*K] columns per expert -> [D, G*N*R*K].
local function stack_outputs(p)
  local list = {}
  for e = 1, N do list[e] = expert(p, e, "o_proj"):reshape(D, G, R * K) end
  return bam.stack(list, 3):reshape(D, G * N * R * K)
end

local function attention_heads(p, h)
  local gates = bam.linear(h, p["self_attn.router.weight"]):softmax(-1)
  local qkv = bam.linear(h, bam.concat({ stack_queries(p), p["self_attn.k_proj.weight"],
                                         p["self_attn.v_proj.weight"] }, 1))
  local parts = qkv:split({ N * H * K, G * K, G * K }, -1)
  local q = bam.rope(parts[1]:reshape(B, T, N * H, K))
  local k = bam.rope(parts[2]:reshape(B, T, G, K))
  local o = bam.attention(q, k, parts[3]:reshape(B, T, G, K)) -- grouped-query attention with N·R heads per KV head
  local folded = o:reshape(B, T, G, N, R * K) * gates:reshape(B, T, 1, N, 1)
  return bam.linear(folded:reshape(B, T, N * H * K), stack_outputs(p))
end

-- ---- routed FFN, top 1, with the auxiliary losses (BAM §4.2) ----
local function routed_ffn(p, h)
  local tokens = h:reshape(B * T, D)
  local logits = bam.linear(tokens, p["mlp.router.weight"])
  local gates = logits:softmax(-1)
  local top, chosen = gates:topk(1, -1)
  chosen = chosen:squeeze(-1)
  local y, share = bam.zeros(B * T, D, DTYPE), {}
  for e = 1, N do
    local mine = chosen:eq(e)
    share[e] = mine:sum():item() / (B * T)
    if share[e] > 0 then
      local rows = bam.arange(B * T)[mine]
      local name = string.format("mlp.experts.%d.", e - 1)
      local out = bam.linear(bam.swiglu(bam.linear(tokens[rows], p[name .. "gate_up.weight"])),
                             p[name .. "down_proj.weight"])
      y = y:index_add(rows, out * top[rows], 1)
    end
  end
  local balance = (gates:mean(1) * bam.tensor(share, DTYPE)):sum() * N
  local z = logits:logsumexp(-1)
  return y:reshape(B, T, D), balance, (z * z):mean()
end

local function block(p, x, attention)
  local h = bam.layer_norm(x, p.norm)
  local ffn, balance, z = routed_ffn(p, h)
  return x + attention(p, h) + ffn, balance, z
end

-- ---- both forms agree, values and gradients ----
local function close(a, b, what)
  local worst = (a - b):abs():max():item()
  assert(worst < 1e-12, string.format("%s differ by %g", what, worst))
end

local x, target = bam.randn(B, T, D, DTYPE), bam.randn(B, T, D, DTYPE)
local function loss_of(p, attention)
  local y, balance, z = block(p, x, attention)
  return ((y - target) ^ 2):mean() + 0.01 * balance + 0.001 * z, y
end

local p = new_parameters()
local loops, y_loop = loss_of(p, attention_loop)
loops:backward()
local expected = {}
for name, w in pairs(p) do
  expected[name] = w.grad and w.grad:clone()
  w.grad = nil
end
local heads, y_heads = loss_of(p, attention_heads)
heads:backward()
close(y_loop, y_heads, "outputs")
for name, w in pairs(p) do
  if expected[name] then close(expected[name], w.grad, name) end
  w.grad = nil
end

-- N copies of one attention, softly mixed, are that attention: the gates sum to 1.
local same = new_parameters()
for e = 1, N - 1 do
  for _, name in ipairs { "q_proj", "o_proj" } do
    same[string.format("self_attn.experts.%d.%s.weight", e, name)] = expert(same, 1, name)
  end
end
local h = bam.layer_norm(x, same.norm)
local q = bam.rope(bam.linear(h, expert(same, 1, "q_proj")):reshape(B, T, H, K))
local k = bam.rope(bam.linear(h, same["self_attn.k_proj.weight"]):reshape(B, T, G, K))
local v = bam.linear(h, same["self_attn.v_proj.weight"]):reshape(B, T, G, K)
close(attention_heads(same, h), bam.linear(bam.attention(q, k, v):reshape(B, T, H * K), expert(same, 1, "o_proj")),
      "mixture of copies and the attention itself")

-- ---- it trains in flat buffers, and a saved copy continues with the same bits ----
local function named(parameters)
  local list = {}
  for name, tensor in pairs(parameters) do list[#list + 1] = { name = name, tensor = tensor } end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local function train(parameters, optimizer, steps)
  local losses = {}
  for step = 1, steps do
    losses[step] = bam.scope(function()
      optimizer:zero_grad()
      local loss = loss_of(parameters, attention_heads)
      loss:backward()
      optimizer:step()
      return loss:item()
    end)
  end
  return losses
end

local optimizer = bam.optim.AdamW(named(p), { lr = 0.01 })
local first = train(p, optimizer, 10)
assert(first[10] < first[1], "the loss does not fall")

local path = os.tmpname()
bam.save(path, p)
bam.save(path .. ".optim", optimizer:state())
local expected_losses = train(p, optimizer, 5)

local loaded = {}
for name, tensor in pairs((bam.load(path))) do loaded[name] = tensor:clone():requires_grad_() end
local resumed = bam.optim.AdamW(named(loaded), { lr = 0.01 })
resumed:load_state((bam.load(path .. ".optim")))
local resumed_losses = train(loaded, resumed, 5)
os.remove(path)
os.remove(path .. ".optim")
for step = 1, 5 do
  assert(expected_losses[step] == resumed_losses[step],
         string.format("step %d: %.17g, resumed %.17g", step, expected_losses[step], resumed_losses[step]))
end
print("mixture: ok")
