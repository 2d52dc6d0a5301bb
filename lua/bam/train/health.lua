-- Is a step fit to be taken? A loss or gradient that is not finite is not, nor is a gradient far
-- larger than usual (a spike). Such a step is skipped; three in a row end the run.
local check = require "bam.check"

local M = {}

local Health = {} -- methods
local metatable = { __name = "health", __index = Health }

local IN_A_ROW = 3
local MEMORY = 0.98 -- of the running mean of gradient norms
local WARMUP = 20 -- steps until it means something

--- A judge that has seen nothing, or one that goes on from `state`.
---@param spike number a gradient norm of so many times the usual one is a spike
---@param state? table what judge.state was
---@return table
function M.new(spike, state)
  local own = { mean = 0.0, seen = 0, skipped = 0, in_a_row = 0 }
  for name in pairs(own) do
    local what = string.format("health: %s", name)
    if state then own[name] = check.value(what, state[name], "number") end
  end
  return setmetatable({ spike = spike, state = own }, metatable)
end

local function finite(x) return x == x and math.abs(x) < math.huge end

-- Why the step must not be taken, or nil.
local function complaint(self, loss, norm)
  if not finite(loss) then return string.format("the loss is %g", loss) end
  if not finite(norm) then return string.format("the norm of the gradient is %g", norm) end
  local s = self.state
  if s.seen >= WARMUP and norm > self.spike * s.mean then
    return string.format("the norm of the gradient is %.4g, usual is %.4g", norm, s.mean)
  end
end

--- Judge a step: nil when it is to be taken, else why it is to be skipped, and whether it is one
--- too many in a row.
---@param loss number
---@param norm number of the gradient
---@return string?
---@return boolean?
function Health:judge(loss, norm)
  local s, why = self.state, complaint(self, loss, norm)
  if why then
    s.skipped, s.in_a_row = s.skipped + 1, s.in_a_row + 1
    return why, s.in_a_row >= IN_A_ROW
  end
  s.mean = s.seen == 0 and norm or MEMORY * s.mean + (1 - MEMORY) * norm
  s.seen, s.in_a_row = s.seen + 1, 0
end

return M
