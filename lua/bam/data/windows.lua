-- Tokenized text as windows of `time` tokens, each with the targets one token further on. A shard
-- is { tokens = i32 [n], documents = i64 [d], the 0-based starts of its documents }; a row names a
-- window: { shard, start }, start 0-based.
local core = require "bam.core"
local permutation = require "bam.data.permutation"

local M = {}

local ops = core.ops
local PARTS = { "ids", "targets", "documents", "positions" }

-- The starts of the rows by shard, in the order in which the shards turn up, and where each row is
-- when the shards' windows lie one behind the other.
local function group(rows)
  local groups, by_shard = {}, {}
  for _, row in ipairs(rows) do
    local of = by_shard[row.shard]
    if not of then
      of = { shard = row.shard, starts = {} }
      groups[#groups + 1], by_shard[row.shard] = of, of
    end
    of.starts[#of.starts + 1] = row.start
  end
  local before, places = 0, {}
  for _, of in ipairs(groups) do
    of.next, before = before, before + #of.starts
  end
  for i, row in ipairs(rows) do
    local of = by_shard[row.shard]
    of.next = of.next + 1
    places[i] = of.next
  end
  return groups, places
end

local function pack_group(of, time)
  return { core.pack_windows(of.shard.tokens, of.shard.documents, of.starts, time) }
end

--- How many targets of a row count: those beyond the end of its shard do not.
---@param row { shard: table, start: integer }
---@param time integer
---@return integer
function M.predicted(row, time) return math.min(time, #row.shard.tokens - 1 - row.start) end

--- The windows of some rows, in their order, on the device where new tensors go.
---@param rows { shard: table, start: integer }[] at least one
---@param time integer
---@return table batch ids, targets, documents, positions: i64 [#rows, time]; tokens: how many
--- targets count
function M.pack(rows, time)
  return core.scope(function()
    local groups, places = group(rows)
    local packed, batch = {}, { tokens = 0 }
    for g, of in ipairs(groups) do packed[g] = pack_group(of, time) end
    local order = #groups > 1 and core.tensor(places, { dtype = "i64", device = "cpu" })
    for p, name in ipairs(PARTS) do
      local pieces = {}
      for g = 1, #groups do pieces[g] = packed[g][p] end
      local whole = order and ops.index_select(ops.concat(pieces, 1), order, 1) or pieces[1]
      batch[name] = ops.to(whole, core.device())
    end
    for _, row in ipairs(rows) do batch.tokens = batch.tokens + M.predicted(row, time) end
    return batch
  end)
end

-- ---- windows of several shards, numbered from 0 ----

-- The shards with `windows_of(shard)` windows each, and how many there are of them together.
local function number(shards, windows_of)
  local count, parts = 0, {}
  for _, shard in ipairs(shards) do
    local windows = windows_of(#shard.tokens)
    if windows > 0 then
      parts[#parts + 1] = { shard = shard, before = count, windows = windows }
      count = count + windows
    end
  end
  return parts, count
end

-- The last part that begins at or before window `k`.
local function part_of(parts, k)
  local low, high = 1, #parts
  while low < high do
    local middle = (low + high + 1) // 2
    if parts[middle].before <= k then low = middle else high = middle - 1 end
  end
  return parts[low]
end

-- ---- every token once, in order ----

local Grid = {}
local grid_metatable = { __name = "grid of windows", __index = Grid }

function grid_metatable:__tostring()
  return string.format("%d windows of %d tokens", self.count, self.time)
end

--- The windows of `shards` one behind the other, `count` of them; the last of a shard may be short.
---@param shards table[]
---@param time integer
---@return table grid
function M.grid(shards, time)
  local parts, count = number(shards, function(n) return (n - 1 + time - 1) // time end)
  return setmetatable({ parts = parts, count = count, time = time }, grid_metatable)
end

--- The row of window `k`.
---@param k integer from 0
---@return { shard: table, start: integer }
function Grid:row(k)
  local part = part_of(self.parts, k)
  return { shard = part.shard, start = (k - part.before) * self.time }
end

-- ---- the endless sequence of a domain's windows in random order ----

local Sequence = {}
local metatable = { __name = "sequence of windows", __index = Sequence }

function metatable:__tostring()
  return string.format("%d windows of %d tokens an epoch", self.count, self.time)
end

--- The windows of `shards` in random order, epoch after epoch. Each epoch has the same number of
--- windows, `count`, each of them once, in another order and on a grid moved by another offset;
--- `name` and `seed` choose which. 0 windows when no shard holds one.
---@param shards table[]
---@param time integer
---@param name string
---@param seed integer
---@return table sequence
function M.sequence(shards, time, name, seed)
  -- One less than would fit, so that the grid can be moved.
  local parts, count = number(shards, function(n)
    return n > time and math.max(n // time - 1, 1) or 0
  end)
  return setmetatable({ count = count, time = time, parts = parts, name = name, seed = seed },
                      metatable)
end

-- The permutation's key and each part's offset in an epoch, kept for the latest one.
local function enter(self, epoch)
  if self.epoch == epoch then return end
  local key = core.hash64(string.format("%d/%d/%s", self.seed, epoch, self.name))
  for p, part in ipairs(self.parts) do
    local room = math.min(self.time, #part.shard.tokens - part.windows * self.time)
    part.offset = math.floor(permutation.unit(permutation.mix(key + p)) * room)
  end
  self.epoch, self.key = epoch, key
end

--- The row of window `k` of the sequence.
---@param k integer from 0
---@return { shard: table, start: integer }
function Sequence:row(k)
  enter(self, k // self.count)
  local window = permutation.at(k % self.count, self.count, self.key)
  local part = part_of(self.parts, window)
  return { shard = part.shard, start = part.offset + (window - part.before) * self.time }
end

return M
