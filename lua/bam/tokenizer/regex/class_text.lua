-- Writes sets of characters in PCRE2's syntax. Each text matches one character.
local fold = require "bam.tokenizer.regex.fold"
local recent = require "bam.tokenizer.regex.recent"
local sets = require "bam.tokenizer.regex.sets"

local M = {}

--- Write a literal character.
---@param code integer
---@return string
function M.escape(code)
  local c = code < 128 and string.char(code) or ""
  if c:find "[%w ]" then return c end
  if c:find "[%p]" then return "\\" .. c end
  return string.format("\\x{%x}", code)
end

local function add_ranges(parts, ranges)
  for _, range in ipairs(ranges) do
    parts[#parts + 1] = M.escape(range[1])
    if range[2] > range[1] + 1 then parts[#parts + 1] = "-" end
    if range[2] > range[1] then parts[#parts + 1] = M.escape(range[2]) end
  end
end

-- Does a flat set hold all white space?
local function holds_space(set)
  return sets.is_empty(sets.intersection { sets.space, sets.complement(sets.flat(set.ranges)) })
end

-- PCRE2's \s is fast, but also matches U+180E, which the emitter treats as a recent character.
local function brackets(negated, ranges, properties, with_recent)
  local parts = { negated and "[^" or "[" }
  if not with_recent and holds_space { ranges = ranges } then
    parts[2] = "\\s"
    ranges = sets.intersection { sets.flat(ranges), sets.complement(sets.space) }.ranges
  end
  if parts[2] and #ranges + #properties == 0 then return negated and "\\S" or "\\s" end
  add_ranges(parts, ranges)
  for _, name in ipairs(properties) do parts[#parts + 1] = string.format("\\p{%s}", name) end
  parts[#parts + 1] = "]"
  return table.concat(parts)
end

-- ---- characters that PCRE2 may not know ----

local function row_has(row, name)
  if #name == 1 then return row.category:sub(1, 1) == name end
  if name == "L&" then return row.category:find "^L[ult]" ~= nil end
  return name == row.category or row[name] == true or row.scripts[name] == true
end

-- The recent characters inside and outside a flat set's ranges and properties.
local function recent_of(set)
  local inside, outside = {}, {}
  local base = { ranges = {}, properties = set.properties, negated = false }
  for _, row in ipairs(recent) do
    local has = sets.has(base, row.first, function(name) return row_has(row, name) end)
    table.insert(has and inside or outside, { row.first, row.last })
  end
  return inside, outside
end

-- Properties that recent characters have lost since Unicode 14: those of unassigned characters, and one of a mark.
local LOST = { C = true, Cn = true, Mn = true }

local function loses(set)
  for _, name in ipairs(set.properties) do
    if LOST[name] then return true end
  end
  return false
end

-- A flat set with properties that is also correct for recent characters.
local function recent_text(set)
  local inside, outside = recent_of(set)
  local ranges = sets.flat(table.move(inside, 1, #inside, #set.ranges + 1, { table.unpack(set.ranges) }))
  local text = brackets(set.negated, ranges.ranges, set.properties, true)
  if not loses(set) then return text end
  local lost = sets.intersection { sets.flat(outside), sets.complement(sets.flat(set.ranges)) }
  if #lost.ranges == 0 then return text end
  local chars = brackets(false, lost.ranges, {}, true)
  if set.negated then return string.format("(?>%s|%s)", chars, text) end
  return string.format("(?:(?!%s)%s)", chars, text)
end

-- ---- sets ----

local EMPTY = "[^\\x{0}-\\x{10ffff}]"

local function flat_text(set, with_recent)
  local ranges, properties = set.ranges, set.properties
  if #ranges == 0 and #properties == 0 then return EMPTY end
  if with_recent and #properties > 0 then return recent_text(set) end
  if #properties == 1 and #ranges == 0 then
    return string.format(set.negated and "\\P{%s}" or "\\p{%s}", properties[1])
  end
  local first = ranges[1]
  if #properties == 0 and #sets.complement(set).ranges == 0 then return "(?s:.)" end
  if #ranges == 1 and first[1] == first[2] and not set.negated and #properties == 0 then
    return M.escape(first[1])
  end
  local others = sets.complement(set)
  if #properties == 0 and #others.ranges < #ranges and #others.ranges > 0 then
    return brackets(true, others.ranges, {}, with_recent)
  end
  return brackets(set.negated, ranges, properties, with_recent)
end

--- Write a set. With `with_recent` it is also correct for characters that PCRE2 may not know.
---@param set table
---@param with_recent boolean
---@return string
function M.text(set, with_recent)
  if set == sets.no_newline then return "." end
  if not set.op then return flat_text(set, with_recent) end
  local a = M.text(set[1], with_recent)
  if set.op == "not" then return string.format("(?:(?!%s)(?s:.))", a) end
  local b = M.text(set[2], with_recent)
  if set.op == "or" then return string.format("(?>%s|%s)", a, b) end
  return string.format("(?:(?=%s)%s)", a, b)
end

-- ---- sets under the option i ----

-- Only these properties are supported with case folding.
local CLOSED = { Alphabetic = {}, L = { 0x345 }, M = { 0x3b9, 0x399, 0x1fbe }, Lo = {}, Nd = {}, N = {},
                 No = {}, Nl = {}, P = {}, Pc = {}, Pd = {}, Ps = {}, Pe = {}, Pi = {}, Pf = {}, Po = {},
                 S = {}, Sm = {}, Sc = {}, Sk = {}, So = {}, Z = {}, Zs = {}, Zl = {}, Zp = {}, Cc = {},
                 Cf = {}, Cn = {}, Co = {}, Cs = {}, C = {} }
local SEVERAL = { Alphabetic = true, L = true } -- hold letters that fold to several

local function check_fold(set, negated, refuse)
  if set.op or set.negated then refuse("a class of this form under the option i") end
  for _, name in ipairs(set.properties) do
    if not CLOSED[name] or SEVERAL[name] and not negated then
      refuse(string.format("\\p{%s} in a class under the option i", name))
    end
  end
end

-- The contents of a class when letters fold to a single letter, except for what PCRE2 adds itself.
local function folded_set(set)
  local ranges = { table.unpack(set.ranges) }
  local function add(code) ranges[#ranges + 1] = { code, code } end
  for _, name in ipairs(set.properties) do
    for _, code in ipairs(CLOSED[name]) do add(code) end
  end
  local plain = sets.flat(set.ranges)
  for code, other in pairs(fold.partner) do
    if sets.has(plain, code) then add(other) end
  end
  return sets.flat(ranges, set.properties)
end

-- Letters fold before a set is negated, so the set cannot be written as the complement of another.
local function folded_text(set, negated, with_recent)
  if with_recent and #set.properties > 0 then
    return recent_text { ranges = set.ranges, properties = set.properties, negated = negated }
  end
  if sets.is_empty(set) then return negated and "(?s:.)" or EMPTY end
  return brackets(negated, set.ranges, set.properties, with_recent)
end

-- The sequences that letters of a set fold to, in order.
local function sequences(set)
  local found, plain = {}, sets.flat(set.ranges)
  for code, sequence in pairs(fold.sequence_of) do
    if sets.has(plain, code) then
      local parts = {}
      for i, letter in ipairs(sequence) do parts[i] = M.escape(letter) end
      found[table.concat(parts)] = true
    end
  end
  local list = {}
  for text in pairs(found) do list[#list + 1] = text end
  table.sort(list)
  return list
end

--- Write a class under option i, for use under PCRE2's. It may match several characters unless `one` is set.
---@param class table raw: its set before it is negated; negated
---@param with_recent boolean
---@param one boolean
---@param refuse function
---@return string
function M.folded(class, with_recent, one, refuse)
  check_fold(class.raw, class.negated, refuse)
  local set = folded_set(class.raw)
  local list = class.negated and {} or sequences(class.raw)
  local text = folded_text(set, class.negated, with_recent)
  if #list == 0 then return text end
  if one then refuse("a letter that folds to several, in look-behind") end
  return string.format("(?:%s|%s)", text, table.concat(list, "|"))
end

return M
