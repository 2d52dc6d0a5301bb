-- The documents of a domain's files, in order, and which of them are held out. A hash of the document decides, so that
-- neither the order of files nor other documents change the choice. Long documents are read in pieces to bound memory.
local check = require "bam.util.check"
local core = require "bam.core"
local permutation = require "bam.data.permutation"

local M = {}

--- The line between two documents of plain text, and the token before every document.
M.SEPARATOR = "<|endoftext|>"

local PART_BYTES = 1 << 14 -- approximate size of the parts of a document that is held out in parts

-- Record in `how` that a reader skipped records.
local function note_skipped(how, reader)
  local count, fault = reader:skipped()
  if count == 0 then return end
  how.fault = how.fault or fault
  if how.on_skip then how.on_skip(count) end
end

--- How to read the files of a domain. Once records were skipped, `fault` describes the first one; on_skip(count) is
--- called at the end of each file with skipped records.
---@class bam.HowToRead
---@field field string of JSON lines
---@field format? "jsonl"|"text" inferred from name and contents by default
---@field skip_bad? boolean skip JSON lines without a document
---@field fault? string
---@field on_skip? fun(count: integer)

--- Call visit(text, continues) for each document of a file, or for each piece of a long document. `continues` is true
--- if the piece belongs to the same document as the previous one. Stops when visit returns true.
---@param path string
---@param how bam.HowToRead
---@param visit function
---@return boolean? stopped visit gave true
function M.each(path, how, visit)
  local reader = core.text_open(path, { field = how.field, separator = M.SEPARATOR,
                                        format = how.format, skip_bad = how.skip_bad })
  local ok, result = pcall(function()
    local text, _, more = reader:next()
    local continues = false
    while text do
      if visit(text, continues) then return true end
      continues = more
      text, _, more = reader:next()
    end
    note_skipped(how, reader)
  end)
  reader:close()
  if not ok then error(result, 0) end
  return result
end

-- Call visit(part, continues) for each part of a document's piece; parts end at line ends if there are any. Arguments
-- as for M.each.
local function each_part(text, continues, visit)
  local first = 1
  while first <= #text do
    local last = #text
    if last - first >= PART_BYTES * 3 // 2 then
      last = text:find("\n", first + PART_BYTES, true) or first + PART_BYTES
    end
    if visit(text:sub(first, last), continues) then return true end
    first, continues = last + 1, true
  end
end

local function place_of(text) return permutation.unit(core.hash64(text)) end

-- The lowest hash, from 0 to 1, of all documents (or parts of documents), and how many there are. Stops early at a
-- hash of at most `share`.
local function least_place(files, how, share, in_parts)
  local least, count = 1, 0
  local function judge(text)
    least, count = math.min(least, place_of(text)), count + 1
    return least <= share and count > 1
  end
  for _, path in ipairs(files) do
    local stopped = M.each(path, how, function(text, continues)
      if in_parts then return each_part(text, continues, judge) end
      return not continues and judge(text)
    end)
    if stopped then break end
  end
  return least, count
end

-- "a, b, c and 2 more"
local function enumerate(files)
  local shown = table.concat(files, ", ", 1, math.min(#files, 3))
  return #files > 3 and string.format("%s and %d more", shown, #files - 3) or shown
end

--- Choose how to hold out `share` of a domain: the documents whose hash, from 0 to 1, is at most `limit`. If no
--- document qualifies, parts of documents are chosen in the same way, at least one.
---@param name string of the domain
---@param files string[]
---@param how bam.HowToRead
---@param share number
---@return { limit: number, in_parts: boolean } split
function M.split(name, files, how, share)
  local least, count = least_place(files, how, share, false)
  if count > 1 and least <= share then return { limit = share, in_parts = false } end
  least, count = least_place(files, how, share, true)
  if count == 0 then M.fail_empty(name, files, how) end
  if count == 1 then
    check.fail("corpus: domain %s: its text is one short document, too little to hold a part of it "
               .. "out (%s); add text, separate documents by lines of %s, or give heldout = a file",
               name, enumerate(files), M.SEPARATOR)
  end
  return { limit = math.max(share, least), in_parts = true }
end

--- Raise the error for a domain without text.
---@param name string
---@param files string[]
---@param how bam.HowToRead
function M.fail_empty(name, files, how)
  local skipped = how.fault and string.format("; the first record skipped: %s", how.fault) or ""
  check.fail("corpus: domain %s has no text: no document in %s%s", name, enumerate(files),
             skipped)
end

--- Call visit(text, continues, held) for all text of a file. `held` is true for held-out text. `continues` is as for
--- M.each, relative to the text on the same side. Stops when visit returns true.
---@param path string
---@param how bam.HowToRead
---@param split? table result of M.split; without it nothing is held out
---@param visit function
---@return boolean? stopped
function M.each_split(path, how, split, visit)
  if not split then
    return M.each(path, how, function(text, continues) return visit(text, continues, false) end)
  end
  local held = false
  local function judge(text, continues)
    local before = held
    if split.in_parts or not continues then held = place_of(text) <= split.limit end
    return visit(text, continues and before == held, held)
  end
  return M.each(path, how, function(text, continues)
    if split.in_parts then return each_part(text, continues, judge) end
    return judge(text, continues)
  end)
end

return M
