-- The regime of a step: which parameters are trained, on which data, with which settings, as plain data. When it jumps
-- between two steps, different gradients are expected. Gradual changes are not jumps.
local core = require "bam.core"

local M = {}

local JUMP = 0.1 -- fraction of rows that change domain; or change of a number, relative to the larger value

-- The model's numeric settings by name. The optimizer knows what is frozen.
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

--- The regime of a step. The model must have been set to that step.
---@param step integer
---@param run { model: table, optimizer: table, stream: table }
---@return { trained: string, numbers: table<string, number>, shares?: table<string, number> }
function M.at(step, run)
  local stream = run.stream
  return { trained = core.hash(table.concat(run.optimizer:trained(), "\n")),
           numbers = numbers_of(run.model.reached, nil, {}),
           shares = stream.shares and stream:shares(step) }
end

-- The fraction of rows that move to other domains.
local function moved(before, now)
  local sum = 0
  for name, share in pairs(now) do sum = sum + math.max(share - (before[name] or 0), 0) end
  return sum
end

local function differ(a, b)
  return a ~= b and (not a or not b or math.abs(a - b) > JUMP * math.max(math.abs(a), math.abs(b)))
end

--- Has the regime jumped between two successive steps?
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
