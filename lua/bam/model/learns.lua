-- Can what a run trains learn? Asked before it begins, of every step.
local check = require "bam.util.check"
local schedules = require "bam.model.schedules"
local routing = require "bam.nn.moe.routing"

local M = {}

-- Where a router's number of experts is, by the part that it belongs to.
local PARTS = { { "attention", "attention.routing" }, { "ffn", "ffn.top_k" } }

-- What keeps everything, or a router, from learning at a step with these values of knobs; or nil.
local function fault(d, values)
  local routers_frozen, is_dense = values["freeze.routers"], d.attention.experts == 1 and d.ffn.experts == 1
  if is_dense and values["freeze.rest"] then
    return "option freeze: rest is all of a dense model, so that nothing is trained; leave it out"
  elseif routers_frozen and values["freeze.experts"] and values["freeze.rest"] then
    return "option freeze: experts, routers and rest are all frozen, so that nothing is trained; "
      .. "leave one of them out"
  end
  for _, names in ipairs(routers_frozen and {} or PARTS) do
    local part = d[names[1]]
    if values[names[2]] == 1 and part.experts > 1 and part.renormalise and not part.router then
      return string.format("option %s: %s", names[1], routing.CANNOT_LEARN)
    end
  end
end

--- Raise an error when a run of `total` steps has one at which nothing is trained, or a router that
--- cannot learn. What routers of one's own do is not known.
---@param what string for messages
---@param d table description
---@param total integer
function M.check(what, d, total)
  local deciding, scheduled = {}, false
  for _, knob in ipairs(schedules.list(d)) do
    if knob.kind == "k" or knob.kind == "flag" then
      deciding[#deciding + 1], scheduled = knob, scheduled or knob:is_scheduled()
    end
  end
  for step = 1, scheduled and total or 1 do
    local values = {}
    for _, knob in ipairs(deciding) do values[tostring(knob)] = knob:at(what, step, total) end
    local words = fault(d, values)
    if words then check.fail("%s: at step %d of %d: %s", what, step, total, words) end
  end
end

return M
