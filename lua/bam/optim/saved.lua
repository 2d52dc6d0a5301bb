-- The state of an optimizer as tensors by name, saved and loaded: see Optimizer:state and load_state.
local check = require "bam.util.check"
local core = require "bam.core"
local flat = require "bam.optim.flat"
local state = require "bam.nn.state"

local M = {}

local function each_entry(self, f)
  for _, bucket in ipairs(self._buckets) do
    for _, entry in ipairs(bucket.entries) do f(entry, bucket) end
  end
end

local function step_name(entry) return string.format("step.%s", entry.name) end

--- Where each tensor of the state lives, and numbers of steps in tensors of their own, of which those of the
--- parameters are also given, by entry.
---@param self table
---@return { name: string, tensor: tensor }[]
---@return table<table, tensor>
function M.targets(self)
  local list, steps = { { name = "step", tensor = core.tensor(self.steps) } }, {}
  local function add(entry, name)
    list[#list + 1] = { name = string.format("%s.%s", name, entry.name), tensor = entry.state[name] }
  end
  each_entry(self, function(entry, bucket)
    for _, name in ipairs(bucket.names) do add(entry, name) end
    for _, other in ipairs(entry.others) do add(entry, other.name) end
    if entry.low then list[#list + 1] = { name = string.format("low.%s", entry.name), tensor = entry.low } end
    if bucket.counts then
      steps[entry] = core.tensor(entry.steps, { device = "cpu" })
      list[#list + 1] = { name = step_name(entry), tensor = steps[entry] }
    end
  end)
  return list, steps
end

local MOST_STEPS = 1 << 53

-- Numbers of steps are checked before anything changes; other faults are found by state.load.
local function check_steps(what, values)
  for name, value in pairs(values) do
    local counts = type(name) == "string" and (name == "step" or name:find "^step%.")
    if counts and check.is_tensor(value) and value.ndim == 0 then
      local steps = value:item()
      if not (steps >= 0 and steps <= MOST_STEPS) then
        check.fail("%s: `%s` is %s; it must be at least 0 and at most 2^53", what, name, steps)
      end
    end
  end
end

-- A state of a version that counted steps for all parameters together: each gets that number.
local function with_steps(self, values)
  local complete, found = {}, false
  for name, value in pairs(values) do
    if type(name) ~= "string" then return values end -- state.load says what is wrong
    complete[name], found = value, found or name:find "^step%." ~= nil
  end
  if found or values.step == nil then return values end
  each_entry(self, function(entry, bucket)
    local first = bucket.names[1]
    local known = first and values[string.format("%s.%s", first, entry.name)] ~= nil
    if bucket.counts and known then complete[step_name(entry)] = values.step end
  end)
  return complete
end

--- See Optimizer:load_state.
---@param self table
---@param values table<string, tensor>
---@param options? { strict: boolean }
---@return string[] missing
---@return string[] unexpected
function M.load(self, values, options)
  local what, list, steps = string.format("%s:load_state", self.kind), M.targets(self)
  values = with_steps(self, check.value(string.format("%s: state", what), values, "table"))
  check_steps(what, values)
  return core.uninterrupted(function()
    local missing, unexpected = state.load(what, list, values, options)
    self.steps = list[1].tensor:item()
    each_entry(self, function(entry) entry.steps = (steps[entry] or list[1].tensor):item() end)
    for _, bucket in ipairs(self._buckets) do flat.divide(bucket) end
    return missing, unexpected
  end)
end

return M
