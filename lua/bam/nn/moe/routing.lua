-- What layers with experts share: making a router, calling it, and keeping its record.
local check = require "bam.util.check"
local core = require "bam.core"
local module = require "bam.nn.module"

local ops = core.ops
local M = {}

--- What is wrong with training a router that renormalizes its only gate.
M.CANNOT_LEARN = "with k = 1 and renormalize every gate is 1, so that the router gets no gradient of "
  .. "the loss; take renormalize = false, or k = 2 with renormalize, which keeps the function of the "
  .. "model that the experts are copies of, or freeze the routers"

--- A router: what `make` gives for the options of nn.Router.
---@param make function
---@param options table
---@return table|function
function M.make(make, options)
  if module.is_module(make) then
    check.fail("router: expected what makes one, a class or a function, got a router; every layer "
               .. "has its own")
  end
  local router = make(options)
  if type(router) ~= "function" and not module.is_module(router) then
    local hint = router == options and "; write router = function(options) return function(h, batch) ... end end" or ""
    check.fail("router: expected a module or a function(h, batch) to be made, got %s%s", check.describe(router), hint)
  end
  return router
end

-- Do the first dimensions of x agree with h's?
local function fits(x, h)
  if not check.is_tensor(x) or x.ndim ~= h.ndim then return false end
  for d = 1, h.ndim - 1 do
    if x:size(d) ~= h:size(d) then return false end
  end
  return true
end

-- Where a router of a script computes: "script.lua:7"; nil of bam's own.
local function place_of(router)
  local info = debug.getinfo(check.original(type(router) == "function" and router or router.forward), "S")
  return not info.source:find "^=bam/" and string.format("%s:%d", info.short_src, info.linedefined) or nil
end

-- A router in messages: "router of ffn (forward at script.lua:7)".
local function name_of(layer, what)
  local place = place_of(layer.router)
  return string.format(place and "router of %s (forward at %s)" or "router of %s", what, place)
end

local function check_choice(layer, what, name, x, h)
  if fits(x, h) then return end
  check.fail("%s: expected %s [B, T, k] for h %s, got %s", name_of(layer, what), name, check.shape(h.shape),
             check.describe(x))
end

--- Raise unless the router of a layer gives one expert per gate.
---@param layer table
---@param what string "ffn"
---@param gates tensor
---@param experts tensor
function M.check_pairs(layer, what, gates, experts)
  if gates:size(-1) == experts:size(-1) then return end
  check.fail("%s: gates are %s; experts must have the same shape, one per gate, and are %s", name_of(layer, what),
             check.shape(gates.shape), check.shape(experts.shape))
end

local function check_record(layer, what, record)
  check.value(string.format("router of %s: record", what), record, "table")
  local losses = record.losses
  if losses ~= nil and not (check.is_tensor(losses) and check.shape(losses.shape) == "(2)") then
    check.fail("%s: expected losses [2], load balance and z, got %s", name_of(layer, what), check.describe(losses))
  end
  local statistics = record.statistics
  if statistics ~= nil and not (check.is_tensor(statistics) and statistics.ndim == 2 and statistics:size(1) == 3) then
    check.fail("%s: expected statistics [3, experts], shares of the assignments, mean gates and entropies, got %s",
               name_of(layer, what), check.describe(statistics))
  end
end

local function check_all(layer, what, gates)
  if layer.experts and gates:size(-1) ~= layer.experts then
    check.fail("%s: %d gates without `experts`, and there are %d experts; return both: gates, experts",
               name_of(layer, what), gates:size(-1), layer.experts)
  end
end

local counted = setmetatable({}, { __mode = "k" }) -- layers whose router has given numbers that were looked at

--- Do not look at the numbers of a layer's router: it is of a model that was trained, and may have learned to avoid an
--- expert.
---@param layer? table
function M.trust(layer)
  if layer ~= nil then counted[layer] = true end
end

-- Raise if the first numbers that a router gives seem to count from 0: the last expert never has a token, and choices
-- of 0, which means none, have gates.
local function check_count(layer, what, gates, experts)
  if counted[layer] or not layer.experts or experts:count() < 2 * layer.experts then return end
  counted[layer] = true
  if not place_of(layer.router) or experts.dtype ~= "i64" then return end
  if ops.min(experts):item() ~= 0 or ops.max(experts):item() >= layer.experts then return end
  local gate = ops.max(ops.where(ops.eq(experts, 0), gates:detach(), 0)):item()
  if gate > 0 then
    check.fail("%s: expert 0 has a gate of %g, and expert %d no token; experts count from 1, and 0 means none, with a "
               .. "gate of 0", name_of(layer, what), gate, layer.experts)
  end
end

--- Call the router of `layer`, and keep its record in batch.routing.
---@param layer table with fields router, experts and layer
---@param what string "attention" or "ffn"
---@param h tensor
---@param batch? table
---@return tensor gates
---@return tensor? experts
function M.call(layer, what, h, batch)
  local gates, experts, record = layer.router(h, batch or {})
  check_choice(layer, what, "gates", gates, h)
  if experts ~= nil then
    check_choice(layer, what, "experts", experts, h)
    check_count(layer, what, gates, experts)
  else
    check_all(layer, what, gates)
  end
  if record ~= nil then check_record(layer, what, record) end
  if batch and batch.routing and record then
    table.insert(batch.routing, { layer = layer.layer, module = what, losses = record.losses,
                                  statistics = record.statistics })
  end
  return gates, experts
end

--- Every expert for every token, in order: what `experts` = nil stands for.
---@param gates tensor [..., N]
---@param experts integer N
---@return tensor [..., N]
function M.all(gates, experts)
  return core.arange(experts, { device = gates.device }):expand(gates.shape)
end

--- Gates for all experts, 0 for those that `experts` (nil: all are meant) does not name.
---@param gates tensor [..., k]
---@param chosen? tensor [..., k]
---@param experts integer N
---@return tensor [..., N]
function M.dense(gates, chosen, experts)
  if not chosen then return gates end
  local shape = gates.shape
  shape[#shape] = experts + 1 -- 0, for none, has a place that is cut off again
  local none = core.zeros(shape, { dtype = gates.dtype, device = gates.device })
  local all = ops.scatter_add(none, ops.add(chosen, 1), gates, -1)
  return ops.narrow(all, -1, 2, experts)
end

return M
