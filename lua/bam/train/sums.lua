-- What a step adds up over its micro-batches: the loss, the auxiliary losses and the statistics of the routers. The
-- sums stay on the device until the end of the step, because a copy to the host waits for all work before it. They are
-- in f64, as the host's numbers are.
local core = require "bam.core"

local ops = core.ops

local M = {}
local Sums = {}
Sums.__index = Sums

local NAMES = { "load", "gate", "entropy" } -- the rows of a router's statistics

--- Sums of nothing.
---@return table
function M.new() return setmetatable({ totals = {}, order = {} }, Sums) end

-- One f64 vector of all elements of a list of tensors, on the device of the first.
local function flatten(list)
  local dtype, device, flat = list[1].dtype, list[1].device, {}
  for _, x in ipairs(list) do
    if x.dtype ~= dtype then dtype = "f64" end
  end
  for i, x in ipairs(list) do flat[i] = ops.reshape(ops.to(x:detach(), dtype, device), -1) end
  return ops.to(ops.concat(flat, 1), "f64")
end

-- What is in the vector of a micro-batch: the routers with statistics, and how many experts each has.
local function layout_of(losses, routing)
  local entries, text = {}, { losses and "losses" or "" }
  for i, record in ipairs(routing) do
    if record.statistics then
      local experts = record.statistics:size(2)
      entries[#entries + 1] = { i = i, layer = record.layer, module = record.module, experts = experts }
      text[#text + 1] = string.format("%d:%d", i, experts)
    end
  end
  return { losses = losses ~= nil, entries = entries, key = table.concat(text, " ") }
end

--- Add a micro-batch. A router may give statistics in some and not in others: there is a sum per layout. The result is
--- a tensor that must outlive the scope of the micro-batch: return it from there.
---@param loss tensor
---@param losses? tensor [2]
---@param routing table[] records { layer, module, statistics? }
---@param share number factor of everything but the loss
---@return tensor
function Sums:add(loss, losses, routing, share)
  local layout = layout_of(losses, routing)
  local total = self.totals[layout.key]
  local sum = core.scope(function()
    local list = { losses }
    for _, entry in ipairs(layout.entries) do list[#list + 1] = routing[entry.i].statistics end
    local one = ops.to(ops.reshape(loss:detach(), 1), "f64")
    if #list > 0 then
      local rest = flatten(list)
      one = ops.concat({ one, share == 1 and rest or ops.mul(rest, share) }, 1)
    end
    return total and ops.add(total.vector, one) or one
  end)
  if not total then
    total = { layout = layout }
    self.totals[layout.key] = total
    self.order[#self.order + 1] = total
  end
  total.vector = sum
  return sum
end

local function add_to(sum, name, x) sum[name] = (sum[name] or 0) + x end

-- Add the numbers of one layout to a step's record.
local function read(record, layout, numbers)
  local at = 1
  local function take()
    at = at + 1
    return numbers[at - 1]
  end
  record.loss = record.loss + take()
  if layout.losses then
    add_to(record, "load_balance", take())
    add_to(record, "z_loss", take())
  end
  for _, entry in ipairs(layout.entries) do
    local sum = record.routing[entry.i] or { layer = entry.layer, module = entry.module }
    for _, name in ipairs(NAMES) do
      sum[name] = sum[name] or {}
      for e = 1, entry.experts do add_to(sum[name], e, take()) end
    end
    record.routing[entry.i] = sum
  end
end

--- Copy the sums to the host and add them to the record of a step, which has `loss` and `routing`. Waits for the
--- device, once.
---@param record table
---@return table record
function Sums:read(record)
  for _, total in ipairs(self.order) do read(record, total.layout, total.vector:totable()) end
  return record
end

return M
