-- Sets of characters. A set is flat or composite:
--   { ranges, properties, negated }   the union of the ranges and properties, or its complement
--   { op = "or" | "and", a, b }, { op = "not", a }
-- A flat set without properties is never negated, because its complement is computed. Properties are named as in
-- PCRE2's \p{...}.
local M = {}

local LAST = 0x10ffff

-- Sort ranges and merge adjacent ones.
local function normal(ranges)
  table.sort(ranges, function(a, b) return a[1] < b[1] end)
  local out = {}
  for _, range in ipairs(ranges) do
    local last = out[#out]
    if last and range[1] <= last[2] + 1 then
      last[2] = math.max(last[2], range[2])
    else
      out[#out + 1] = { range[1], range[2] }
    end
  end
  return out
end

--- Create a flat set.
---@param ranges integer[][]
---@param properties? string[]
---@param negated? boolean
---@return table
function M.flat(ranges, properties, negated)
  return { ranges = normal(ranges), properties = properties or {}, negated = negated or false }
end

--- The characters from `first` to `last`.
function M.range(first, last) return M.flat { { first, last } } end

--- Does it consist only of ranges?
function M.is_plain(set) return not set.op and #set.properties == 0 end

--- Is it certainly empty?
function M.is_empty(set) return M.is_plain(set) and #set.ranges == 0 end

local function complement_ranges(ranges)
  local out, from = {}, 0
  for _, range in ipairs(ranges) do
    if range[1] > from then out[#out + 1] = { from, range[1] - 1 } end
    from = range[2] + 1
  end
  if from <= LAST then out[#out + 1] = { from, LAST } end
  return out
end

--- The complement of a set.
function M.complement(set)
  if set.op == "not" then return set[1] end
  if set.op then return { op = "not", set } end
  if M.is_plain(set) then return M.flat(complement_ranges(set.ranges)) end
  return { ranges = set.ranges, properties = set.properties, negated = not set.negated }
end

local function concatenate(a, b)
  local out = table.move(a, 1, #a, 1, {})
  return table.move(b, 1, #b, #out + 1, out)
end

local function union_of(a, b)
  if M.is_empty(a) then return b end
  if M.is_empty(b) then return a end
  if a.op or b.op or a.negated or b.negated then return { op = "or", a, b } end
  return M.flat(concatenate(a.ranges, b.ranges), concatenate(a.properties, b.properties))
end

--- The union of sets. Flat sets are merged first.
---@param list table[]
---@return table
function M.union(list)
  local ranges, properties, others = {}, {}, {}
  for _, set in ipairs(list) do
    if set.op or set.negated then
      others[#others + 1] = set
    else
      table.move(set.ranges, 1, #set.ranges, #ranges + 1, ranges)
      table.move(set.properties, 1, #set.properties, #properties + 1, properties)
    end
  end
  local flat = M.flat(ranges, properties)
  for _, set in ipairs(others) do flat = union_of(flat, set) end
  return flat
end

--- The intersection of sets.
---@param list table[]
---@return table
function M.intersection(list)
  local result = list[1]
  for i = 2, #list do
    local a, b = result, list[i]
    if M.is_plain(a) and M.is_plain(b) then
      result = M.complement(M.union { M.complement(a), M.complement(b) })
    else
      result = { op = "and", a, b }
    end
  end
  return result
end

--- Does the set hold a character? `has_property(name)` says whether the character has it.
function M.has(set, code, has_property)
  if set.op == "not" then return not M.has(set[1], code, has_property) end
  if set.op == "or" then
    return M.has(set[1], code, has_property) or M.has(set[2], code, has_property)
  elseif set.op == "and" then
    return M.has(set[1], code, has_property) and M.has(set[2], code, has_property)
  end
  local found = false
  for _, range in ipairs(set.ranges) do
    found = found or code >= range[1] and code <= range[2]
  end
  for _, name in ipairs(set.properties) do found = found or has_property(name) end
  return found ~= set.negated
end

M.any = M.range(0, LAST)
M.no_newline = M.complement(M.range(10, 10))
--- Unicode's White_Space, which is stable.
M.space = M.flat { { 9, 13 }, { 0x20, 0x20 }, { 0x85, 0x85 }, { 0xa0, 0xa0 }, { 0x1680, 0x1680 },
                   { 0x2000, 0x200a }, { 0x2028, 0x2029 }, { 0x202f, 0x202f }, { 0x205f, 0x205f },
                   { 0x3000, 0x3000 } }
--- \w outside of classes. Oniguruma counts Latin-1's superscripts and fractions as letters here.
M.word = M.flat({ { 0xb2, 0xb3 }, { 0xb9, 0xb9 }, { 0xbc, 0xbe } }, { "Alphabetic", "M", "Nd", "Pc" })

return M
