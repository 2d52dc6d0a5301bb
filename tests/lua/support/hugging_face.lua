-- What transformers computes from a checkpoint directory, step by step and in f64, as a second opinion: Hugging Face's
-- names, heads rotated in halves or in pairs, masks as matrices, experts one after the other. Slow and plain.
local bam = require "bam"
local core = require "bam.core"
local json = require "bam.util.json"

local M = {}

local function null(value) if value ~= json.null then return value end end

-- The slower frequency's share of YaRN at pair i, from 0.
local function yarn_share(rope, width, i)
  local function pair(turns)
    return width * math.log(rope.original_max_position_embeddings / (turns * 2 * math.pi)) / (2 * math.log(rope.rope_theta))
  end
  local first, last = math.max(math.floor(pair(rope.beta_fast)), 0), math.min(math.ceil(pair(rope.beta_slow)), width - 1)
  return math.min(math.max((i - first) / (last - first), 0), 1)
end

-- [T, width] cosines and sines of positions 0 .. T - 1, one pair of columns per frequency; `halves` says where its two are.
local function angles(c, time, width, halves)
  local rope, cos, sin = c.rope_parameters, {}, {}
  local scale = rope.attention_factor or 1
  for t = 1, time do
    cos[t], sin[t] = {}, {}
    for i = 1, width // 2 do
      local f = rope.rope_theta ^ (-2 * (i - 1) / width)
      if rope.rope_type == "linear" then f = f / rope.factor end
      if rope.rope_type == "yarn" then
        local share = yarn_share(rope, width, i - 1)
        f = f / rope.factor * share + f * (1 - share)
      end
      if rope.rope_type == "llama3" then
        local long, short = rope.original_max_position_embeddings / rope.low_freq_factor,
                            rope.original_max_position_embeddings / rope.high_freq_factor
        local wave = 2 * math.pi / f
        local smooth = (rope.original_max_position_embeddings / wave - rope.low_freq_factor)
          / (rope.high_freq_factor - rope.low_freq_factor)
        if wave > long then f = f / rope.factor
        elseif wave >= short then f = (1 - smooth) * f / rope.factor + smooth * f end
      end
      local a, b = halves and i or 2 * i - 1, halves and i + width // 2 or 2 * i
      cos[t][a], cos[t][b] = scale * math.cos((t - 1) * f), scale * math.cos((t - 1) * f)
      sin[t][a], sin[t][b] = scale * math.sin((t - 1) * f), scale * math.sin((t - 1) * f)
    end
  end
  return bam.tensor(cos, { dtype = "f64" }), bam.tensor(sin, { dtype = "f64" })
end

-- x [B, H, T, K]: (x1, x2) to (-x2, x1), where the two are halves of a head or neighbors.
local function turned(x, halves)
  local half = x:size(4) // 2
  if halves then return bam.concat({ -x:narrow(4, half + 1, half), x:narrow(4, 1, half) }, 4) end
  local pairs = x:reshape(x:size(1), x:size(2), x:size(3), half, 2)
  return bam.stack({ -pairs:select(5, 2), pairs:select(5, 1) }, 5):reshape(x.shape)
end

local function rms(x, weight, eps) return x * ((x * x):mean(-1, true) + eps):rsqrt() * weight end

local function layer_norm(x, weight, eps)
  local d = x - x:mean(-1, true)
  return d * ((d * d):mean(-1, true) + eps):rsqrt() * (weight or 1)
end

--- Everything of a directory that a forward pass needs.
---@param directory string
---@return table model { config, tensors }
function M.open(directory)
  local config = json.decode(core.read_file(string.format("%s/config.json", directory)))
  local tensors = bam.load(string.format("%s/model.safetensors", directory))
  for name, x in pairs(tensors) do tensors[name] = x:to "f64" end
  return { config = config, tensors = tensors }
end

local PAIRS = { cohere = true, cohere2 = true, cohere2_moe = true, glm = true } -- the others rotate in halves

-- x [B, H, T, K], of whose heads the first elements are rotated.
local function rotated(c, x, halves)
  local K = x:size(4)
  local width = math.floor(K * (c.rope_parameters.partial_rotary_factor or 1))
  local cos, sin = angles(c, x:size(3), width, halves)
  local part = x:narrow(4, 1, width)
  part = part * cos + turned(part, halves) * sin
  return width == K and part or bam.concat({ part, x:narrow(4, width + 1, K - width) }, 4)
end

-- Rows of a matrix that is stored with others in one.
local function rows_of(w, name, first, count) return w[name] and w[name]:narrow(1, first + 1, count) end

local function attention(m, prefix, x, layer)
  local c, w = m.config, m.tensors
  local B, T, K = x:size(1), x:size(2), null(c.head_dim) or c.hidden_size // c.num_attention_heads
  local H, G = c.num_attention_heads, c.num_key_value_heads
  local halves = not PAIRS[c.model_type]
  local before = { q = 0, k = H * K, v = (H + G) * K } -- rows, where they are in one matrix
  local function project(name, heads, norm)
    local weight = w[prefix .. name .. "_proj.weight"] or rows_of(w, prefix .. "qkv_proj.weight", before[name], heads * K)
    local y = x:matmul(weight:transpose(1, 2))
    local bias, scale = w[prefix .. name .. "_proj.bias"], norm and w[prefix .. norm .. ".weight"]
    if bias then y = y + bias end
    if scale and scale.ndim == 1 and scale:size(1) ~= K then y = rms(y, scale, c.rms_norm_eps) end
    y = y:reshape(B, T, heads, K)
    if scale and scale.ndim == 1 and scale:size(1) == K then y = rms(y, scale, c.rms_norm_eps) end
    if scale and scale.ndim == 2 then y = layer_norm(y, scale, c.layer_norm_eps) end
    return y:permute(1, 3, 2, 4)
  end
  local q, k, v = project("q", H, "q_norm"), project("k", G, "k_norm"), project("v", G)
  local kinds, window = null(c.layer_types), null(c.sliding_window)
  if kinds and kinds[layer] ~= "sliding_attention" or c.use_sliding_window == false then window = nil end
  if not (c.model_type:find "^cohere2" and not window) then
    q, k = rotated(c, q, halves), rotated(c, k, halves)
  end
  local function spread(y) return y:reshape(B, G, 1, T, K):expand(B, G, H // G, T, K):reshape(B, H, T, K) end
  local scores = q:matmul(spread(k):transpose(3, 4)) / math.sqrt(K)
  local at = bam.arange(T)
  local ahead = at:reshape(T, 1) - at:reshape(1, T) -- how far a key lies behind a query
  local hidden = ahead:lt(0)
  if window then hidden = hidden:logical_or(ahead:ge(window)) end
  local p = bam.where(hidden, -1e300, scores):softmax(-1)
  local o = p:matmul(spread(v)):permute(1, 3, 2, 4):reshape(B, T, H * K)
  local y = o:matmul(w[prefix .. "o_proj.weight"]:transpose(1, 2))
  local bias = w[prefix .. "o_proj.bias"]
  return bias and y + bias or y
end

local ACTIVATIONS = {
  silu = function(x) return x * x:sigmoid() end,
  gelu = function(x) return x:gelu() end,
  gelu_pytorch_tanh = function(x) return x:gelu(true) end,
}

local function gated(c, gate, up, down, x)
  local function product(weight, y) return y:matmul(weight:transpose(1, 2)) end
  return product(down, ACTIVATIONS[c.hidden_act](product(gate, x)) * product(up, x))
end

local function feed_forward(m, prefix, x)
  local c, w = m.config, m.tensors
  local down, fused = w[prefix .. "mlp.down_proj.weight"], prefix .. "mlp.gate_up_proj.weight"
  if down then
    return gated(c, w[prefix .. "mlp.gate_proj.weight"] or rows_of(w, fused, 0, c.intermediate_size),
                 w[prefix .. "mlp.up_proj.weight"] or rows_of(w, fused, c.intermediate_size, c.intermediate_size), down, x)
  end
  local old = w[prefix .. "block_sparse_moe.gate.weight"]
  local at = prefix .. (old and "block_sparse_moe." or "mlp.")
  local logits, k = x:matmul(w[at .. "gate.weight"]:transpose(1, 2)), c.num_experts_per_tok
  local p = logits:softmax(-1)
  local values, chosen = p:topk(k)
  if c.model_type == "cohere2_moe" then values = logits:topk(k):softmax(-1)
  elseif old or c.norm_topk_prob then values = values / values:sum(-1, true) end
  local y
  for e = 1, logits:size(-1) do
    local gate = bam.where(chosen:eq(e), values, 0):sum(-1, true)
    local parts = old and { "w1", "w3", "w2" } or { "gate_proj", "up_proj", "down_proj" }
    for i, part in ipairs(parts) do parts[i] = w[string.format("%sexperts.%d.%s.weight", at, e - 1, part)] end
    local term = gated(c, parts[1], parts[2], parts[3], x) * gate
    y = y and y + term or term
  end
  return y
end

--- Logits.
---@param m table as M.open gives it
---@param ids tensor [B, T]
---@return tensor [B, T, V]
function M.logits(m, ids)
  local c, w = m.config, m.tensors
  local eps = null(c.rms_norm_eps) or c.layer_norm_eps
  local function norm(name, x) return (null(c.rms_norm_eps) and rms or layer_norm)(x, w[name .. ".weight"], eps) end
  local x = bam.embedding(ids, w["model.embed_tokens.weight"])
  for layer = 1, c.num_hidden_layers do
    local prefix = string.format("model.layers.%d.", layer - 1)
    local function attend(h) return attention(m, prefix .. "self_attn.", h, layer) end
    if c.model_type == "olmo2" then
      x = x + norm(prefix .. "post_attention_layernorm", attend(x))
      x = x + norm(prefix .. "post_feedforward_layernorm", feed_forward(m, prefix, x))
    elseif c.model_type:find "^cohere" then
      local h = norm(prefix .. "input_layernorm", x)
      x = x + attend(h) + feed_forward(m, prefix, h)
    else
      x = x + attend(norm(prefix .. "input_layernorm", x))
      x = x + feed_forward(m, prefix, norm(prefix .. "post_attention_layernorm", x))
    end
  end
  local head = w["lm_head.weight"] or w["model.embed_tokens.weight"]
  return norm("model.norm", x):matmul(head:transpose(1, 2)) * (null(c.logit_scale) or 1)
end

return M
