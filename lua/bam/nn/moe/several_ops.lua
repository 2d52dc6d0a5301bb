-- A mixture of attention with norms of queries and keys, in several ops in place of one; and what both have.
local check = require "bam.util.check"
local core = require "bam.core"
local documents = require "bam.nn.documents"
local rotations = require "bam.nn.rotations"
local HeadNorm = require "bam.nn.moe.head_norm"
local weights = require "bam.nn.weights"

local ops = core.ops
local M = {}

--- Make the biases and norms. Those of queries are apart, because they belong to experts.
---@param self table the layer
---@param queries integer rows of queries
---@param keys integer rows of keys
---@param o table its options
function M.init(self, queries, keys, o)
  if o.qkv_bias then
    self.q_bias = weights.full({ queries }, 0, o.dtype)
    self.kv_bias = weights.full({ 2 * keys }, 0, o.dtype)
  end
  if o.out_bias then self.out_bias = weights.full({ o.experts, o.width }, 0, o.dtype) end
  if not o.qk_norm then return end
  if o.qk_norm ~= "head" and o.qk_norm ~= "width" and o.qk_norm ~= "layer" then
    check.fail('nn.MixtureOfAttention: option qk_norm: expected "head", "width" or "layer", got "%s"', o.qk_norm)
  end
  local function norm(heads, sets)
    return HeadNorm { kind = o.qk_norm, kv_heads = self.kv_heads, sets = sets, heads = heads, width = self.head_width,
                      eps = o.eps, dtype = o.dtype }
  end
  self.q_norm = norm(o.heads // self.kv_heads, o.experts)
  self.k_norm = norm(1, o.kv == "own" and o.experts or 1)
end

--- Add to the attributes of an op that rotates what scales frequencies, and how much of a head rotates.
---@param self table the layer
---@param attributes table
---@return table attributes
function M.rotation(self, attributes)
  local s = self.rope_scaling or {}
  attributes.rope_factor, attributes.rope_low, attributes.rope_high = s.factor, s.low, s.high
  attributes.rope_context, attributes.rope_yarn, attributes.rope_width = s.context, s.scaling == "yarn", self.rope_width
  return attributes
end

--- What an op takes as positions in a pass, see bam.nn.rotations.
---@param self table the layer
---@param h tensor [B, T, width]
---@param pass table
---@return tensor?
function M.positions(self, h, pass)
  if self.rope_base == 0 then return pass.positions end
  return rotations.of(pass, h, M.rotation(self, { width = self.head_width, base = self.rope_base }))
end

--- The factor of scores, where it is not the usual 1 / sqrt(head_width): YaRN scales rotated queries and keys.
---@param self table the layer
---@return number?
function M.scale(self)
  local s = self.rope_scaling
  return s and s.attention and s.attention ^ 2 / math.sqrt(self.head_width) or nil
end

--- The bias of queries, keys and values, in the order of their rows; nil if there is none.
---@param self table the layer
---@return tensor?
function M.bias(self) return self.q_bias and ops.concat({ self.q_bias, self.kv_bias }, 1) or nil end

-- Queries, keys and values [B, T, heads, head_width], biased, normalized and rotated.
local function project(self, h, weight, batch)
  local B, T, k = h:size(1), h:size(2), self.head_width
  local all = ops.view(ops.linear(h, weight, M.bias(self), nil, self._fp8), B, T, -1, k)
  local queries = self.experts * self.heads
  local keys = (all:size(3) - queries) // 2
  local q, ks = ops.narrow(all, 3, 1, queries), ops.narrow(all, 3, queries + 1, keys)
  if self.q_norm then q, ks = self.q_norm(q), self.k_norm(ks) end
  if self.rope_base ~= 0 then
    local attributes, positions = M.rotation(self, { base = self.rope_base }), M.positions(self, h, batch)
    q, ks = ops.rope(q, positions, attributes), ops.rope(ks, positions, attributes)
  end
  return q, ks, ops.narrow(all, 3, queries + keys + 1, keys)
end

--- What the op mixture_of_attention computes, in several ops.
---@param self table the layer
---@param h tensor [B, T, width]
---@param weight tensor of queries, keys and values
---@param gates? tensor [B, T, experts]
---@param batch table
---@param residual? tensor [B, T, width] is added to the result
---@return tensor y [B, T, width]
function M.attend(self, h, weight, gates, batch, residual)
  local q, k, v = project(self, h, weight, batch)
  local o = ops.attention(q, k, v, documents.of(batch),
                          { window = self.window, scale = M.scale(self) })
  local B, T, n = h:size(1), h:size(2), self.experts
  if gates then
    local grouped = ops.view(o, B, T, self.kv_heads, n, self.heads // self.kv_heads * self.head_width)
    gates = ops.to(gates, o.dtype) -- of bf16 they are f32
    o = ops.mul(grouped, ops.reshape(gates, B, T, 1, n, 1))
  end
  local bias, columns = self.out_bias, ops.view(o, B, T, -1)
  local row = bias and not gates and ops.select(bias, 1, 1) or nil
  local y = residual and ops.add_linear(columns, self.out, residual, row, self._fp8)
    or ops.linear(columns, self.out, row, nil, self._fp8)
  return bias and gates and ops.add(y, ops.matmul(gates, bias)) or y
end

return M
