-- Regular expressions of tokenizer.json, which are Oniguruma's, in PCRE2's syntax. They are read into
-- a tree (parser.lua) and written from it (emitter.lua); what would not mean the same is refused.
local check = require "bam.util.check"
local emitter = require "bam.tokenizer.regex.emitter"
local parser = require "bam.tokenizer.regex.parser"
local recent = require "bam.tokenizer.regex.recent"

local M = {}

local LONGEST = 65536

--- First and last of each range of characters that PCRE2 may not know, all in one list.
M.recent = {}
for _, row in ipairs(recent) do
  table.insert(M.recent, row.first)
  table.insert(M.recent, row.last)
end

--- An expression in PCRE2's syntax, and the one for texts that hold recent characters.
---@param text string in Oniguruma's syntax
---@return string usual
---@return string with_recent
function M.translate(text)
  if #text > LONGEST then
    check.fail("a pattern of %d bytes is too long; %d are the most", #text, LONGEST)
  end
  local tree, scanner = parser.parse(text)
  local function refuse(node, what)
    scanner.begin = node.begin
    scanner:refuse(what)
  end
  return emitter.emit(tree, false, refuse), emitter.emit(tree, true, refuse)
end

return M
