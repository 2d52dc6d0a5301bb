-- Pseudo-random permutations of 0 .. n-1 that need no memory: a Feistel network over the least even
-- number of bits that holds n numbers, walked until it gives one of them. Integers wrap, so the
-- results are the same everywhere.
local M = {}

local GOLDEN = 0x9E3779B97F4A7C15
local ROUNDS = 6

--- Every bit of the result depends on every bit of `x` (the finaliser of SplitMix64).
---@param x integer
---@return integer
function M.mix(x)
  x = (x ~ (x >> 30)) * 0xBF58476D1CE4E5B9
  x = (x ~ (x >> 27)) * 0x94D049BB133111EB
  return x ~ (x >> 31)
end

local mix = M.mix

--- A number from 0 to below 1 made of the upper 53 bits of `x`.
---@param x integer
---@return number
function M.unit(x) return (x >> 11) * 0x1p-53 end

-- The bits of half a number of the network.
local function half_bits(n)
  local bits = 0
  while bits < 62 and n > 1 << bits do bits = bits + 2 end
  return bits // 2
end

--- Where the permutation of 0 .. n-1 that belongs to `key` takes `i`.
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
