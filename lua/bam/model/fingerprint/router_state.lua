-- What routers written in Lua keep besides the values of tensors in their fields, which checkpoints
-- hold: other fields, which tensors they are and whether these are trained, and variables around
-- their functions. A phase must not change it, as it would be lost when the phase is resumed. Fields
-- that begin with "_" are left out: they are for caches.
local check = require "bam.util.check"
local schedules = require "bam.model.schedules"
local module = require "bam.nn.module"

local M = {}

-- Calls visit(path, value) for everything in a router but modules and lists, which are walked.
local function each(value, path, skipped, visit)
  local is_module = module.is_module(value)
  local is_plain = type(value) ~= "table" or check.has_metatable(value) or #value == 0
  if is_plain and not is_module then
    return visit(path, value)
  end
  for key, field in next, value do
    local name = tostring(key)
    if not (is_module and (skipped[name] or name:sub(1, 1) == "_")) then
      each(field, string.format("%s.%s", path, name), skipped, visit)
    end
  end
end

-- The fields that are set from outside: in which mode the model is, and what is scheduled.
local function fields_from_outside(d, which)
  local skipped = { training = true }
  for _, knob in ipairs(schedules.list(d)) do
    if knob.group == which and knob.field and knob:is_scheduled() then skipped[knob.field] = true end
  end
  return skipped
end

local PLAIN = { string = true, boolean = true, number = true }

-- What stands for a value in a router called `path`, added to `state`.
local function note(state, path, value, may_freeze, hash)
  if not check.is_tensor(value) then
    local is_plain = PLAIN[type(value)] and value == value
    if is_plain then state[path] = value else state[path] = hash(value) end
    return
  end
  module.check_open(path, value)
  state[path] = value
  if not may_freeze then state[string.format("%s.requires_grad", path)] = value.requires_grad end
end

--- The state of all routers of a live model that are written in Lua, as values to compare by path:
--- tensors, hashes and plain values.
---@param model table
---@param hash fun(value: any): string of functions and tables
---@return table<string, any>
function M.of(model, hash)
  local d, state = model.description, {}
  local may_freeze = d.freeze ~= nil and (d.freeze.routers ~= nil or d.freeze.patterns ~= nil)
  for i, layer in ipairs(model.layers) do
    for _, which in ipairs { "attention", "ffn" } do
      local router = d[which].router and layer[which].router
      if router then
        each(router, string.format("layers.%d.%s.router", i, which), fields_from_outside(d, which),
             function(path, value) note(state, path, value, may_freeze, hash) end)
      end
    end
  end
  return state
end

return M
