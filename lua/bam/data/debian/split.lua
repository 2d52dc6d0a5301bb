-- Decides which documents are held out and which are trained on, and ensures that the two share no text.
--
-- A document's position in its domain is the hash of its name, a number from 0 to 1. The lowest are held out; the
-- others are trained on in this order, up to a cap. A document therefore stays on its side whatever else changes, and
-- pieces of one file, which share a name, stay together.
--
-- Near-duplicates: a unit of the training text (a line of prose, a theorem, a document of code) is
-- dropped when more than a fifth of its shingles, or more than RUN in succession, occur in the
-- held-out text of any domain. Formulas repeat short runs by nature, so theirs are longer.
local core = require "bam.core"

local duplicates = require "bam.data.debian.duplicates"

local M = {}

local SHORTEST = 200 -- bytes of a document
local SHARE, RUN = 0.2, 16

-- The kinds of text: the pattern of a unit and its separator, the number of words in a shingle, and the pattern of a
-- word.
local KINDS = {
  prose = { unit = "(.-)(\n+)", width = 8, words = "%w+" },
  theorems = { unit = "(.-)(\n\n+)", width = 16, words = "%S+" },
  code = { unit = "(.+)(\n\n)", width = 8, words = "%w+" },
}

--- Split documents into held-out ones and others, each in order of position.
---@param domain string
---@param documents { name: string, text: string }[]
---@param share number fraction of the domain to hold out
---@return table[] heldout
---@return table[] others
function M.divide(domain, documents, share)
  local placed, heldout, others = {}, {}, {}
  for i, document in ipairs(documents) do
    local hash = core.hash64(string.format("%s/%s", domain, document.name))
    placed[i] = { document = document, place = (hash >> 11) * 2.0 ^ -53, index = i }
  end
  table.sort(placed, function(a, b)
    if a.place ~= b.place then return a.place < b.place end
    return a.index < b.index
  end)
  for _, entry in ipairs(placed) do
    local list = entry.place < share and heldout or others
    if #entry.document.text >= SHORTEST then list[#list + 1] = entry.document end
  end
  return heldout, others
end

--- The first documents that fit into `cap` bytes.
---@param documents { text: string }[]
---@param cap integer
---@return { text: string }[]
function M.cap(documents, cap)
  local taken, size = {}, 0
  for i, document in ipairs(documents) do
    size = size + #document.text
    if size > cap then break end
    taken[i] = document
  end
  return taken
end

local function overlaps(set, unit)
  local share, run = set:overlap(unit)
  return share > SHARE or run > RUN
end

--- Create a function that removes held-out passages from a text of some kind and returns the rest.
---@param texts { text: string }[] all that is held out, in any domain
---@return fun(text: string, kind: "prose"|"theorems"|"code"): string
function M.without(texts)
  local sets = {}
  for name, kind in pairs(KINDS) do
    sets[name] = duplicates.shingles(kind.width, kind.words)
    for _, document in ipairs(texts) do sets[name]:add(document.text) end
  end
  return function(text, name)
    local kept = {}
    for unit, space in (text .. "\n\n"):gmatch(KINDS[name].unit) do
      if not overlaps(sets[name], unit) then kept[#kept + 1] = unit .. space end
    end
    return (table.concat(kept):gsub("\n+$", ""))
  end
end

return M
