--- Initial parameters: new leaves that require a gradient. Random ones use the generator that bam.seed sets.
local check = require "bam.util.check"
local core = require "bam.core"

local M = {}

-- Make a finished tensor a parameter.
local function parameter(x)
  x.requires_grad = true
  return x
end

--- Normally distributed with mean 0. With std = 0 all values are 0, and the generator is not used.
---@param shape integer[]
---@param std number
---@param dtype? string
---@return tensor
function M.normal(shape, std, dtype)
  if std == 0 then return M.full(shape, 0, dtype) end
  return parameter(core.randn(shape, { dtype = dtype or "f32" }):mul_(std))
end

--- Uniform in ±bound.
---@param shape integer[]
---@param bound number
---@param dtype? string
---@return tensor
function M.uniform(shape, bound, dtype)
  bound = check.value("nn.weights.uniform: bound", bound, "rate")
  return parameter(core.rand(shape, { dtype = dtype or "f32" }):mul_(2 * bound):sub_(bound))
end

--- All equal to one value.
---@param shape integer[]
---@param value number
---@param dtype? string
---@return tensor
function M.full(shape, value, dtype)
  return parameter(core.full(shape, value, { dtype = dtype or "f32" }))
end

--- Ones of the dtype and on the device of x, which are no parameter: the weight of a norm that has none.
---@param x tensor
---@param size integer
---@return tensor [size]
function M.ones_like(x, size)
  if not check.is_tensor(x) then check.fail("norm: expected a tensor, got %s", check.describe(x)) end
  return core.full({ size }, 1, { dtype = x.dtype, device = x.device })
end

return M
