-- The skip guard decides whether a step is applied. A step is skipped if its loss or gradient is not finite, if its
-- loss is far above that of uniform guessing, or if its gradient norm exceeds the clipping norm and is far above the
-- running mean (a spike). Three skips in a row end the run. There is one exception: if the third is a spike with an
-- ordinary loss, it is applied, because larger gradients have become normal.
--
-- Running means are updated by all finite steps, skipped ones included (a spike counts as the smallest norm that would
-- be one). They restart when the regime (regime.lua) jumps.
local check = require "bam.util.check"
local regime = require "bam.train.regime"

local M = {}

local Health = {} -- methods
local metatable = { __name = "health", __index = Health }

local IN_A_ROW = 3
local MEMORY = 0.98 -- of the running means of gradient norms and losses
local WARMUP = 20 -- steps until the means are meaningful
local RISEN, RISEN_NATS = 1.5, 0.5 -- a loss has risen above this multiple of the mean and by this many nats

-- Statistics of a run: `mean` of gradient norms and `loss`, the mean of losses, both over the `seen` steps since the
-- last jump; the `first` loss; the number of steps `skipped` in total and `in_a_row`.
local BEGINNING = { mean = 0.0, loss = 0.0, seen = 0, first = 0.0, skipped = 0, in_a_row = 0 }

local function read_state(state)
  local own = { regime = state and state.regime }
  for name, value in pairs(BEGINNING) do
    local given = state and state[name]
    if given == nil then given = value end -- earlier versions wrote fewer fields
    own[name] = check.value(string.format("health: %s", name), given, "number")
  end
  return own
end

--- Create a guard, with no history or with the history in `state`.
---@param o { max_grad_ratio: number, clip: number, vocab: integer } a gradient norm above clip and above
--- max_grad_ratio times the running mean is a spike; a loss above max_grad_ratio times ln(vocab) is a failure
---@param state? table field `state` of an earlier guard
---@return table
function M.new(o, state)
  return setmetatable({ max_grad_ratio = o.max_grad_ratio, clip = o.clip, guessing = math.log(o.vocab),
                        state = read_state(state) }, metatable)
end

local function finite(x) return x == x and math.abs(x) < math.huge end

-- ---- what is wrong with a step ----

-- A fault of the weights or the batch that does not depend on the running means; or nil.
local function failure(self, loss, norm)
  if not finite(loss) then return string.format("the loss is %g", loss) end
  if not finite(norm) then return string.format("the norm of the gradient is %g", norm) end
  return self:fault_of_loss(loss)
end

--- Check a loss that may be the last one of the run. Returns what is wrong, or nil.
---@param loss number
---@return string?
function Health:fault_of_loss(loss)
  if not finite(loss) then return string.format("the loss is %g", loss) end
  local first = self.state.first
  if first > 0 and loss > self.max_grad_ratio * math.max(first, self.guessing) then
    return string.format("the loss is %.4g; it began at %.4g, and guessing gives %.4g", loss, first,
                         self.guessing)
  end
end

-- The smallest gradient norm that is a spike.
local function limit(self)
  local s = self.state
  return s.seen >= WARMUP and math.max(self.max_grad_ratio * s.mean, self.clip) or math.huge
end

local function has_risen(self, loss)
  local usual = self.state.loss
  return loss > RISEN * usual and loss > usual + RISEN_NATS
end

-- ---- running means ----

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

-- Judge a gradient far above the running mean. Returns nil if such gradients have become normal.
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

--- Judge a step. Returns nil if it is to be applied; otherwise the reason to skip it, and whether the run must end.
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
