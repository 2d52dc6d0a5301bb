--- Differentiation: code without recording, custom ops, recomputation, NaN checks.
local check = require "bam.util.check"
local core = require "bam.core"

local M = {}

local function check_function(what, f)
  if not check.is_callable(f) then
    check.fail("%s: expected a function, got %s; write bam.%s(function() ... end)", what,
               f == nil and "nothing" or check.describe(f), what)
  end
end

--- Call f(...) without recording: results do not require a gradient, and leaves may be changed in place.
---@param f function
---@param ... any arguments of f
---@return any ... results of f
function M.no_grad(f, ...)
  check_function("no_grad", f)
  return core.with_grad(false, f, ...)
end

--- Call f(...) with recording switched on, even inside no_grad.
---@param f function
---@param ... any arguments of f
---@return any ... results of f
function M.enable_grad(f, ...)
  check_function("enable_grad", f)
  return core.with_grad(true, f, ...)
end

local function is_tensor(value) return getmetatable(value) == "tensor" end

local function check_spec(spec)
  if type(spec) ~= "table" then
    check.fail("custom: expected { forward = f, backward = f }, got %s", type(spec))
  end
  for name, value in pairs(spec) do
    if name ~= "forward" and name ~= "backward" and name ~= "name" then
      local near = core.nearest(tostring(name), { "forward", "backward", "name" })
      check.fail("custom: no option `%s`%s", tostring(name),
                          near and string.format("; did you mean `%s`?", near) or "")
    end
    if name ~= "name" and type(value) ~= "function" then
      check.fail("custom: `%s` must be a function, got %s", name, type(value))
    end
  end
  if not (spec.forward and spec.backward) then check.fail("custom: `forward` and `backward` are both needed") end
end

-- The versions of the tensors in the table `ctx` and in tables inside it.
local function versions_in(ctx)
  local versions, walked, open = {}, { [ctx] = true }, { ctx }
  while #open > 0 do
    for _, value in next, table.remove(open) do
      if is_tensor(value) then
        local fine, version = pcall(core.version, value) -- a closed one has none
        if fine then versions[value] = version end
      elseif type(value) == "table" and not walked[value] then
        walked[value], open[#open + 1] = true, value
      end
    end
  end
  return versions
end

local function check_versions(name, versions)
  for tensor, version in pairs(versions) do
    local fine, now = pcall(core.version, tensor)
    if fine and now ~= version then
      error(string.format("backward of %s: a tensor in ctx was changed in place since; keep a copy (x:clone())",
                          name), 0)
    end
  end
end

--- Define an op in Lua. forward(ctx, ...) runs without recording and returns tensors; what it stores in the table
--- ctx is available in backward(ctx, ...), and tensors in it must not be changed in place before that. backward
--- receives one gradient per output (nil if none arrived), which it must not change, and returns one gradient (or
--- nil) per tensor argument, in order.
---
---   local square = bam.custom {
---     forward = function(ctx, x) ctx.x = x return x * x end,
---     backward = function(ctx, grad) return grad * ctx.x * 2 end,
---   }
---   local y = square(x)
---@param spec { forward: function, backward: function, name?: string }
---@return function op
function M.custom(spec)
  check_spec(spec)
  return function(...)
    local ctx, inputs, arguments = {}, {}, table.pack(...)
    for i = 1, arguments.n do -- there may be nils between them
      if is_tensor(arguments[i]) then inputs[#inputs + 1] = arguments[i] end
    end
    local outputs = table.pack(core.with_grad(false, spec.forward, ctx, ...))
    if not core.is_recording() then return table.unpack(outputs, 1, outputs.n) end
    local versions = versions_in(ctx)
    local function backward(...)
      check_versions(spec.name or "custom", versions)
      local grads = table.pack(spec.backward(ctx, ...))
      versions = versions_in(ctx) -- backward may change what it stores itself
      return table.unpack(grads, 1, grads.n)
    end
    local results = core.record(inputs, outputs, backward, { ctx, spec.backward })
    return table.unpack(results, 1, outputs.n)
  end
end

-- Differentiate several outputs of one recomputation; all but the last backward keep its graph. Anything recorded
-- before it is left to the outer backward.
local function backward_all(outputs, grads)
  local last
  for i = 1, outputs.n do
    if grads[i] and outputs[i].requires_grad then last = i end
  end
  for i = 1, last or 0 do
    if grads[i] and outputs[i].requires_grad then
      core.backward(outputs[i], grads[i], { retain = i ~= last, within = true })
    end
  end
end

-- Arguments for the recomputation: tensors become leaves of a separate graph.
local function fresh_leaves(arguments)
  local leaves = { n = arguments.n }
  for i = 1, arguments.n do
    local value = arguments[i]
    if is_tensor(value) then
      leaves[i] = value:detach()
      if value.requires_grad then leaves[i].requires_grad = true end
    else
      leaves[i] = value
    end
  end
  return leaves
end

--- Call f(...) without keeping intermediate results: backward runs f again. Random numbers are the same in both
--- runs. Gradients of parameters that f uses are collected as usual. f may use other results of the graph if they
--- are the same in both runs.
---@param f function from tensors (and other arguments) to tensors
---@param ... any arguments of f
---@return tensor ... results of f
function M.checkpoint(f, ...)
  check_function("checkpoint", f)
  if not core.is_recording() then return f(...) end
  local arguments, before = table.pack(...), core.random_state()
  local outputs = table.pack(core.with_grad(false, f, ...))
  -- A leaf that is always there makes the call differentiable even when only parameters inside f are.
  local inputs, places, versions = { core.zeros({}, { requires_grad = true }) }, {}, {}
  for i = 1, arguments.n do
    if is_tensor(arguments[i]) then
      inputs[#inputs + 1] = arguments[i]
      places[#inputs], versions[#inputs] = i, core.version(arguments[i])
    end
  end
  local function backward(...)
    for k, i in pairs(places) do
      if core.version(arguments[i]) ~= versions[k] then
        error(string.format("checkpoint: argument %d was changed in place since; pass a copy (x:clone())", i), 0)
      end
    end
    local now = core.random_state()
    core.random_state(before)
    local leaves = fresh_leaves(arguments)
    local again = table.pack(pcall(core.with_grad, true, f, table.unpack(leaves, 1, leaves.n)))
    core.random_state(now)
    if not again[1] then error(again[2], 0) end
    again = table.pack(table.unpack(again, 2, again.n))
    backward_all(again, table.pack(...))
    local grads = {}
    for k = 2, #inputs do grads[k] = leaves[places[k]].grad end
    return table.unpack(grads, 1, #inputs)
  end
  local results = core.record(inputs, outputs, backward, { f, arguments })
  return table.unpack(results, 1, outputs.n)
end

--- Switch checks on or off. With nan = true the first op, forward or backward, that produces a NaN raises an error
--- with its name and the line of the script. Slow. With traces = true tracebacks show bam's own lines too.
---@param options { nan?: boolean, traces?: boolean } what is left out stays as it is
function M.debug(options)
  local o = check.options("debug", options, { nan = { "boolean", optional = true },
                                              traces = { "boolean", optional = true } })
  if o.nan == nil and o.traces == nil then
    check.fail "debug: nothing to switch; write bam.debug { nan = true } or bam.debug { traces = true }"
  end
  if o.nan ~= nil then core.check_nan(o.nan) end
  if o.traces ~= nil then core.trace_all(o.traces) end
end

return M
