-- Knobs: settings of a description that are a number or a schedule. Here they are read, listed, and
-- brought to a step. A knob's kind says what its numbers may be: one of check.value's, or "k",
-- which is rounded to a number of experts, or "flag", of which 0 means no, everything else yes.
local check = require "bam.util.check"
local router_options = require "bam.nn.moe.router_options"
local schedule = require "bam.util.schedule"

local M = {}

-- ---- reading ----

local function is_scheduled(value) return schedule.is(value) or type(value) == "function" end

--- A number of a kind that check.value knows, or a schedule.
---@param where string for messages
---@param value any
---@param kind string
---@return number|schedule
function M.read(where, value, kind)
  if type(value) == "number" then return check.value(where, value, kind) end
  if not is_scheduled(value) then
    check.fail("%s: expected a number or a schedule, got %s", where, check.describe(value))
  end
  return schedule.of(value)
end

local function rounded(number) return math.tointeger(math.floor(number + 0.5)) end

-- A scheduled number of experts, rounded; `when` is for the message.
local function experts_of(where, knob, when, number, experts)
  local k = rounded(number)
  if k and k >= 1 and k <= experts then return k end
  return check.fail("%s: %s gives %g %s, and there are %d experts; it must stay within 1 .. %d",
                    where, knob, number, when, experts, experts)
end

local LATE = 1 << 40 -- a step at the end of a run so long that single steps do not show

--- What a number of experts ends at: models are counted with that.
---@param k integer|schedule
---@return integer
function M.last(k) return type(k) == "number" and k or rounded(k:at(LATE, LATE)) end

--- How many of the experts are chosen: an integer, or a schedule, whose end is checked at once and
--- the rest when it is reached.
---@param where string for messages
---@param value any
---@param experts integer
---@param otherwise? string what else it may be, for messages
---@return integer|schedule
function M.read_k(where, value, experts, otherwise)
  if is_scheduled(value) then
    local k = schedule.of(value)
    experts_of(where, k, "at its end", k:at(LATE, LATE), experts)
    return k
  end
  local k = check.value(string.format("%s (or %sa schedule)", where, otherwise or ""), value,
                        "size")
  if k > experts then check.fail("%s is %d, and there are %d experts", where, k, experts) end
  return k
end

-- What a function gives for a flag, as the number that schedules work with.
local function as_number(value)
  if type(value) == "boolean" then return value and 1 or 0 end
  return value
end

local function read_flag(where, value)
  if is_scheduled(value) then return schedule.of(value, as_number) end
  if type(value) == "boolean" then return value end
  return check.value(string.format("%s (or true, false, a schedule)", where), value, "number") ~= 0
end

local freeze_spec = {
  routers = { "any", optional = true }, experts = { "any", optional = true },
  rest = { "any", optional = true },
}

-- The patterns of a list, and the named entries beside it.
local function read_patterns(where, given)
  local n, named = check.list_with_options(where, given)
  local patterns = n > 0 and table.move(given, 1, n, 1, {}) or nil
  for i, pattern in ipairs(patterns or {}) do
    if type(pattern) ~= "string" or not pcall(string.find, "", pattern) then
      check.fail('%s: entry %d: expected a Lua pattern of names of parameters, such as "^layers%%.1%%.", got %s', where,
                 i, check.describe(pattern))
    end
  end
  return patterns, named
end

--- The option freeze. What it leaves out stays out: whether that is trained is left to the script.
---@param what string the function, for messages
---@param given? table flags by name; its list entries are patterns of names of parameters
---@return table<string, boolean|schedule|string[]>? freeze flags, and `patterns`; nil when nothing is said
function M.read_freeze(what, given)
  if given == nil then return nil end
  local where, flags = string.format("%s: option freeze", what), {}
  local patterns, named = read_patterns(where, given)
  for name, value in pairs(check.options(where, named, freeze_spec)) do
    flags[name] = read_flag(string.format("%s: %s", where, name), value)
  end
  flags.patterns = patterns
  return next(flags) and flags or nil
end

-- ---- the knobs of a description ----

local Knob = {}
local metatable = { __name = "knob", __index = Knob }

function metatable:__tostring()
  return self.group and string.format("%s.%s", self.group, self.name) or self.name
end

-- Where they are: in a group or the description itself. `field` is what routers call it.
local PLACES = { { name = "load_balance", kind = "rate" }, { name = "z_loss", kind = "rate" } }

for _, k in ipairs { { "attention", "routing" }, { "ffn", "top_k" } } do
  PLACES[#PLACES + 1] = { group = k[1], name = k[2], kind = "k", field = "top_k" }
  for _, option in ipairs(router_options.LIST) do
    if option.scheduled then
      PLACES[#PLACES + 1] = { group = k[1], name = option.name, kind = option.kind, field = option.name }
    end
  end
end

for _, name in ipairs { "routers", "experts", "rest" } do
  PLACES[#PLACES + 1] = { group = "freeze", name = name, kind = "flag" }
end

--- The knobs that a description has, in a fixed order: { group, name, kind, field, value, experts }.
--- Soft routing is no knob.
---@param d table description
---@return table[]
function M.list(d)
  local list = {}
  for _, place in ipairs(PLACES) do
    local holder = d
    if place.group then holder = d[place.group] or {} end -- freeze may not be there
    local value = holder[place.name]
    if value ~= nil and value ~= "soft" then
      list[#list + 1] = setmetatable({
        group = place.group, name = place.name, kind = place.kind, field = place.field,
        value = value, experts = holder.experts,
      }, metatable)
    end
  end
  return list
end

--- Does it change over a run?
---@return boolean
function Knob:is_scheduled() return schedule.is(self.value) end

--- What it is at a step: a number, a flag true or false.
---@param what string the function, for messages
---@param step integer from 1
---@param total integer
---@return number|boolean
function Knob:at(what, step, total)
  if not self:is_scheduled() then return self.value end
  local number, where = self.value:at(step, total), string.format("%s: %s", what, self)
  if self.kind == "flag" then return number ~= 0 end
  if self.kind ~= "k" then return check.value(where, number, self.kind) end
  return experts_of(where, self.value, string.format("at step %d of %d", step, total), number,
                    self.experts)
end

--- What all knobs are at a step: { load_balance, z_loss, attention = { routing, temperature, ...
--- }, ffn = { top_k, temperature, ... }, freeze = { routers, experts, rest } }, where the description has them.
---@param what string the function, for messages
---@param d table description
---@param step integer from 1
---@param total integer
---@return table
function M.at(what, d, step, total)
  local values = { attention = {}, ffn = {}, freeze = {} }
  for _, knob in ipairs(M.list(d)) do
    local holder = knob.group and values[knob.group] or values
    holder[knob.name] = knob:at(what, step, total)
  end
  values.attention.routing = values.attention.routing or d.attention.routing
  return values
end

return M
