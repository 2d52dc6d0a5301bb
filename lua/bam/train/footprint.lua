-- The memory of a micro-batch at its peak, tensor by tensor as the ops of engine/ops save and make them: what all
-- layers keep for backward, and the temporaries of the op that needs the most. It is a prediction for bam's own layers;
-- those of a script count as SwiGLU and attention of their size.
local blocks = require "bam.model.blocks.registry"
local parts = require "bam.model.parts"
local precision = require "bam.train.precision"
local sparse = require "bam.model.sparse"

local M = {}

local ELEMENT = { f32 = 4, bf16 = 2, fp8 = 2 }
local REAL, INTEGER = 4, 8 -- bytes of what is f32 in both, and of ids

--- What a storage of `bytes` takes (engine/core/memory.c): one of eight sizes per power of two; from 1 MB on a device
--- its own size, in steps of 512 bytes.
---@param bytes integer
---@param on_device boolean
---@return integer
function M.storage(bytes, on_device)
  if bytes <= 512 then return (bytes + 63) // 64 * 64 end
  local step = 64
  if on_device and bytes >= 1 << 20 then
    step = 512
  else
    while 16 * step < bytes do step = 2 * step end
  end
  return (bytes + step - 1) // step * step
end

local Sum = {} -- adds up tensors
Sum.__index = Sum

-- A tensor with `width` numbers per token.
function Sum:add(width, bytes)
  self.bytes = self.bytes + M.storage(self.tokens * width * (bytes or self.element), self.on_device)
  return self
end

local function new_sum(o)
  return setmetatable({ bytes = 0, tokens = o.tokens, on_device = o.on_device, element = ELEMENT[o.dtype] }, Sum)
end

-- The sizes of a layer.
local function sizes(d, layer)
  local dense, a = sparse.dense(d, layer), d.attention
  local experts = dense and 1 or d.ffn.experts
  local sets = a.kv == "own" and a.experts or 1
  return { width = d.width, hidden = dense or parts.hidden(d), experts = experts,
           top_k = experts > 1 and (type(d.ffn.top_k) == "number" and d.ffn.top_k or experts) or 1,
           attention_experts = a.experts, heads = a.experts * d.heads,
           queries = a.experts * d.heads * d.head_width, keys = sets * d.kv_heads * d.head_width }
end

-- Logits, probabilities and their normalizer, gates and choices.
local function keep_router(sum, experts, chosen)
  if experts == 1 then return end
  sum:add(experts, REAL):add(experts, REAL):add(1, REAL):add(chosen, REAL):add(chosen, INTEGER)
end

-- Each norm: the sum that it normalizes, and its result or, after attention and FFN, what it reads.
local function keep_norms(sum, d, s)
  for _ = 1, #blocks.of(d).norms do sum:add(s.width):add(s.width):add(3, REAL) end
end

local function keep_attention(sum, d, s)
  keep_router(sum, s.attention_experts, s.attention_experts)
  sum:add(s.queries + 2 * s.keys):add(s.queries):add(2 * s.heads, REAL)
  if d.qk_norm then -- normalized, then rotated, by ops of their own
    for _ = 1, 2 do sum:add(s.queries):add(s.keys) end
  end
end

local function keep_ffn(sum, s)
  if s.experts == 1 then
    sum:add(2 * s.hidden):add(s.hidden)
  else
    keep_router(sum, s.experts, s.top_k)
    sum:add(2 * s.top_k * s.hidden):add(s.top_k, INTEGER):add(s.top_k, INTEGER)
  end
end

-- The codes of FP8 in the backward of a linear layer: those of the gradient, as it lies and transposed, with those of
-- the weight, then those of the transpose with those of the input.
local function codes(o, inputs, outputs)
  if o.dtype ~= "fp8" or not precision.is_whole(o.tokens, inputs, outputs) then return 0 end
  local function bytes(n) return M.storage(n, o.on_device) end
  local grad = bytes(o.tokens * outputs)
  return grad + math.max(grad + bytes(inputs * outputs), bytes(o.tokens * inputs))
end

-- The most that the last layer's backward needs besides. The gradient of the residual stream is there all along.
local function temporaries(o, s)
  local ffn, attention = new_sum(o):add(s.width), new_sum(o):add(s.width):add(s.width)
  if s.experts == 1 then
    ffn:add(s.hidden):add(2 * s.hidden)
  else -- rows sorted by expert: the tokens' or their gradients, and those of the hidden layer
    ffn:add(s.top_k * s.width):add(s.width):add(s.top_k * s.hidden):add(2 * s.top_k * s.hidden)
  end
  attention:add(s.queries):add(s.queries + 2 * s.keys):add(s.heads, REAL)
  if s.attention_experts > 1 then attention:add(s.queries) end
  attention.bytes = attention.bytes + codes(o, s.width, s.queries + 2 * s.keys)
  if s.experts == 1 then ffn.bytes = ffn.bytes + codes(o, s.width, 2 * s.hidden) end
  return math.max(ffn.bytes, attention.bytes)
end

-- Tokens of a chunk of head and loss (engine/ops/linear_cross_entropy.c). A device is taken to have memory for 8192.
local function chunk(o, vocab)
  local row = ELEMENT[o.dtype] * vocab
  return math.max(1, math.min(o.tokens, o.on_device and 8192 or math.min(512, 100000000 // row)))
end

-- Logits of a chunk, the gradient of the last norm's result, statistics and losses.
local function head(o, d)
  local logits = M.storage(chunk(o, d.vocab) * d.vocab * ELEMENT[o.dtype], o.on_device)
  return logits + new_sum(o):add(d.width):add(2, REAL):add(1, 8).bytes
end

--- Predict the bytes of a micro-batch at its peak.
---@param d table description
---@param o { tokens: integer, dtype: string, on_device: boolean }
---@return integer
function M.bytes(d, o)
  local kept = new_sum(o)
  for _ = 1, 4 do kept:add(1, INTEGER) end -- ids, targets, documents and positions
  kept:add(1, INTEGER) -- where documents start
  if d.rope_base ~= 0 then kept:add(d.head_width, REAL) end -- the table of rotations
  for layer = 1, d.layers do
    local s = sizes(d, layer)
    keep_norms(kept, d, s)
    keep_attention(kept, d, s)
    keep_ffn(kept, s)
  end
  kept:add(d.width):add(d.width):add(3, REAL) -- the last norm
  return kept.bytes + math.max(head(o, d), temporaries(o, sizes(d, d.layers)))
end

return M
