-- --profile: where the time of some steps of a phase goes. The first steps are left out, because they allocate memory.
local core = require "bam.core"
local profile = require "bam.tensor.profile"

local M = {}

local FIRST, STEPS = 3, 10 -- of the steps that this process trains

local Profiling = {} -- methods
local metatable = { __name = "profiling", __index = Profiling }

local function finish(self, step)
  local report = profile.take()
  local path = string.format("%s/profile.json", self.directory)
  report:save(path)
  self.say("%s  steps %d to %d, %.3f ms each; %s is a trace for ui.perfetto.dev\n%s", self.name, self.from, step,
           1e3 * report.seconds / (step - self.from + 1), path, report)
  self.done = true
end

--- Compute a step, and record it if it is one of those to profile.
---@param step integer
---@param compute fun(): table
---@return table record
function Profiling:step(step, compute)
  if self.done then return compute() end
  if step == self.from then profile.begin() end
  local record = compute()
  if step >= self.from and (step == self.to or step == self.last) then finish(self, step) end
  return record
end

--- End the recording of a run that ends early.
function Profiling:close()
  if not self.done then core.profile_end() end
end

--- Profile steps of a run from step `first` to `last`.
---@param run { name: string, directory: string, first: integer, last: integer, say: function }
---@return table
function M.new(run)
  local from = math.min(run.first + FIRST - 1, run.last)
  return setmetatable({ name = run.name, directory = run.directory, last = run.last, say = run.say, from = from,
                        to = from + STEPS - 1 }, metatable)
end

return M
