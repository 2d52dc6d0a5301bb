-- What models are called with, checked: token ids, their documents and positions, targets.
local check = require "bam.util.check"
local documents = require "bam.nn.documents"

local M = {}

--- The options that say where in which text the tokens stand.
M.spec = { documents = { "tensor", optional = true }, positions = { "tensor", optional = true } }

--- The table of one forward pass, which routers see too, for ids [B, T].
---@param what string for messages
---@param ids tensor
---@param options? { documents?: tensor, positions?: tensor }
---@return table batch
function M.new(what, ids, options)
  local o = check.options(what, options, M.spec)
  if not check.is_tensor(ids) or ids.ndim ~= 2 then
    check.fail("%s: expected token ids [batch, time], got %s", what, check.describe(ids))
  end
  return { documents = o.documents, positions = o.positions, routing = {}, starts = documents.starts(o.documents),
           rotations = {} }
end

--- `x`, called `name`, must be of the shape of the ids.
---@param what string for messages
---@param ids tensor
---@param name string
---@param x any
function M.check_alike(what, ids, name, x)
  local shape = check.shape(ids.shape)
  if not check.is_tensor(x) or check.shape(x.shape) ~= shape then
    check.fail("%s: expected %s of shape %s, that of the ids, got %s", what, name, shape,
               check.describe(x))
  end
end

return M
