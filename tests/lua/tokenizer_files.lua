-- tokenizer.json: files of the reference package and what it computes from them, our own files
-- there and back, and everything that a file can have which is refused.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local json = bam.json
local tokenizer = bam.tokenizer

math.randomseed(20240816)

local GOLDEN = (arg[0]:match "^(.*)/[^/]*$" or ".") .. "/../golden/tokenizer/"

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local function join(ids) return table.concat(ids, " ") end

local expected = json.decode(read(GOLDEN .. "expected.json"))

local function compare(name)
  local t = tokenizer.load(GOLDEN .. name .. ".json")
  for _, case in ipairs(expected[name]) do
    for _, kind in ipairs { "special", "plain" } do
      local ids = t:encode(case.text, { special = kind == "special" })
      expect.equal(join(ids), join(case[kind]), ("%s, %s: %q gives %s, in the reference %s") :format(name, kind,
                     case.text, join(ids), join(case[kind])))
      expect.yes(name == "added" or t:decode(ids) == case.text)
    end
  end
  expect.compare(#expected[name], ">", 30)
  return t
end

local gpt2, split, added = compare "gpt2", compare "split", compare "added"

test("the reference package", function()
  expect.equal(gpt2.vocab, 600)
  expect.equal(join(gpt2.special), "<|endoftext|> <|pad|>")
  expect.equal(split.vocab, 602)
  expect.equal(split:id "<separator>", 601)
  expect.equal(#split.special, 2)
end)

test("training on the same texts gives the very same file, as a value", function()
  local ours = tokenizer.train { texts = expected.texts, vocab = 600, special = gpt2.special }
  expect.equal(ours:json(), gpt2:json())
  expect.equal(ours:json(), json.encode(json.decode(read(GOLDEN .. "gpt2.json"))))
end)

test("there and back", function()
  local path = os.tmpname()
  local custom = tokenizer.train { texts = expected.texts, vocab = 300, special = {},
                                   pattern = [[\p{L}{1,3}|"\s+]] }
  for _, t in ipairs { gpt2, split, added, custom } do
    t:save(path)
    local again = tokenizer.load(path)
    expect.equal(again:json(), t:json())
    expect.equal(read(path), t:json())
    for _, text in ipairs(expected.texts) do
      expect.equal(join(again:encode(text)), join(t:encode(text)))
    end
  end
  os.remove(path)
end)

-- ---- variants of a small file ----

local small = tokenizer.train { texts = { "abab abc" }, vocab = 259 }:json()
local function variant(f)
  local file = json.decode(small)
  f(file)
  return json.encode(file)
end

local function expect_same_ids(f)
  local t = tokenizer.parse(variant(f))
  expect.equal(join(t:encode "ab abc"), join(tokenizer.parse(small):encode "ab abc"))
  return t
end

test("a small tokenizer.json as a table, changed by f", function()
  expect_same_ids(function(file) file.model.merges = json.array { "a b", "Ġ ab" } end)
  expect_same_ids(function(file) -- as GPT-2's own file
    file.model.type, file.model.byte_fallback, file.version = nil, nil, nil
    file.model.continuing_subword_prefix, file.model.end_of_word_suffix = "", ""
    file.post_processor = { type = "ByteLevel", add_prefix_space = true, trim_offsets = false }
  end)
  for _, processor in ipairs { { type = "TemplateProcessing", single = json.array {} }, { type = "RobertaProcessing" },
                               { type = "Sequence", processors = json.array { { type = "ByteLevel" },
                                                                              { type = "TemplateProcessing" } } } } do
    expect_same_ids(function(file) file.post_processor = processor end) -- encode adds no special tokens
  end
  local digits = tokenizer.parse(variant(function(file)
    file.pre_tokenizer = { type = "Sequence", pretokenizers = {
      { type = "Digits", individual_digits = false },
      { type = "Split", pattern = { String = "a.b" }, behavior = "Isolated", invert = true },
      { type = "ByteLevel", add_prefix_space = false, use_regex = false } } }
  end))
  expect.equal(digits.parts.steps[2].pattern.String, "a.b")
  expect.equal(join(digits:encode "ab"), join { digits:id "ab" }, "the point matched any character")
  expect.equal(tokenizer.parse(digits:json()):json(), digits:json())
end)

-- ---- added tokens take time in proportion to the text ----

-- Every byte begins the long token, none of them ends it. If each were tried by itself, 10^6 bytes
-- times 20,000 would take minutes.
test("tokens with a long common beginning take no long time", function()
  local long = tokenizer.parse(variant(function(file)
    for i, content in ipairs { ("a"):rep(20000) .. "b", "aaa", "b" .. ("a"):rep(20000) } do
      file.added_tokens[i + 1] = { id = 258 + i, content = content, special = false,
                                   normalized = i % 2 == 0 }
    end
  end))
  local many = ("a"):rep(1000000)
  expect.equal(long:count(many), 1000000 // 3 + 1)
  expect.equal(join(long:encode(many:sub(1, 20001) .. "b")), join { long:id "a", 259 })
end)

-- ---- what is refused ----

local function expect_refused(words, f)
  expect.raises("small.json: " .. words, tokenizer.parse, variant(f), "small.json")
end

-- A field of the file's, or the model's, has another value.
local function expect_field(words, name, value)
  expect_refused(words, function(file) file[name] = value end)
end
local function expect_model(words, name, value)
  expect_refused(words, function(file) file.model[name] = value end)
end

test("fields with other values are refused", function()
  expect_field("the file: `normalizer` is NFC; bamlua supports null", "normalizer", { type = "NFC" })
  expect_field("the file: `truncation` is a table; bamlua supports null", "truncation", {})
  for _, processor in ipairs { { type = "Unheard" }, { type = "Sequence" }, 3,
                               { type = "Sequence", processors = json.array { { type = "Unheard" } } } } do
    expect_field("the file: `post_processor` is ", "post_processor", processor)
  end
  expect_field("the file: `decoder` is WordPiece; bamlua supports ByteLevel", "decoder",
               { type = "WordPiece" })
  expect_field("the file has no field `decoder`", "decoder", nil)
  expect_field("the file has no field `model`", "model", nil)
  expect_field("the file: `version` is the string \"2.0\"", "version", "2.0")
  expect_field("the file has a field `extra`, which bamlua does not know", "extra", 1)
  expect_field("the file: `model` is a json.null; bamlua supports BPE", "model", json.null)
  expect_model('model: `type` is the string "WordPiece"; bamlua supports "BPE"', "type", "WordPiece")
  expect_model("model: `dropout` is 0.1; bamlua supports null", "dropout", 0.1)
  expect_model('model: `unk_token` is the string "<unk>"', "unk_token", "<unk>")
  expect_model("model: `byte_fallback` is true", "byte_fallback", true)
  expect_model("model: `end_of_word_suffix` is the string \"</w>\"", "end_of_word_suffix", "</w>")
  expect_model("model has a field `max_input_chars_per_word`", "max_input_chars_per_word", 100)
  expect_model("model: `vocab` is a json.array; bamlua supports an object", "vocab", json.array {})
  expect_model("model has no field `merges`", "merges", nil)
  expect_model("merge 1 is not a pair of words", "merges", { "ab" })
  expect_model("merge 2 is not a pair of words", "merges", { { "a", "b" }, { "a", "b", "c" } })
  expect_model("merge 1 is not a pair of words", "merges", { { "a", 1 } })
  expect_model('merge 1: "zz" is not in the vocabulary', "merges", { "a zz" })
  expect_model("merge 1: the vocabulary lacks the concatenation of words 66 and 67", "merges", { "b c" })
  expect_model("merge 2: the words 65 and 66 are already merged by merge 1", "merges",
               { "a b", { "a", "b" } })

  local function expect_word(words, name, id)
    expect_refused(words, function(file) file.model.vocab[name] = id end)
  end
  expect_word("vocab: there are 260 words, but none has the id 259", "xy", 260)
  expect_word("vocab: there are 260 words, but none has the id 259", "xy", 5)
  expect_word('vocab: the word "xy" has the id -1', "xy", -1)
  expect_word('vocab: the word "xy" has the id 259.0', "xy", 259.0)
  expect_word('vocab: the word "xy" has the id a table', "xy", {})
  expect_word('vocab: the word "x y" is not written in ByteLevel\'s alphabet', "x y", 259)
  expect_word('vocab: the word "" is not written in ByteLevel\'s alphabet', "", 259)
  expect_word('vocab: the word "<|endoftext|>" has the id 259, but 0 as an added token',
              "<|endoftext|>", 259)
  expect_refused("the vocabulary has no word for the byte 0x78", function(file)
    file.model.vocab.xx, file.model.vocab.x = file.model.vocab.x, nil
  end)

  local function expect_added(words, token)
    expect_refused(words, function(file) table.insert(file.added_tokens, token) end)
  end
  expect_added("added token 2: expected an object, got 5", 5)
  expect_added("added token 2: `single_word` is true; bamlua supports false",
               { id = 259, content = "<s>", single_word = true })
  expect_added("added token 2 has no id or no content", { id = 259 })
  expect_added("added token 2: `content` is the string \"\"", { id = 259, content = "" })
  expect_added("added token 2: \"<s>\" with the id 0 occurs twice", { id = 0, content = "<s>" })
  expect_added("vocab: there are 260 words, but none has the id 259",
               { id = math.maxinteger, content = "<s>" })
  expect_added('vocab: the word "ab" has the id 257, but 259 as an added token',
               { id = 259, content = "ab" })
  expect_added("the ids 258 and 259 are the same word", { id = 259, content = " ab" })

  local function expect_steps(words, ...)
    local steps = table.pack(...)
    expect_refused("pre_tokenizer: " .. words, function(file)
      file.pre_tokenizer = { type = "Sequence", pretokenizers = json.array(steps) }
      steps.n = nil
    end)
  end
  local bytes = { type = "ByteLevel", add_prefix_space = false }
  expect_steps("a Sequence needs a list of steps")
  expect_steps("add_prefix_space of ByteLevel is true",
               { type = "ByteLevel", add_prefix_space = true })
  expect_steps("Whitespace as step 1 of 2 is not supported", { type = "Whitespace" }, bytes)
  expect_steps("ByteLevel as step 1 of 2 is not supported", bytes, bytes)
  expect_steps("Digits as step 1 of 1 is not supported", { type = "Digits", individual_digits = true })
  expect_steps("individual_digits of Digits is nil", { type = "Digits" }, bytes)
  expect_steps("expected an object with a type, got 5", 5)
  expect_steps("a Split needs a pattern", { type = "Split", behavior = "Isolated" }, bytes)
  expect_steps('a Split has behavior the string "Kept"; bamlua supports Isolated',
               { type = "Split", behavior = "Kept", pattern = { Regex = "a" } }, bytes)
  expect_steps("invert of a Split is 1, not true or false",
               { type = "Split", behavior = "Removed", pattern = { Regex = "a" }, invert = 1 }, bytes)
  local open_group = variant(function(file)
    file.pre_tokenizer = { type = "Sequence", pretokenizers = {
      { type = "Split", behavior = "Isolated", pattern = { Regex = "(" } }, bytes } }
  end)
  expect.raises('small.json: malformed pattern "(": at byte 1: a group is not closed', tokenizer.parse, open_group,
                "small.json")

  expect.raises("small.json: json.decode: malformed JSON", tokenizer.parse, "{", "small.json")
  expect.raises("small.json: the file: expected an object, got a json.array", tokenizer.parse, "[]", "small.json")
  expect.raises("tokenizer.parse: text: expected a string, got nil", tokenizer.parse)
  expect.raises("No such file", tokenizer.load, "/nowhere/tokenizer.json")
end)

-- ---- mutated files ----

-- Every value of a table, at any depth, as { table, key }.
local function places(t, list)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(keys) do
    list[#list + 1] = { t, key }
    if type(t[key]) == "table" then places(t[key], list) end
  end
  return list
end

test("files with random changes are read or refused", function()
  local values = { 5, -1, 0, 1.5, 1 << 40, "a", "", "Ġ", true, json.null, json.array {}, {},
                   json.array { "a", "b" }, { type = "Split" }, { type = "ByteLevel" } }
  local read_well = 0
  for _ = 1, 600 do
    local file = json.decode(small)
    local list = places(file, {})
    local at = list[math.random(#list)]
    if type(at[2]) == "string" and math.random(3) == 1 then
      local value = at[1][at[2]]
      at[1][at[2]] = nil
      at[1]["x" .. at[2]] = value
    else
      at[1][at[2]] = values[math.random(#values)]
    end
    local fine, result = pcall(tokenizer.parse, json.encode(file))
    expect.yes(fine or result:find "tokenizer.json: ", result)
    read_well = read_well + (fine and 1 or 0)
    expect.yes(not fine or result:decode(result:encode "ab \xff abc") == "ab \xff abc")
  end
  print(("tokenizer files: %d of 600 changed files were read"):format(read_well))
end)
