-- Parameters and FLOPs of a description, by the paper's conventions (paper: Tables 7, 8, 10);
-- nothing is allocated. Routers count as the built-in, linear ones; a scheduled top_k counts with
-- its value at the end of the run.
local schedules = require "bam.model.schedules"
local params = require "bam.model.params"
local parts = require "bam.model.parts"
local windows = require "bam.model.families.windows"

local M = {}

-- Parameters by kind; those of the FFN experts apart, as a token uses only some of them. `dense` are those of FFNs in
-- layers without experts.
local function by_kind(d)
  local n = { embedding = 0, norm = 0, attention = 0, ffn = 0, dense = 0, router = 0, head = 0 }
  for _, entry in ipairs(params.list(d)) do
    local kind = entry.kind == "ffn" and d.ffn.experts > 1 and not entry.expert and "dense" or entry.kind
    n[kind] = n[kind] + params.size(entry)
  end
  return n
end

-- What a token uses of the FFN experts. All attention experts are used, also under top-k routing:
-- they are computed, and their gates may be 0.
local function active_ffn(d, n) return n.ffn // d.ffn.experts * schedules.last(d.ffn.top_k) + n.dense end

--- Parameters: all, and those that one token uses.
---@param d table description
---@return integer total
---@return integer active
function M.parameters(d)
  local n = by_kind(d)
  local rest = n.embedding + n.norm + n.attention + n.router + n.head
  return rest + n.ffn + n.dense, rest + active_ffn(d, n)
end

-- Width of all attention experts' queries together; a script's class counts the scores itself.
local function attention_width(d)
  return d.attention.class and 0 or d.attention.experts * d.heads * d.head_width
end

-- FLOPs of one token in one layer of a part at inference, without attention scores; `active` are the parameters that it
-- uses in all layers.
local function part_flops(d, which, active, context)
  if not d[which].class then return 2 * (active // d.layers) end
  local experts = which == "ffn" and schedules.last(d.ffn.top_k) or 1
  return experts * math.floor(parts.flops(d, which, context) + 0.5)
end

-- Twice the keys that a token sees on average, over all layers: the context where there is no window of fewer tokens.
local function scores_length(d, context)
  if not d.window then return d.layers * context end
  local sum = 0
  for layer = 1, d.layers do
    local window = windows.of(d, layer)
    sum = sum + (window > 0 and window < context and 2 * window - window * window // context or context)
  end
  return sum
end

-- One token in one layer at inference, as the paper counts (Tables 7 and 10): half of the attention
-- scores, no head. 8 N d² + 2 N n_ctx d for attention with full heads, 3 k d d_ff for the FFN with
-- d_ff twice the hidden width, 2 N d for a router.
local function layer_flops(d, n, context)
  local scores = 2 * (scores_length(d, context) // d.layers) * attention_width(d)
  local attention = part_flops(d, "attention", n.attention, context) + scores
  local ffn = part_flops(d, "ffn", active_ffn(d, n), context)
  local router = 2 * (n.router // d.layers)
  return { attention = attention, ffn = ffn, router = router, total = attention + ffn + router }
end

--- FLOPs per token at a context of so many tokens. `layer`: of one layer at inference, by the
--- paper's formulas (total, attention, ffn, router); the mean of all layers if they have windows.
--- `training`: 6 * (active matrix parameters, the head once, the input embedding not) + 6 L T *
--- (attention width over all experts), causal: what speed and compute-matching go by. `palm`: the
--- same with PaLM's 12 L T, which does not halve attention.
---@param d table description
---@param context integer
---@return table
function M.flops(d, context)
  local n = by_kind(d)
  local head = d.tied and n.embedding or n.head
  local own, attention, ffn = 0, n.attention, active_ffn(d, n)
  if d.attention.class then own, attention = own + part_flops(d, "attention", 0, context), 0 end
  if d.ffn.class then own, ffn = own + part_flops(d, "ffn", 0, context), 0 end
  local matrices = attention + n.router + ffn + head
  local scores = 6 * scores_length(d, context) * attention_width(d)
  local rest = 6 * matrices + 3 * d.layers * own -- a backward pass takes twice the forward pass
  return { layer = layer_flops(d, n, context), training = rest + scores, palm = rest + 2 * scores }
end

return M
