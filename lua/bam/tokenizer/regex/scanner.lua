-- Reads an expression character by character, with the options in effect, and reports errors with their position.
local check = require "bam.util.check"

local M = {}

local Scanner = {}
Scanner.__index = Scanner

--- Create a scanner. `codes` are the characters of the expression, `at` is the next one.
---@param text string
---@return table
function M.new(text)
  local s = setmetatable({ text = text, codes = {}, places = {}, at = 1, begin = 1, depth = 0,
                           options = { i = false, m = false, x = false },
                           captures = {}, names = {}, open = {}, references = {} }, Scanner)
  local length, wrong = utf8.len(text)
  if not length then
    s.places[1] = wrong
    s:malformed("it is not UTF-8")
  end
  for place, code in utf8.codes(text) do
    s.codes[#s.codes + 1] = code
    s.places[#s.places + 1] = place
  end
  return s
end

-- Quote the expression for a message; a long one is truncated.
local function quote(text)
  local shown = utf8.len(text) and #text > 60 and text:sub(1, utf8.offset(text, 0, 60) - 1) .. "..."
  return check.quote and check.quote(shown or text) or string.format('"%s"', shown or text)
end

function Scanner:place() return self.places[self.begin] or #self.text + 1 end

--- Raise an error: the expression is malformed at the current part.
function Scanner:malformed(what)
  check.fail("malformed pattern %s: at byte %d: %s", quote(self.text), self:place(), what)
end

--- Raise an error: the current part is valid but not supported.
function Scanner:refuse(what)
  check.fail("pattern %s: at byte %d: %s is not supported", quote(self.text), self:place(), what)
end

--- The next character, which must be ASCII; "" for any other, nil at the end.
function Scanner:peek(ahead)
  local code = self.codes[self.at + (ahead or 0)]
  return code and (code < 128 and string.char(code) or "")
end

function Scanner:take()
  local c = self:peek()
  self.at = self.at + 1
  return c
end

--- Skip `text`, which is ASCII, if it comes next.
function Scanner:accept(text)
  for i = 1, #text do
    if self.codes[self.at + i - 1] ~= text:byte(i) then return false end
  end
  self.at = self.at + #text
  return true
end

--- Read at most `most` characters that match a Lua pattern.
function Scanner:take_while(pattern, most)
  local from = self.at
  while self.at - from < (most or math.huge) and (self:peek() or ""):find(pattern) do
    self.at = self.at + 1
  end
  return utf8.char(table.unpack(self.codes, from, self.at - 1))
end

local function skip_comment(s)
  s.begin = s.at - 3
  while true do
    local c = s:take()
    if not c then s:malformed("a comment is not closed") end
    if c == ")" then return end
    if c == "\\" then s:take() end
  end
end

local IGNORED = "[ \t\n\r\f]" -- under the option x

--- Skip comments, and white space under option x.
function Scanner:skip_ignored()
  while true do
    local code = self.codes[self.at]
    if self:accept "(?#" then
      skip_comment(self)
    elseif self.options.x and code and self:peek():find(IGNORED) then
      self.at = self.at + 1
    elseif self.options.x and code == 0x23 then -- #
      repeat
        self.at = self.at + 1
        code = self.codes[self.at]
      until not code or code == 10
    else
      return
    end
  end
end

return M
