-- Quantifiers, and quantifiers applied to quantifiers, which are combined as in Oniguruma.
local M = {}

local MOST = 65535 -- PCRE2's limit; Oniguruma's is 100,000
local MOST_IN_A_ROW = 20

local SIMPLE = { ["*"] = { 0, math.huge }, ["+"] = { 1, math.huge }, ["?"] = { 0, 1 } }

local function number(s)
  local digits = s:take_while("%d", 7)
  local n = math.tointeger(tonumber(digits))
  if n and n > MOST then
    s:refuse(string.format("a repetition of more than %d times", MOST))
  end
  return n
end

-- {n}, {n,}, {n,m} or {,m}: minimum, maximum, whether it is {n}; nil if the brace is a literal character.
local function read_interval(s)
  local from = s.at
  s.at = from + 1
  local min = number(s)
  local exact = not s:accept ","
  local max = min
  if not exact then max = number(s) end
  if not s:accept "}" or not (min or max) then
    s.at = from
    return nil
  end
  return min or 0, max or math.huge, exact
end

--- Read the next quantifier, { min, max, mode }, or return nil.
function M.read(s)
  local c = s:peek()
  local simple, swapped, exact = SIMPLE[c], false, false
  local min, max
  if simple then
    min, max = simple[1], simple[2]
    s.at = s.at + 1
  elseif c == "{" then
    min, max, exact = read_interval(s)
    if not min then return nil end
    if min > max then min, max, swapped = max, min, true end -- {3,1} is a possessive {1,3}
  else
    return nil
  end
  local mode = swapped and "+" or ""
  if mode == "" and not exact and s:accept "?" then
    mode = "?"
  elseif simple and s:accept "+" then
    mode = "+"
  end
  return { min = min, max = max, mode = mode }
end

-- ?, *, +, ??, *? and +? as numbers.
local NAMES = { ["0,1"] = 1, ["0,inf"] = 2, ["1,inf"] = 3, ["0,1?"] = 4, ["0,inf?"] = 5, ["1,inf?"] = 6 }
local function type_of(q)
  if q.mode == "+" then return nil end
  return NAMES[string.format("%d,%s%s", q.min, q.max == math.huge and "inf" or q.max, q.mode)]
end

-- The combination of an inner quantifier (row) with an outer one (column).
local KEEP, INNER, STAR, PLUS, LAZY_STAR, LAZY_ONE, LAZY_PLUS = 0, 1, 2, 3, 4, 5, 6
local JOINED = {
  { INNER, STAR, STAR, LAZY_ONE, LAZY_STAR, KEEP },
  { INNER, INNER, INNER, LAZY_PLUS, LAZY_PLUS, INNER },
  { STAR, STAR, INNER, KEEP, LAZY_PLUS, INNER },
  { INNER, LAZY_STAR, LAZY_STAR, INNER, LAZY_STAR, LAZY_STAR },
  { INNER, INNER, INNER, INNER, INNER, INNER },
  { KEEP, STAR, PLUS, LAZY_STAR, LAZY_STAR, INNER },
}
local REPLACEMENTS = {
  [STAR] = { 0, math.huge, "" }, [PLUS] = { 1, math.huge, "" },
  [LAZY_STAR] = { 0, math.huge, "?" }, [LAZY_ONE] = { 0, 1, "?" },
}

local function new(body, min, max, mode)
  return { kind = "repeat", body = body, min = min, max = max, mode = mode }
end

local function join(s, inner, q)
  local inner_type, outer_type = type_of(inner), type_of(q)
  if inner_type and outer_type then
    local joined = JOINED[inner_type][outer_type]
    if joined == INNER then return inner end
    if joined == LAZY_PLUS then return new(new(inner.body, 1, math.huge, ""), 0, 1, "?") end
    local by = REPLACEMENTS[joined]
    if by then return new(inner.body, by[1], by[2], by[3]) end
  elseif inner_type and (inner_type == 2 or inner_type == 3) and q.max ~= math.huge and q.max > 1
    and q.mode == "" then
    return new(inner, q.min, q.min == 0 and 1 or q.min, "")
  elseif not inner_type and inner.min == inner.max and q.min == q.max then
    local times = inner.min * q.min
    if times > MOST then s:refuse(string.format("a repetition of more than %d times", MOST)) end
    return new(inner.body, times, times, "")
  end
  return new(inner, q.min, q.max, q.mode)
end

-- Is it an assertion, which Oniguruma does not repeat?
local function is_fixed(node)
  if node.kind == "alt" then
    for _, branch in ipairs(node) do
      if is_fixed(branch) then return true end
    end
  end
  return node.kind == "assert" or node.kind == "look"
end

local function apply(s, node, q)
  if is_fixed(node) then s:malformed("an assertion cannot be repeated") end
  if q.min == 1 and q.max == 1 then return node end
  if q.mode == "+" then
    local greedy = { min = q.min, max = q.max, mode = "" }
    local body = node.kind == "repeat" and join(s, node, greedy) or new(node, q.min, q.max, "")
    return { kind = "atomic", body = body }
  end
  if node.kind == "repeat" then return join(s, node, q) end
  return new(node, q.min, q.max, q.mode)
end

--- Apply the quantifiers that follow `node` to it.
function M.parse(s, node)
  local begin, count, is_once = node.begin, 0, false
  while true do
    s:skip_ignored()
    s.begin = s.at
    local q = M.read(s)
    if not q then return node end
    count = count + 1
    if count > MOST_IN_A_ROW then
      s:refuse(string.format("more than %d quantifiers in a row", MOST_IN_A_ROW))
    end
    if is_once and node.kind == "seq" then -- Oniguruma repeats the last character alone
      s:refuse("a quantifier after {1} of a group")
    end
    node, is_once = apply(s, node, q), q.min == 1 and q.max == 1
    node.begin = begin
  end
end

return M
