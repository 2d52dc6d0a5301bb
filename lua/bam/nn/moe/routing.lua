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
    check.fail("router: expected a module or a function(h, batch) to be made, got %s",
               check.describe(router))
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

local function check_choice(what, name, x, h)
  if fits(x, h) then return end
  check.fail("router of %s: expected %s [B, T, k] for h %s, got %s", what, name,
             check.shape(h.shape), check.describe(x))
end

local function check_record(what, record)
  check.value(string.format("router of %s: record", what), record, "table")
  local losses = record.losses
  if losses ~= nil and not (check.is_tensor(losses) and check.shape(losses.shape) == "(2)") then
    check.fail("router of %s: expected losses [2], load balance and z, got %s", what,
               check.describe(losses))
  end
  local statistics = record.statistics
  if statistics ~= nil and not (check.is_tensor(statistics) and statistics.ndim == 2 and statistics:size(1) == 3) then
    check.fail("router of %s: expected statistics [3, experts], shares of the assignments, mean gates and entropies, "
               .. "got %s", what, check.describe(statistics))
  end
end

--- Call the router of `layer`, and keep its record in batch.routing.
---@param layer table with fields router and layer
---@param what string "attention" or "ffn"
---@param h tensor
---@param batch? table
---@return tensor gates
---@return tensor? experts
function M.call(layer, what, h, batch)
  local gates, experts, record = layer.router(h, batch or {})
  check_choice(what, "gates", gates, h)
  if experts ~= nil then check_choice(what, "experts", experts, h) end
  if record ~= nil then check_record(what, record) end
  if batch and batch.routing and record then
    table.insert(batch.routing, { layer = layer.layer, module = what, losses = record.losses,
                                  statistics = record.statistics })
  end
  return gates, experts
end

local function check_all(gates, experts)
  if gates:size(-1) ~= experts then
    check.fail("router: %d gates without `experts`, and there are %d experts; give both",
               gates:size(-1), experts)
  end
end

--- Every expert for every token, in order: what `experts` = nil stands for.
---@param gates tensor [..., N]
---@param experts integer N
---@return tensor [..., N]
function M.all(gates, experts)
  check_all(gates, experts)
  return core.arange(experts, { device = gates.device }):expand(gates.shape)
end

--- Gates for all experts, 0 for those that `experts` (nil: all are meant) does not name.
---@param gates tensor [..., k]
---@param chosen? tensor [..., k]
---@param experts integer N
---@return tensor [..., N]
function M.dense(gates, chosen, experts)
  if not chosen then
    check_all(gates, experts)
    return gates
  end
  local shape = gates.shape
  shape[#shape] = experts + 1 -- 0, for none, has a place that is cut off again
  local none = core.zeros(shape, { dtype = gates.dtype, device = gates.device })
  local all = ops.scatter_add(none, ops.add(chosen, 1), gates, -1)
  return ops.narrow(all, -1, 2, experts)
end

return M
