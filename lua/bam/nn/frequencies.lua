-- The frequencies of rotary position embedding where they are scaled for long contexts.
local check = require "bam.util.check"

local M = {}

local SPECS = {
  linear = { factor = { "positive" } },
  llama3 = { factor = { "positive" }, low = { "positive" }, high = { "positive" }, context = { "size" } },
  yarn = { factor = { "positive" }, low = { "positive", 1 }, high = { "positive", 32 }, context = { "size" },
           attention = { "positive", optional = true } },
}

-- By how much YaRN sharpens scores, per side: what its paper recommends.
local function yarn_attention(factor) return factor <= 1 and 1 or 0.1 * math.log(factor) + 1 end

--- Check a scaling as scripts give it: { scaling = "linear", factor = 4 }, { scaling = "llama3", factor = 8,
--- low = 1, high = 4, context = 8192 }, or { scaling = "yarn", factor = 4, context = 32768 } with low, high and
--- attention.
---@param what string for messages
---@param given table
---@return table scaling a new table
function M.read(what, given)
  local spec = SPECS[given.scaling]
  if not spec then
    check.fail('%s: scaling: expected "linear", "llama3" or "yarn", got %s', what, check.describe(given.scaling))
  end
  local own = { scaling = { "string" } }
  for name, rule in pairs(spec) do own[name] = rule end
  local o = check.options(what, given, own)
  if o.low and o.low >= o.high then
    check.fail("%s: low is %g and high %g; low must be the smaller one", what, o.low, o.high)
  end
  if o.scaling == "yarn" then o.attention = o.attention or yarn_attention(o.factor) end
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

-- YaRN (Peng et al. 2023): between the last pair that turns `high` times and the first that turns `low` times, the
-- share of the slower frequency grows with the number of the pair.
local function yarn(frequency, s, base, width, pair)
  local function number(turns) return width * math.log(s.context / (turns * 2 * math.pi)) / (2 * math.log(base)) end
  local first, last = math.max(math.floor(number(s.high)), 0), math.min(math.ceil(number(s.low)), width - 1)
  local share = math.min(math.max((pair - first) / (last > first and last - first or 0.001), 0), 1)
  return share * frequency / s.factor + (1 - share) * frequency
end

--- The frequencies of a head's pairs.
---@param base number
---@param width integer elements of a head that rotate
---@param scaling? table nil for those of the base alone
---@return number[] width / 2 of them
function M.list(base, width, scaling)
  local list = {}
  for i = 1, width // 2 do
    local frequency = base ^ (-2 * (i - 1) / width)
    if not scaling then list[i] = frequency
    elseif scaling.scaling == "linear" then list[i] = frequency / scaling.factor
    elseif scaling.scaling == "llama3" then list[i] = llama3(frequency, scaling)
    else list[i] = yarn(frequency, scaling, base, width, i - 1) end
  end
  return list
end

return M
