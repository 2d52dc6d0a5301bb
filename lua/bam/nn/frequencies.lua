-- The frequencies of rotary position embedding where they are scaled for long contexts.
local check = require "bam.util.check"
local core = require "bam.core"

local M = {}

local SPECS = {
  linear = { factor = { "positive" } },
  llama3 = { factor = { "positive" }, low = { "positive" }, high = { "positive" }, context = { "size" } },
}

--- Check a scaling as scripts give it: { scaling = "linear", factor = 4 }, or { scaling = "llama3", factor = 8,
--- low = 1, high = 4, context = 8192 }.
---@param what string for messages
---@param given table
---@return table scaling a new table
function M.read(what, given)
  local spec = SPECS[given.scaling]
  if not spec then
    check.fail('%s: scaling: expected "linear" or "llama3", got %s', what, check.describe(given.scaling))
  end
  local own = { scaling = { "string" } }
  for name, rule in pairs(spec) do own[name] = rule end
  local o = check.options(what, given, own)
  if o.low and o.low >= o.high then
    check.fail("%s: low is %g and high %g; low must be the smaller one", what, o.low, o.high)
  end
  for name in pairs(spec) do
    if spec[name][1] == "positive" then o[name] = o[name] + 0.0 end -- 8 and 8.0 are one scaling
  end
  return o
end

-- Llama 3 slows down what turns fewer than `low` times within the original context, leaves alone what turns more than
-- `high` times, and interpolates between.
local function llama3(frequency, s)
  local turns = s.context * frequency / (2 * math.pi)
  if turns < s.low then return frequency / s.factor end
  if turns > s.high then return frequency end
  local share = (turns - s.low) / (s.high - s.low)
  return (1 - share) * frequency / s.factor + share * frequency
end

--- The frequencies of a head's pairs.
---@param base number
---@param width integer of a head
---@param scaling? table nil for those of the base alone
---@return number[] width / 2 of them
function M.list(base, width, scaling)
  local list = {}
  for i = 1, width // 2 do
    local frequency = base ^ (-2 * (i - 1) / width)
    if not scaling then list[i] = frequency
    elseif scaling.scaling == "linear" then list[i] = frequency / scaling.factor
    else list[i] = llama3(frequency, scaling) end
  end
  return list
end

--- The same as a tensor f64 [width / 2], for ops that rotate.
---@param base number
---@param width integer
---@param scaling table
---@return tensor
function M.tensor(base, width, scaling) return core.tensor(M.list(base, width, scaling), { dtype = "f64" }) end

return M
