-- The activation of the FFN's gate in a config.json: `hidden_act`.
local M = {}

local OURS = { silu = "silu", swish = "silu", gelu = "gelu", gelu_pytorch_tanh = "gelu_tanh" }
local THEIRS = { silu = "silu", gelu = "gelu", gelu_tanh = "gelu_pytorch_tanh" }

--- The field `activation` of a description: "gelu" or "gelu_tanh", nil for SiLU.
---@param f families.Fields
---@return string?
function M.read(f)
  local given = f.get("hidden_act", "string", "silu")
  local ours = OURS[given]
  if not ours then f.refuse("hidden_act", given, 'it computes "silu", "gelu" and "gelu_pytorch_tanh"') end
  return ours ~= "silu" and ours or nil
end

--- The name of a description's activation in files.
---@param d table
---@return string
function M.write(d) return THEIRS[d.activation or "silu"] end

return M
