--- An optimizer of parameters. What it does to a parameter is in its definition, see bam.optim.define.
local check = require "bam.util.check"
local core = require "bam.core"
local flat = require "bam.optim.flat"
local graph = require("bam.tensor.graph").graph
local groups = require "bam.optim.groups"
local module = require "bam.nn.module"
local rules = require "bam.optim.rules"
local updates = require "bam.optim.updates"

local ops = core.ops

local M = {}

local Optimizer = {} -- methods
M.Optimizer = Optimizer

local function refresh(self)
  for _, p in ipairs(self._frozen) do
    if p.tensor.requires_grad then
      check.fail("%s: parameter `%s` was frozen when this optimizer was made; make a new one to "
                 .. "train it", self.kind, p.name)
    end
  end
  for _, bucket in ipairs(self._buckets) do flat.refresh(self.kind, bucket) end
end

-- The factor that clip left on the device, and that it is known to be of no use.
local function forget_clip(self) self._clip, self._hopeless, self._is_sure = nil, false, false end

-- What gradients of this norm are multiplied by, on the device: 0 when it is not finite.
local function clip_factor(norm, max_norm)
  local factor = ops.minimum(ops.div(max_norm, ops.add(norm, 1e-6)), 1)
  return ops.where(ops.isfinite(norm), factor, 0)
end

--- Update the parameters from their gradients. Frozen parameters and their state are left alone. The factor of the
--- last clip is applied if it was called since the previous step. Does not wait for the device, unless the update
--- is written in Lua. Ctrl-C acts before or after a step. A failed step changes nothing.
---@param lr? number the lr the optimizer was made with by default
function Optimizer:step(lr)
  lr = lr == nil and self.lr or check.value(string.format("%s:step: lr", self.kind), lr, "rate")
  refresh(self)
  if self._hopeless then
    check.fail("%s:step: the norm of the gradients is not finite; nothing was changed. "
               .. "opt:zero_grad() goes on without them, bam.debug { nan = true } finds the cause",
               self.kind)
  end
  core.uninterrupted(updates.apply, self, lr)
  forget_clip(self)
end

--- Set all gradients to 0. They remain tensors: p.grad is a view of the optimizer's buffer.
function Optimizer:zero_grad()
  refresh(self)
  for _, bucket in ipairs(self._buckets) do core.zero { bucket.grad } end
  forget_clip(self)
end

-- The norm of all gradients together, and the factor of clip.
local function measure(self, max_norm)
  local grads = {}
  for _, bucket in ipairs(self._buckets) do
    for _, segment in ipairs(bucket.segments) do grads[#grads + 1] = segment.grad end
  end
  return core.with_grad(false, function()
    local norm = core.grad_norm(grads)
    return norm, clip_factor(norm, max_norm)
  end)
end

--- Run what clip does on a GPU as a graph (bam.graph), up to the end of a block; the training loop does so. Clip then
--- waits for the norm.
---@return table recording local recording <close> = opt:record_clip()
function Optimizer:record_clip()
  local recorded = graph(function(max_norm) return measure(self, max_norm) end)
  self._measured = recorded
  return setmetatable({}, { __name = "recording of clip", __close = function()
    self._measured = nil
    recorded:close()
  end })
end

local clip_spec = { wait = { "boolean", true } }

--- Measure the norm of all gradients together, and scale them in the next step so that it is at most `max_norm`.
--- The gradients themselves do not change. The factor stays on the device. With wait = false the norm does too, and
--- a step after a norm that is not finite changes nothing.
---@param max_norm number math.huge only measures
---@param options? { wait?: boolean } wait is true by default
---@return number norm before clipping; without waiting, a tensor
function Optimizer:clip(max_norm, options)
  local what = string.format("%s:clip", self.kind)
  if max_norm ~= math.huge then
    max_norm = check.value(string.format("%s: max_norm", what), max_norm, "positive")
  end
  local o = check.options(what, options, clip_spec)
  refresh(self)
  local norm, factor
  if self._measured and o.wait then
    norm, factor = self._measured(max_norm) -- in the memory of the recording: the next clip overwrites them
  else
    norm, factor = measure(self, max_norm)
  end
  self._clip, self._is_sure = factor:keep(), o.wait
  if not o.wait then return norm end
  local number = norm:item()
  self._hopeless = not (number < math.huge)
  return number
end

--- All that is needed to resume to the bit, for bam.save: the number of steps, and the state of each parameter
--- under names such as "m.embed.weight", with its own number of steps if updates depend on it. They are the live
--- tensors: clone them to keep their values.
---@return table<string, tensor>
function Optimizer:state()
  local t = {}
  for _, target in ipairs((require("bam.optim.saved").targets(self))) do t[target.name] = target.tensor end
  return t
end

--- Load a saved state. Names and shapes are checked before anything changes. A state of an older version, without
--- the steps of each parameter, counts all steps for all of them.
---@param values table<string, tensor>
---@param options? { strict?: boolean } strict = false ignores names that only one side has
---@return string[] missing
---@return string[] unexpected
function Optimizer:load_state(values, options) return require("bam.optim.saved").load(self, values, options) end

--- The names of the parameters that are trained at present, in a fixed order: all but the frozen ones.
---@return string[]
function Optimizer:trained()
  local names = {}
  for _, bucket in ipairs(self._buckets) do
    for _, entry in ipairs(bucket.entries) do
      if entry.tensor.requires_grad then names[#names + 1] = entry.name end
    end
  end
  return names
end

--- The dtype of the parameters; of the first of them, where they differ.
---@return string
function Optimizer:dtype() return self._buckets[1].param.dtype end

--- Everything that a step changes: the buffers of parameters and state, and the set of the tensors that live in
--- them.
---@return tensor[] tensors
---@return table<tensor, true> parameters
function Optimizer:buffers()
  local tensors, parameters = {}, {}
  for _, bucket in ipairs(self._buckets) do
    tensors[#tensors + 1] = bucket.param
    tensors[#tensors + 1] = bucket.low
    for _, name in ipairs(bucket.names) do tensors[#tensors + 1] = bucket.state[name] end
    for _, entry in ipairs(bucket.entries) do
      parameters[entry.tensor] = true
      for _, other in ipairs(entry.others) do tensors[#tensors + 1] = entry.state[other.name] end
    end
  end
  return tensors, parameters
end

--- Note the numbers of steps, in total and of each parameter. The result is a function that restores them.
---@return fun()
function Optimizer:remember_steps()
  local all, own = self.steps, {}
  for _, bucket in ipairs(self._buckets) do
    for _, entry in ipairs(bucket.entries) do own[entry] = entry.steps end
  end
  return function()
    self.steps = all
    for entry, steps in pairs(own) do entry.steps = steps end
  end
end

local function describe(self)
  local count = 0
  for _, bucket in ipairs(self._buckets) do
    for _, entry in ipairs(bucket.entries) do count = count + entry.count end
  end
  return string.format("%s: %d parameters in %d buffers, %d steps done", self.kind, count,
                       #self._buckets, self.steps)
end

local function is_optimizer(x)
  local metatable = getmetatable(x)
  return type(metatable) == "table" and metatable.__index == Optimizer
end

check.methods(Optimizer, is_optimizer, "an optimizer", "opt")

setmetatable(Optimizer, { __index = function(_, name)
  local text = type(name) == "string" and require("bam.util.hints").known("optimizer", name)
  if text then check.fail("an optimizer has no `%s`; %s", name, text) end
end })

-- ---- making one ----

-- The state of one parameter whose shapes are its own.
local function add_own_state(entry, others)
  entry.others = others
  for _, other in ipairs(others) do
    local like = entry.tensor
    entry.state[other.name] = core.full(other.shape, other.value, { dtype = other.dtype or flat.wide(like.dtype),
                                                                    device = like.device }):keep()
  end
end

-- The names of the state that all parameters of a set have alike, and what each has of its own.
local function states_of(set)
  local rule = set.rule
  if rule.elementwise then return (rules.state_of(rule, set.options)), {} end
  local alike, others = nil, {}
  for i, p in ipairs(set.parameters) do
    local names
    names, others[i] = rules.state_of(rule, set.options, p.tensor)
    if alike and table.concat(names, " ") ~= table.concat(alike, " ") then
      check.fail("optim.%s: state: parameters `%s` and `%s` have different names of state with their own shapes; "
                 .. "give those as { name = { shape = ... } }", rule.name, set.parameters[1].name, p.name)
    end
    alike = names
  end
  return alike, others
end

local function new_bucket(set)
  local alike, others = states_of(set)
  local bucket = flat.bucket(set.parameters, alike, set.rule.counts)
  bucket.rule, bucket.options, bucket.weight_decay = set.rule, set.options, set.weight_decay
  for i, entry in ipairs(bucket.entries) do add_own_state(entry, others[i] or {}) end
  return bucket
end

--- A live optimizer.
---@param definition table
---@param params any
---@param options? table
---@return table
function M.new(definition, params, options)
  local what = string.format("optim.%s", definition.name)
  if module.is_plain(params) and params[1] ~= nil then
    options = select(2, check.list_with_options(what, params, options))
  end
  local o = check.options(what, options, definition.spec)
  rules.check_options(definition, what, o)
  if o.groups then groups.check_patterns(what, o.groups, o, definition) end
  local sets, frozen = groups.sort(what, params, o, definition)
  local self = { kind = definition.name, definition = definition, lr = o.lr, steps = 0, _frozen = frozen,
                 _buckets = {} }
  for i, set in ipairs(sets) do self._buckets[i] = new_bucket(set) end
  for _, bucket in ipairs(self._buckets) do flat.fill(bucket) end
  return setmetatable(self, { __name = definition.name, __index = Optimizer, __tostring = describe })
end

return M
