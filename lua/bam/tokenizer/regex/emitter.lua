-- Writes the tree of an expression in PCRE2's syntax. Each part is { text, level, case }. The level is "atom" for a
-- part that can be repeated, "seq" or "alt". The case is "fold" for a part that must be under PCRE2's option i,
-- "exact" for one that must not, and nil if it makes no difference.
local class_text = require "bam.tokenizer.regex.class_text"
local fold = require "bam.tokenizer.regex.fold"
local sets = require "bam.tokenizer.regex.sets"

local M = {}

local emit

local function part(text, level, case) return { text = text, level = level, case = case } end

-- Convert a part so that it can be repeated, or concatenated ("seq").
local function enclosed(p, level)
  if p.level == "atom" or p.level == level then return p end
  return part(string.format("(?:%s)", p.text), "atom", p.case)
end

-- Convert a part so that it does not depend on option i.
local function settled(p)
  if p.case ~= "fold" then return p end
  return part(string.format("(?i:%s)", p.text), "atom", "exact")
end

-- Concatenate parts. Parts that need option i get it, all together if possible.
local function joined(parts, separator, level)
  local cases, texts = {}, {}
  for _, p in ipairs(parts) do cases[p.case or "none"] = true end
  local mixed = cases.fold and cases.exact
  for i, p in ipairs(parts) do texts[i] = (mixed and settled(p) or p).text end
  local case = cases.exact and "exact" or cases.fold and "fold" or nil
  return part(table.concat(texts, separator), #parts == 1 and parts[1].level or level, case)
end

-- ---- characters ----

local function is_letterless(code)
  return code < 128 and not string.char(code):find "%a"
end

local function escape_all(codes, first, last)
  local texts = {}
  for i = first, last do texts[#texts + 1] = class_text.escape(codes[i]) end
  return table.concat(texts)
end

local function alternatives(codes)
  local texts = {}
  for i, code in ipairs(codes) do texts[i] = class_text.escape(code) end
  return table.concat(texts, "|")
end

-- A single character codes[i] under option i.
local function folded_character(codes, i, one)
  local code = codes[i]
  local text, sequence = class_text.escape(code), not one and fold.sequence_of[code]
  local other = fold.partner[code]
  if other then text = string.format("[%s%s]", text, class_text.escape(other)) end
  if not sequence then return text end
  return string.format("(?:%s|%s)", text, escape_all(sequence, 1, #sequence))
end

-- Consecutive characters under option i. The longest sequence that letters fold to comes first.
local function folded_run(codes, one)
  local texts, i = {}, 1
  while i <= #codes do
    local length, letters = one and 1 or math.min(3, #codes - i + 1), nil
    while length > 1 and not letters do
      letters = fold.letters(codes, i, i + length - 1)
      if not letters then length = length - 1 end
    end
    if letters then
      texts[#texts + 1] = string.format("(?:%s|%s)", escape_all(codes, i, i + length - 1),
                                        alternatives(letters))
    else
      texts[#texts + 1] = folded_character(codes, i, one)
    end
    i = i + length
  end
  return table.concat(texts), #texts
end

-- The part for items[first ..], characters under option i, and how many they are.
local function emit_run(items, first, context)
  local codes, letterless = {}, true
  while items[first + #codes] and items[first + #codes].kind == "char" and items[first + #codes].fold do
    local code = items[first + #codes].code
    codes[#codes + 1] = code
    letterless = letterless and is_letterless(code)
  end
  local text, count = folded_run(codes, context.behind)
  return part(text, count == 1 and "atom" or "seq", not letterless and "fold" or nil), #codes
end

-- ---- the other nodes ----

local emitters = {}

function emitters.char(node, context)
  if node.fold then return (emit_run({ node }, 1, context)) end
  return part(class_text.escape(node.code), "atom", not is_letterless(node.code) and "exact" or nil)
end

function emitters.set(node, context)
  if node.fold then
    local function refuse(what) context.refuse(node, what) end
    return part(class_text.folded(node.class, context.recent, context.behind, refuse), "atom", "fold")
  end
  return part(class_text.text(node.set, context.recent), "atom", "exact")
end

function emitters.seq(node, context)
  local parts, i = {}, 1
  while i <= #node do
    local p
    local count = 1
    if node[i].kind == "char" and node[i].fold then
      p, count = emit_run(node, i, context)
    else
      p = enclosed(emit(node[i], context), "seq")
    end
    parts[#parts + 1] = p
    i = i + count
  end
  return joined(parts, "", "seq")
end

function emitters.alt(node, context)
  local parts = {}
  for i, branch in ipairs(node) do parts[i] = emit(branch, context) end
  return joined(parts, "|", "alt")
end

function emitters.options(node, context) return emit(node.body, context) end

local function check_capture(node, context)
  if context.behind == "negative" and not node.is_plain then
    context.refuse(node, "a group that captures in a negative look-behind")
  end
end

function emitters.capture(node, context)
  check_capture(node, context)
  if not node.is_used then return emit(node.body, context) end
  context.groups = context.groups + 1
  context.numbers[node.number] = context.groups
  local body = emit(node.body, context)
  return part(string.format("(%s)", body.text), "atom", body.case)
end

function emitters.atomic(node, context)
  local body = emit(node.body, context)
  return part(string.format("(?>%s)", body.text), "atom", body.case)
end

-- Can a node match the empty string?
local function can_be_empty(node)
  local kind = node.kind
  if kind == "alt" or kind == "seq" then
    for _, item in ipairs(node) do
      if can_be_empty(item) == (kind == "alt") then return kind == "alt" end
    end
    return kind == "seq"
  end
  if kind == "repeat" then return node.min == 0 or can_be_empty(node.body) end
  if node.body then return kind == "look" or can_be_empty(node.body) end
  return kind == "assert" or kind == "backref"
end

emitters["repeat"] = function(node, context)
  local times_many = node.min > 1 or node.max ~= math.huge and node.max > 1
  if times_many and can_be_empty(node.body) then
    context.refuse(node, "a counted repetition of an expression that can be empty")
  end
  local body = enclosed(emit(node.body, context), "atom")
  local min, max, times = node.min, node.max
  if max == math.huge then
    times = min == 0 and "*" or min == 1 and "+" or string.format("{%d,}", min)
  else
    times = min == 0 and max == 1 and "?" or min == max and string.format("{%d}", min)
            or string.format("{%d,%d}", min, max)
  end
  return part(body.text .. times .. node.mode, "seq", body.case)
end

function emitters.backref(node, context)
  local number = context.numbers[node.number]
  if not number then return part("(?!)", "seq", nil) end -- its group comes later
  return part(string.format("\\g{%d}", number), "atom", "exact")
end

function emitters.newline() return part("(?>\\r\\n|[\\n-\\r\\x{85}\\x{2028}\\x{2029}])", "atom") end

function emitters.assert(node, context)
  if context.behind and (node.text or ""):find "[zZ]" then
    context.refuse(node, "the end of the text in a look-behind")
  end
  if node.text then return part(node.text, "atom") end
  local word = class_text.text(sets.word, context.recent)
  local format = node.boundary == "b" and "(?:(?<=%s)(?!%s)|(?<!%s)(?=%s))"
                 or "(?:(?<=%s)(?=%s)|(?<!%s)(?!%s))"
  return part(string.format(format, word, word, word, word), "atom")
end

-- ---- look-ahead and look-behind ----

local widths = {}

-- The number of characters that a node matches; nil if it varies.
local function width(node) return (widths[node.kind] or function() return nil end)(node) end

local function width_of_body(node) return width(node.body) end
widths.options, widths.capture, widths.atomic = width_of_body, width_of_body, width_of_body
function widths.char() return 1 end
function widths.set() return 1 end
function widths.assert() return 0 end
function widths.look() return 0 end
function widths.seq(node)
  local sum = 0
  for _, item in ipairs(node) do
    local n = width(item)
    sum = n and sum and sum + n
  end
  return sum
end
function widths.alt(node)
  local n = width(node[1])
  for i = 2, #node do
    if width(node[i]) ~= n then return nil end
  end
  return n
end
widths["repeat"] = function(node)
  local n = width(node.body)
  return node.min == node.max and n and n * node.min or nil
end

-- The alternatives of a look-behind may differ in length, but each must have a fixed length.
local function emit_behind(node, context)
  local body = node.body
  while body.kind == "options" or body.kind == "capture" and not body.is_used do
    if body.kind == "capture" then check_capture(body, context) end
    body = body.body
  end
  local parts = {}
  for i, branch in ipairs(body.kind == "alt" and body or { body }) do
    local n = width(branch)
    if not n or n > 65535 then context.refuse(node, "a look-behind whose length varies") end
    parts[i] = settled(emit(branch, context))
  end
  return joined(parts, "|", "alt")
end

function emitters.look(node, context)
  local outer = context.behind
  if outer then context.refuse(node, "a look-ahead or look-behind in a look-behind") end
  if node.behind then context.behind = node.negative and "negative" or "positive" end
  local body = node.behind and emit_behind(node, context) or emit(node.body, context)
  context.behind = outer
  return part(string.format("(?%s%s%s)", node.behind and "<" or "", node.negative and "!" or "=",
                            body.text), "atom", body.case)
end

function emit(node, context) return emitters[node.kind](node, context) end

--- Write a tree. With `with_recent` it is also correct for characters that PCRE2 may not know.
---@param tree table
---@param with_recent boolean
---@param refuse function called with an unsupported node and its description
---@return string
function M.emit(tree, with_recent, refuse)
  local context = { recent = with_recent, behind = nil, refuse = refuse, groups = 0, numbers = {} }
  return settled(emit(tree, context)).text
end

return M
