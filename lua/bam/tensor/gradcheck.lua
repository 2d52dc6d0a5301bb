--- Gradient checks: backward against central differences, in f64.
local check = require "bam.util.check"
local core = require "bam.core"

local spec = { eps = { "positive", 1e-6 }, tolerance = { "rate", 1e-5 } }

-- A fixed weighted sum turns the outputs into one number, so that one backward checks them all.
local function weighted_sum(outputs, weights)
  local total
  for i = 1, outputs.n do
    local term = (outputs[i] * weights[i]):sum()
    total = total and total + term or term
  end
  return total
end

-- Fixed weights: all different, none small.
local function weights_for(output)
  local n = output:count()
  return (core.arange(1, n, { dtype = "f64", device = output.device }) * 0.37):sin():reshape(output.shape) + 1.5
end

local function check_inputs(inputs)
  if check.is_tensor(inputs) then check.fail "gradcheck: expected a list of input tensors: bam.gradcheck(f, { x })" end
  if check.list("gradcheck: inputs", inputs) == 0 then
    check.fail("gradcheck: expected a list of input tensors, got an empty one")
  end
  for i, x in ipairs(inputs) do
    if getmetatable(x) ~= "tensor" then
      check.fail("gradcheck: input %d is a %s, not a tensor", i, type(x))
    end
    if x.requires_grad and x.dtype ~= "f64" then
      check.fail("gradcheck: input %d is %s; central differences need f64: x:to \"f64\"", i, x.dtype)
    end
  end
end

-- The derivative of value() with respect to one element of the flat view, by central differences.
local function numeric(flat, i, eps, value)
  local original = flat[i]:item()
  local function at(v)
    core.with_grad(false, function() flat[i] = v end)
    return core.with_grad(false, value)
  end
  local slope = (at(original + eps) - at(original - eps)) / (2 * eps)
  at(original)
  return slope
end

--- Compare the gradients of fn(table.unpack(inputs)) with central differences, for every input that requires a
--- gradient. These inputs must be f64 and contiguous. A difference is an error that names the element.
---@param fn function from tensors to one or more tensors
---@param inputs tensor[]
---@param options? { eps?: number, tolerance?: number } eps is 1e-6 and tolerance, relative to 1 + the gradient,
--- 1e-5 by default
---@return boolean true
return function(fn, inputs, options)
  if not check.is_callable(fn) then check.fail("gradcheck: expected a function, got %s", check.describe(fn)) end
  check_inputs(inputs)
  local o = check.options("gradcheck", options, spec)
  local eps, tolerance = o.eps, o.tolerance
  local weights
  local function value(keep)
    local outputs = table.pack(fn(table.unpack(inputs)))
    if not weights then
      weights = {}
      for i = 1, outputs.n do weights[i] = weights_for(outputs[i]) end
    end
    local total = weighted_sum(outputs, weights)
    return keep and total or total:item()
  end
  for _, x in ipairs(inputs) do x.grad = nil end
  value(true):backward()
  for k, x in ipairs(inputs) do
    if x.requires_grad then
      local flat, grad = x:detach():view(-1), x.grad and x.grad:view(-1)
      for i = 1, #flat do
        local expected, got = numeric(flat, i, eps, value), grad and grad[i]:item() or 0
        if not (math.abs(expected - got) <= tolerance * (1 + math.abs(expected))) then
          check.fail("gradcheck: input %d, element %d: backward gives %.9g, central differences %.9g",
                              k, i, got, expected)
        end
      end
    end
  end
  return true
end
