--- RMS normalization over the last dimension (Zhang and Sennrich 2019): x / sqrt(mean(x²) + eps) * weight. `weight` is
--- [width], if there is one.
local check = require "bam.util.check"
local core = require "bam.core"
local weights = require "bam.nn.weights"

local RMSNorm = require("bam.nn.module").module "RMSNorm"

RMSNorm._fresh = {} -- see bam.nn.early

RMSNorm.no_decay = true -- optimizers leave the weights as large as they are

--- nn.RMSNorm(width, options)
---@param width integer
---@param options? { weight?: boolean, eps?: number, dtype?: string } weight is true and eps 1e-5 by default
function RMSNorm:init(width, options)
  self.width = check.value("nn.RMSNorm: width", width, "size")
  local o = check.options("nn.RMSNorm", options, { weight = { "boolean", true }, eps = { "positive", 1e-5 },
                                                   dtype = { "dtype", "f32" } })
  self.eps = o.eps
  if o.weight then self.weight = weights.full({ self.width }, 1, o.dtype) end
end

--- Normalize x. With a residual, normalize x + residual in the same pass and also return the sum.
---@param x tensor [..., width]
---@param residual? tensor [..., width]
---@return tensor y
---@return tensor? sum
function RMSNorm:forward(x, residual)
  local weight = self.weight or weights.ones_like(x, self.width)
  if residual then return core.ops.add_rms_norm(x, residual, weight, self.eps) end
  return core.ops.rms_norm(x, weight, self.eps)
end

return RMSNorm
