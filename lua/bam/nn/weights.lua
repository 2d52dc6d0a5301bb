--- Parameters as modules begin with them: new leaves that collect gradients, filled by a rule.
--- Random ones draw from the engine's generator, so bam.seed decides them.
local core = require "bam.core"

local M = {}

-- A finished tensor as a parameter.
local function parameter(x)
  x.requires_grad = true
  return x
end

--- Normally distributed around 0; with a std of 0 all 0, and nothing is drawn.
---@param shape integer[]
---@param std number
---@param dtype? string
---@return tensor
function M.normal(shape, std, dtype)
  if std == 0 then return M.full(shape, 0, dtype) end
  return parameter(core.randn(shape, { dtype = dtype or "f32" }):mul_(std))
end

--- Evenly distributed from -bound to bound.
---@param shape integer[]
---@param bound number
---@param dtype? string
---@return tensor
function M.uniform(shape, bound, dtype)
  return parameter(core.rand(shape, { dtype = dtype or "f32" }):mul_(2 * bound):sub_(bound))
end

--- All of one value.
---@param shape integer[]
---@param value number
---@param dtype? string
---@return tensor
function M.full(shape, value, dtype)
  return parameter(core.full(shape, value, { dtype = dtype or "f32" }))
end

return M
