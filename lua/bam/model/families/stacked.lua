-- FFN experts that a file holds in one tensor for gate and up and one for down, [experts, 2 hidden, width] and
-- [experts, width, hidden], as transformers has them in memory. Most files hold the experts one by one.
local core = require "bam.core"

local ops = core.ops
local M = {}

local PARTS = { gate_proj = { "gate_up_proj", 1 }, up_proj = { "gate_up_proj", 2 }, down_proj = { "down_proj" } }

-- One expert's part of a stack, with what is used of a bam.StoredTensor.
local function slice(stack, expert, half)
  local rows, columns = stack.shape[2], stack.shape[3]
  if half then rows = rows // 2 end
  local function read()
    local x = ops.select(stack:read(expert, expert), 1, 1)
    return half and ops.contiguous(ops.narrow(x, 1, 1 + (half - 1) * rows, rows)) or x
  end
  return { shape = { rows, columns }, dtype = stack.dtype, read = read }
end

--- The tensor of an entry in a file that stacks experts; nil if it does not.
---@param entry table of bam.model.params
---@param tensors table<string, bam.StoredTensor>
---@param experts integer that the model has
---@return string? name
---@return table? tensor with shape, dtype and read()
function M.find(entry, tensors, experts)
  if entry.router_of == "ffn" then
    local name = entry.name:gsub("router", "gate")
    return name, tensors[name]
  end
  local prefix, expert, part = entry.name:match "^(.*%.mlp%.experts%.)(%d+)%.(%a+_proj)%.weight$"
  if not prefix then return nil end
  local name, half = prefix .. PARTS[part][1], PARTS[part][2]
  local stack = tensors[name]
  if not stack or #stack.shape ~= 3 or stack.shape[1] ~= experts then return name, stack end -- of another shape
  return name, slice(stack, math.tointeger(expert) + 1, half)
end

return M
