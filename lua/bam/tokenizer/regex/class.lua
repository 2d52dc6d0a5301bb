-- Bracket classes: characters, ranges, sets, nested classes, and intersections (&&).
local escapes = require "bam.tokenizer.regex.escapes"
local properties = require "bam.tokenizer.regex.properties"
local sets = require "bam.tokenizer.regex.sets"

local M = {}

-- [:name:], after its opening bracket: the set, and whether it is negated; nil if it is not of this form.
local function posix_bracket(s)
  local from = s.at
  s.at = from + 1
  local negated = s:accept "^"
  local name = s:take_while "%a"
  if not s:accept ":]" or name == "" and not negated then
    s.at = from
    return nil
  end
  local set = properties.posix(name)
  if not set then s:malformed(string.format("there is no class [:%s:]", name)) end
  return negated and sets.complement(set) or set, negated
end

-- The next token: its kind, the character or the set, and whether the set is a negated one.
local function next_token(s)
  s.begin = s.at
  local c = s:take()
  if not c then s:malformed("a class is not closed") end
  if c == "]" then return "close" end
  if c == "-" then return "range" end
  if c == "\\" then
    local code, set, negated = escapes.in_class(s)
    if set then return "set", set, negated end
    return "char", code
  end
  if c == "[" then
    if s:peek() ~= ":" then return "open" end
    local set, negated = posix_bracket(s)
    if set then return "set", set, negated end
    return "open"
  end
  if c == "&" and s:accept "&" then return "and" end
  return "char", s.codes[s.at - 1]
end

-- A class under construction. `state` is "start"; "value" after a character (pending) or a set (nothing pending);
-- "range" after a character and a minus; "complete" after a range or a class. `has_negated`: it has a negated set, \\W
-- or [:^alpha:]. `inverts`: a nested negated class has one too.
local Builder = {}
Builder.__index = Builder

function Builder:flush()
  if self.state == "value" and self.pending then
    table.insert(self.sets, sets.range(self.pending, self.pending))
  end
  self.pending = nil
end

function Builder:char(code)
  if self.state == "range" then
    if self.pending > code then self.scanner:malformed("an empty range") end
    table.insert(self.sets, sets.range(self.pending, code))
    self.pending, self.state = nil, "complete"
  else
    self:flush()
    self.pending, self.state = code, "value"
  end
end

function Builder:set(set, negated)
  self.has_negated = self.has_negated or negated
  if self.state == "range" then self.scanner:malformed("a range that ends in a set") end
  self:flush()
  table.insert(self.sets, set)
  self.state = "value"
end

function Builder:class()
  if self.state == "range" then self.scanner:refuse("a range that ends in a class") end
  self:flush()
  local class = M.parse(self.scanner)
  table.insert(self.sets, class.set)
  self.has_negated = self.has_negated or class.has_negated
  self.inverts = self.inverts or class.inverts or class.negated and class.has_negated
  self.state = "complete"
end

-- Handle a minus; returns the token after it.
function Builder:minus()
  local s, state = self.scanner, self.state
  if state == "range" then
    self:char(0x2d)
    return next_token(s)
  end
  local kind, value, negated = next_token(s)
  local is_last = kind == "close" or kind == "and"
  if state == "start" or state == "complete" or is_last then
    self:char(0x2d)
  elseif not self.pending then
    s:malformed("a range that begins with a set")
  else
    self.state = "range"
  end
  return kind, value, negated
end

-- Finish an operand of &&.
function Builder:join()
  self:flush()
  table.insert(self.parts, sets.union(self.sets))
  self.sets, self.state = {}, "start"
end

-- Is there a bracket that could close the class that starts with one?
local function closes_later(s)
  local i = s.at
  while s.codes[i] do
    if s.codes[i] == 0x5d then return true end
    i = i + (s.codes[i] == 0x5c and 2 or 1)
  end
  return false
end

local function parse_items(s, b)
  local kind, value, negated = next_token(s)
  if kind == "close" then
    if not closes_later(s) then s:malformed("an empty class") end
    kind, value = "char", 0x5d
  end
  while kind ~= "close" do
    if kind == "range" then
      kind, value, negated = b:minus()
    else
      if kind == "open" then b:class()
      elseif kind == "and" then b:join()
      elseif kind == "set" then b:set(value, negated)
      else b:char(value)
      end
      kind, value, negated = next_token(s)
    end
  end
end

--- Parse a class after its opening bracket: its set, the set before negation, and whether it is negated.
---@param s table
---@return { set: table, raw: table, negated: boolean, has_negated: boolean, inverts: boolean }
function M.parse(s)
  s.depth = s.depth + 1
  if s.depth > 200 then s:refuse("classes nested deeper than 200") end
  local b = setmetatable({ scanner = s, parts = {}, sets = {}, state = "start" }, Builder)
  local begin, negated = s.at - 1, s:accept "^"
  parse_items(s, b)
  b:join()
  s.depth = s.depth - 1
  if negated and b.inverts then -- Oniguruma loses its characters beyond ASCII
    s.begin = begin
    s:refuse("a negated set in a negated class in another")
  end
  local raw = sets.intersection(b.parts)
  return { set = negated and sets.complement(raw) or raw, raw = raw, negated = negated,
           has_negated = b.has_negated, inverts = b.inverts }
end

return M
