-- The expressions of common tokenizers are cut without PCRE2 (engine/text/boundaries.c): every text must be cut as PCRE2
-- cuts it. With an alternative that is never reached, an expression says the same but is not recognized.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local steps = require "bam.tokenizer.steps"
local test = require "tests.lua.support.test"

local GPT4 = [[(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+]]
local DIGIT = { type = "Digits", individual_digits = true }

-- Expressions, and the steps before them.
local PATTERNS = {
  gpt2 = { steps.GPT2 }, gpt4 = { GPT4:format [[\p{N}{1,3}]] }, qwen2 = { GPT4:format [[\p{N}]] },
  cohere = { steps.GPT2, DIGIT },
}

local function tokenizer(pattern, is_general)
  local list = { pattern[2] or steps.split(pattern[1]) }
  if pattern[2] then list[2] = steps.split(pattern[1]) end
  if is_general then list[#list] = steps.split(string.format([[%s|\s]], pattern[1])) end
  local file = bam.json.decode(bam.tokenizer.train { texts = { "aaab" }, vocab = 258 }:json())
  file.pre_tokenizer = steps.write(list)
  return bam.tokenizer.parse(bam.json.encode(file))
end

local pairs_of = {}
for name, pattern in pairs(PATTERNS) do
  pairs_of[name] = { tokenizer(pattern), tokenizer(pattern, true) }
end

local function quoted(pieces)
  local list = {}
  for i, piece in ipairs(pieces) do list[i] = string.format("%q", piece) end
  return table.concat(list, " ")
end

local function check(name, text)
  local known, general = pairs_of[name][1]:pieces(text), pairs_of[name][2]:pieces(text)
  local same = #known == #general
  for i = 1, same and #known or 0 do same = same and known[i] == general[i] end
  if same then return end
  local first = 1
  while known[first] == general[first] do first = first + 1 end
  local function near(list) return quoted(table.move(list, math.max(first - 3, 1), first + 3, 1, {})) end
  expect.equal(near(known), near(general), name)
end

local function check_all(text)
  for name in pairs(PATTERNS) do check(name, text) end
end

-- Random numbers that are the same in every run.
local state = 20261130
local function random(n)
  state = (state * 6364136223846793005 + 1442695040888963407)
  return (state >> 33) % n + 1
end

local ASCII = { "a", "Z", "s", "S", "t", "re", "VE", "ll", "LL", "m", "d", "'", "'", "'s", "'Ll", "0", "12", "1234", " ", " ",
                "  ", "\n", "\r\n", "\t", "\v", "\f", ".", "!?", "-", "_", "(", "\0", "\x1c", "\x7f", "words", " the" }
local WIDE = { "é", "ſ", "ß", "Ж", "中文", "ﬆ", "K", "\u{301}", "“", "—", "…", "🙂", "👩‍💻", "½", "²", "٣", "Ⅷ", "𝟙", "\u{a0}",
               "\u{85}", "\u{1680}", "\u{2003}", "\u{2028}", "\u{3000}", "\u{180e}", "\u{200b}", "\u{feff}", "\u{10d40}",
               "\u{1c89}", "\u{1e4d0}", "\u{11f50}", "\u{378}", "\u{e000}", "\u{10ffff}" }
local INVALID = { "\x80", "\xff", "\xc3", "\xe4\xb8", "\xed\xa0\x80", "\xf0\x9f" }

local function text_of(most, ...)
  local parts, kinds = {}, { ... }
  for i = 1, random(most) do
    local kind = kinds[random(#kinds)]
    parts[i] = kind[random(#kind)]
    if random(40) == 1 then parts[i] = parts[i]:rep(random(80)) end
  end
  return table.concat(parts)
end

test("every sequence of three", function()
  local all = table.move(WIDE, 1, #WIDE, #ASCII + 1, table.move(ASCII, 1, #ASCII, 1, {}))
  for _, a in ipairs(all) do
    local texts = {}
    for _, b in ipairs(all) do
      for _, c in ipairs(all) do texts[#texts + 1] = string.format("%s%s%s", a, b, c) end
    end
    check_all(table.concat(texts, "\xff")) -- which no expression sees
  end
end)

test("every byte between two", function()
  local texts = {}
  for byte = 0, 127 do
    for _, around in ipairs { "a", " ", "\n", ".", "7", "'" } do
      texts[#texts + 1] = around .. string.char(byte) .. around
    end
  end
  check_all(table.concat(texts, "\xff"))
  check_all(table.concat(texts))
end)

test("every character that is not ASCII", function()
  for block = 0x80, 0x10ff80, 0x2000 do
    local texts = {}
    for code = block, math.min(block + 0x1fff, 0x10ffff) do
      if code < 0xd800 or code > 0xdfff then texts[#texts + 1] = string.format("a%s1%s", utf8.char(code, code), utf8.char(code)) end
    end
    check_all(table.concat(texts, "\xff"))
  end
end)

test("short texts", function()
  for _ = 1, 1000 do
    check_all(text_of(12, ASCII))
    check_all(text_of(12, ASCII, WIDE))
    check_all(text_of(12, ASCII, WIDE, INVALID))
  end
end)

test("texts of several windows", function()
  for _ = 1, 15 do
    check_all(text_of(12000, ASCII))
    check_all(text_of(8000, ASCII, WIDE))
    check_all(text_of(8000, ASCII, ASCII, WIDE, INVALID))
  end
end)

test("pieces around the end of a window", function()
  for _, unit in ipairs { "a", " ", "\n", "7", ".", "é", "\u{3000}", "— ", "\n\t", " \n", "'s", "x'", ".\n", "٣" } do
    for size = 4080, 4100 do
      local run = unit:rep(size // #unit + 1):sub(1, size // #unit * #unit)
      for _, tail in ipairs { "", "b", " b", "\n", ".", "'ll see", "\n  x", "é" } do check_all(run .. tail) end
    end
    check_all(unit:rep(20000) .. "b")
    check_all((unit:rep(5000) .. "7b"):rep(3) .. unit:rep(9000))
  end
end)

test("the same ids", function()
  for name in pairs(PATTERNS) do
    for _ = 1, 20 do
      local text = text_of(6000, ASCII, ASCII, WIDE, INVALID)
      expect.equal(pairs_of[name][1]:encode(text), pairs_of[name][2]:encode(text))
    end
  end
end)
