--- What all optimisers share: step, zero_grad, clip, state, load_state. A kind of optimiser adds
--- its settings, the names of its moments and the update of one stretch of the flat buffers.
local check = require "bam.check"
local core = require "bam.core"
local flat = require "bam.optim.flat"
local groups = require "bam.optim.groups"
local state = require "bam.state"

local ops = core.ops

local M = {}

local Optimiser = {} -- methods
M.Optimiser = Optimiser

local function refresh(self)
  for _, p in ipairs(self._frozen) do
    if p.tensor.requires_grad then
      check.fail("%s: parameter `%s` was frozen when this optimiser was made; make a new one to "
                 .. "train it", self.kind, p.name)
    end
  end
  for _, bucket in ipairs(self._buckets) do flat.refresh(self.kind, bucket) end
end

-- The factor that clip left on the device, and that it is known to be of no use.
local function forget_clip(self) self._clip, self._hopeless = nil, false end

-- What gradients of this norm are multiplied by, on the device: 0 when it is not finite.
local function clip_factor(norm, max_norm)
  local factor = ops.minimum(ops.div(max_norm, ops.add(norm, 1e-6)), 1)
  return ops.where(ops.isfinite(norm), factor, 0)
end

-- Update one bucket; its parameters count the steps in which they were trained.
local function update_bucket(self, bucket, lr)
  for _, segment in ipairs(bucket.updates) do
    self._update(bucket, segment,
                 { lr = lr * bucket.options.lr_scale, weight_decay = bucket.weight_decay,
                   step = (bucket.counts and segment.entry or self).steps + 1, clip = self._clip })
  end
  for _, entry in ipairs(bucket.entries) do
    if entry.trained then entry.steps = entry.steps + 1 end
  end
end

-- Update every stretch of the buffers, and count the step.
local function update_all(self, lr)
  for _, bucket in ipairs(self._buckets) do update_bucket(self, bucket, lr) end
  self.steps = self.steps + 1
  forget_clip(self)
end

--- Update the parameters from their gradients, which stay as they are. Frozen parameters, their
--- moments included, are left alone. If clip was called since the last step, its factor is applied.
--- Does not wait for the device. Ctrl-C comes before or after a step, not in the middle of one.
---@param lr? number default: the lr the optimiser was made with
function Optimiser:step(lr)
  lr = lr == nil and self.lr or check.value(string.format("%s:step: lr", self.kind), lr, "rate")
  refresh(self)
  if self._hopeless then
    check.fail("%s:step: the norm of the gradients is not finite; nothing was changed. "
               .. "opt:zero_grad() goes on without them, bam.debug { nan = true } finds the cause",
               self.kind)
  end
  core.uninterrupted(update_all, self, lr)
end

--- Set all gradients to 0. They stay tensors: p.grad is a view of the optimiser's buffer.
function Optimiser:zero_grad()
  refresh(self)
  for _, bucket in ipairs(self._buckets) do core.zero { bucket.grad } end
  forget_clip(self)
end

local clip_spec = { wait = { "boolean", true } }

--- Measure the norm of all gradients together, and make the next step scale them so that it is at
--- most `max_norm`. The gradients themselves do not change. The factor is computed on the device and
--- stays there; with { wait = false } the norm does too, and a step after a norm that was not finite
--- changes nothing.
---@param max_norm number math.huge only measures
---@param options? { wait: boolean }
---@return number norm before clipping; without waiting, a tensor
function Optimiser:clip(max_norm, options)
  local what = string.format("%s:clip", self.kind)
  if max_norm ~= math.huge then
    max_norm = check.value(string.format("%s: max_norm", what), max_norm, "positive")
  end
  local o = check.options(what, options, clip_spec)
  refresh(self)
  local grads = {}
  for _, bucket in ipairs(self._buckets) do
    for _, segment in ipairs(bucket.segments) do grads[#grads + 1] = segment.grad end
  end
  local norm = core.with_grad(false, function()
    local measured = core.grad_norm(grads)
    self._clip = clip_factor(measured, max_norm):keep()
    return measured
  end)
  if not o.wait then return norm end
  local number = norm:item()
  self._hopeless = not (number < math.huge)
  return number
end

-- ---- saving and loading ----

local function each_entry(self, f)
  for _, bucket in ipairs(self._buckets) do
    for _, entry in ipairs(bucket.entries) do f(entry, bucket) end
  end
end

local function step_name(entry) return string.format("step.%s", entry.name) end

-- Where each tensor of the state lives: moments, and numbers of steps in tensors of their own, of
-- which those of the parameters are also given, by entry.
local function targets(self)
  local list, steps = { { name = "step", tensor = core.tensor(self.steps) } }, {}
  each_entry(self, function(entry, bucket)
    for k, name in ipairs(bucket.names) do
      list[#list + 1] = { name = string.format("%s.%s", name, entry.name),
                          tensor = entry.moments[k] }
    end
    if bucket.counts then
      steps[entry] = core.tensor(entry.steps, { device = "cpu" })
      list[#list + 1] = { name = step_name(entry), tensor = steps[entry] }
    end
  end)
  return list, steps
end

--- What bam.save needs to continue to the bit: the number of steps and the moments of each
--- parameter, by its name, and for AdamW also in how many steps each was trained. Moments are the
--- live tensors: clone what must not change with them.
---@return table<string, tensor>
function Optimiser:state()
  local t = {}
  for _, target in ipairs((targets(self))) do t[target.name] = target.tensor end
  return t
end

local MOST_STEPS = 1 << 53

-- Numbers of steps are checked before anything changes; other faults are found by state.load.
local function check_steps(what, values)
  for name, value in pairs(values) do
    local counts = type(name) == "string" and (name == "step" or name:find "^step%.")
    if counts and check.is_tensor(value) and value.ndim == 0 then
      local steps = value:item()
      if not (steps >= 0 and steps <= MOST_STEPS) then
        check.fail("%s: `%s` is %s; it must be at least 0 and at most 2^53", what, name, steps)
      end
    end
  end
end

-- A state of a version that counted steps for all parameters together: each gets that number.
local function with_steps(self, values)
  local complete, found = {}, false
  for name, value in pairs(values) do
    if type(name) ~= "string" then return values end -- state.load says what is wrong
    complete[name], found = value, found or name:find "^step%." ~= nil
  end
  if found or values.step == nil then return values end
  each_entry(self, function(entry, bucket)
    local known = values[string.format("%s.%s", bucket.names[1], entry.name)] ~= nil
    if bucket.counts and known then complete[step_name(entry)] = values.step end
  end)
  return complete
end

--- Overwrite the moments and the numbers of steps by those of a state. Names and shapes are checked
--- before anything changes. In the state of an older version, without the steps of each parameter,
--- all were trained in every step.
---@param values table<string, tensor>
---@param options? { strict: boolean } with { strict = false } names on one side only are left alone
---@return string[] missing
---@return string[] unexpected
function Optimiser:load_state(values, options)
  local what, list, steps = string.format("%s:load_state", self.kind), targets(self)
  values = with_steps(self, check.value(string.format("%s: state", what), values, "table"))
  check_steps(what, values)
  return core.uninterrupted(function()
    local missing, unexpected = state.load(what, list, values, options)
    self.steps = list[1].tensor:item()
    each_entry(self, function(entry) entry.steps = (steps[entry] or list[1].tensor):item() end)
    for _, bucket in ipairs(self._buckets) do flat.divide(bucket) end
    return missing, unexpected
  end)
end

--- The names of the parameters that are trained now, in a fixed order: all but the frozen ones.
---@return string[]
function Optimiser:trained()
  local names = {}
  for _, bucket in ipairs(self._buckets) do
    for _, entry in ipairs(bucket.entries) do
      if entry.tensor.requires_grad then names[#names + 1] = entry.name end
    end
  end
  return names
end

local function describe(self)
  local count = 0
  for _, bucket in ipairs(self._buckets) do
    for _, entry in ipairs(bucket.entries) do count = count + entry.count end
  end
  return string.format("%s: %d parameters in %d buffers, %d steps done", self.kind, count,
                       #self._buckets, self.steps)
end

--- A new kind of optimiser: a function(params, options).
---@class optim.Kind
---@field name string
---@field options table what there is to set, as in check.options
---@field moments fun(options: table): string[] names of the moments it keeps
---@field check fun(what: string, options: table) further checks of the options
---@field counts? boolean does the update depend on how often a parameter was trained?
---@field update fun(bucket: table, segment: table, settings: table) one stretch of the buffers
---@param kind optim.Kind
---@return fun(params: any, options?: table): table
function M.define(kind)
  local metatable = { __name = kind.name, __index = Optimiser, __tostring = describe }
  local what = string.format("optim.%s", kind.name)
  return function(params, options)
    if type(params) == "table" and not getmetatable(params) and params[1] ~= nil then
      options = select(2, check.list_with_options(what, params, options))
    end
    local o = check.options(what, options, kind.options)
    local sets, frozen = groups.sort(what, params, o, kind.options)
    local self = { kind = kind.name, lr = o.lr, steps = 0, _frozen = frozen,
                   _buckets = {},
                   _update = kind.update }
    for i, set in ipairs(sets) do
      kind.check(what, set.options)
      local names = kind.moments(set.options)
      local bucket = flat.bucket(set.parameters, #names, kind.counts or false)
      bucket.names, bucket.options, bucket.weight_decay = names, set.options, set.weight_decay
      self._buckets[i] = bucket
    end
    for _, bucket in ipairs(self._buckets) do flat.fill(bucket) end
    return setmetatable(self, metatable)
  end
end

return M
