-- The activations of a gated FFN: silu makes it SwiGLU, the others GeGLU.
local check = require "bam.util.check"

local M = {}

local KNOWN = { silu = true, gelu = true, gelu_tanh = true }

--- Raise an error unless it is one of them.
---@param what string for messages
---@param name string
---@return string name
function M.check(what, name)
  if KNOWN[name] then return name end
  return check.fail('%s: option activation: expected "silu", "gelu" or "gelu_tanh", got "%s"', what, name)
end

return M
