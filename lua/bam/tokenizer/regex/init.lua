-- Translates the regular expressions of tokenizer.json, which have Oniguruma's syntax, to PCRE2's. They are parsed
-- into a tree (parser.lua), which is written in the new syntax (emitter.lua). Anything whose meaning would change is
-- refused.
local check = require "bam.util.check"
local emitter = require "bam.tokenizer.regex.emitter"
local parser = require "bam.tokenizer.regex.parser"
local recent = require "bam.tokenizer.regex.recent"

local M = {}

local LONGEST = 65536

--- Ranges of characters that PCRE2 may not know: first and last of each, in one flat list.
M.recent = {}
for _, row in ipairs(recent) do
  table.insert(M.recent, row.first)
  table.insert(M.recent, row.last)
end

--- Translate an expression. The second result is for texts with recent characters.
---@param text string in Oniguruma's syntax
---@return string usual
---@return string with_recent
function M.translate(text)
  if #text > LONGEST then
    check.fail("a pattern of %d bytes is too long; the limit is %d", #text, LONGEST)
  end
  local tree, scanner = parser.parse(text)
  local function refuse(node, what)
    scanner.begin = node.begin
    scanner:refuse(what)
  end
  return emitter.emit(tree, false, refuse), emitter.emit(tree, true, refuse)
end

return M
