-- A phase's fingerprint covers schedules by their values at every step. This module holds schedules to these values: it
-- is an error if a function returns another one while the phase trains, because a callback or a global changed.
local check = require "bam.util.check"
local schedules = require "bam.model.schedules"

local M = {}

local function fail(what, s, step, before, now)
  check.fail("train: %s: %s gave %s for step %d when the phase began, and %s now; a schedule must "
             .. "depend on the progress alone, since the phase's fingerprint holds its values", what,
             s, before, step, now)
end

--- Wrap a schedule for a run of `total` steps: method `at` raises if `s` returns another value than it does now.
---@param what string for messages
---@param s schedule
---@param total integer
---@return { at: fun(self: table, step: integer, total: integer): number }
function M.schedule(what, s, total)
  local values = {}
  for step = 1, total do values[step] = s:at(step, total) end
  return { at = function(_, step)
    local now = s:at(step, total)
    if now ~= values[step] then fail(what, s, step, values[step], now) end
    return now
  end }
end

local function values_of(knob, total)
  local values = {}
  for step = 1, total do values[step] = knob:at("train", step, total) end
  return values
end

--- The same for all schedules of a description: a function to call after each step with the values that the step used,
--- as in model.reached.
---@param d table description
---@param total integer
---@return fun(step: integer, reached: table)
function M.knobs(d, total)
  local pinned = {}
  for _, knob in ipairs(schedules.list(d)) do
    if knob:is_scheduled() then
      pinned[#pinned + 1] = { knob = knob, values = values_of(knob, total) }
    end
  end
  return function(step, reached)
    for _, pin in ipairs(pinned) do
      local knob, before = pin.knob, pin.values[step]
      local now = (knob.group and reached[knob.group] or reached)[knob.name]
      if now ~= before then fail(tostring(knob), knob.value, step, before, now) end
    end
  end
end

return M
