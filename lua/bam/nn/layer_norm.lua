--- Layer normalization over the last dimension. `weight` and `bias` are [width], where there are any.
local check = require "bam.util.check"
local core = require "bam.core"
local weights = require "bam.nn.weights"

local LayerNorm = require("bam.nn.module").module "LayerNorm"

LayerNorm._fresh = {} -- see bam.nn.early

LayerNorm.no_decay = true -- excluded from weight decay

--- nn.LayerNorm(width, options)
---@param width integer
---@param options? { weight?: boolean, bias?: boolean, eps?: number, dtype?: string } weight and bias are true and eps
--- 1e-5 by default
function LayerNorm:init(width, options)
  self.width = check.value("nn.LayerNorm: width", width, "size")
  local o = check.options("nn.LayerNorm", options,
                          { weight = { "boolean", true }, bias = { "boolean", true }, eps = { "positive", 1e-5 },
                            dtype = { "dtype", "f32" } })
  self.eps = o.eps
  if o.weight then self.weight = weights.full({ self.width }, 1, o.dtype) end
  if o.bias then self.bias = weights.full({ self.width }, 0, o.dtype) end
end

--- Normalize x. With a residual, normalize x + residual in the same pass and also return the sum.
---@param x tensor [..., width]
---@param residual? tensor [..., width]
---@return tensor y
---@return tensor? sum
function LayerNorm:forward(x, residual)
  local weight = self.weight or weights.ones_like(x, self.width)
  if residual then return core.ops.add_layer_norm(x, residual, weight, self.bias, self.eps) end
  return core.ops.layer_norm(x, weight, self.bias, self.eps)
end

return LayerNorm
