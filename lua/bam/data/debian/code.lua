-- Code: Python's standard library, without tests, tables of character sets and generated files. A
-- file is a document; a long one is cut where definitions begin.
local clean = require "bam.data.debian.clean"

local M = {}

local ENOUGH, MOST = 4000, 8000 -- bytes of a document
local LONGEST_LINE = 300
local SHORTEST_FILE = 200

local PACKAGES = { "libpython3.11-stdlib", "libpython3.11-minimal" }
local LEFT_OUT = { "/dist%-packages/", "/tests?/", "/idle_test/", "/idlelib/", "/turtledemo/",
                   "/lib2to3/", "/encodings/", "/pydoc_data/", "/_sysconfigdata", "/__phello__",
                   "/html/entities%.", "/locale%.", "/stringprep%.", "/re/_casefix%." }

local function is_wanted(name)
  for _, pattern in ipairs(LEFT_OUT) do
    if name:find(pattern) then return false end
  end
  return true
end

-- Where parts may begin: at definitions, at methods, after blank lines. Comments and decorators
-- belong to what follows.
local BEGINS = { class = true, def = true, async = true, ["@"] = true, ["#"] = true }
local levels = {
  function(line) return BEGINS[line:match "^[@#]" or line:match "^%a+"] end,
  function(line) return BEGINS[line:match "^    ([@#])" or line:match "^    (%a+)"] end,
  function(line, last) return not last:find "%S" and line:find "%S" end,
}

-- Cut lines into parts of at most MOST bytes, if definitions, methods or blank lines allow.
local function cut(lines, level, parts)
  local text = table.concat(lines)
  if #text <= MOST and level > 1 or not levels[level] then
    parts[#parts + 1] = text
    return
  end
  local part, last = {}, ""
  for _, line in ipairs(lines) do
    if part[1] and levels[level](line, last) and not last:find "^ *[@#]" then
      cut(part, level + 1, parts)
      part = {}
    end
    part[#part + 1], last = line, line
  end
  cut(part, level + 1, parts)
end

--- The documents of a file.
---@param name string
---@param text string
---@return { name: string, text: string }[]
function M.pieces(name, text)
  if not utf8.len(text) or #text < SHORTEST_FILE then return {} end
  local lines, texts, parts = {}, {}, {}
  for line in (text:gsub("\f", ""):gsub("\n*$", "\n")):gmatch "[^\n]*\n" do
    if #line <= LONGEST_LINE then lines[#lines + 1] = line:gsub("[ \t\r]+\n$", "\n") end
  end
  cut(lines, 1, texts)
  for i, part in ipairs(texts) do parts[i] = { name = name, text = part } end
  return clean.gather(parts, ENOUGH, MOST, "")
end

--- All documents of the domain.
---@param store table of bam.corpus.debian.packages
---@return { name: string, text: string }[]
function M.documents(store)
  local documents = {}
  local found = store:find(PACKAGES, "^usr/lib/python3%.%d+/.+%.py$")
  for _, name in ipairs(found.names) do
    if is_wanted(name) then
      local pieces = M.pieces(name:gsub("^usr/lib/python3%.%d+/", ""), store:read(found, name))
      table.move(pieces, 1, #pieces, #documents + 1, documents)
    end
  end
  return documents
end

return M
