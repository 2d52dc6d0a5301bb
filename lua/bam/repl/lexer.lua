-- The tokens of Lua source text that may be unfinished or wrong, as a user types it.
local M = {}

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true
  until while]]):gmatch "%a+" do
  KEYWORDS[word] = true
  KEYWORDS[#KEYWORDS + 1] = word
end

--- The keywords of Lua, as a sorted list and as a set.
M.KEYWORDS = KEYWORDS

---@class repl.Token
---@field kind "name"|"keyword"|"number"|"string"|"comment"|"operator"
---@field text string
---@field first integer position of its first byte
---@field last integer position of its last byte
---@field open? boolean a string or long comment without its end

-- The end of a long bracket that opens at `at`; nil if none opens there. If it has no end, #text and true.
local function long_end(text, at)
  local level = text:match("^%[(=*)%[", at)
  if not level then return nil end
  local _, last = text:find(string.format("]%s]", level), at, true)
  return last or #text, not last
end

-- The end of a quoted string, which does not go on after the end of its line.
local function quoted_end(text, at)
  local quote, i = text:sub(at, at), at + 1
  while i <= #text do
    local c = text:sub(i, i)
    if c == quote then return i, false end
    if c == "\n" then return i - 1, true end
    i = i + (c == "\\" and 2 or 1)
  end
  return #text, true
end

local function comment_end(text, at)
  local last, open = long_end(text, at + 2)
  if last then return last, open end
  return (text:find("\n", at, true) or #text + 1) - 1, false
end

local OPERATORS = { "^%.%.%.", "^%.%.", "^[=~<>]=", "^//", "^::", "^<<", "^>>", "^[^\0]", "^\0" }

-- The kind and the end of the token at `at`.
local function scan(text, at)
  if text:find("^%-%-", at) then return "comment", comment_end(text, at) end
  if text:find("^[\"']", at) then return "string", quoted_end(text, at) end
  local last, open = long_end(text, at)
  if last then return "string", last, open end
  local _, stop = text:find("^[%a_][%w_]*", at)
  if stop then return KEYWORDS[text:sub(at, stop)] and "keyword" or "name", stop end
  _, stop = text:find("^%.?%d[%w.]*", at)
  if stop then return "number", stop end
  for _, pattern in ipairs(OPERATORS) do
    _, stop = text:find(pattern, at)
    if stop then return "operator", stop end
  end
end

--- The tokens of a text, comments among them.
---@param text string
---@return repl.Token[]
function M.tokens(text)
  local list, at = {}, text:find "%S"
  while at do
    local kind, last, open = scan(text, at)
    list[#list + 1] = { kind = kind, text = text:sub(at, last), first = at, last = last, open = open or nil }
    at = text:find("%S", last + 1)
  end
  return list
end

return M
