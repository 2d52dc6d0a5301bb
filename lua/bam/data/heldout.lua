-- text.heldout: the part of each domain that is never trained on, as consecutive windows in which every token is
-- predicted once, except the very first one, a separator.
local check = require "bam.util.check"
local core = require "bam.core"
local domains = require "bam.data.domains"
local cache_entry = require "bam.data.cache_entry"
local windows = require "bam.data.windows"

local M = {}

local DECODED = 1 << 14 -- tokens decoded at a time

--- Held-out text: text.heldout.
---@class bam.Heldout
local Heldout = {}
local metatable = { __name = "bam.heldout", __index = Heldout, __methods = Heldout }

function metatable:__tostring()
  return string.format("held-out text of %s", table.concat(self.text.domains, ", "))
end

--- See text.heldout.
---@param text table
---@return table heldout
function M.new(text) return setmetatable({ text = text }, metatable) end

--- A fingerprint of the held-out text and its tokens, as plain values.
---@return table identity
function Heldout:identity()
  local corpus = self.text:prepare()
  local by_domain = {}
  for _, name in ipairs(self.text.domains) do
    by_domain[name] = cache_entry.part_hash(corpus.domains[name].heldout)
  end
  return { tokenizer = corpus.tokenizer_digest, domains = by_domain }
end

-- Bytes of text that the first `count` rows predict, without separators.
local function bytes_of(grid, count, tokenizer, separator)
  local bytes, ids = 0, {}
  for k = 0, count - 1 do
    local row = grid:row(k)
    local first = row.start + 2 -- 1-based, and the first token of a row is not predicted
    local tokens = row.shard.tokens:read(first, first - 1 + windows.predicted(row, grid.time))
    for _, id in ipairs(tokens:totable()) do
      if id ~= separator then ids[#ids + 1] = id end
    end
    if #ids >= DECODED or k == count - 1 then
      bytes, ids = bytes + #tokenizer:decode(ids), {}
    end
  end
  return bytes
end

local function measure(domain, time, limit, tokenizer, separator)
  local grid = windows.grid(domain.shards.heldout, time)
  local set = { grid = grid, count = math.min(grid.count, math.max(limit // time, 1)), tokens = 0 }
  for k = 0, set.count - 1 do
    set.tokens = set.tokens + windows.predicted(grid:row(k), time)
  end
  set.bytes = set.count == grid.count and domain.heldout.bytes
    or core.scope(bytes_of, grid, set.count, tokenizer, separator)
  return set
end

-- ---- evaluation data ----

--- Held-out text in rows: heldout:open makes it.
---@class bam.HeldoutSet
local Set = {}
local set_metatable = { __name = "bam.heldout set", __index = Set, __methods = Set }

function set_metatable:__tostring()
  local parts = {}
  for i, name in ipairs(self.domains) do
    parts[i] = string.format("%s: %d rows, %d tokens, %d bytes", name, self[name].count,
                             self[name].tokens, self[name].bytes)
  end
  return table.concat(parts, "\n")
end

--- Rows `first` to `first + count - 1` of a domain.
---@param domain string
---@param first? integer 1 by default
---@param count? integer all rows from `first` on by default
---@return table batch as stream:batch returns; targets beyond the end are -100
function Set:batch(domain, first, count)
  local set = rawget(self, domain)
  if not set or not set.grid then
    domains.fail_unknown("heldout", domain, self.domains)
  end
  first = check.value("heldout: first", first or 1, "size")
  count = check.value("heldout: count", count or set.count - first + 1, "size")
  if first + count - 1 > set.count then
    check.fail("heldout: rows %d to %d are out of range; domain %s has %d", first, first + count - 1,
               domain, set.count)
  end
  local rows, names = {}, {}
  for i = 1, count do rows[i], names[i] = set.grid:row(first + i - 2), domain end
  local batch = windows.pack(rows, set.grid.time)
  batch.domains = names
  return batch
end

local open_spec = { context = { "extent" }, tokens = { "size", math.maxinteger } }

--- Open rows to evaluate on. Under the name of each domain, the result has the number of rows (count), of tokens that
--- the rows predict (tokens), and of bytes of their text (bytes).
---@class bam.HeldoutOptions
---@field context integer tokens per row
---@field tokens? integer limit per domain, in whole rows, at least one; all by default
---@param options bam.HeldoutOptions
---@return bam.HeldoutSet
function Heldout:open(options)
  local o = check.options("heldout: open", options, open_spec)
  local corpus = self.text:prepare()
  local set, separator = { domains = self.text.domains }, corpus.tokenizer:id(self.text:separator())
  for _, name in ipairs(set.domains) do
    set[name] = measure(corpus.domains[name], o.context, o.tokens, corpus.tokenizer, separator)
  end
  return setmetatable(set, set_metatable)
end

return M
