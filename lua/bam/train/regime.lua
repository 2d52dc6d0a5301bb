-- The regime of a step: what is trained, on what, and by which settings, as plain data. When it
-- jumps from one step to the next, other gradients than before are usual. Slow changes are no jumps.
local core = require "bam.core"

local M = {}

local JUMP = 0.1 -- of the rows that change their domain; of a number, relative to the larger one

-- The numbers of the model's knobs, by name; what is frozen is told by the optimiser.
local function numbers_of(values, prefix, out)
  for name, value in pairs(values) do
    if type(value) == "number" then
      out[prefix and string.format("%s.%s", prefix, name) or name] = value
    elseif type(value) == "table" then
      numbers_of(value, name, out)
    end
  end
  return out
end

--- The regime of a step that the model has been brought to.
---@param step integer
---@param run { model: table, optimizer: table, stream: table }
---@return { trained: string, numbers: table<string, number>, shares?: table<string, number> }
function M.at(step, run)
  local stream = run.stream
  return { trained = core.hash(table.concat(run.optimizer:trained(), "\n")),
           numbers = numbers_of(run.model.reached, nil, {}),
           shares = stream.shares and stream:shares(step) }
end

-- The share of the rows that go to other domains than before.
local function moved(before, now)
  local sum = 0
  for name, share in pairs(now) do sum = sum + math.max(share - (before[name] or 0), 0) end
  return sum
end

local function differ(a, b)
  return a ~= b and (not a or not b or math.abs(a - b) > JUMP * math.max(math.abs(a), math.abs(b)))
end

--- Is the regime `now` another one than `before`, that of the step before?
---@param before table
---@param now table
---@return boolean
function M.jumped(before, now)
  if before.trained ~= now.trained or moved(before.shares or {}, now.shares or {}) > JUMP then
    return true
  end
  for name, value in pairs(now.numbers) do
    if differ(before.numbers[name], value) then return true end
  end
  return false
end

return M
