-- Nothing but what a phase's fingerprint covers may change its weights. Callbacks and evaluations
-- may look at the model, not change it: its parts are noted before, and compared afterwards. What
-- routers written in Lua are made of and keep must stay as it is, as long as the phase trains.
local check = require "bam.util.check"
local closure_hash = require "bam.model.fingerprint.closure_hash"
local core = require "bam.core"
local schedules = require "bam.model.schedules"
local optimizer_choice = require "bam.train.optimizer_choice"
local registry = require "bam.util.registry"
local router_state = require "bam.model.fingerprint.router_state"
local watch = require "bam.train.watch"

local M = {}

-- The first key, in order, under which two tables differ.
local function difference(a, b)
  local keys = {}
  for key in pairs(a) do keys[key] = true end
  for key in pairs(b) do keys[key] = true end
  for _, key in ipairs(check.sorted_names(keys)) do
    if a[key] ~= b[key] then return key end
  end
end

-- Call f(...) with random numbers of its own, and ensure that the model stays as it is; `advice` ends
-- the message.
local function watched(what, advice, model, seed, f, ...)
  local noted, random = watch.note(model), core.random_state()
  core.seed(seed)
  f(...)
  core.random_state(random)
  local change = watch.change(noted)
  if change then check.fail("train: %s changed %s%s", what, change, advice) end
end

local CALLBACK = ". Callbacks may only look: what they change is not in the phase's fingerprint, and "
  .. "would be lost when it is resumed. What changes over a run is said by schedules (lr, data "
  .. "weights, bam.mix's knobs and freeze), or done by a router to tensors in its fields while "
  .. "self.training is true; for all else write a loop of your own, see help(bam.loop)"
local EVALUATION = ". How often a phase is evaluated must not change its weights: a router may keep "
  .. "something new only while its field `training` is true"

--- Call a callback, which gets `value` and the model and must leave the model as it is. Random
--- numbers that it draws are those of `seed`, and do not change those of training.
---@param what string its name
---@param f function
---@param value any
---@param model table
---@param seed integer
function M.call(what, f, value, model, seed)
  local info = type(f) == "function" and debug.getinfo(f, "S")
  if info then what = string.format("%s (%s:%d)", what, info.short_src, info.linedefined) end
  watched(what, CALLBACK, model, seed, f, value, model)
end

--- Evaluate by f(), whose result is given, in the same way.
---@param model table
---@param seed integer
---@param f function
---@return any
function M.evaluate(model, seed, f)
  local result
  watched("an evaluation", EVALUATION, model, seed, function() result = f() end)
  return result
end

-- ---- between two steps ----

-- What is scheduled may change: knobs, and what is frozen. Tensors that are not the optimizer's may
-- be changed by a router's forward.
local function may_change(optimizer, d)
  local fields = { reached = true, load_balance = true, z_loss = true }
  for _, knob in ipairs(schedules.list(d)) do
    for i = 1, knob.field and knob:is_scheduled() and d.layers or 0 do
      fields[string.format("layers.%d.%s.router.%s", i, knob.group, knob.field)] = true
    end
  end
  local _, tensors = optimizer:buffers()
  return { fields = fields, tensors = tensors, freezing = d.freeze ~= nil }
end

local Gap = {}
local gap_metatable = { __name = "gap between two steps", __index = Gap }

function gap_metatable:__tostring() return "gap between two steps" end

--- Note what the model is at the end of a step.
function Gap:begin() self.noted = watch.note(self.model, self.may) end

--- Raise an error when something but what is scheduled has changed since then. A step that is computed
--- a second time (audit_every) begins with copies, and is not looked at again.
function Gap:check()
  if not self.noted then return end
  local change = watch.change(self.noted)
  self.noted = nil
  if change then
    check.fail("train: something changed %s between two steps. A callback may keep the model to look "
               .. "at it; schedules, routers and data must not change it", change)
  end
end

--- What notices changes of the model between steps, to be used where callbacks can keep it.
---@param model table
---@param optimizer table
---@param d table description
---@return table
function M.gap(model, optimizer, d)
  local gap = setmetatable({ model = model, may = may_change(optimizer, d) }, gap_metatable)
  gap:begin()
  return gap
end

-- ---- what the fingerprint was taken of ----

-- The code of routers, layers and blocks, and of an optimizer that a script has written, as hashes by name.
local function code_of(d, optimizer, hash)
  local hashes = {}
  for _, which in ipairs { "attention", "ffn" } do
    for _, name in ipairs { "router", "class" } do
      local value = d[which][name]
      if value then hashes[string.format("%s.%s", which, name)] = hash(value) end
    end
  end
  if type(d.block) == "table" then hashes["the block's forward"] = hash(registry.code(d.block).forward) end
  for name, hashed in pairs(optimizer_choice.code(optimizer, hash) or {}) do
    hashes[string.format("the optimizer's %s", name)] = hashed
  end
  return hashes
end

--- Two functions that raise an error when something has changed since now: the code of routers and of the optimizer,
--- what it uses, or what routers keep, to be called in every step; and bam itself, to be called before
--- anything is saved.
---@param d table description, with the routers
---@param model table
---@param optimizer table its definition
---@return fun()? check_code nil when all of it is bam's own
---@return fun() check_bam
function M.fixed(d, model, optimizer)
  local hash = closure_hash.quick_hash()
  local made_of, kept, bam = code_of(d, optimizer, hash), router_state.of(model, hash), closure_hash.patches() or {}
  local function check_bam()
    local name = difference(bam, closure_hash.patches() or {})
    if name then
      check.fail("train: %s was replaced while the phase trained, which its fingerprint does not hold",
                 name)
    end
  end
  local function check_code()
    local name = difference(made_of, code_of(d, optimizer, hash))
    if name then
      check.fail("train: %s has changed while the phase trained: the code, or a variable, global or "
                 .. "table that it uses. The phase's fingerprint was taken of what it was", name)
    end
    name = difference(kept, router_state.of(model, hash))
    if name then
      check.fail("train: the router's %s changed while the phase trained, and would be lost when it "
                 .. "is resumed: checkpoints hold tensors in a router's fields; keep numbers in one, "
                 .. "and caches in fields that begin with _", name)
    end
  end
  return next(made_of) and check_code, check_bam
end

return M
