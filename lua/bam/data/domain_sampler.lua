-- Assigns the rows of every step to domains. A domain earns its share of each step; fractions of a row carry over, so
-- that after any number of steps a domain has had its weight of the rows, give or take about one row. The counts
-- before a step are recomputed by replaying a few steps from a mark.
local M = {}

local STRIDE = 128 -- steps between marks

local Apportionment = {}
local metatable = { __name = "apportionment", __index = Apportionment }

function metatable:__tostring()
  return string.format("apportionment of %d rows a step among %d domains", self.rows, self.domains)
end

-- The domain with a positive weight and the largest `rank`; the first one on a tie.
local function best(weights, rank)
  local found, value
  for d = 1, #weights do
    local r = weights[d] > 0 and rank(d)
    if r and (not value or r > value) then found, value = d, r end
  end
  return found
end

-- Assign the rows of one step: counts[d] rows each. `owed` is the balance of each domain, before and after. A domain
-- of weight 0 gets no rows, whatever its balance.
local function hand_out(weights, owed, rows)
  local sum, left, counts = 0, rows, {}
  for d = 1, #weights do sum = sum + weights[d] end
  for d = 1, #weights do
    counts[d] = 0
    if weights[d] > 0 then
      owed[d] = owed[d] + rows * (weights[d] / sum)
      counts[d] = math.max(math.floor(owed[d]), 0)
      left = left - counts[d]
    end
  end
  local function change(by, rank)
    local d = best(weights, rank)
    counts[d], left = counts[d] + by, left - by
  end
  while left > 0 do change(1, function(d) return owed[d] - counts[d] end) end
  while left < 0 do
    change(-1, function(d) return counts[d] > 0 and counts[d] - owed[d] end)
  end
  for d = 1, #weights do owed[d] = owed[d] - counts[d] end
  return counts
end

-- Advance the state (next step, owed, had) by one step. Returns the counts of that step.
local function advance(self, state)
  local counts = hand_out(self.weights(state.step), state.owed, self.rows)
  for d, count in ipairs(counts) do state.had[d] = state.had[d] + count end
  state.step = state.step + 1
  return counts
end

local function copy(state)
  local function list(t) return table.move(t, 1, #t, 1, {}) end
  return { step = state.step, owed = list(state.owed), had = list(state.had) }
end

--- Create a sampler. `weights(step)` returns one number per domain, at least one of them positive.
---@param weights fun(step: integer): number[]
---@param domains integer number of domains
---@param rows integer rows per step
---@return table apportionment
function M.new(weights, domains, rows)
  local start = { step = 1, owed = {}, had = {} }
  for d = 1, domains do start.owed[d], start.had[d] = 0.0, 0 end
  return setmetatable({ weights = weights, domains = domains, rows = rows, marks = { start } },
                      metatable)
end

-- The state before `step`: the nearest earlier mark, copied and replayed.
local function state_before(self, step)
  local wanted = (step - 1) // STRIDE + 1
  for m = #self.marks + 1, wanted do
    local state = copy(self.marks[m - 1])
    for _ = 1, STRIDE do advance(self, state) end
    self.marks[m] = state
  end
  local state = self.last and self.last.step <= step and self.last.step > (wanted - 1) * STRIDE
    and self.last or copy(self.marks[wanted])
  while state.step < step do advance(self, state) end
  return state
end

--- Distribute the rows of a step.
---@param step integer from 1
---@return integer[] counts rows of each domain; they add up to the rows of a step
---@return integer[] before rows of each domain in all earlier steps
function Apportionment:at(step)
  local state = state_before(self, step)
  local before = table.move(state.had, 1, #state.had, 1, {})
  local counts = advance(self, state)
  self.last = state
  return counts, before
end

return M
