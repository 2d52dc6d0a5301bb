-- The skip guard: is a step fit to be taken? Not when its loss or gradient is not finite, when the
-- loss is far above that of guessing, or when the gradient is above the clipping norm and far larger
-- than usual (a spike). Such a step is skipped. Three in a row end the run, but for spikes whose loss
-- is as usual: then the third is taken, since larger gradients have become the usual ones.
--
-- What is usual is learned from all finite steps, also from skipped ones (a spike counts as the
-- smallest norm that is one). The statistics restart when the regime (regime.lua) jumps.
local check = require "bam.util.check"
local regime = require "bam.train.regime"

local M = {}

local Health = {} -- methods
local metatable = { __name = "health", __index = Health }

local IN_A_ROW = 3
local MEMORY = 0.98 -- of the running means of gradient norms and losses
local WARMUP = 20 -- steps until they mean something
local RISEN, RISEN_NATS = 1.5, 0.5 -- a loss above both, the factor of the usual and this much more

-- What a run has seen: `mean` of norms, `loss` the mean of losses, both over the `seen` steps since
-- the last jump; `first` loss; `skipped` steps in all and `in_a_row`.
local BEGINNING = { mean = 0.0, loss = 0.0, seen = 0, first = 0.0, skipped = 0, in_a_row = 0 }

local function read_state(state)
  local own = { regime = state and state.regime }
  for name, value in pairs(BEGINNING) do
    local given = state and state[name]
    if given == nil then given = value end -- an earlier version wrote fewer fields
    own[name] = check.value(string.format("health: %s", name), given, "number")
  end
  return own
end

--- A guard that has seen nothing, or one that goes on from `state`.
---@param o { spike: number, clip: number, vocab: integer } a norm above clip of `spike` times the
--- usual one is a spike, and so is a loss of `spike` times ln(vocab), that of guessing
---@param state? table what guard.state was
---@return table
function M.new(o, state)
  return setmetatable({ spike = o.spike, clip = o.clip, guessing = math.log(o.vocab),
                        state = read_state(state) }, metatable)
end

local function finite(x) return x == x and math.abs(x) < math.huge end

-- ---- what is wrong with a step ----

-- A fault of the weights or the batch, whatever is usual; or nil.
local function failure(self, loss, norm)
  if not finite(loss) then return string.format("the loss is %g", loss) end
  if not finite(norm) then return string.format("the norm of the gradient is %g", norm) end
  return self:fault_of_loss(loss)
end

--- What is wrong with a loss that may be the run's last, or nil.
---@param loss number
---@return string?
function Health:fault_of_loss(loss)
  if not finite(loss) then return string.format("the loss is %g", loss) end
  local first = self.state.first
  if first > 0 and loss > self.spike * math.max(first, self.guessing) then
    return string.format("the loss is %.4g; it began at %.4g, and guessing gives %.4g", loss, first,
                         self.guessing)
  end
end

-- The norm above which a gradient is a spike.
local function limit(self)
  local s = self.state
  return s.seen >= WARMUP and math.max(self.spike * s.mean, self.clip) or math.huge
end

local function has_risen(self, loss)
  local usual = self.state.loss
  return loss > RISEN * usual and loss > usual + RISEN_NATS
end

-- ---- what is usual ----

local function forget(s) s.mean, s.loss, s.seen = 0.0, 0.0, 0 end

local function learn(s, loss, norm)
  if s.first == 0 then s.first = loss end
  s.mean = s.seen == 0 and norm or MEMORY * s.mean + (1 - MEMORY) * norm
  s.loss = s.seen == 0 and loss or MEMORY * s.loss + (1 - MEMORY) * loss
  s.seen = s.seen + 1
end

local function skip(s, why)
  s.skipped, s.in_a_row = s.skipped + 1, s.in_a_row + 1
  return why, s.in_a_row >= IN_A_ROW
end

-- A gradient far larger than usual: nil when it has become the usual one.
local function judge_spike(self, loss, norm)
  local s = self.state
  local why = string.format("the norm of the gradient is %.4g, usual is %.4g", norm, s.mean)
  if s.in_a_row + 1 < IN_A_ROW or has_risen(self, loss) then
    learn(s, loss, limit(self))
    return skip(s, why)
  end
  forget(s)
  learn(s, loss, norm)
  s.in_a_row = 0
end

--- Judge a step: nil when it is to be taken, else why it is to be skipped, and whether it is one
--- too many in a row.
---@param loss number
---@param norm number of the gradient, before clipping
---@param now? table the regime of the step, see regime.lua
---@return string?
---@return boolean?
function Health:judge(loss, norm, now)
  local s = self.state
  if now then
    if s.regime and regime.jumped(s.regime, now) then forget(s) end
    s.regime = now
  end
  local why = failure(self, loss, norm)
  if why then return skip(s, why) end
  if norm > limit(self) then return judge_spike(self, loss, norm) end
  learn(s, loss, norm)
  s.in_a_row = 0
end

return M
