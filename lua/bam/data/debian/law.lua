-- Law, as far as Debian has it: licences, Debian's policy and constitution, the constitution of
-- the United States. Licences repeat each other: a paragraph that mostly repeats an earlier one is
-- left out.
local clean = require "bam.data.debian.clean"
local duplicates = require "bam.data.debian.duplicates"

local M = {}

local SHORTEST = 60             -- bytes of a paragraph
local ENOUGH, MOST = 4000, 8000 -- bytes of a document

local SOURCES = {
  { "base-files", "^usr/share/common%-licenses/[^/]+$" },
  { "debian-policy", "/policy%.txt%.gz$" },
  { "doc-debian", "/constitution%.txt%.gz$" },
  { "doc-debian", "/social%-contract%.txt%.gz$" },
  { "miscfiles", "/us%-[^/]+%.gz$" },
  { "libsoftware-license-perl", "/Software/License/[^/]+%.pm$" },
}

-- The text that a Perl module prints follows this line.
local function after_code(text)
  return text:match "\n__LICENSE__\n(.*)" or text:find "^use strict" and "" or text
end

-- Prose, but neither a heading nor a template for a copyright notice.
local function is_law(paragraph)
  return clean.is_prose(paragraph, SHORTEST) and clean.ends_sentence(paragraph)
         and not paragraph:find "[{}]"
end

-- The heading of a section: an underlined line, which begins with "#" here, or an article.
local function heading_of(paragraph)
  return paragraph:match "^#(.+)" or paragraph:match "^Article %u+$"
         or paragraph:match "^Amendment %u+$"
end

--- The paragraphs of prose in a text, each named after its section if the text has sections.
---@param name string of the text
---@param text string
---@return { name: string, text: string }[]
function M.paragraphs(name, text)
  local parts, section = {}, name
  text = "\n" .. clean.ascii(after_code(text))
  if name:find "%.txt%.gz$" then
    text = text:gsub("\n([^\n]+)\n[*=~-][*=~-][*=~-]+\n", "\n\n#%1\n\n")
  end
  for _, paragraph in ipairs(clean.paragraphs(text)) do
    local heading = heading_of(paragraph)
    if heading then section = string.format("%s/%s", name, heading) end
    paragraph = paragraph:gsub("%*(%w[^*]-)%*", "%1"):gsub(" ?%[%d+%] ?", ""):gsub("^%* ", "")
    if not heading and is_law(paragraph) then
      parts[#parts + 1] = { name = section, text = paragraph }
    end
  end
  return parts
end

--- All documents of the domain.
---@param store table of bam.corpus.debian.packages
---@return { name: string, text: string }[]
function M.documents(store)
  local documents, is_repeat = {}, duplicates.repeats(6, 0.5)
  for _, source in ipairs(SOURCES) do
    local found = store:find({ source[1] }, source[2])
    for _, path in ipairs(found.names) do
      local parts, name = {}, path:match "[^/]+$"
      for _, part in ipairs(M.paragraphs(name, store:read(found, path))) do
        if not is_repeat(part.text) then parts[#parts + 1] = part end
      end
      table.move(clean.gather(parts, ENOUGH, MOST, "\n\n"), 1, #parts, #documents + 1, documents)
    end
  end
  return documents
end

return M
