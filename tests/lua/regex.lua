-- Expressions of tokenizer.json: they cut as the reference package cuts (tests/golden/regexes.py), or
-- are refused by name; hostile ones end.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local json, tokenizer = bam.json, bam.tokenizer

local GOLDEN = (arg[0]:match "^(.*)/[^/]*$" or ".") .. "/../golden/regex.json"

local function cutter(pattern)
  return tokenizer.train { texts = {}, vocab = 256, special = {}, pattern = pattern }
end

local function sizes(list)
  local out = {}
  for i, item in ipairs(list) do out[i] = math.type(item) and item or #item end
  return table.concat(out, " ")
end

local file <close> = assert(io.open(GOLDEN))
local golden = json.decode(file:read "a")

test("the reference package", function()
  local counts = { equal = 0, wrong = 0 }
  for _, case in ipairs(golden.cases) do
    local fine, t = pcall(cutter, case.pattern)
    if case.error then
      expect.no(fine, ("%s is read, but is an error: %s"):format(case.pattern, case.error))
      counts.wrong = counts.wrong + 1
    else
      expect.yes(fine, ("%s: %s"):format(case.pattern, t))
      for i, text in ipairs(golden.texts) do
        local found, expected = sizes(t:pieces(text)), sizes(case.sizes[i])
        expect.equal(found, expected, ("%s cuts %q into %s, in the reference into %s") :format(case.pattern, text,
                       found, expected))
      end
      counts.equal = counts.equal + 1
    end
  end
  expect.compare(counts.equal, ">", 200)
  expect.compare(counts.wrong, ">", 3)
  print(("expressions: %d equal, %d malformed"):format(counts.equal, counts.wrong))
end)

test("what Split does with the matches", function()
  local base = json.decode(tokenizer.train { texts = {}, vocab = 256, special = {} }:json())
  local function behaving(pattern, behavior, invert)
    base.pre_tokenizer = { type = "Sequence", pretokenizers = json.array {
      { type = "Split", pattern = { Regex = pattern }, behavior = behavior, invert = invert },
      { type = "ByteLevel", add_prefix_space = false, use_regex = false } } }
    return tokenizer.parse(json.encode(base))
  end

  for _, case in ipairs(golden.behaving) do
    local invert, behavior = case.behavior:match "^(~?)(.*)$"
    local fine, t = pcall(behaving, case.pattern, behavior, invert == "~")
    expect.yes(fine or case.pattern == "", t) -- an empty pattern is refused
    for i, text in ipairs(fine and golden.behaving_texts or {}) do
      local found, expected = table.concat(t:pieces(text), "|"), table.concat(case.pieces[i], "|")
      expect.equal(found, expected, ("%s, %s, cuts %q into %s, in the reference into %s") :format(case.pattern,
                     case.behavior, text, found, expected))
    end
    expect.yes(not fine or tokenizer.parse(t:json()):json() == t:json())
  end
  expect.equal(#golden.behaving, 80)
end)

test("what is right, but not computed", function()
  local REFUSED = {
    { [[a(?~b)]], 2, "an absent group (?~...)" }, { [[(?{x})]], 1, "a callout (?{...})" },
    { [[a(*FAIL)]], 2, "a callout (*...)" }, { [[(?(?=a)b|c)]], 1, "a condition (?(...)...)" },
    { [[é\X]], 3, [[a text segment \X]] }, { [[\y]], 1, "a text segment boundary" },
    { [[a\Kb]], 2, [[\K]] }, { [[(a)\g<1>]], 4, [[a call of a group \g]] },
    { [[(?W:\w)]], 1, "the option W" }, { [[(?i)(?y{g})a]], 5, "the option y" },
    { [[(?<=a+)b]], 1, "a look-behind whose length varies" },
    { [[x(?<!a(?:b|cd))]], 2, "a look-behind whose length varies" },
    { [[(?i:(a)\1)]], 8, "a reference to a group under the option i" },
    { [[(a\1)]], 3, "a reference to a group from within it" },
    { [[(?<a>x)\k<a+0>]], 8, "a reference with a level" },
    { [[(?<a>x)(?<a>y)]], 8, "a second group named a" },
    { [=[(?i:[\p{Lu}])]=], 5, [[\p{Lu} in a class under the option i]] },
    { [=[(?i:[\p{L}])]=], 5, [[\p{L} in a class under the option i]] },
    { [=[(?i:[\W\d])]=], 5, "a class of this form under the option i" },
    { [=[[a-[b]]]=], 4, "a range that ends in a class" }, { [[\p{InThai}]], 1, [[the property \p{InThai}]] },
    { [[\x{61 62}]], 1, "a sequence of code points in braces" }, { [[\M-a]], 1, [[\M]] },
    { [[\x{110000}]], 1, "the code point 110000, which is not a character" },
    { [[a{70000}]], 2, "a repetition of more than 65535 times" },
    { [[x(?:a?b*){2,3}]], 2, "a counted repetition of an expression that can be empty" },
    { "a" .. ("{1,2}"):rep(30), 102, "more than 20 quantifiers in a row" },
    { [=[a[^b[^\W]]]=], 2, "a negated set in a negated class in another" },
    { [[(?:ab){1}?]], 10, "a quantifier after {1} of a group" },
    { [[(?<=a(?=b))b]], 6, "a look-ahead or look-behind in a look-behind" },
    { [[(?<!(a))b]], 5, "a group that captures in a negative look-behind" },
    { [[(?<=\z|a)b]], 5, "the end of the text in a look-behind" },
    { ("("):rep(201) .. (")"):rep(201), 201, "groups nested deeper than 200" },
    { ("["):rep(201) .. "a" .. ("]"):rep(201), 201, "classes nested deeper than 200" },
  }
  for _, case in ipairs(REFUSED) do
    local message = expect.raises(case[3], cutter, case[1])
    local at = ("at byte %d: %s"):format(case[2], case[3])
    expect.contains(message, at)
    expect.contains(message, "is not supported")
  end

  local MALFORMED = {
    { "a(b", 2, "a group is not closed" }, { "ab)", 3, "a parenthesis is not opened" },
    { "*a", 1, "there is nothing to repeat" }, { "a|+", 3, "there is nothing to repeat" },
    { "[a", 3, "a class is not closed" }, { "[]", 2, "an empty class" },
    { "[b-a]", 4, "an empty range" }, { [=[[\d-a]]=], 5, "a range that begins with a set" },
    { [=[[a-\d]]=], 4, "a range that ends in a set" }, { "[[:foo:]]", 2, "there is no class [:foo:]" },
    { "(?=a)*", 6, "an assertion cannot be repeated" }, { "(?z)", 1, "no such option of a group" },
    { "(a)\\2", 4, "it refers to an unknown group" }, { "\\k<a>", 1, "it refers to an unknown name" },
    { "(a)(?<b>c)\\1", 11, "a number refers to a group" }, { "\\", 1, "ends in an escape" },
    { "\\u12", 1, "four hexadecimal digits" }, { "\\x80", 1, "bytes that are not a character" },
    { "(?#a", 1, "a comment is not closed" }, { "a\xff", 2, "it is not UTF-8" },
  }
  for _, case in ipairs(MALFORMED) do
    expect.raises(("at byte %d: "):format(case[2]), cutter, case[1])
    expect.contains(expect.raises(case[3], cutter, case[1]), "malformed pattern")
  end
  expect.raises("a pattern of 70000 bytes is too long; the limit is 65536", cutter, ("a"):rep(70000))
end)

test("what is written means the same when it is read, by others too", function()
  local written = cutter [=[[a-z&&[^x]]+|\h{1,2}+]=]
  expect.equal(written.parts.steps[1].pattern.Regex, [=[[a-z&&[^x]]+|\h{1,2}+]=])
  local again = tokenizer.parse(written:json())
  expect.equal(sizes(again:pieces "abxcF012"), "2 1 1 4")
  expect.equal(again:json(), written:json())
end)

test("hostile expressions end, with an error or without", function()
  local long = ("a"):rep(20000)
  for _, pattern in ipairs { "(?:a+)+[bc]", "(a|aa)+$b", "(?:a*)*b", "(?:a|a)*b", "(?=(a*)*b)a", "a*?a*?a*?b" } do
    local t = cutter(pattern)
    local fine, message = pcall(t.pieces, t, long)
    expect.yes(fine or message:find "gave up at byte", message)
  end
  for _, pattern in ipairs { ("(?:"):rep(150) .. "a" .. (")*"):rep(150), "(?:a{0,60000}){60000}",
                             ("[^[^a]b"):rep(150) .. ("]"):rep(150), ("\\p{L}"):rep(9000),
                             "a" .. ("{1,2}"):rep(10000), ("(?:a|"):rep(190) .. (")"):rep(190),
                             "(?i:" .. ("ssffi"):rep(8000) .. ")" } do
    local fine, message = pcall(cutter, pattern)
    expect.yes(fine or message:find "pattern", message)
  end
end)

test("damaged expressions are read or refused, and what is read cuts without loss", function()
  math.randomseed(20261129)
  local PIECES = { "(", ")", "[", "]", "[^", "&&", "-", "\\", "{1,2}", "{", "}", "*", "+?", "?", "|", "(?i:", "(?<=", "(?!",
                   "(?<n>", "\\k<n>", "\\1", "a", "ß", "s", "\\p{L}", "\\p{", "[:alpha:]", "\\x{41}", "\\u00e9", "\\w",
                   "\\b", "^", "$", ".", "(?x) ", "#", "\\xC3", "\\R", "é" }
  local text, read = "Straße ss 12 aé\n", 0
  for _ = 1, 3000 do
    local parts = {}
    for i = 1, math.random(1, 12) do parts[i] = PIECES[math.random(#PIECES)] end
    local fine, t = pcall(cutter, table.concat(parts))
    expect.yes(fine or t:find "pattern", t)
    if fine then
      local cut, pieces = pcall(t.pieces, t, text)
      expect.yes(cut and table.concat(pieces) == text or not cut and pieces:find "gave up", pieces)
      read = read + 1
    end
  end
  expect.compare(read, ">", 300)
end)
