-- What a phase's data are known by: the tokenizer and the domains that it samples, no others. Adding
-- a domain, or changing the files of another one, retrains nothing, when the tokenizer's domains are
-- pinned; and weights that change while a run goes on are refused.
local bam = require "bam"
local core = require "bam.core"
local corpora = require "tests.lua.support.corpora"
local small = require "tests.lua.support.small_run"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local path, write_documents = corpora.path, corpora.write_documents

for i, name in ipairs { "general", "law", "code" } do
  write_documents(name .. ".txt", corpora.documents(name, 60 + 20 * i))
end

local function make(names, options)
  local domains, all = {}, { heldout = 0.1, cache = corpora.cache }
  for _, name in ipairs(names) do domains[name] = path(name .. ".txt") end
  for name, value in pairs(options) do all[name] = value end
  return bam.corpus(domains, all)
end

local function identity(text, weights) return bam.json.encode(text:sample(weights):identity(5)) end

local function rows(text, weights)
  local batch = text:sample(weights):open { context = 16, batch = 4, steps = 5 }:batch(3)
  local list = {}
  for i = 1, 4 do list[i] = corpora.row_text(batch, i) end
  return table.concat(list, "\n")
end

local pinned = { tokenizer = { vocab = 290, from = { "law", "general", "law" } } }
local two = make({ "general", "law" }, pinned)
local three = make({ "general", "law", "code" }, pinned)

test("other domains do not count", function()
  expect.equal(two.vocab, 290)
  expect.equal(three.tokenizer:json(), two.tokenizer:json())
  for _, weights in ipairs { { law = 1 }, { general = 2, law = 1 } } do
    expect.equal(identity(two, weights), identity(three, weights), "a domain that is not sampled counts")
    expect.equal(rows(two, weights), rows(three, weights), "the data are not the same")
  end
  expect.different(two:digest(), three:digest())
  expect.different(identity(three, { law = 1 }), identity(three, { law = 1, code = 0 }))
end)

test("`vocab` alone means all domains, and so does a table without `from`", function()
  local all = make({ "general", "law" }, { vocab = 290 })
  expect.equal(all.tokenizer:json(), two.tokenizer:json())
  expect.equal(identity(all, { law = 1 }), identity(two, { law = 1 }))
  expect.equal(make({ "general", "law" }, { tokenizer = { vocab = 290 } }):digest(), all:digest())
  local moved = make({ "general", "law", "code" }, { vocab = 290 })
  expect.different(moved.tokenizer:json(), all.tokenizer:json())
  expect.different(identity(moved, { law = 1 }), identity(all, { law = 1 }), "the tokenizer does not count")
  local one = make({ "general", "law" }, { tokenizer = { vocab = 290, from = { "law" } } })
  expect.different(one.tokenizer:json(), all.tokenizer:json())
  local bytes = make({ "general" }, { tokenizer = { vocab = 270, pattern = "[a-z]+" } })
  expect.equal(bytes.vocab, 270)
  expect.different(bytes.tokenizer:json(), make({ "general" }, { vocab = 270 }).tokenizer:json())
end)

local law, mixed = identity(three, { law = 1 }), identity(three, { law = 1, code = 1 })

test("what is sampled does: its text to train on, and what is held out", function()
  write_documents("code.txt", corpora.documents("other code", 100))
  local changed = make({ "general", "law", "code" }, pinned)
  expect.equal(identity(changed, { law = 1 }), law, "another domain's files count")
  expect.different(identity(changed, { law = 1, code = 1 }), mixed, "the files of a domain do not count")
  local function held_out(file)
    return identity(bam.corpus({ law = { files = path "law.txt", heldout = path(file) } },
                               { vocab = 290, cache = corpora.cache }), { law = 1 })
  end
  expect.different(held_out "general.txt", held_out "code.txt")
end)

test("weights that change while a run goes on", function()
  local factor = 1
  local drifting = two:sample { law = function(p) return 1 + factor * p end, general = 1 }
  local stream = drifting:open { context = 16, batch = 4, steps = 5 }
  stream:batch(1)
  factor = 2
  expect.raises("gave 1.25 for step 2 when the run began, and 1.5 now; a schedule must depend on the progress alone",
                stream.batch, stream, 5)
  local plain = two:sample { law = 1, general = 1 }
  local before = plain:open { context = 16, batch = 4, steps = 5 }
  plain.weights[1] = 0
  local again = two:sample { law = 1, general = 1 } :open { context = 16, batch = 4, steps = 5 }
  expect.equal(corpora.row_text(before:batch(2), 1), corpora.row_text(again:batch(2), 1))
end)

local function refuses(words, options)
  expect.raises(words, bam.corpus, { law = "x", general = "y" }, options)
end

test("bad input", function()
  refuses("corpus: option `vocab` is missing", { tokenizer = { from = { "law" } } })
  refuses("corpus: option tokenizer: no option `vocabs`; did you mean `vocab`?",
          { tokenizer = { vocabs = 300 } })
  refuses("corpus: option tokenizer: from: there is no domain `lwa`; did you mean `law`?",
          { tokenizer = { vocab = 300, from = { "lwa" } } })
  refuses("corpus: option tokenizer: from: expected a list of domains, got an empty one",
          { tokenizer = { vocab = 300, from = {} } })
  refuses("corpus: option tokenizer: option from: expected a list, but there is the key `law`",
          { tokenizer = { vocab = 300, from = { law = true } } })
  refuses("corpus: option vocab is given twice; give it in option tokenizer only",
          { vocab = 300, tokenizer = { vocab = 300 } })
  refuses("corpus: option tokenizer (or a table { vocab = ..., from = ... }): expected a string, got 5",
          { tokenizer = 5 })
end)

local directory
local cleanup <close> = setmetatable({}, { __close = function()
  small.remove(directory)
  corpora.clean()
end })

test("phases: a domain more, another file of another domain", function()
  local RECIPE = small.RECIPE:gsub("{ vocab = opt.vocab,",
                                   '{ tokenizer = { vocab = opt.vocab, from = { "general", "law" } },')
  directory = small.directory(RECIPE)
  local function run(what, recipe)
    core.write_file(directory .. "/recipe.lua", recipe)
    local printed, ended = small.run(directory)
    expect.yes(ended, printed)
    expect.lacks(printed, "done:", string.format("%s trained something", what))
  end
  local output, fine = small.run(directory)
  expect.yes(fine, output)
  local more, count = RECIPE:gsub('general = "general.txt" }', 'general = "general.txt", code = "code.txt" }')
  expect.equal(count, 1)
  core.write_file(directory .. "/code.txt", table.concat(corpora.documents("code", 60),
                                                         "<|endoftext|>\n"))
  run("a domain more", more)
  core.write_file(directory .. "/code.txt", table.concat(corpora.documents("x", 70), "<|endoftext|>\n"))
  run("another file of that domain", more)
end)

test("the description of a live model leads to no weights", function()
  local last = small.phase(directory, "seed") .. "/step-00000010"
  core.write_file(directory .. "/recipe.lua", string.format([[
local bam = require "bam"
local text = bam.corpus({ law = "law.txt" }, { vocab = 280, heldout = 0.3 })
bam.train { name = "law", model = bam.load("%s").description, data = text:sample { law = 1 },
            tokens = 64, lr = 1e-3 }]], last))
  local output, fine = small.run(directory)
  expect.no(fine, output)
  expect.contains(output, "the description of a live model, without its weights")
end)

