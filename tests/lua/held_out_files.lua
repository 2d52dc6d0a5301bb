-- Held-out text from files: domains that are held out whole, bam.evaluate with a path, tokenizers from elsewhere that
-- lay their file out in another way or separate documents by another token.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local directory = os.tmpname()
os.remove(directory)
core.make_directory(directory)
local cleanup <close> = setmetatable({}, { __close = function()
  os.execute(string.format("rm -rf '%s'", directory))
end })

local function at(name) return string.format("%s/%s", directory, name) end

local function write(name, words, documents)
  local parts = {}
  for i = 1, documents do parts[i] = string.format("%s %d\n<|endoftext|>\n", words, i * 7919 % 97) end
  core.write_file(at(name), table.concat(parts))
end

write("law.txt", "the party shall pay the sum", 80)
write("novel.txt", "she walked to the river", 40)
write("more.txt", "she sang in the house", 20)

local cache = at "cache"
local text = bam.corpus({ law = at "law.txt", novel = { heldout = at "novel.txt" } }, { vocab = 280, cache = cache })

test("a domain is held out whole", function()
  expect.equal(text.domains, { "law", "novel" })
  local result = text.heldout:open { context = 16 }
  expect.equal(result.novel.bytes, #core.read_file(at "novel.txt"):gsub("<|endoftext|>\n", ""))
  expect.compare(result.law.bytes, "<", 200, "of law a part")
  expect.raises("sample: domain novel is held out whole; give it `files` to train on", text.sample, text,
                { law = 1, novel = 1 })
  expect.contains(text:describe(), "novel: 0 bytes, 0 documents, 0 tokens\n  held out: 1,")
  expect.matches(text:describe(), "^law: %S+ bytes, 7%d documents, ")
  local other = bam.corpus({ law = at "law.txt" }, { vocab = 280, cache = cache })
  expect.equal(text.tokenizer:json(), other.tokenizer:json(), "the tokenizer does not see it")
  expect.equal(text:sample({ law = 1 }):identity(3), other:sample({ law = 1 }):identity(3))
end)

test("mistakes", function()
  local function fails(words, domains, options)
    expect.raises(words, function()
      local made = bam.corpus(domains, options)
      return made:prepare()
    end)
  end
  fails("corpus: domain a: option `files` is missing", { a = { field = "text" } }, { vocab = 280 })
  fails("every domain is held out whole, so there is no text to train a tokenizer on",
        { a = { heldout = at "law.txt" } }, { vocab = 280, cache = cache })
  fails("domain law: all of its files are held out; none is left to train on",
        { law = { files = at "law.txt", heldout = at "law.txt" } }, { vocab = 280, cache = cache })
end)

local dense = bam.models.parallel { layers = 1, width = 16, heads = 2, ffn = 16, vocab = 280, context = 16 }
local model = dense:build { seed = 1 }
model.tokenizer = text.tokenizer
model:save(at "model")

test("the tokenizer that a script has set is saved with the model", function()
  expect.equal(bam.load(at "model").tokenizer:json(), text.tokenizer:json())
end)

test("bam.evaluate takes a file: the numbers are those of held-out text", function()
  local want = bam.evaluate(model, text.heldout, { domains = { "novel" } }).domains.novel
  local options = { cache = cache }
  for _, given in ipairs { at "novel.txt", { novel = at "novel.txt" }, { novel = { at "novel.txt" } },
                           { novel = { heldout = at "nov*.txt" } } } do
    local got = bam.evaluate(model, given, options)
    expect.equal(got.domains.novel, want)
    expect.equal(got.average.perplexity, want.perplexity)
  end
  local both = bam.evaluate(bam.load(at "model"), { at "novel.txt", at "more.txt" }, options).domains.text
  expect.equal(both.bytes, want.bytes + #core.read_file(at "more.txt"):gsub("<|endoftext|>\n", ""))
  expect.equal(bam.evaluate(at "model", at "novel.txt", options).domains.novel, want, "the directory of a model")
  local ensemble = bam.ensemble { models = { bam.load(at "model") } }
  local of_ensemble = bam.evaluate(ensemble, at "novel.txt", { cache = cache, context = 16 }).domains.novel
  expect.close(of_ensemble.perplexity, want.perplexity, 1e-4 * want.perplexity)
end)

test("what bam.evaluate refuses", function()
  expect.raises("evaluate: expected held-out text, as text.heldout, or the path of a file, got 3", bam.evaluate, model, 3)
  expect.raises("no such file", bam.evaluate, model, at "lost.txt", { cache = cache })
  expect.raises("evaluate: this model has no tokenizer to read files with", bam.evaluate, dense:build(), at "law.txt",
                { cache = cache })
  expect.raises("evaluate: expected a model, an ensemble, a phase or the directory of one, got 3", bam.evaluate, 3,
                text.heldout)
end)

-- A tokenizer.json as another program would write it, with another token between documents.
local function foreign(from, to)
  local value = bam.json.decode((text.tokenizer:json():gsub("<|endoftext|>", to or "<|endoftext|>")))
  core.write_file(at(from), bam.json.encode(value, { indent = 3 }))
  return at(from)
end

test("another layout of tokenizer.json is the same tokenizer", function()
  local path = foreign "laid-out.json"
  expect.different(core.read_file(path), text.tokenizer:json())
  local other = dense:build { seed = 1 }
  other.tokenizer_json = core.read_file(path)
  expect.equal(bam.evaluate(other, text.heldout), bam.evaluate(model, text.heldout))
  other.tokenizer_json = core.read_file(foreign("other.json", "<EOS>"))
  expect.raises("the model and the text have different tokenizers; give the model's to the text", bam.evaluate, other,
                text.heldout)
end)

test("option separator: the token before each document", function()
  local path = foreign("eos.json", "<EOS>")
  local domains = { law = at "law.txt" }
  expect.raises("has no token <|endoftext|>, which separates documents; name one of its tokens with option separator; "
                .. "its special ones are <EOS>", function()
    return bam.corpus(domains, { tokenizer = path, cache = cache }):prepare()
  end)
  local other = bam.corpus(domains, { tokenizer = path, separator = "<EOS>", cache = cache })
  local batch = other.heldout:open({ context = 8 }):batch("law", 1, 1)
  expect.equal(batch.ids[{ 1, 1 }]:item(), other.tokenizer:id "<EOS>")
  local same = other.heldout:open { context = 8, tokens = 8 }
  local plain = bam.corpus(domains, { vocab = 280, cache = cache }).heldout:open { context = 8, tokens = 8 }
  expect.equal({ same.law.count, same.law.tokens, same.law.bytes }, { plain.law.count, plain.law.tokens, plain.law.bytes })
  local trained = bam.corpus(domains, { vocab = 280, separator = "<DOC>", cache = cache })
  expect.equal(trained.tokenizer.special, { "<DOC>" })
  local speaks = dense:build { seed = 1 }
  speaks.tokenizer_json, speaks.token_ids = core.read_file(path), { eos = other.tokenizer:id "<EOS>" }
  expect.equal(bam.evaluate(speaks, at "novel.txt", { cache = cache }).domains.novel.bytes,
               bam.evaluate(model, at "novel.txt", { cache = cache }).domains.novel.bytes)
  speaks.token_ids = nil
  expect.raises("the model does not say which token separates documents", bam.evaluate, speaks, at "novel.txt",
                { cache = cache })
end)
