--- RMS normalization over the last dimension (Zhang and Sennrich 2019): x / sqrt(mean(x²) + eps) * weight. `weight` is
--- [width].
local check = require "bam.util.check"
local core = require "bam.core"
local weights = require "bam.nn.weights"

local RMSNorm = require("bam.nn.module").module "RMSNorm"
local ops = core.ops

RMSNorm.no_decay = true -- optimizers leave the weights as large as they are

--- nn.RMSNorm(width, options)
---@param width integer
---@param options? { eps?: number, dtype?: string } 1e-5 by default
function RMSNorm:init(width, options)
  self.width = check.value("nn.RMSNorm: width", width, "size")
  local o = check.options("nn.RMSNorm", options, { eps = { "positive", 1e-5 }, dtype = { "dtype", "f32" } })
  self.eps = o.eps
  self.weight = weights.full({ self.width }, 1, o.dtype)
end

--- Normalize x. With a residual, normalize x + residual and also return the sum.
---@param x tensor [..., width]
---@param residual? tensor [..., width]
---@return tensor y
---@return tensor? sum
function RMSNorm:forward(x, residual)
  local sum = residual and ops.add(x, residual)
  x = sum or x
  local scale = ops.rsqrt(ops.add(ops.mean(ops.mul(x, x), -1, true), self.eps))
  return ops.mul(ops.mul(x, scale), self.weight), sum
end

return RMSNorm
