-- The options of bam.train that replace what the model itself says: what is frozen, the coefficients of the auxiliary
-- losses, and the options of its routers.
local check = require "bam.util.check"
local description = require "bam.model.description"
local router_options = require "bam.nn.moe.router_options"
local schedules = require "bam.model.schedules"

local M = {}

local PARTS = { "attention", "ffn" }
local COEFFICIENTS = { "load_balance", "z_loss" }

--- Add these options to a spec.
---@param spec table<string, table> as for check.options
---@return table spec
function M.add_to(spec)
  spec.freeze = { "table", optional = true, expects = 'a table such as { routers = true } or { "^embed%.", "norm" }' }
  for _, name in ipairs(COEFFICIENTS) do spec[name] = { "any", optional = true } end
  for _, option in ipairs(router_options.LIST) do
    if option.scheduled then spec[option.name] = { "any", optional = true } end
  end
  spec.routing, spec.top_k = { "any", optional = true }, { "any", optional = true }
  return spec
end

local function where(name) return string.format("train: option %s", name) end

-- ---- routers ----

local part_spec = { attention = { "any", optional = true }, ffn = { "any", optional = true } }

local function is_by_part(value) return type(value) == "table" and getmetatable(value) == nil end

-- The value of a router's option for each part: { attention = a, ffn = f }, or one value for all parts with experts.
local function by_part(d, name, value)
  if is_by_part(value) then return check.options(where(name), value, part_spec) end
  local values = {}
  for _, which in ipairs(PARTS) do
    if d[which].experts > 1 then values[which] = value end
  end
  return values
end

local function check_experts(d, name, which)
  if d[which].experts == 1 then
    check.fail("%s: the model has no experts in its %s, so no router; leave it out", where(name),
               which == "ffn" and "FFN" or "attention")
  end
end

local function add_router_options(changes, d, o)
  for _, option in ipairs(router_options.LIST) do
    local name = option.name
    for which, value in pairs(option.scheduled and o[name] ~= nil and by_part(d, name, o[name]) or {}) do
      check_experts(d, name, which)
      changes[which][name] = schedules.read(where(name), value, option.kind)
    end
  end
end

-- How many experts are chosen: `routing` of the attention's, `top_k` of the FFN's.
local function add_counts(changes, d, o)
  if o.routing ~= nil then
    check_experts(d, "routing", "attention")
    changes.attention.routing = o.routing == "soft" and "soft"
      or schedules.read_k(where "routing", o.routing, d.attention.experts, '"soft" or ')
  end
  if o.top_k ~= nil then
    check_experts(d, "top_k", "ffn")
    changes.ffn.top_k = schedules.read_k(where "top_k", o.top_k, d.ffn.experts)
  end
end

-- ---- what is frozen ----

-- A dense model has neither routers nor experts.
local function read_freeze(d, given)
  for _, name in ipairs(description.is_mixture(d) and {} or { "routers", "experts" }) do
    if given[name] ~= nil then
      check.fail('%s: %s: this is a dense model, which has none; freeze parameters by name: { "^embed%%." }',
                 where "freeze", name)
    end
  end
  return schedules.read_freeze("train", given) or false
end

-- ---- all ----

-- Is one of them given? A dense model has nothing but its parameters to freeze.
local function any_given(d, o)
  local any = false
  for name in pairs(M.add_to {}) do
    any = any or o[name] ~= nil
    if o[name] ~= nil and name ~= "freeze" and not description.is_mixture(d) then
      check.fail("%s: this is a dense model, which has no routers; leave it out", where(name))
    end
  end
  return any
end

--- The description with what the options say in place of its own.
---@param d table description
---@param o table checked options
---@return table description
function M.apply(d, o)
  if not any_given(d, o) then return d end
  local changes = { attention = {}, ffn = {} }
  if o.freeze then changes.freeze = read_freeze(d, o.freeze) end
  for _, name in ipairs(COEFFICIENTS) do
    if o[name] ~= nil then changes[name] = schedules.read(where(name), o[name], "rate") end
  end
  add_router_options(changes, d, o)
  add_counts(changes, d, o)
  return description.derive(d, changes)
end

return M
