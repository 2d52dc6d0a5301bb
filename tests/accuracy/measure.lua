-- What one case of cases.lua comes to: results and gradients, in the precision asked for.
local bam = require "bam"
local core = require "bam.core"

local M = {}

-- The inputs in `dtype` where they are real: leaves that want gradients, listed in `leaves`.
local function prepare(list, dtype, leaves)
  local inputs = {}
  for i, x in ipairs(list) do
    if type(x) == "table" then
      inputs[i] = prepare(x, dtype, leaves)
    elseif x.dtype == "f32" then
      inputs[i] = x:to(dtype):clone():requires_grad_()
      leaves[#leaves + 1] = inputs[i]
    else
      inputs[i] = x
    end
  end
  return inputs
end

-- What a result is multiplied by before it is differentiated: the same in every precision.
local function seed_for(case, y, k)
  if case.attributes.scale then return core.ones(y.shape) end
  return ((core.arange(1, y:count(), { dtype = "f64" }) * 0.7 + k):sin() + 0.3):to "f32":reshape(y.shape)
end

--- Results and gradients of a case, as f64, by name: "result 1", "gradient 2". Results of integers are left out.
---@param case table
---@param dtype "f32" | "f64"
---@return table<string, tensor> values, string[] names
function M.run(case, dtype)
  local leaves, values, names, loss = {}, {}, {}, nil
  local inputs = prepare(case.inputs, dtype, leaves)
  if next(case.attributes) then inputs[#inputs + 1] = case.attributes end
  if case.random then bam.seed(3) end
  local function add(name, x) names[#names + 1], values[name] = name, x:to "f64" end
  for k, y in ipairs { core.ops[case.op](table.unpack(inputs)) } do
    add(string.format("result %d", k), y:detach())
    if y.requires_grad then
      local term = (y * seed_for(case, y, k):to(y.dtype)):sum()
      loss = loss and loss + term or term
    end
  end
  if loss then
    loss:backward()
    for i, x in ipairs(leaves) do
      if x.grad then add(string.format("gradient %d", i), x.grad) end
    end
  end
  return values, names
end

M.seed_for = seed_for

--- The largest error of the value `name`, in units of roundoff of f32: of the largest true element, or of each.
---@param got table<string, tensor>
---@param truth table<string, tensor>
---@param name string
---@param case { relative?: boolean | "results", floor?: number } floor: the least that counts as the largest element
---@return number
function M.error(got, truth, name, case)
  got, truth = got[name], truth[name]
  if truth:count() == 0 then return 0 end
  local distance, size = (got - truth):abs(), truth:abs()
  assert(bam.isfinite(truth):all():item(), "a true value is not finite")
  if case.relative == true or case.relative and name:find "^result" then
    return bam.max(distance / size:clamp(2.0 ^ -126)):item() * 2.0 ^ 24
  end
  local largest = math.max(bam.max(size):item(), case.floor or 0)
  if largest == 0 then largest = 1 end
  return bam.max(distance / largest):item() * 2.0 ^ 24
end

return M
