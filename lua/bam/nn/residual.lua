-- Adding a layer's result to the residual stream in the layer's last product, which takes no pass over memory of its
-- own. Only on devices: on the CPU a norm adds, so that runs keep their bits. And only for layers of bam's own whose
-- class has a field `_adds`: forward(h, pass, residual) then gives the sum.
local early = require "bam.nn.early"

local M = {}

--- Can the last product of a layer add to x?
---@param layer any
---@param x tensor
---@return boolean
function M.is_added(layer, x)
  return x.device ~= "cpu" and type(layer) == "table" and layer._adds == true and early.is_fresh(layer)
end

--- Call a layer. If its last product can add to x, the first result is the sum; else it is x, and the second result is
--- the layer's, which is yet to be added.
---@param layer any
---@param h tensor [B, T, width]
---@param pass table
---@param x tensor [B, T, width]
---@return tensor x
---@return tensor? branch
function M.add(layer, h, pass, x)
  if M.is_added(layer, x) then return layer(h, pass, x), nil end
  return x, layer(h, pass)
end

return M
