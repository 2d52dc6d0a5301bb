-- The options of the built-in router that layers with experts and bam.mix hand on to it. Everything else takes them
-- from this list: what the functions accept, what a description holds, what may be a schedule, what config.json and
-- fingerprints say. A new one is an entry and a @field here, and its use in router.lua, where it is a field.
local check = require "bam.util.check"

local M = {}

---@class nn.RouterSettings
---@field temperature? number|schedule the logits are divided by it; 1 by default
---@field jitter? number|schedule in training the router's input is multiplied by uniform random numbers in 1 ± jitter;
--- 0 by default
---@field renormalize? boolean the gates of the selected experts sum to 1; false by default. With 2 or more experts per
--- token a mixture of identical experts then computes what one of them does. With 1 every gate is 1 and the router has
--- no gradient, so training it is an error

--- In order: { name, kind, default, scheduled, always }. A kind is one of check.value's. What is `scheduled` may be a
--- schedule in bam.mix. A description holds an option only if it is not the default, so that a new option leaves
--- fingerprints as they are; the oldest ones are held `always`.
M.LIST = {
  { name = "temperature", kind = "positive", default = 1, scheduled = true, always = true },
  { name = "jitter", kind = "fraction", default = 0, scheduled = true, always = true },
  { name = "renormalise", public = "renormalize", kind = "boolean", default = false, always = true },
}

-- The name under which scripts give an option. `public` is a new name. config.json, fingerprints and fields keep
-- `name`, which scripts may also give for one version.
local function public(option) return option.public or option.name end

--- Add the options to the spec of a layer, or of a router.
---@param spec table<string, table> as for check.options
---@return table spec
function M.add_to(spec)
  for _, option in ipairs(M.LIST) do
    spec[public(option)] = { option.kind, option.default, was = option.public and option.name }
  end
  return spec
end

--- Copy the options from checked options to another table, under the names of their fields.
---@param from table
---@param to table
---@return table to
function M.copy(from, to)
  for _, option in ipairs(M.LIST) do to[option.name] = from[public(option)] end
  return to
end

-- ---- in bam.mix ----

--- Add them to the spec of a part of a mixture.
---@param spec table<string, table>
---@return table spec
function M.add_to_mix(spec)
  for _, option in ipairs(M.LIST) do
    spec[public(option)] = { option.scheduled and "any" or option.kind, optional = true,
                             was = option.public and option.name }
  end
  return spec
end

--- Is one of them given?
---@param o table
---@return boolean
function M.any_given(o)
  for _, option in ipairs(M.LIST) do
    if o[public(option)] then return true end
  end
  return false
end

--- Put the options of a part of a mixture into its description.
---@param where string for messages
---@param o table what is given
---@param part table
---@param read_scheduled fun(where: string, value: any, kind: string): any reads a number or a schedule
---@return table part
function M.read(where, o, part, read_scheduled)
  for _, option in ipairs(M.LIST) do
    local name, value = option.name, o[public(option)]
    if value == nil then value = option.default end
    local label = string.format("%s: %s", where, public(option))
    value = option.scheduled and read_scheduled(label, value, option.kind) or check.value(label, value, option.kind)
    if option.always or value ~= option.default then part[name] = value end
  end
  return part
end

return M
