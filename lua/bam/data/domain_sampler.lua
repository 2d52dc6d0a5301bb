-- How many of each step's rows belong to which domain. A domain is owed its share of every step;
-- what it is owed beyond whole rows is carried on, so that after any number of steps it has had
-- its weight of them but for about one row. What was handed out before a step is found again by
-- replaying a few steps from a mark.
local M = {}

local STRIDE = 128 -- steps between marks

local Apportionment = {}
local metatable = { __name = "apportionment", __index = Apportionment }

function metatable:__tostring()
  return string.format("apportionment of %d rows a step among %d domains", self.rows, self.domains)
end

-- The domain with a weight for which `rank` is the largest, the first of those that tie.
local function best(weights, rank)
  local found, value
  for d = 1, #weights do
    local r = weights[d] > 0 and rank(d)
    if r and (not value or r > value) then found, value = d, r end
  end
  return found
end

-- Hand out one step's rows: counts[d] rows each. `owed` is what each domain is owed, before and
-- after. Without a weight a domain gets none, whatever it is owed.
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

-- Move the state (the step that comes next, owed, had) one step on; gives that step's counts.
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

--- `weights(step)` gives a list of numbers, one for each domain, at least one of them above 0.
---@param weights fun(step: integer): number[]
---@param domains integer how many
---@param rows integer of each step
---@return table apportionment
function M.new(weights, domains, rows)
  local start = { step = 1, owed = {}, had = {} }
  for d = 1, domains do start.owed[d], start.had[d] = 0.0, 0 end
  return setmetatable({ weights = weights, domains = domains, rows = rows, marks = { start } },
                      metatable)
end

-- The state before `step`: a copy of the mark at or before it, replayed.
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

--- The rows of a step.
---@param step integer from 1
---@return integer[] counts rows of each domain, which add up to the rows of a step
---@return integer[] before rows that each domain has had before this step
function Apportionment:at(step)
  local state = state_before(self, step)
  local before = table.move(state.had, 1, #state.had, 1, {})
  local counts = advance(self, state)
  self.last = state
  return counts, before
end

return M
