--- A linear layer: y = x Wᵀ + b. `weight` is [outputs, inputs], `bias` [outputs].
local check = require "bam.util.check"
local core = require "bam.core"
local matrices = require "bam.nn.matrices"
local weights = require "bam.nn.weights"

local Linear = require("bam.nn.module").module "Linear"

Linear._fresh = {} -- see bam.nn.early
Linear._fp8 = false -- see Module:fp8

--- nn.Linear(inputs, outputs, options). With `std` the initial weights are normally distributed and the bias is 0;
--- without it both are uniform in ±1 / √inputs.
---@param inputs integer
---@param outputs integer
---@param options? { bias?: boolean, std?: number, dtype?: string } bias is true by default
function Linear:init(inputs, outputs, options)
  self.inputs = check.value("nn.Linear: inputs", inputs, "size")
  self.outputs = check.value("nn.Linear: outputs", outputs, "size")
  local o = check.options("nn.Linear", options,
                          { bias = { "boolean", true }, std = { "rate", optional = true },
                            dtype = { "dtype", "f32" } })
  local bound = 1 / math.sqrt(self.inputs)
  self.weight = o.std and weights.normal({ self.outputs, self.inputs }, o.std, o.dtype)
    or weights.uniform({ self.outputs, self.inputs }, bound, o.dtype)
  if o.bias then
    self.bias = o.std and weights.full({ self.outputs }, 0, o.dtype)
      or weights.uniform({ self.outputs }, bound, o.dtype)
  end
end

--- List the matrices of a parameter: the whole weight, or the parts that a layer around this one has stacked
--- (`_parts`).
---@param x tensor
---@param key string
---@return table[]
function Linear:matrices(x, key)
  return matrices.stacked(x, key == "weight" and self._parts or { x:size(1) })
end

--- Apply the layer to the last dimension.
---@param x tensor [..., inputs]
---@param residual? tensor [..., outputs] is added to the result
---@return tensor y [..., outputs]
function Linear:forward(x, residual)
  if residual then return core.ops.add_linear(x, self.weight, residual, self.bias, self._fp8) end
  return core.ops.linear(x, self.weight, self.bias, nil, self._fp8)
end

return Linear
