--- RMS normalization over the last dimension (Zhang and Sennrich 2019): x / sqrt(mean(x²) + eps) * weight. `weight` is
--- [width].
local check = require "bam.util.check"
local core = require "bam.core"
local weights = require "bam.nn.weights"

local RMSNorm = require("bam.nn.module").module "RMSNorm"

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

--- Normalize x. With a residual, normalize x + residual in the same pass and also return the sum.
---@param x tensor [..., width]
---@param residual? tensor [..., width]
---@return tensor y
---@return tensor? sum
function RMSNorm:forward(x, residual)
  if residual then return core.ops.add_rms_norm(x, residual, self.weight, self.eps) end
  return core.ops.rms_norm(x, self.weight, self.eps)
end

return RMSNorm
