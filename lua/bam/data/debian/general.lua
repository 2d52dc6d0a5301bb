-- General English: the King James Bible, a document per chapter, a verse per line; and the Jargon
-- File, some entries per document.
local check = require "bam.util.check"

local clean = require "bam.data.debian.clean"
local packages = require "bam.data.debian.packages"

local M = {}

local SHORTEST = 120 -- bytes of a paragraph of the Jargon File
local ENOUGH, MOST = 4000, 6000 -- bytes of a document of its entries

--- Documents of the lines that `bible -f` prints: "Ge1:1 In the beginning ...".
---@param lines fun(): string? an iterator
---@return { name: string, text: string }[]
function M.chapters(lines)
  local documents, verses, chapter = {}, {}, nil
  local function finish()
    if chapter then
      documents[#documents + 1] = { name = chapter, text = table.concat(verses, "\n") }
    end
    verses = {}
  end
  for line in lines do
    local place, verse = line:match "^(%w+):%d+ +(.-)%s*$"
    if place then
      if place ~= chapter then
        finish()
        chapter = place
      end
      verses[#verses + 1] = verse
    end
  end
  finish()
  return documents
end

local function heading_of(paragraph)
  return paragraph:match "^:(.+):%f[%s\0]" or paragraph:match "^Chapter %d+%. (.+)"
         or paragraph:match "^Appendix %u%. (.+)"
end

--- Documents of the Jargon File, whose entries begin with headings such as ":golden: adj.".
---@param text string
---@return { name: string, text: string }[]
function M.jargon(text)
  local parts, heading, is_new = {}, "The Jargon File", true
  for _, paragraph in ipairs(clean.paragraphs(clean.ascii(text))) do
    local found = heading_of(paragraph)
    if found then
      heading, is_new = found, true
    else
      paragraph = paragraph:gsub("{(.-)}", "%1"):gsub("^%[.-%] +", "")
      if clean.is_prose(paragraph, SHORTEST) then
        local title = is_new and string.format("%s: ", heading) or ""
        parts[#parts + 1], is_new = { name = heading, text = title .. paragraph }, false
      end
    end
  end
  return clean.gather(parts, ENOUGH, MOST, "\n\n")
end

local function read_bible(store)
  local found = store:find({ "bible-kjv", "bible-kjv-text" }, "^usr/bin/bible$")
  local command = string.format("cd -- %s && usr/bin/bible -f -p usr/lib/ gen1:1-rev22:21 "
                                .. "</dev/null 2>&1", packages.quote(found.root))
  local pipe <close> = assert(io.popen(command, "r"))
  local documents = M.chapters(pipe:lines())
  if not pipe:close() or #documents < 1000 then
    check.fail("the program `bible` of the package bible-kjv printed no bible; as root: "
               .. "apt-get install --reinstall bible-kjv bible-kjv-text")
  end
  return documents
end

--- All documents of the domain.
---@param store table of bam.corpus.debian.packages
---@return { name: string, text: string }[]
function M.documents(store)
  local documents = read_bible(store)
  local found = store:find({ "jargon-text" }, "/jargon%.txt%.gz$")
  for _, document in ipairs(M.jargon(store:read(found, found.names[1]))) do
    documents[#documents + 1] = document
  end
  return documents
end

return M
