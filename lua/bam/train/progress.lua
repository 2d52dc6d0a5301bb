-- The progress display of a phase: on a terminal one line that is redrawn, otherwise a plain line now and then.
local core = require "bam.core"
local machine = require "bam.train.machine"
local tuning = require "bam.train.tuning"

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
                        tokens = phase.step_tokens, peak = tuning.without(machine.measure_peak),
                        first = first, begun = core.clock(), shown = now, marked = first - 1,
                        sum = 0, count = 0, drawn = false }, metatable)
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

-- "405 tokens/s", "41.8 ktokens/s"
local function throughput(tokens)
  local text = machine.short(tokens)
  return string.format(text:find " " and "%stokens/s" or "%s tokens/s", text)
end

-- The line for a terminal, without the bar where that leaves no room for the rest.
local function picture(self, step, loss, columns)
  local rate, left = speed(self, step)
  local rest = string.format("%3d %%  loss %.3f  %s  %2.0f %% of peak  %s left", step * 100 // self.steps, loss,
                             throughput(rate * self.tokens), 100 * rate * self.flops / self.peak,
                             machine.duration(left))
  local text = string.format("%s %s %s", self.name, bar(step / self.steps), rest)
  if #text >= columns then text = string.format("%s %s", self.name, rest) end
  return text:sub(1, columns - 1)
end

local function plain(self, step, loss)
  local rate, left = speed(self, step)
  return string.format("%s  step %d of %d  loss %.3f  %s  %.0f %% of peak  %s left",
                       self.name, step, self.steps, loss, throughput(rate * self.tokens),
                       100 * rate * self.flops / self.peak, machine.duration(left))
end

-- The mean loss since the last line or redrawing.
local function take_mean(self)
  local mean = self.sum / self.count
  self.sum, self.count = 0, 0
  return mean
end

--- Show the progress of training, if it is time for an update. The loss that is shown is the mean since the last time.
---@param step integer
---@param loss number of this step
function Progress:update(step, loss)
  local now, terminal = core.clock(), core.terminal()
  if math.abs(loss) < math.huge then self.sum, self.count = self.sum + loss, self.count + 1 end
  if terminal then
    if now - self.shown < REDRAW and step < self.steps then return end
    io.stderr:write("\r", picture(self, step, take_mean(self), terminal.columns), "\27[K")
    self.drawn, self.shown = true, now
  elseif now - self.shown >= LINE or (step - self.marked) * 4 >= self.steps then
    print(plain(self, step, take_mean(self)))
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
