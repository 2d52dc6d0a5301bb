-- The order of a head's elements. bamlua rotates the pairs (2i, 2i + 1), as Cohere does. Llama and most others rotate
-- (i, i + K / 2): their rows of queries and keys are put in our order when they are read, and back when written. It is
-- the same function, to the bit, since a permutation of both leaves every score as it is.
local core = require "bam.core"

local ops = core.ops
local M = {}

-- Heads of x [heads * K, ...] as [heads, a, b, ...], with the inner two swapped.
local function swap(x, width, a, b)
  local shape, rest = x.shape, math.max(1, x:count() // math.max(1, x:size(1)))
  local heads = x:size(1) // width
  local parts = ops.reshape(x, heads, a, b, rest)
  return ops.reshape(ops.contiguous(ops.permute(parts, 1, 3, 2, 4)), shape)
end

--- From two halves to pairs.
---@param x tensor [heads * width, ...]
---@param width integer of a head
---@return tensor
function M.to_pairs(x, width) return swap(x, width, 2, width // 2) end

--- From pairs to two halves.
---@param x tensor [heads * width, ...]
---@param width integer of a head
---@return tensor
function M.to_halves(x, width) return swap(x, width, width // 2, 2) end

return M
