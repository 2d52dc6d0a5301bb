--- What a micro-step of a model and its update do: FLOPs of products, of attention and of the head, bytes that the
--- kernels between them read and write, parameters, launches and waits. tests/simt/counts.lua holds it against the
--- trace of the shim, at a small size.
local launches = require "tests.gpu.launches"

local M = {}

local EXPERTS = 4

local function head_width(s) return s.head_width or s.width // s.heads end

local function widths(s, kind)
  local head = head_width(s)
  local experts = (kind == "shared" or kind == "own") and EXPERTS or 1
  local queries = experts * s.heads * head
  local keys = (kind == "own" and EXPERTS or 1) * (s.kv_heads or s.heads) * head
  return queries, keys
end

-- Elements per token of the operands of a layer's launches but attention's, in both passes, and those that are read
-- and written in one place, which are operands only once. Norms, SwiGLU and RoPE; with experts a norm that adds what
-- they gave to the residual stream, rows that are gathered and combined, and gates times heads' results.
local function elements(s, kind)
  local d, f = s.width, s.ffn
  local queries, keys = widths(s, kind)
  local operands, twice = 8 * f + 2 * (queries + 2 * keys) + 2 * queries, 2 * queries
  if kind == "dense" then return operands + 5 * d, twice + d end
  operands, twice = operands + 18 * d, twice + f
  if kind == "btx" then return operands, twice end
  return operands + 3 * queries, twice + queries
end

--- Count a micro-step of `tokens` tokens.
---@param s table width, heads, kv_heads, head_width, ffn, vocab, context, tied
---@param kind "dense"|"btx"|"shared"|"own"
---@param layers integer
---@param tokens integer
---@param bytes integer of an element
---@return table
function M.account(s, kind, layers, tokens, bytes)
  local d, mixture = s.width, kind ~= "dense"
  local queries, keys = widths(s, kind)
  local routers = kind == "dense" and 0 or kind == "btx" and 1 or 2
  local layer = d * (queries + 2 * keys) + queries * d + 3 * d * s.ffn + routers * EXPERTS * d
  local count = layers * (d * (queries + 2 * keys) + queries * d + (mixture and EXPERTS or 1) * 3 * d * s.ffn
                          + routers * EXPERTS * d + d) + d + (s.tied and 1 or 2) * s.vocab * d
  local attention = 2 * s.context * queries * tokens * layers -- causal, counted once: half of two products
  local l = launches[kind]
  local operands, twice = elements(s, kind)
  local table_bytes = layers * tokens * 2 * head_width(s) * 4 -- cos and sin of RoPE, f32, in both passes
  return {
    products = 6 * tokens * layers * layer, head = 6 * tokens * d * s.vocab, attention = 3.5 * attention,
    operands = layers * tokens * operands * bytes + table_bytes,
    passes = layers * tokens * (operands + twice) * bytes + table_bytes,
    logits = 3 * tokens * s.vocab * bytes,
    parameters = count, update = 28 * count + 4 * count,
    launches = layers * (l.launch[1] + l.product[1]) + l.launch[2] + l.product[2], waits = mixture and layers or 0,
  }
end

--- Count what a linear layer in FP8 does besides its three products, to find the largest element of each operand, to
--- encode it, and to encode those of forward again, transposed: bytes that are read and written, and launches.
---@param tokens integer
---@param inputs integer
---@param outputs integer
---@return { bytes: integer, launches: integer }
function M.fp8(tokens, inputs, outputs)
  local saved, grad = 2 + (2 + 1) + (2 + 1), 2 + (2 + 1 + 1)
  return { bytes = saved * (tokens + outputs) * inputs + grad * tokens * outputs, launches = 8 }
end

--- The linear layers of a dense model's layer: { inputs, outputs }.
---@param s table
---@return integer[][]
function M.linear_layers(s)
  local queries, keys = widths(s, "dense")
  return { { s.width, queries + 2 * keys }, { queries, s.width }, { s.width, 2 * s.ffn }, { s.ffn, s.width } }
end

return M
