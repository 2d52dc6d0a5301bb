--- Dropout. In training mode each element is set to 0 with probability p, and the others are scaled by 1 / (1 - p).
local check = require "bam.util.check"
local core = require "bam.core"

local Dropout = require("bam.nn.module").module "Dropout"

--- nn.Dropout(p)
---@param p? number 0.1 by default
function Dropout:init(p) self.p = check.value("nn.Dropout: p", p or 0.1, "fraction") end

--- Apply dropout. In evaluation mode, or with p = 0, return x itself.
---@param x tensor
---@return tensor
function Dropout:forward(x)
  if not self.training or self.p == 0 then return x end
  return core.ops.dropout(x, self.p)
end

return Dropout
