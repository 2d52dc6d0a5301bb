-- Tokenized text as windows of `time` tokens, with the targets shifted by one token. A shard is { tokens = i32 [n],
-- documents = i64 [d] }, where documents are 0-based starts. A row names a window: { shard, start }, with a 0-based
-- start.
local core = require "bam.core"
local permutation = require "bam.data.permutation"

local M = {}

local ops = core.ops
local PARTS = { "ids", "targets", "documents", "positions" }

-- Group rows by shard, in order of first appearance. Returns the groups, and for each row its position when the
-- windows of all groups are concatenated.
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

--- The number of targets of a row. Positions beyond the end of its shard have no target.
---@param row { shard: table, start: integer }
---@param time integer
---@return integer
function M.predicted(row, time) return math.min(time, #row.shard.tokens - 1 - row.start) end

--- Pack the windows of some rows, in order, on the current device.
---@param rows { shard: table, start: integer }[] at least one
---@param time integer
---@return table batch ids, targets, documents, positions: i64 [#rows, time]; tokens: number of targets
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

-- The shards that hold windows, `windows_of(tokens)` each, and the total number of windows.
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

--- Consecutive windows over `shards`, `count` of them. The last window of a shard may be short.
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

--- The windows of `shards` in random order, epoch after epoch. Every epoch has the same `count` of windows, each once,
--- in a new order and on a grid shifted by a new offset. `name` and `seed` select the sequence. `count` is 0 if no
--- shard holds a window.
---@param shards table[]
---@param time integer
---@param name string
---@param seed integer
---@return table sequence
function M.sequence(shards, time, name, seed)
  -- One window less than fits, so that the grid can be shifted.
  local parts, count = number(shards, function(n)
    return n > time and math.max(n // time - 1, 1) or 0
  end)
  return setmetatable({ count = count, time = time, parts = parts, name = name, seed = seed },
                      metatable)
end

-- Compute the permutation's key and the offset of each part in an epoch; those of the latest epoch are cached.
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
