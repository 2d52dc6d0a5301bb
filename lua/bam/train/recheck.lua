-- bam.train's option audit_every: detect bit errors of memory or processor while a phase trains. Digests of weights and
-- moments are kept from the end of a step to the start of the next. Every n-th step is computed twice and must give the
-- same bits; then the tokens are read again and must match what was written.
local check = require "bam.util.check"
local core = require "bam.core"

local M = {}

local Recheck = {}
local metatable = { __name = "recheck", __index = Recheck }

function metatable:__tostring()
  return string.format("recheck of every %d steps", self.every)
end

-- Everything in memory that a step changes: the flat buffers, and tensors that routers change themselves.
local function tensors_of(model, optimizer)
  local list, flat = optimizer:buffers()
  local state = model:state()
  for _, name in ipairs(check.sorted_names(state)) do
    if not flat[state[name]] then list[#list + 1] = state[name] end
  end
  return list
end

local function digest(self)
  local digests = {}
  for i, tensor in ipairs(self.tensors) do digests[i] = core.hash_tensor(tensor) end
  return table.concat(digests, " ")
end

local function copy(value)
  if type(value) ~= "table" then return value end
  local t = {}
  for key, field in pairs(value) do t[key] = copy(field) end
  return t
end

-- Everything that is needed to compute a step again.
local function remember(self)
  local before = { tensors = {}, restore_steps = self.optimizer:remember_steps(),
                   random = core.random_state(), health = copy(self.health.state) }
  for i, tensor in ipairs(self.tensors) do before.tensors[i] = tensor:clone():keep() end
  return before
end

local function restore(self, before)
  core.with_grad(false, function()
    for i, tensor in ipairs(self.tensors) do tensor:copy_(before.tensors[i]) end
  end)
  before.restore_steps()
  self.health.state = before.health
  core.random_state(before.random)
end

local ADVICE = "; wrong bits come from faulty memory, an unstable processor, or a kernel that is not "
  .. "deterministic. The checkpoints are from before"

local function compute_twice(self, step, compute)
  local before = remember(self)
  compute()
  local first = digest(self)
  restore(self, before)
  for _, tensor in ipairs(before.tensors) do tensor:close() end
  local record = compute()
  if digest(self) ~= first then
    check.fail("train: step %d, computed twice, gave different weights or moments%s", step, ADVICE)
  end
  return record
end

local function check_tokens(self, step)
  local fault = self.stream and self.stream.fault and self.stream:fault()
  if fault then
    check.fail("train: step %d: tokens differ from what was written: %s. The steps since the last "
               .. "audit, %d steps earlier, may have read wrong ones; delete the text's directory, which is "
               .. "rebuilt, and resume from an older checkpoint", step, fault, self.every)
  end
end

--- Compute a step, twice if it is due, and return its record. Raises an error if bits are wrong.
---@param step integer
---@param compute fun(): table computes the step
---@return table record
function Recheck:step(step, compute)
  if self.digest and digest(self) ~= self.digest then
    check.fail("train: weights or moments changed in memory between steps %d and %d%s", step - 1, step,
               ADVICE)
  end
  local record
  if step % self.every == 0 then
    record = compute_twice(self, step, compute)
    check_tokens(self, step)
  else
    record = compute()
  end
  self.digest = digest(self)
  return record
end

--- Create the checker of a run.
---@param every integer
---@param run { model: table, optimizer: table, health: table, stream?: table } a stream with a method
--- `fault`, as bam.corpus gives them, checks its tokens
---@return table
function M.new(every, run)
  return setmetatable({ every = every, optimizer = run.optimizer, health = run.health,
                        stream = run.stream, tensors = tensors_of(run.model, run.optimizer) }, metatable)
end

return M
