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

-- f of the first `rotated` elements of every head; the others stay where they are.
local function of_part(x, width, rotated, f)
  if rotated == width then return f(x, width) end
  local shape, heads = x.shape, x:size(1) // width
  local split = ops.reshape(x, heads, width, -1)
  local first = f(ops.reshape(ops.contiguous(ops.narrow(split, 2, 1, rotated)), heads * rotated, -1), rotated)
  local rest = ops.narrow(split, 2, rotated + 1, width - rotated)
  return ops.reshape(ops.concat({ ops.reshape(first, heads, rotated, -1), rest }, 2), shape)
end

--- From two halves to pairs.
---@param x tensor [heads * width, ...]
---@param width integer of a head
---@param rotated integer elements of a head that rotate
---@return tensor
function M.to_pairs(x, width, rotated)
  return of_part(x, width, rotated, function(part, w) return swap(part, w, 2, w // 2) end)
end

--- From pairs to two halves.
---@param x tensor [heads * width, ...]
---@param width integer of a head
---@param rotated integer elements of a head that rotate
---@return tensor
function M.to_halves(x, width, rotated)
  return of_part(x, width, rotated, function(part, w) return swap(part, w, w // 2, 2) end)
end

return M
