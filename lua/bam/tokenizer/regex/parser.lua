-- Parses a regular expression in Oniguruma's syntax (of version 6.9.10, which the tokenizers package uses) into a tree.
-- Nodes are tables with a `kind`:
--   char { code, fold }          a character; fold: letters of either case
--   set { set }                  a character of a set (sets.lua); from brackets also class and fold
--   seq, alt { ... }             nodes one after the other; alternatives
--   repeat { body, min, max, mode } max may be math.huge; mode "", "?" or "+"
--   capture { body, number }, atomic { body }, options { body }
--   look { body, behind, negative }, backref { number }
--   assert { text }, newline     what has no parts
-- Malformed and unsupported expressions are errors that name the position.
local class = require "bam.tokenizer.regex.class"
local escapes = require "bam.tokenizer.regex.escapes"
local quantifiers = require "bam.tokenizer.regex.quantifiers"
local scanner = require "bam.tokenizer.regex.scanner"
local sets = require "bam.tokenizer.regex.sets"

local M = {}

local DEEPEST = 200 -- groups within groups

local parse_alternatives

-- ---- groups ----

local function parse_body(s)
  local begin, body = s.begin, parse_alternatives(s)
  if not s:accept ")" then
    s.begin = begin
    s:malformed("a group is not closed")
  end
  return body
end

local function new_capture(s, name)
  local node = { kind = "capture", number = #s.captures + 1, name = name }
  s.captures[node.number] = node
  if name then
    if s.names[name] then s:refuse(string.format("a second group named %s", name)) end
    s.names[name] = node.number
  end
  s.open[node.number] = true
  node.body = parse_body(s)
  s.open[node.number] = nil
  return node
end

local function parse_named(s, closing)
  local name = s:take_while "[%w_]"
  if not name:find "^[%a_]" or not s:accept(closing) then
    s:refuse("a group whose name is not of the form [A-Za-z_][A-Za-z0-9_]*")
  end
  return new_capture(s, name)
end

-- (?imx-imx) and (?imx-imx:...), after the question mark.
local function parse_options(s)
  local options, value = { i = s.options.i, m = s.options.m, x = s.options.x }, true
  while true do
    local c = s:take()
    if c == ":" or c == ")" then break end
    if c == "-" then
      value = false
    elseif c == "i" or c == "m" or c == "x" then
      options[c] = value
    elseif c and ("WDSPyCIL"):find(c, 1, true) then
      s:refuse(string.format("the option %s", c))
    else
      s:malformed("no such option of a group")
    end
  end
  local outer, is_rest = s.options, s.codes[s.at - 1] == 0x29
  s.options = options
  local body
  if is_rest then body = parse_alternatives(s) else body = parse_body(s) end -- up to the group's end
  s.options = outer
  return { kind = "options", body = body, is_rest = is_rest }
end

local REFUSED = { ["~"] = "an absent group (?~...)", ["{"] = "a callout (?{...})",
                  ["("] = "a condition (?(...)...)", ["P"] = nil }

local function look(s, behind, negative)
  return { kind = "look", behind = behind, negative = negative, body = parse_body(s) }
end

local function parse_extended(s)
  if s:accept ":" then return parse_body(s) end
  if s:accept "=" then return look(s, false, false) end
  if s:accept "!" then return look(s, false, true) end
  if s:accept ">" then return { kind = "atomic", body = parse_body(s) } end
  if s:accept "<=" then return look(s, true, false) end
  if s:accept "<!" then return look(s, true, true) end
  if s:accept "<" then return parse_named(s, ">") end
  if s:accept "'" then return parse_named(s, "'") end
  local what = REFUSED[s:peek() or ""]
  if what then s:refuse(what) end
  return parse_options(s)
end

-- After the opening parenthesis.
local function parse_group(s)
  s.depth = s.depth + 1
  if s.depth > DEEPEST then s:refuse(string.format("groups nested deeper than %d", DEEPEST)) end
  local node
  if s:accept "?" then
    node = parse_extended(s)
  elseif s:peek() == "*" then
    s:refuse("a callout (*...)")
  else
    node = new_capture(s)
  end
  s.depth = s.depth - 1
  return node
end

-- ---- branches ----

local function any(options) return options.m and sets.any or sets.no_newline end

local ATOMS = {
  ["("] = parse_group,
  ["["] = function(s)
    local node = { kind = "set", fold = s.options.i, class = class.parse(s) }
    node.set = node.class.set
    return node
  end,
  ["."] = function(s) return { kind = "set", set = any(s.options) } end,
  ["^"] = function() return { kind = "assert", text = "^" } end,
  ["$"] = function() return { kind = "assert", text = "$" } end,
  ["\\"] = escapes.parse,
}

local function parse_atom(s)
  local begin = s.at
  s.begin = begin
  if quantifiers.read(s) then s:malformed("there is nothing to repeat") end
  local atom = ATOMS[s:take()]
  local node = atom and atom(s) or { kind = "char", code = s.codes[s.at - 1], fold = s.options.i }
  node.begin = begin
  return node
end

local function parse_branch(s)
  local items = { kind = "seq" }
  local function push(node)
    if node.kind ~= "seq" then
      items[#items + 1] = node
    else
      table.move(node, 1, #node, #items + 1, items) -- (?:ab)c is abc
    end
  end
  while true do
    s:skip_ignored()
    local c = s:peek()
    if not c or c == "|" or c == ")" then break end
    local node = parse_atom(s)
    if node.is_rest then
      push(node)
    else
      push(quantifiers.parse(s, node))
    end
  end
  return #items == 1 and items[1] or items
end

function parse_alternatives(s)
  local branches = { kind = "alt" }
  repeat branches[#branches + 1] = parse_branch(s) until not s:accept "|"
  return #branches == 1 and branches[1] or branches
end

-- ---- the whole expression ----

-- Unnamed groups do not capture if there are named ones.
local function check_references(s)
  local named = next(s.names) ~= nil
  for _, node in ipairs(s.references) do
    s.begin = node.begin
    if named and not node.by_name then s:malformed("a number refers to a group, but groups have names") end
    local target = s.captures[node.number]
    if not target then s:malformed("it refers to an unknown group") end
    target.is_used = true
  end
  for _, node in ipairs(s.captures) do node.is_plain = named and not node.name end
end

--- Parse an expression. Also returns the scanner that read it.
---@param text string
---@return table
---@return table
function M.parse(text)
  local s = scanner.new(text)
  local tree = parse_alternatives(s)
  if s:peek() then
    s.begin = s.at
    s:malformed("a parenthesis is not opened")
  end
  check_references(s)
  return tree, s
end

return M
