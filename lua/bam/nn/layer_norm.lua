--- Layer normalization over the last dimension. `weight` and `bias` are [width].
local check = require "bam.util.check"
local core = require "bam.core"
local weights = require "bam.nn.weights"

local LayerNorm = require("bam.nn.module").module "LayerNorm"

LayerNorm.no_decay = true -- excluded from weight decay

--- nn.LayerNorm(width, options)
---@param width integer
---@param options? { bias?: boolean, eps?: number, dtype?: string } bias is true and eps 1e-5 by default
function LayerNorm:init(width, options)
  self.width = check.value("nn.LayerNorm: width", width, "size")
  local o = check.options("nn.LayerNorm", options,
                          { bias = { "boolean", true }, eps = { "positive", 1e-5 },
                            dtype = { "dtype", "f32" } })
  self.eps = o.eps
  self.weight = weights.full({ self.width }, 1, o.dtype)
  if o.bias then self.bias = weights.full({ self.width }, 0, o.dtype) end
end

--- Normalize x. With a residual, normalize x + residual in the same pass and also return the sum.
---@param x tensor [..., width]
---@param residual? tensor [..., width]
---@return tensor y
---@return tensor? sum
function LayerNorm:forward(x, residual)
  if residual then return core.ops.add_layer_norm(x, residual, self.weight, self.bias, self.eps) end
  return core.ops.layer_norm(x, self.weight, self.bias, self.eps)
end

return LayerNorm
