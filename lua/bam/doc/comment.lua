-- Doc comments as data. A comment is a list of lines without their dashes: text, then tags of LuaCATS
-- (@param, @return, @field, @class). A tag goes on over the lines after it.
local M = {}

local CLOSES = { ["("] = ")", ["{"] = "}", ["<"] = ">" }

-- The end of the bracket that opens at `at`.
local function skip_bracket(text, at)
  local depth, open = 0, text:sub(at, at)
  for i = at, #text do
    local c = text:sub(i, i)
    if c == open then
      depth = depth + 1
    elseif c == CLOSES[open] then
      depth = depth - 1
      if depth == 0 then return i + 1 end
    end
  end
  return #text + 1
end

-- The end of the alternative of a type that starts at `at`: a name, a literal, a table, a function.
local function skip_alternative(text, at)
  local c = text:sub(at, at)
  if c == '"' then
    at = (text:find('"', at + 1, true) or #text) + 1
  elseif c == "{" then
    at = skip_bracket(text, at)
  else
    at = text:match("^[%w_.]+()", at) or at
    local is_function = text:sub(at - 3, at) == "fun("
    while text:find("^[<(]", at) and (is_function or text:sub(at, at) == "<") do at = skip_bracket(text, at) end
    local result = is_function and text:match("^:%s*()", at)
    while result do
      at = M.skip_type(text, result)
      result = text:match("^,%s*()", at)
    end
  end
  return text:match("^[%[%]?]+()", at) or at
end

--- The position after the type that starts at `at`; alternatives are separated by "|".
---@param text string
---@param at integer
---@return integer
function M.skip_type(text, at)
  repeat
    at = skip_alternative(text, at)
    local another = text:match("^%s*|%s*()", at)
    at = another or at
  until not another
  return at
end

-- "integer? how many" as "integer?", "how many"
local function split(text)
  local after = text:find "^%.%.%." and 4 or M.skip_type(text, 1)
  return text:sub(1, after - 1), text:sub(after):match "^%s*(.-)%s*$"
end

-- "name? type and text" as { name, optional, type, text }
local function named(raw)
  local name, rest = raw:match "^(%S+)%s*(.*)$"
  local kind, text = split(rest or "")
  return { name = (name or ""):gsub("%?$", ""), optional = (name or ""):find "%?$" ~= nil, type = kind, text = text }
end

-- "any ... results of f" as { type, text, many = true }
local function result(raw)
  local kind, text = split(raw)
  local rest = text:match "^%.%.%.%s*(.*)$"
  return { type = kind, text = rest or text, many = rest ~= nil }
end

local READERS = { param = named, field = named, ["return"] = result }
local LISTS = { param = "params", field = "fields", ["return"] = "returns" }

--- Parse a comment.
---@param lines string[]
---@return table comment `text`, a list of lines; `params` and `fields`, lists of { name, optional, type, text };
--- `returns`, a list of { type, text }; `class`, its name if it has one, and `base`
function M.parse(lines)
  local comment = { text = {}, params = {}, fields = {}, returns = {} }
  local tags = {}
  for _, line in ipairs(lines) do
    local tag, rest = line:match "^@(%S+)%s*(.*)$"
    if tag then
      tags[#tags + 1] = { tag, rest }
    elseif #tags > 0 and line ~= "" then
      tags[#tags][2] = string.format("%s %s", tags[#tags][2], line:match "^%s*(.*)$")
    else
      table.insert(comment.text, line)
    end
  end
  for _, tag in ipairs(tags) do
    local list = LISTS[tag[1]]
    if list then
      table.insert(comment[list], READERS[tag[1]](tag[2]))
    elseif tag[1] == "class" then
      comment.class, comment.base = tag[2]:match "^([%w_.]+)%s*:?%s*([%w_.]*)"
    end
  end
  return comment
end

--- The fields of a type that is a table written out, "{ a?: integer, b: string }"; else none.
---@param kind string
---@return table[]
function M.inline_fields(kind)
  local fields, at = {}, kind:match "^{()"
  while at do
    local name, optional, start = kind:match("^[%s,]*([%a_][%w_]*)(%??):%s*()", at)
    if not name then break end
    at = M.skip_type(kind, start)
    fields[#fields + 1] = { name = name, optional = optional == "?", type = kind:sub(start, at - 1), text = "" }
  end
  return fields
end

--- The first sentence of a comment.
---@param comment table
---@return string
function M.summary(comment)
  local words = {}
  for _, line in ipairs(comment.text) do
    if line == "" or line:find "^  " then break end
    words[#words + 1] = line
  end
  local joined = table.concat(words, " ")
  return joined:match "^(.-%.)%s+[%u`]" or joined
end

return M
