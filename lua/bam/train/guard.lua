-- Ensures that only settings covered by the fingerprint change a phase's weights. Callbacks and evaluations may look at
-- the model but not change it: its state is recorded before and compared after. The code and fields of routers written
-- in Lua must stay the same while the phase trains.
local check = require "bam.util.check"
local closure_hash = require "bam.model.fingerprint.closure_hash"
local core = require "bam.core"
local schedules = require "bam.model.schedules"
local optimizer_choice = require "bam.train.optimizer_choice"
local registry = require "bam.util.registry"
local router_state = require "bam.model.fingerprint.router_state"
local watch = require "bam.train.watch"

local M = {}

-- The first key, in sorted order, at which two tables differ.
local function difference(a, b)
  local keys = {}
  for key in pairs(a) do keys[key] = true end
  for key in pairs(b) do keys[key] = true end
  for _, key in ipairs(check.sorted_names(keys)) do
    if a[key] ~= b[key] then return key end
  end
end

-- Call f(...) with its own random numbers, and check that the model did not change; `advice` ends the message.
local function watched(what, advice, model, seed, f, ...)
  local noted, random = watch.note(model), core.random_state()
  core.seed(seed)
  f(...)
  core.random_state(random)
  local change = watch.change(noted)
  if change then check.fail("train: %s changed %s%s", what, change, advice) end
end

local CALLBACK = ". Callbacks must not change anything: the fingerprint does not cover it, and it would be lost on "
  .. "resume. What changes over a run is given by schedules (lr, data weights, options of bam.mix, freeze), or by a "
  .. "router that updates tensors in its fields while self.training is true; for anything else write your own loop, "
  .. "see help(bam.loop)"
local EVALUATION = ". Evaluations must not change the weights: a router may store new state only while its field "
  .. "`training` is true: if self.training then self.bias:add_(x) end"

--- Call a callback with `value` and the model, which it must leave unchanged. Its random numbers are those of `seed`;
--- the random numbers of training are unaffected.
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

--- Evaluate by f() under the same conditions, and return its result.
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

-- Scheduled values and frozen sets may change, and so may tensors that a router's forward updates and the optimizer
-- does not.
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

--- Record the model at the end of a step.
function Gap:begin() self.noted = watch.note(self.model, self.may) end

--- Raise an error if anything that is not scheduled has changed since. The second run of a step (audit_every) starts
--- from copies and is not checked again.
function Gap:check()
  if not self.noted then return end
  local change = watch.change(self.noted)
  self.noted = nil
  if change then
    check.fail("train: something changed %s between two steps. A callback may keep the model and read "
               .. "it; schedules, routers and data must not change it", change)
  end
end

--- Create a guard that detects changes of the model between steps. Needed if callbacks can keep the model.
---@param model table
---@param optimizer table
---@param d table description
---@return table
function M.gap(model, optimizer, d)
  local gap = setmetatable({ model = model, may = may_change(optimizer, d) }, gap_metatable)
  gap:begin()
  return gap
end

-- ---- the code that the fingerprint covers ----

-- Hash the code of routers, layers and blocks, and of an optimizer that a script defines, by name.
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

--- Create two functions that raise an error if something has changed since this call. check_code covers the code of
--- routers and optimizer, the values it uses, and the fields of routers; call it in every step. check_bam covers bam
--- itself; call it before anything is saved.
---@param d table description, with the routers
---@param model table
---@param optimizer table its definition
---@return fun()? check_code nil if all code is bam's own
---@return fun() check_bam
function M.fixed(d, model, optimizer)
  local hash = closure_hash.quick_hash()
  local made_of, kept, bam = code_of(d, optimizer, hash), router_state.of(model, hash), closure_hash.patches() or {}
  local function check_bam()
    local name = difference(bam, closure_hash.patches() or {})
    if name then
      check.fail("train: %s was replaced while the phase trained; the fingerprint does not cover that",
                 name)
    end
  end
  local function check_code()
    local name = difference(made_of, code_of(d, optimizer, hash))
    if name then
      check.fail("train: %s has changed while the phase trained: the code, or a variable, global or "
                 .. "table that it uses. The phase's fingerprint covers only the original", name)
    end
    name = difference(kept, router_state.of(model, hash))
    if name then
      check.fail("train: the router's %s changed while the phase trained, and would be lost on "
                 .. "resume: checkpoints save only the tensors in a router's fields. Keep numbers in a tensor, "
                 .. "and caches in fields that begin with _", name)
    end
  end
  return next(made_of) and check_code, check_bam
end

return M
