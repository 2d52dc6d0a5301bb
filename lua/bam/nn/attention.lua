--- Causal self-attention with RoPE and grouped-query heads. One projection `qkv` computes queries, keys and values
--- (its rows are [q | k | v]); `out` projects the heads back to the width.
local check = require "bam.util.check"
local check_heads = require "bam.nn.heads"
local core = require "bam.core"
local rotations = require "bam.nn.rotations"
local Linear = require "bam.nn.linear"

local Attention = require("bam.nn.module").module "Attention"
local ops = core.ops

local spec = {
  width = { "size" }, heads = { "size" }, kv_heads = { "size", optional = true },
  head_width = { "size", optional = true },
  rope = { "boolean", true }, rope_base = { "positive", 10000 }, bias = { "boolean", false },
  std = { "rate", optional = true }, dtype = { "dtype", "f32" },
}

--- nn.Attention { width = 512, heads = 8 }. `kv_heads` must divide `heads`: each key and value head serves heads /
--- kv_heads query heads.
---@class nn.AttentionOptions
---@field width integer
---@field heads integer
---@field kv_heads? integer heads by default
---@field head_width? integer width / heads by default
---@field rope? boolean rotary position embedding, true by default
---@field rope_base? number 10000 by default
---@field bias? boolean bias of both projections, false by default
---@field std? number standard deviation of the initial weights, as in nn.Linear
---@field dtype? string
---@param options nn.AttentionOptions
function Attention:init(options)
  local o = check.options("nn.Attention", options, spec)
  self.heads = o.heads
  self.kv_heads, self.head_width = check_heads("nn.Attention", o, o.rope)
  self.rope_base = o.rope and o.rope_base or nil
  local linear = { bias = o.bias, std = o.std, dtype = o.dtype }
  self.qkv = Linear(o.width, (self.heads + 2 * self.kv_heads) * self.head_width, linear)
  local keys = self.kv_heads * self.head_width
  self.qkv._parts = { self.heads * self.head_width, keys, keys }
  self.out = Linear(self.heads * self.head_width, o.width, linear)
end

--- Attend to earlier tokens of the same document.
---@param x tensor [batch, time, width]
---@param documents? tensor integers [batch, time]; one document per row by default
---@param positions? tensor integers [time] or [batch, time] for RoPE, from 0; 0, 1, ... by default
---@return tensor y [batch, time, width]
function Attention:forward(x, documents, positions)
  local h, g, k = self.heads, self.kv_heads, self.head_width
  if not check.is_tensor(x) or x.ndim ~= 3 then
    check.fail("nn.Attention: expected x [batch, time, width], got %s", check.describe(x))
  end
  local batch, time = x:size(1), x:size(2)
  local qkv = self.qkv(x):view(batch, time, h + 2 * g, k)
  local q, keys, v = qkv:narrow(3, 1, h), qkv:narrow(3, h + 1, g), qkv:narrow(3, h + g + 1, g)
  if self.rope_base then
    positions = rotations.make(x, positions, { width = k, base = self.rope_base })
    q, keys = ops.rope(q, positions, self.rope_base), ops.rope(keys, positions, self.rope_base)
  end
  return self.out(ops.attention(q, keys, v, documents):view(batch, time, h * k))
end

return Attention
