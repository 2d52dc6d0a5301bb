-- Byte-level BPE: texts there and back, training and encoding against slow and obvious versions,
-- special tokens, how text is cut, token buffers, and what is refused.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local tokenizer = bam.tokenizer

math.randomseed(20240815)

local function join(ids) return table.concat(ids, " ") end
local function expect_ids(t, text, ids, options)
  local found = join(t:encode(text, options))
  expect.equal(found, ids, ("%q: %s, not %s"):format(text, found, ids))
end

-- A text of `n` items drawn from a list.
local function draw(n, items)
  local parts = {}
  for i = 1, n do parts[i] = items[math.random(#items)] end
  return table.concat(parts)
end

local function random_bytes(n)
  local parts = {}
  for i = 1, n do parts[i] = string.char(math.random(0, 255)) end
  return table.concat(parts)
end

-- ---- the oracle: words as lists of symbols, every pair counted anew for every merge ----

-- Pieces as GPT-2 cuts text that is made of lower-case letters and single spaces.
local function pieces_of(text)
  local counts, order = {}, {}
  for piece in text:gmatch " ?%l*" do
    if piece ~= "" then
      if not counts[piece] then order[#order + 1] = piece end
      counts[piece] = (counts[piece] or 0) + 1
    end
  end
  return counts, order
end

-- Replace the pair (a, b) in a list of symbols by c, from the left.
local function merge(symbols, a, b, c)
  local out, i = {}, 1
  while i <= #symbols do
    local hit = symbols[i] == a and symbols[i + 1] == b
    out[#out + 1] = hit and c or symbols[i]
    i = i + (hit and 2 or 1)
  end
  return out
end

local function most_frequent(words, counts)
  local pairs_met, best = {}, nil
  for piece, symbols in pairs(words) do
    for i = 1, #symbols - 1 do
      local key = ("%06d %06d"):format(symbols[i], symbols[i + 1])
      pairs_met[key] = (pairs_met[key] or 0) + counts[piece]
    end
  end
  for key, count in pairs(pairs_met) do
    local more = not best or count > pairs_met[best]
    if more or count == pairs_met[best] and key < best then best = key end
  end
  local a, b = (best or ""):match "(%d+) (%d+)"
  return math.tointeger(a), math.tointeger(b)
end

-- The words and merges (as "a b") that training gives, starting from the words of `t`.
local function train_slowly(text, vocab, t)
  local counts, order = pieces_of(text)
  local words, all, merges = {}, {}, {}
  for id = 0, 256 do all[id] = t:token(id) end
  for _, piece in ipairs(order) do
    words[piece] = {}
    for i = 1, #piece do words[piece][i] = t:id(piece:sub(i, i)) end
  end
  for id = 257, vocab - 1 do
    local a, b = most_frequent(words, counts)
    all[id], merges[#merges + 1] = all[a] .. all[b], ("%d %d"):format(a, b)
    for piece, symbols in pairs(words) do words[piece] = merge(symbols, a, b, id) end
  end
  return all, merges
end

-- The ids of a piece: the lowest rank first, wherever it is.
local function encode_slowly(t, piece, merges)
  local symbols = {}
  for i = 1, #piece do symbols[i] = t:id(piece:sub(i, i)) end
  local rank = 1
  while rank <= #merges do
    local a, b = merges[rank]:match "(%d+) (%d+)"
    a, b = math.tointeger(a), math.tointeger(b)
    local merged = merge(symbols, a, b, t:id(t:token(a) .. t:token(b)))
    rank = #merged < #symbols and 1 or rank + 1
    symbols = merged
  end
  return symbols
end

local plain = tokenizer.train { texts = {}, vocab = 257 }

local function compare_with_oracle(letters, length, vocab)
  local text = draw(length, letters):gsub(" +", " ")
  local t = tokenizer.train { texts = { text }, vocab = vocab }
  local words, merges = train_slowly(text, vocab, plain)
  for id = 0, vocab - 1 do
    expect.equal(t:token(id), words[id], ("word %d: %q, not %q"):format(id, t:token(id), words[id]))
  end
  for i, pair in ipairs(merges) do
    expect.equal(pair, join { t.parts.merges[2 * i - 1], t.parts.merges[2 * i] }, i)
  end
  for _ = 1, 60 do
    local piece = draw(math.random(1, 40), letters):gsub(" ", "")
    expect.equal(join(t:encode(piece)), join(encode_slowly(t, piece, merges)), piece)
  end
end

test("training and encoding equal a slow oracle", function()
  for seed = 1, 6 do
    compare_with_oracle({ "a", "a", "b", " " }, 300 * seed, 265 + seed) -- counts tie, merges overlap
    compare_with_oracle({ "a", "b", "c", "d", "e", " ", " t", "he" }, 1000, 280)
  end
  compare_with_oracle({ ("a"):rep(41), ("a"):rep(7), " " }, 12, 262)
end)

local trained
test("there and back", function()
  local english = draw(4000, { "the ", "cat ", "sat", "on ", "mat. ", "It's ", "12 ", "\n", "naïve ",
                               "и" })
  trained = tokenizer.train { texts = { english, english:sub(7, 900) }, vocab = 300 }
  local uncut = tokenizer.train { texts = { english }, vocab = 270, pattern = "zz" }

  for _, t in ipairs { plain, trained, uncut } do
    local function there_and_back(text)
      local ids = t:encode(text)
      expect.equal(t:decode(ids), text)
      expect.equal(t:count(text), #ids)
      expect.equal(t:decode(t:encode(text, { special = true })), text)
    end
    for byte = 0, 255 do
      there_and_back(string.char(byte))
      there_and_back(("a%s b%s%s"):format(string.char(byte), string.char(byte), string.char(byte)))
    end
    for n = 0, 300 do there_and_back(random_bytes(n)) end
    for _ = 1, 300 do
      there_and_back(draw(30, { "\xc3", "\xa9", "é", "\xed\xa0\x80", "\xf4\x90\x80\x80", "😀",
                                "\xf0\x9f", "\0", " ", "\n", "a", "\xc0\x80", "'s",
                                "<|endoftext|>" }))
    end
    for _, c in ipairs { "a", " ", "\n", "\0", "\xff", "ab", "the ", "é", "!", "7", "\xe2\x82" } do
      there_and_back(c:rep(10000) .. "x")
    end
  end
  local long = ("a"):rep(1000000) -- no more than n log n, or this takes hours
  expect.equal(uncut:decode(uncut:encode(long)), long)
  expect.equal(#plain:encode(english), #english)
  expect.compare(#trained:encode(english), "<", 0.6 * #english)
  expect.equal(plain:decode {}, "")
  expect.equal(#plain:encode "", 0)
end)

test("the bytes that are no text do not change how the text beside them is cut", function()
  local spoilt = {}
  for _, id in ipairs(trained:encode "the cat") do spoilt[#spoilt + 1] = id end
  spoilt[#spoilt + 1] = trained:id "\xff"
  for _, id in ipairs(trained:encode " sat") do spoilt[#spoilt + 1] = id end
  expect_ids(trained, "the cat\xff sat", join(spoilt))
end)

local special = tokenizer.train { texts = { "ababab <s> <s>" }, vocab = 262,
                                  special = { "<s>", "<s><e>", "</s>" } }

local found
test("special tokens", function()
  expect.equal(special.vocab, 262)
  expect.equal(join(special.special), "<s> <s><e> </s>")
  expect.equal(special:id "<s>", 0)
  expect.equal(special:id "</s>", 2)
  expect.equal(special:id "<x>", nil)
  expect.equal(special:token(1), "<s><e>")
  expect.equal(special:token(262), nil)
  expect.equal(special:token(-1), nil)
  found = { special = true }
  expect_ids(special, "<s>", "0", found)
  expect_ids(special, "<s><e><s><s></s>", "1 0 0 2", found) -- the longest wins
  expect_ids(special, "<s><e", ("0 %d %d"):format(special:id "<", special:id "e"), found)
  for _, text in ipairs { "<s>", "a</s>b<s><e>", "<<s>" } do
    for _, id in ipairs(special:encode(text)) do expect.compare(id, ">", 2, "text forged a special token") end
  end
  expect.equal(special:decode { 0, 2, special:id "a", 1 }, "<s></s>a<s><e>")
  -- a word that a merge would make is never a special token
  local reserved = tokenizer.train { texts = { "abab cdcd" }, vocab = 259, special = { "ab" } }
  expect.equal(reserved:id "ab", 0)
  expect.equal(reserved:token(257), "cd")
  expect.equal(reserved:token(258), "ba")
end)

test("a piece that is a word need not be merged, but is never a special token", function()
  local bytes = {}
  for byte = 0, 255 do bytes[byte + 1] = string.char(byte) end
  local whole = core.bpe { label = "whole", words = { table.unpack(bytes) }, merges = {}, added = {},
                           patterns = { "abc|<s>" }, whole_words = true }
  expect_ids(whole, "abc", "97 98 99")
  bytes[257], bytes[258] = "abc", "<s>"
  whole = core.bpe { label = "whole", words = bytes, merges = {},
                     added = { { id = 257, special = true } }, patterns = { "abc|<s>" }, whole_words = true }
  expect_ids(whole, "abcab<s>", "256 97 98 60 115 62")
  expect.equal(join(whole:encode("abc<s>", true)), "256 257")
end)

-- ---- how text is cut ----

-- An encoder with the words "ab", "bc", "ca" and "abc", and these patterns.
local function cutter(...)
  local parts = { label = "cutter", words = {}, added = {}, whole_words = false,
                  merges = { 97, 98, 98, 99, 99, 97, 256, 99 }, patterns = { ... } }
  for byte = 0, 255 do parts.words[byte + 1] = string.char(byte) end
  for i, word in ipairs { "ab", "bc", "ca", "abc" } do parts.words[256 + i] = word end
  return core.bpe(parts)
end

local slow
test("patterns cut the text", function()
  local cuts = { -- text, ids, patterns
    { "abcabc", "259 259" },                       -- one piece
    { "abcabc", "97 257 97 257", "a" },            -- a match is a piece, what lies between is one
    { "abcabc", "256 258 257", "ab|ca" },
    { "abcabc", "256 99 256 99", "(?=c)" },        -- an empty match cuts
    { "abcabc", "97 98 99 97 98 99", "" },
    { "abcabc", "256 99 256 99", "abc", "c" },     -- the second cuts what the first made
    { "abc", "97 257", "a", "(?<=a)b" },           -- and sees nothing else
    { "abc\nabc", "97 257 10 97 257", "^." },      -- at every line
    { "ab\xffca", "256 255 258", "[^x]+" },        -- no expression sees what is no text
  }
  for _, case in ipairs(cuts) do
    expect_ids(cutter(table.unpack(case, 3)), case[1], case[2])
  end
  expect.raises('cutter: malformed pattern "a(": at byte 3: missing closing parenthesis', cutter, "a(")
  expect.raises("cutter: malformed pattern \"\\C\"", cutter, "\\C")
  expect.raises("a sequence of 9 patterns is too long", cutter, "", "", "", "", "", "", "", "", "")
  slow = cutter "(?:a+)+[bc]"
  expect.raises("encode: the pattern gave up at byte 1 of a text or piece of 3000 bytes", slow.encode, slow,
                ("a"):rep(3000))
  expect_ids(slow, "aab", "97 256")
end)

test("token buffers", function()
  local buffer = core.token_buffer()
  expect.equal(#buffer, 0)
  expect.equal(tostring(buffer), "token buffer of 0")
  expect.equal(buffer:take():size(1), 0)
  expect.equal(trained:append("the cat", buffer), trained:count "the cat")
  buffer:push(0)
  expect.equal(trained:append("<|endoftext|>", buffer, found), 1)
  local count = #buffer
  local ids = buffer:take()
  expect.equal(#buffer, 0)
  expect.equal(ids.dtype, "i32")
  expect.equal(ids:count(), count)
  expect.compare(count, ">", 2)
  expect.equal(trained:decode(ids), "the cat<|endoftext|><|endoftext|>")
  expect.equal(trained:decode(ids:to "i64"), trained:decode(ids:totable()))
  expect.raises("expected a token buffer, got a table", trained.append, trained, "a", {})
  expect.raises("push: expected a token id from 0 to 2147483647, got -1", buffer.push, buffer, -1)
  expect.raises("call methods with a colon", trained.bpe.encode, buffer, "a")
  expect.yes(slow.append)
  expect.no(pcall(slow.append, slow, ("a"):rep(3000), buffer))
  expect.equal(#buffer, 0)
end)

test("any number of threads", function()
  local LETTERS = {}
  for digit = 0, 9 do LETTERS[tostring(digit)] = string.char(103 + digit) end
  local many = {} -- more different pieces than a worker has room for at once, and one that is large
  for i = 1, 27 do
    local words = {}
    for k = 1, 3000 do words[k] = ("%x"):format(i * 7919 + k * k):gsub("%d", LETTERS) end
    many[i] = table.concat(words, " q")
  end
  many[#many + 1] = ("xyz"):rep(400000)
  local threads = bam.threads()
  local files = {}
  for n = 1, 3 do
    bam.threads(n)
    files[n] = tokenizer.train { texts = many, vocab = 300 }:json()
  end
  bam.threads(threads)
  expect.equal(files[1], files[2])
  expect.equal(files[1], files[3])
  local reversed, at = {}, #many + 1
  for i, text in ipairs(many) do reversed[at - i] = text end
  local function next_text()
    at = at - 1
    return many[at]
  end
  expect.equal(tokenizer.train { texts = next_text, vocab = 300 }:json(), files[1])
  expect.equal(tokenizer.train { texts = reversed, vocab = 300 }:json(), files[1])
end)

test("what is refused", function()
  local train = tokenizer.train
  expect.raises("the text yields only 259 words, not 300; use vocab = 259 or add text", train,
                { texts = { "abc" }, vocab = 300 })
  expect.raises("a vocabulary of 256 is too small for 256 bytes and 1 special tokens; it needs at "
                .. "least 257", train, { texts = { "abc" }, vocab = 256 })
  expect.raises("no option `vocabs`; did you mean `vocab`?", train, { texts = {}, vocabs = 9 })
  expect.raises("option `texts` is missing", train, {})
  expect.raises("option texts: expected a list of texts or a function, got 5", train, { texts = 5 })
  expect.raises("text 2: expected a string, got 5", train, { texts = { "a", 5 } })
  expect.raises("special token 1 has 1 bytes; it needs at least 2", train,
                { texts = {}, vocab = 257, special = { "<" } })
  expect.raises("special token 2 occurs twice", train, { texts = {}, vocab = 258, special = { "<s>", "<s>" } })
  expect.raises("special token 1: it is not UTF-8", train, { texts = {}, special = { "<\xff>" } })
  expect.raises("is how tokenizer.json writes another word", train,
                { texts = { " the the the" }, vocab = 260, special = { "Ġthe" } })
  expect.raises("malformed pattern \"[\"", train, { texts = {}, pattern = "[" })
  expect.raises("encode: text: expected a string, got 5", trained.encode, trained, 5)
  expect.raises("encode: no option `spcial`; did you mean `special`?", trained.encode, trained, "a",
                { spcial = true })
  expect.raises("decode: token id 300 is out of range 0 to 299", trained.decode, trained, { 300 })
  expect.raises("decode: expected token ids, which count from 0, got 1.5 at position 2", trained.decode, trained,
                { 1, 1.5 })
  expect.raises("decode: token ids are integers, but the tensor is f32", trained.decode, trained, bam.zeros(2))
  expect.raises("expected a list of token ids or a tensor", trained.decode, trained, "a")
  expect.raises('expected a tokenizer, got the string "a"; call methods with a colon', trained.encode, "a")
  expect.raises("bam.tokenizer has no `lod`; did you mean `load`?",
               function() return tokenizer.lod end)
  expect.equal(tostring(trained), "tokenizer of 300 words, 1 of them special: <|endoftext|>")
  expect.yes(tokenizer.is(trained))
  expect.no(tokenizer.is {})
end)
