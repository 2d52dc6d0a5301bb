-- What the line editor of the REPL asks: what Enter does, the colors of the text, how a pasted text is read.
local lexer = require "bam.repl.lexer"
local statements = require "bam.repl.statements"

local M = {}

local INDENT = 2
local OPENS = { ["do"] = 1, ["then"] = 1, ["repeat"] = 1, ["function"] = 1, ["{"] = 1, ["("] = 1, ["["] = 1,
                ["else"] = 1 }
local CLOSES = { ["end"] = 1, ["until"] = 1, ["}"] = 1, [")"] = 1, ["]"] = 1, ["else"] = 1, ["elseif"] = 1 }

local function starts_with_closer(line)
  local first = lexer.tokens(line)[1]
  return first and CLOSES[first.text] ~= nil
end

-- Whether the line after this one is indented more.
local function opens(line)
  local depth = starts_with_closer(line) and 1 or 0 -- the line itself has moved out
  for _, token in ipairs(lexer.tokens(line)) do
    if token.kind == "keyword" or token.kind == "operator" then
      depth = depth + (OPENS[token.text] or 0) - (CLOSES[token.text] or 0)
    end
  end
  return depth > 0
end

local function indent_of(line) return #line:match "^ *" end

-- Whether the end of the text is inside a string or a long comment.
local function in_string(text)
  local tokens = lexer.tokens(text)
  return #tokens > 0 and tokens[#tokens].open or false
end

-- The number of spaces to remove from the start of a line with `end` or the like, the last one of `before`.
local function surplus(before, line)
  if #line == #before or not starts_with_closer(line) then return 0 end
  local above = before:sub(1, #before - #line - 1)
  if in_string(above) then return 0 end
  local previous = above:match "[^\n]*$"
  local wanted = indent_of(previous) - (opens(previous) and 0 or INDENT)
  return math.max(0, indent_of(line) - math.max(0, wanted))
end

--- What Enter does: nil if the input is complete or wrong, otherwise the text to insert at the cursor, a newline and
--- spaces. Second, the number of spaces to remove from the start of the cursor's line.
---@param before string the text before the cursor
---@param after string the text after it
---@return string?
---@return integer remove
function M.enter(before, after)
  local status = statements.parse(before .. after)
  local line = before:match "[^\n]*$"
  local remove = surplus(before, line)
  if status ~= "more" then return nil, remove end
  if in_string(before) then return "\n", 0 end
  return "\n" .. string.rep(" ", indent_of(line) - remove + (opens(line) and INDENT or 0)), remove
end

--- The colored parts of a text: a list of first byte, last byte and kind, one after the other.
---@param text string
---@return table
function M.colors(text)
  local list = {}
  for _, token in ipairs(lexer.tokens(text)) do
    if token.kind ~= "name" and token.kind ~= "operator" then
      local n = #list
      list[n + 1], list[n + 2], list[n + 3] = token.first, token.last, token.kind
    end
  end
  return list
end

--- A pasted text as it is inserted. Of a session that was copied with its prompts, only the inputs are taken.
---@param text string
---@return string
function M.paste(text)
  if not text:find "^%s*> " then return text end
  local inputs = {}
  for line in string.gmatch(text .. "\n", "(.-)\n") do
    inputs[#inputs + 1] = line:match "^%s*>>? (.*)$"
  end
  return table.concat(inputs, "\n") .. (text:find "\n$" and "\n" or "")
end

return M
