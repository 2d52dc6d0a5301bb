-- Closing tensors as soon as nothing reads them, instead of at the end of the scope: between forward and backward every
-- result that Lua still holds takes memory that no gradient needs. A result is closed only if nobody else can hold it:
-- it comes from a layer of bam's own, as bam wrote it, whose class has a field `_fresh`. A layer of a script may return
-- a tensor that it keeps, and so may one of bam's whose `forward` a script has replaced.
local check = require "bam.util.check"

local M = {}

local ours = setmetatable({}, { __mode = "k" }) -- by function

--- Is a function part of bam?
---@param f function
---@return boolean
local function is_ours(f)
  if ours[f] == nil then
    ours[f] = debug.getinfo(check.original(f), "S").source:find "^=bam/" ~= nil
  end
  return ours[f]
end

M.is_ours = is_ours

--- Is every result of a layer a new tensor, which the layer has not kept?
---@param layer any
---@return boolean
function M.is_fresh(layer)
  if type(layer) ~= "table" or not layer._fresh or not is_ours(layer.forward) then return false end
  for _, name in ipairs(layer._fresh) do
    if not M.is_fresh(layer[name]) then return false end
  end
  return true
end

--- Close a result of a layer, if it is fresh.
---@param layer any
---@param result tensor
function M.close(layer, result)
  if M.is_fresh(layer) then result:close() end
end

return M
