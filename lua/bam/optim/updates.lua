-- One step of an optimizer. Updates written in Lua compute new values first, for all parameters; these are checked,
-- and only then written, together with the updates that are kernels. So a step that fails changes nothing.
local check = require "bam.util.check"
local core = require "bam.core"
local rules = require "bam.optim.rules"

local ops = core.ops
local M = {}

-- ---- what an update is called with ----

-- The options of a bucket with what this step adds: lr, weight_decay and step.
local function settings_of(self, bucket, lr, entry)
  local o = {}
  for name, value in pairs(bucket.options) do o[name] = value end
  o.lr, o.weight_decay = lr * bucket.options.lr_scale, bucket.weight_decay
  o.step = (bucket.counts and entry or self).steps + 1
  o.name, o.module = entry.name, entry.module
  return o
end

-- The gradient with the factor of clip.
local function clipped(self, grad)
  if not self._clip then return grad end
  return ops.mul(grad, ops.to(self._clip, { dtype = grad.dtype, device = grad.device }))
end

-- What one call of an update is about: a parameter, or the segment of the buffers from `entry` to `last`.
local function units_of(bucket)
  if bucket.rule.elementwise then return bucket.updates end
  local list = {}
  for _, entry in ipairs(bucket.entries) do
    if entry.trained then
      list[#list + 1] = { entry = entry, last = entry, param = entry.param, grad = entry.grad, low = entry.low,
                          state = entry.state }
    end
  end
  return list
end

-- ---- checking what it gives ----

local function unit_name(unit)
  if unit.entry == unit.last then return string.format("parameter `%s`", unit.entry.name) end
  return string.format("parameters `%s` to `%s`", unit.entry.name, unit.last.name)
end

-- A new value fits in the place of `old`.
local function check_value(what, value, old)
  if not check.is_tensor(value) then
    check.fail("%s: expected a tensor of shape %s, got %s", what, check.shape(old.shape), check.describe(value))
  end
  if check.shape(value.shape) ~= check.shape(old.shape) then
    check.fail("%s: expected shape %s, got %s", what, check.shape(old.shape), check.shape(value.shape))
  end
  if value.dtype ~= old.dtype or value.device ~= old.device then
    check.fail("%s: expected %s on %s, got %s on %s", what, old.dtype, tostring(old.device), value.dtype,
               tostring(value.device))
  end
end

local function check_untouched(what, name, tensor, version)
  if core.version(tensor) ~= version then
    check.fail("%s changed %s in place; an update gives new values: return that of the parameter, assign those of "
               .. "the state", what, name)
  end
end

-- Call the update of a unit on these tensors, and check that it left them as they are.
local function call(what, rule, values, o)
  local state, versions = {}, {}
  for name, tensor in pairs(values.state) do
    state[name], versions[name] = tensor, core.version(tensor)
  end
  local param, grad = core.version(values.param), core.version(values.grad)
  local result = rules.code(rule).update(values.param, values.grad, state, o)
  check_untouched(what, "the parameter", values.param, param)
  check_untouched(what, "the gradient", values.grad, grad)
  for name, version in pairs(versions) do
    check_untouched(what, string.format("state.%s", name), values.state[name], version)
  end
  if result == nil then check.fail("%s gave nothing; return the parameter's new value", what) end
  for name in pairs(state) do
    if not values.state[name] then
      check.fail("%s set state.%s, which is not declared%s; declare it: state = { \"%s\" }", what, tostring(name),
                 check.suggestion(name, check.sorted_names(values.state)), tostring(name))
    end
  end
  return result, state
end

-- ---- computing ----

-- Note that `value` is to be written into `target`. When it is not known whether the gradients are finite, the old
-- value stays where they are not.
local function add(self, pending, what, target, value, old)
  if self._clip and not self._is_sure then
    local fine = ops.ne(ops.to(self._clip, { device = target.device }), 0)
    value = ops.where(fine, value, old or target)
  end
  pending[#pending + 1] = { what = what, target = target, value = value }
end

-- What an update sees of the parameters: the masters of bf16.
local function masters_of(unit) return unit.low and core.join_masters(unit.param, unit.low) or unit.param end

local function copy_of(unit, grad)
  local state = {}
  for name, tensor in pairs(unit.state) do state[name] = ops.clone(tensor) end
  return { param = ops.clone(unit.param), grad = ops.clone(grad), state = state }
end

-- Compute one unit. An optimizer's first step works on copies, so that an update which changes what it is given is
-- found before it did harm.
local function compute_unit(self, bucket, unit, lr, pending)
  local rule, o = bucket.rule, settings_of(self, bucket, lr, unit.entry)
  local what = string.format("%s: update of %s", self.kind, unit_name(unit))
  local masters = masters_of(unit)
  local values = { param = masters, grad = clipped(self, unit.grad), state = unit.state }
  if not bucket.is_tried then values = copy_of(values, values.grad) end
  local result, state = call(what, rule, values, o)
  check_value(string.format("%s: the new value", what), result, masters)
  add(self, pending, what, unit.param, result, masters)
  pending[#pending].low = unit.low
  for _, name in ipairs(check.sorted_names(unit.state)) do
    local value = state[name]
    check_value(string.format("%s: state.%s", what, name), value, unit.state[name])
    if value ~= values.state[name] then
      add(self, pending, string.format("%s: state.%s", what, name), unit.state[name], value)
    end
  end
end

local COMPUTES = { f32 = true, f64 = true }

local function is_finite(list)
  local norm = core.grad_norm(list):item()
  return norm == norm and norm < math.huge
end

local function check_finite(self, pending)
  local values = {}
  for _, p in ipairs(pending) do
    if COMPUTES[p.value.dtype] then values[#values + 1] = p.value end
  end
  if is_finite(values) then return end
  for _, p in ipairs(pending) do
    if COMPUTES[p.value.dtype] and not is_finite { p.value } then
      check.fail("%s is not finite at step %d; nothing was changed", p.what, self.steps + 1)
    end
  end
end

-- The new values of everything that is updated by code in Lua: a list of { what, target, value }.
local function compute(self, lr)
  local pending = {}
  for _, bucket in ipairs(self._buckets) do
    if rules.code(bucket.rule).update then
      for _, unit in ipairs(units_of(bucket)) do compute_unit(self, bucket, unit, lr, pending) end
    end
  end
  check_finite(self, pending)
  return pending
end

-- ---- writing ----

local function run_kernels(self, lr)
  for _, bucket in ipairs(self._buckets) do
    for _, segment in ipairs(rules.code(bucket.rule).kernel and bucket.updates or {}) do
      local o = settings_of(self, bucket, lr, segment.entry)
      o.clip = self._clip
      rules.code(bucket.rule).kernel(segment, o)
    end
  end
end

local function count(self)
  for _, bucket in ipairs(self._buckets) do
    bucket.is_tried = true
    for _, entry in ipairs(bucket.entries) do
      if entry.trained then entry.steps = entry.steps + 1 end
    end
  end
  self.steps = self.steps + 1
end

local function is_written_in_lua(self)
  for _, bucket in ipairs(self._buckets) do
    if rules.code(bucket.rule).update then return true end
  end
  return false
end

local function write(p)
  if p.low then
    core.split_masters(ops.contiguous(p.value), p.target, p.low)
  else
    p.target:copy_(p.value)
  end
end

--- Update every parameter that is trained, and count the step.
---@param self table the optimizer
---@param lr number
function M.apply(self, lr)
  if is_written_in_lua(self) then
    core.with_grad(false, core.scope, function()
      local pending = compute(self, lr)
      run_kernels(self, lr)
      for _, p in ipairs(pending) do write(p) end
    end)
  else
    run_kernels(self, lr)
  end
  count(self)
end

return M
