-- The progress display of a phase: on a terminal one line that is redrawn, otherwise a plain line now and then.
local core = require "bam.core"
local machine = require "bam.train.machine"

local M = {}

local Progress = {} -- methods
local metatable = { __name = "progress", __index = Progress }

local REDRAW, LINE = 0.1, 30 -- seconds between redraws, and between plain lines
local BAR = 20

--- The display of a phase.
---@param phase { name: string, steps: integer, flops: number } flops of a step
---@param first integer the first step
---@return table
function M.new(phase, first)
  local now = core.clock()
  return setmetatable({ name = phase.name, steps = phase.steps, flops = phase.flops,
                        tokens = phase.step_tokens, peak = machine.measure_peak(),
                        first = first, begun = core.clock(), shown = now, marked = first - 1,
                        drawn = false }, metatable)
end

local function bar(share)
  local full = math.floor(share * BAR + 0.5)
  return string.format("[%s%s]", ("="):rep(full), (" "):rep(BAR - full))
end

local function speed(self, step)
  local seconds = math.max(core.clock() - self.begun, 1e-9)
  local rate = (step - self.first + 1) / seconds
  return rate, (self.steps - step) / rate
end

local function picture(self, step, loss, columns)
  local rate, left = speed(self, step)
  local text = string.format(
    "%s %s %3d %%  loss %.3f  %stokens/s  %2.0f %% of peak  %s left", self.name,
    bar(step / self.steps), step * 100 // self.steps, loss, machine.short(rate * self.tokens),
    100 * rate * self.flops / self.peak, machine.duration(left))
  return text:sub(1, columns - 1)
end

local function plain(self, step, loss)
  local rate, left = speed(self, step)
  return string.format("%s  step %d of %d  loss %.3f  %stokens/s  %.0f %% of peak  %s left",
                       self.name, step, self.steps, loss, machine.short(rate * self.tokens),
                       100 * rate * self.flops / self.peak, machine.duration(left))
end

--- Show the progress of training, if it is time for an update.
---@param step integer
---@param loss number smoothed
function Progress:update(step, loss)
  local now, terminal = core.clock(), core.terminal()
  if terminal then
    if now - self.shown < REDRAW and step < self.steps then return end
    io.stderr:write("\r", picture(self, step, loss, terminal.columns), "\27[K")
    self.drawn, self.shown = true, now
  elseif now - self.shown >= LINE or (step - self.marked) * 4 >= self.steps then
    print(plain(self, step, loss))
    self.shown, self.marked = now, step
  end
end

--- Print a permanent line.
---@param format string
---@param ... any
function Progress:say(format, ...)
  if self.drawn then io.stderr:write("\r\27[K") end
  self.drawn = false
  print(string.format(format, ...))
end

--- Clear the display.
function Progress:close()
  if self.drawn then io.stderr:write("\r\27[K") end
  self.drawn = false
end

return M
