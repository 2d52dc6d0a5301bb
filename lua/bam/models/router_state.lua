-- What routers written in Lua keep besides tensors in their fields, which checkpoints hold: other
-- fields, and variables around their functions. A phase must not change it, as it would be lost when
-- the phase is resumed. Fields that begin with "_" are left out: they are for caches.
local check = require "bam.check"
local code = require "bam.models.code"
local knobs = require "bam.models.knobs"
local module = require "bam.nn.module"

local M = {}

-- Calls visit(path, value) for everything in a router but tensors, modules and lists of these.
local function each(value, path, skipped, visit)
  if check.is_tensor(value) then return end
  local is_module = module.is_module(value)
  if not is_module and (type(value) ~= "table" or debug.getmetatable(value) or #value == 0) then
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
  for _, knob in ipairs(knobs.list(d)) do
    if knob.group == which and knob.field and knob:is_scheduled() then skipped[knob.field] = true end
  end
  return skipped
end

--- The state of all routers of a live model that are written in Lua, as hashes by path.
---@param model table
---@return table<string, string>
function M.of(model)
  local d, hashes = model.description, {}
  for i, layer in ipairs(model.layers) do
    for _, which in ipairs { "attention", "ffn" } do
      local router = d[which].router and layer[which].router
      if router then
        each(router, string.format("layers.%d.%s.router", i, which), fields_from_outside(d, which),
             function(path, value) hashes[path] = code.hash(value) end)
      end
    end
  end
  return hashes
end

return M
