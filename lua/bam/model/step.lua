-- Bringing a live model to a step of its run: coefficients of losses, settings of routers, and what
-- is frozen.
local check = require "bam.util.check"
local core = require "bam.core"
local freeze = require "bam.model.freeze"
local schedules = require "bam.model.schedules"
local module = require "bam.nn.module"
local sparse = require "bam.model.sparse"

local M = {}

local function set_routers(what, model, knob, value)
  for i, layer in ipairs(model.layers) do
    local router = layer[knob.group].router
    if knob.group == "ffn" and sparse.dense(model.description, i) then goto continue end
    if type(router) ~= "table" or router[knob.field] == nil then
      check.fail("%s: %s is a schedule, but the routers of %s have no field `%s` that could follow "
                 .. "it; give them one, or a number", what, knob, knob.group, knob.field)
    end
    router[knob.field] = value
    ::continue::
  end
end

-- Everything but freezing. Only what is scheduled is set: the rest is as it was built, or as the
-- script has made it since.
local function set_numbers(what, model, values)
  model.load_balance, model.z_loss, model.reached = values.load_balance, values.z_loss, values
  for _, knob in ipairs(schedules.list(model.description)) do
    if knob.field and knob:is_scheduled() then
      set_routers(what, model, knob, values[knob.group][knob.name])
    end
  end
end

--- As a model begins: at the first step, but with everything trainable, so that an optimizer made
--- of it knows all parameters.
---@param model table whose layers are there
---@param values table what knobs.at gave for the first step
function M.begin(model, values) set_numbers("build", model, values) end

--- See model:set_step.
---@param model table
---@param step integer
---@param total integer
function M.set(model, step, total)
  local values = schedules.at("set_step", model.description, step, total)
  set_numbers("set_step", model, values)
  freeze.apply(model, values.freeze)
end

-- The numbers of one router in the record of a step, copied; nil if it has none.
local function statistics_of(routing, layer, which)
  for _, record in ipairs(routing) do
    if record.layer == layer and record.module == which then
      local copy = {}
      for _, name in ipairs { "load", "gate", "entropy" } do
        copy[name] = table.move(record[name], 1, #record[name], 1, {})
      end
      return copy
    end
  end
end

-- Call a router's after_step. It may have expected statistics that its forward does not give.
local function call_after_step(router, statistics)
  if statistics then return core.with_grad(false, router.after_step, router, statistics) end
  local fine, message = xpcall(core.with_grad, function(message)
    if type(message) ~= "string" or not message:find "nil value" then return message end
    return string.format("%s; the statistics of after_step are nil, as forward returns none: return gates, experts, "
                         .. "{ statistics = s }, with s [3, experts]", message)
  end, false, router.after_step, router)
  if not fine then error(message, 0) end
end

--- See model:after_step.
---@param model table
---@param routing table[]
function M.after(model, routing)
  for i, layer in ipairs(model.layers) do
    for _, which in ipairs { "attention", "ffn" } do
      local router = layer[which].router
      if module.is_module(router) and check.is_callable(router.after_step) then
        call_after_step(router, statistics_of(routing, i, which))
      end
    end
  end
end

return M
