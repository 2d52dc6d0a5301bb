-- Text cleaning for all domains: ASCII for typographic characters, unwrapped paragraphs, prose told apart from tables
-- and lists, long texts cut into documents.
local M = {}

local SIGNS = {
  [" "] = "\u{A0}\u{2002}\u{2003}\u{2009}\u{202F}", ["'"] = "‘’‛′´", ['"'] = "“”„″«»",
  ["-"] = "‐‑‒–−", ["--"] = "—―", ["*"] = "•", ["..."] = "…", ["(c)"] = "©", ["(r)"] = "®",
  ["x"] = "×", ["->"] = "→", ["<-"] = "←", [""] = "\u{AD}\u{200B}\u{FEFF}™",
  A = "ÀÁÂÃÄÅ", C = "Ç", E = "ÈÉÊË", I = "ÌÍÎÏ", N = "Ñ", O = "ÒÓÔÕÖØ", U = "ÙÚÛÜ",
  a = "àáâãäå", c = "ç", e = "èéêë", i = "ìíîï", n = "ñ", o = "òóôõöø", u = "ùúûü",
  ae = "æ", oe = "œ", ss = "ß", ["section "] = "§",
}

local plain = {}
for ascii, signs in pairs(SIGNS) do
  for sign in signs:gmatch(utf8.charpattern) do plain[sign] = ascii end
end

--- `text` with typographic characters and letters with accents in ASCII. Other characters stay.
---@param text string
---@return string
function M.ascii(text) return (text:gsub("[\xC2-\xF4][\x80-\xBF]+", plain)) end

--- Is a paragraph prose? At least `shortest` bytes, 85 % of them letters and blanks, all ASCII.
---@param paragraph string
---@param shortest integer
---@return boolean
function M.is_prose(paragraph, shortest)
  if #paragraph < shortest or paragraph:find "[^\n\32-\126]" then return false end
  local _, letters = paragraph:gsub("[%a ]", "")
  return letters >= 0.85 * #paragraph
end

-- Does a line begin an item of a list: "* ", "(a) ", "2.1. Scope"?
local function is_item(line)
  return line:find "^[%*%-o]%-? +%S" or line:find "^%(?%w%w?%w?%) " or line:find "^%u%. +%u"
         or line:find "^%d[%d%.]*%. *%u"
end

--- Does a line end like a sentence, or like an item of a list?
---@param line string
---@return boolean
function M.ends_sentence(line)
  return line:find "[%.:;,][\"')]*$" ~= nil or line:find " and$" ~= nil or line:find " or$" ~= nil
end

--- The paragraphs of a text, each unwrapped into one line. They end at blank lines, at lines of
--- dashes and the like, and where an item of a list begins.
---@param text string
---@return string[]
function M.paragraphs(text)
  local paragraphs, lines, last = {}, {}, ""
  local function finish()
    if lines[1] then paragraphs[#paragraphs + 1] = table.concat(lines) end
    lines, last = {}, ""
  end
  for line in (text .. "\n"):gmatch "(.-)\r?\n" do
    line = line:gsub("^%s+", ""):gsub("%s+$", ""):gsub("%s+", " ")
    if not line:find "%w" or is_item(line) and M.ends_sentence(last) then finish() end
    if line:find "%w" then
      -- these texts never hyphenate a word at a line end: a hyphen there belongs to the word
      local joint = (last == "" or last:find "%w%-$") and "" or " "
      lines[#lines + 1], last = joint .. line, line
    end
  end
  finish()
  return paragraphs
end

--- Join adjacent parts into documents, each named after its first part. A document ends when it has `enough` bytes, or
--- half of that before a part of another name, or when the next part would take it beyond `most`. A part with the name
--- of the previous part continues it: a document that begins with such a part keeps the name of the previous document.
---@param parts { name: string, text: string }[]
---@param enough integer
---@param most integer
---@param between string what separates parts
---@return { name: string, text: string }[]
function M.gather(parts, enough, most, between)
  local documents, texts, size, name, last = {}, {}, 0, nil, nil
  local function finish()
    if texts[1] then
      documents[#documents + 1] = { name = name, text = table.concat(texts, between) }
    end
    texts, size = {}, 0
  end
  for _, part in ipairs(parts) do
    local goal = part.name == last and enough or enough // 2
    if size >= goal or size + #part.text > most then finish() end
    if not texts[1] and part.name ~= last then name = part.name end
    texts[#texts + 1], size, last = part.text, size + #part.text + #between, part.name
  end
  finish()
  return documents
end

return M
