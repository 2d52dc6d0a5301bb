-- Normalization of query or key heads before they are rotated: RMS norm of each head by itself, as in Qwen 3, or of all
-- heads of an expert together, as in OLMo 2; or LayerNorm of each head with weights of its own, as in Cohere. Heads are
-- in the order (KV head, expert, head); `weight` has those of the experts back to back.
local core = require "bam.core"
local weights = require "bam.nn.weights"

local HeadNorm = require("bam.nn.module").module "HeadNorm"
local ops = core.ops

HeadNorm.no_decay = true -- excluded from weight decay

--- kind, kv_heads, sets, heads, width: "head", "width" or "layer"; KV heads, experts with heads of their own, heads of
--- one expert at a KV head, and the width of a head.
---@param o table with these fields, eps and dtype
function HeadNorm:init(o)
  self.kind, self.kv_heads, self.sets, self.heads = o.kind, o.kv_heads, o.sets, o.heads
  self.width, self.eps = o.width, o.eps
  self.size = o.kind == "head" and o.width or o.kv_heads * o.heads * o.width -- elements of an expert's weight
  self.weight = weights.full({ o.sets * self.size }, 1, o.dtype)
end

-- x [..., sets, size] normalized; `shape` spreads the sets' weights over it.
local function normalize(self, x, shape)
  if self.sets == 1 then return ops.rms_norm(x, self.weight, self.eps) end
  return ops.mul(ops.rms_norm(x, weights.ones_like(x, self.size), self.eps), ops.view(self.weight, shape))
end

-- LayerNorm of each head, whose weights are in the order (expert, KV head, head).
local function normalize_each(self, x)
  local g, n, r, k = self.kv_heads, self.sets, self.heads, self.width
  local weight = ops.permute(ops.view(self.weight, n, g, r, k), 2, 1, 3, 4)
  return ops.mul(ops.layer_norm(x, weights.ones_like(x, k), nil, self.eps), ops.reshape(weight, g * n * r, k))
end

--- Normalize heads.
---@param x tensor [B, T, kv_heads * sets * heads, width]
---@return tensor y of the same shape
function HeadNorm:forward(x)
  if self.kind == "layer" then return normalize_each(self, x) end
  local B, T, g, n, r, k = x:size(1), x:size(2), self.kv_heads, self.sets, self.heads, self.width
  if self.kind == "head" then
    local y = normalize(self, ops.reshape(x, B, T, g, n, r, k), { 1, 1, 1, n, 1, k })
    return ops.reshape(y, x.shape)
  end
  local together = ops.permute(ops.reshape(x, B, T, g, n, r * k), 1, 2, 4, 3, 5)
  local y = normalize(self, ops.reshape(together, B, T, n, self.size), { 1, 1, n, self.size })
  return ops.reshape(ops.permute(ops.view(y, B, T, n, g, r * k), 1, 2, 4, 3, 5), x.shape)
end

return HeadNorm
