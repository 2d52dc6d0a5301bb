-- Detection of repeated text. Texts are compared by shingles, runs of a fixed number of words, of which only hashes are
-- kept. Case is ignored, and so is everything that the word pattern does not match.
local core = require "bam.core"

local M = {}

local BASE = 0x9E3779B97F4A7C15 -- odd, so that no part of a word's hash is lost

-- Call visit(hash) for each run of `width` words of a text. The hash is a polynomial in the hashes of the words, modulo
-- 2^64, so that advancing by one word takes constant time.
local function each_shingle(text, width, words, visit)
  local leaving, window, hash, count = 1, {}, 0, 0
  for _ = 1, width do leaving = leaving * BASE end
  for word in text:lower():gmatch(words) do
    local value, slot = core.hash64(word), count % width + 1
    hash = hash * BASE + value - (window[slot] or 0) * leaving
    window[slot], count = value, count + 1
    if count >= width then visit(hash) end
  end
end

local methods = {}
local metatable = { __index = methods, __name = "bam.data.debian.shingles" }
function metatable.__tostring(set) return string.format("shingles of %d words", set.width) end

--- An empty set of shingles.
---@param width integer words of a shingle
---@param words string the pattern of a word
---@return table set
function M.shingles(width, words)
  return setmetatable({ width = width, words = words, seen = {} }, metatable)
end

--- Add the shingles of a text to the set.
---@param text string
function methods:add(text)
  each_shingle(text, self.width, self.words, function(hash) self.seen[hash] = true end)
end

--- How much of a text is in the set: the fraction of its shingles, and the longest run of consecutive ones. Both are 0
--- for a text that is too short to have a shingle.
---@param text string
---@return number share
---@return integer longest
function methods:overlap(text)
  local count, found, run, longest = 0, 0, 0, 0
  each_shingle(text, self.width, self.words, function(hash)
    count = count + 1
    if self.seen[hash] then
      found, run = found + 1, run + 1
      if run > longest then longest = run end
    else
      run = 0
    end
  end)
  return count > 0 and found / count or 0, longest
end

--- Create a function that tells whether a passage repeats earlier ones: more than `limit` of its shingles occurred
--- before, or the whole passage if it is too short to have a shingle.
---@param width integer
---@param limit number
---@return fun(passage: string): boolean
function M.repeats(width, limit)
  local set, whole = M.shingles(width, "%w+"), {}
  return function(passage)
    if whole[passage] or set:overlap(passage) > limit then return true end
    whole[passage] = true
    set:add(passage)
    return false
  end
end

return M
