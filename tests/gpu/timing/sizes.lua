--- The models of the paper as the timings use them, and the dtype that a device computes in.
local bam = require "bam"

local M = {}

local SIZES = {
  small = { layers = 6, width = 1024, heads = 8, ffn = 2048, vocab = 256000, context = 2048 },
  large = { layers = 18, width = 2304, heads = 18, kv_heads = 6, ffn = 9216, vocab = 256000, context = 2048,
            tied = true },
  tiny = { layers = 1, width = 64, heads = 2, kv_heads = 1, ffn = 64, vocab = 300, context = 32, tied = true },
}

local ATTENTION = { btx = { experts = "mean" }, shared = { kv = "shared" }, own = { kv = "own" } }

M.ROWS = 8         -- of a micro-batch
M.MICRO_STEPS = 8  -- of an optimizer step
M.EXPERTS = 4

--- The sizes of a model.
---@param size "small"|"large"|"tiny"
---@return table
function M.of(size) return SIZES[size] end

--- The description of a model: "dense", or a mixture of four.
---@param size string
---@param kind "dense"|"btx"|"shared"|"own"
---@param layers? integer other than the model's
---@return table
function M.describe(size, kind, layers)
  local own = {}
  for name, value in pairs(SIZES[size]) do own[name] = value end
  own.layers = layers or own.layers
  local dense = bam.models.parallel(own)
  if kind == "dense" then return dense end
  local experts = {}
  for i = 1, M.EXPERTS do experts[i] = dense end
  return bam.mix { experts = experts, attention = ATTENTION[kind], ffn = { top_k = 1 }, load_balance = 0.01,
                   z_loss = 0.001 }
end

--- The dtype that trains fastest of those that the device computes in: bf16, else f32.
---@param device string
---@return string
function M.dtype(device)
  local fine = pcall(function()
    local x = bam.ones(8, 8, { device = device }):to "bf16"
    bam.matmul(x, x)
  end)
  return fine and "bf16" or "f32"
end

return M
