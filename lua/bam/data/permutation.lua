-- Pseudo-random permutations of 0 .. n-1 in constant memory: a Feistel network over the smallest even number of bits
-- that can represent n values, with cycle walking: it is applied until the result is below n. Integers wrap, so the
-- results are the same on every machine.
local M = {}

local GOLDEN = 0x9E3779B97F4A7C15
local ROUNDS = 6

--- Every bit of the result depends on every bit of `x` (the finalizer of SplitMix64).
---@param x integer
---@return integer
function M.mix(x)
  x = (x ~ (x >> 30)) * 0xBF58476D1CE4E5B9
  x = (x ~ (x >> 27)) * 0x94D049BB133111EB
  return x ~ (x >> 31)
end

local mix = M.mix

--- The upper 53 bits of `x` as a number from 0 to below 1.
---@param x integer
---@return number
function M.unit(x) return (x >> 11) * 0x1p-53 end

-- Bits of one half of the network's block.
local function half_bits(n)
  local bits = 0
  while bits < 62 and n > 1 << bits do bits = bits + 2 end
  return bits // 2
end

--- Map `i` by the permutation of 0 .. n-1 that `key` selects.
---@param i integer from 0 to n-1
---@param n integer at least 1, at most 2^62
---@param key integer
---@return integer
function M.at(i, n, key)
  local half = half_bits(n)
  local mask = (1 << half) - 1
  repeat
    local left, right = i >> half, i & mask
    for round = 1, ROUNDS do
      left, right = right, left ~ (mix((key + round * GOLDEN) ~ right) & mask)
    end
    i = left << half | right
  until i < n
  return i
end

return M
