-- bam.corpus: files of every kind to tokens and back, what is held out, the cache, several
-- processes, and what wrong input says.
-- Usage: build/bamlua tests/lua/corpus.lua build/bamlua
local bam = require "bam"
local core = require "bam.core"
local corpora = require "tests.lua.support.corpora"
local reading = require "bam.data.reading"
local shards = require "bam.data.shards"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local bamlua = core.absolute(arg[1] or "build/bamlua")
local path, write = corpora.path, corpora.write
local shell, reports = corpora.shell, corpora.reports
local SEPARATOR = "<|endoftext|>"

local function make(domains, options)
  local all = { vocab = 300, heldout = 0.1, cache = corpora.cache }
  for name, value in pairs(options or {}) do all[name] = value or nil end
  return bam.corpus(domains, all)
end

local function forget_reports() for i = #reports, 1, -1 do reports[i] = nil end end

-- The documents in the shards of a part, by their tokens.
local function documents_in(text, name, part)
  local list, words = {}, text.tokenizer
  for _, shard in ipairs(text:prepare().domains[name].shards[part]) do
    local tokens, starts = shard.tokens:read():totable(), shard.documents:read():totable()
    starts[#starts + 1] = #tokens
    for d = 1, #starts - 1 do
      expect.equal(tokens[starts[d] + 1], words:id(SEPARATOR), "a document without a separator")
      list[#list + 1] = words:decode(table.move(tokens, starts[d] + 2, starts[d + 1], 1, {}))
    end
  end
  return list
end

-- The documents of both parts must be `documents`, apart from their order between the parts.
local function expect_documents(text, name, documents)
  local found = documents_in(text, name, "train")
  local held = documents_in(text, name, "heldout")
  expect.compare(#held, ">", 0)
  expect.compare(#found, ">", 0)
  table.move(held, 1, #held, #found + 1, found)
  local wanted = table.move(documents, 1, #documents, 1, {})
  table.sort(found)
  table.sort(wanted)
  expect.equal(#found, #wanted, ("%d documents instead of %d"):format(#found, #wanted))
  for i, document in ipairs(found) do
    expect.equal(document, wanted[i], ("%q is not %q"):format(document, wanted[i]))
  end
  return found
end

local law = corpora.documents("law", 120)
local function jsonl(documents, field)
  local lines = {}
  for i, document in ipairs(documents) do
    lines[i] = bam.json.encode { [field] = document, other = i }
  end
  return table.concat(lines, "\n")
end

local from_text, from_json
test("files of every kind", function()
  law[5] = "a line with <|endoftext|> in it, é, 中文, and two\n\n  lines\t.\n"
  law[6] = "   \n"
  law[7] = "no UTF-8: \xff\xfe\xc3.\n"

  local plain = make { law = corpora.write_documents("law.txt", law) }
  expect_documents(plain, "law", law)
  law[7] = "only UTF-8\n"
  from_text = make { law = corpora.write_documents("law2.txt", law) }
  expect_documents(from_text, "law", law)
  from_json = make { law = write("law.jsonl", jsonl(law, "text")) }
  expect_documents(from_json, "law", law)
  expect.equal(from_json:digest(), from_text:digest())
  expect.different(plain:digest(), from_text:digest())
  write("content.jsonl", jsonl(law, "content"))
  local own_field = make { law = { files = path "content.jsonl", field = "content" } }
  expect.equal(own_field:digest(), from_json:digest())
  local common_field = make({ law = path "content.jsonl" }, { field = "content" })
  expect.equal(common_field:digest(), from_json:digest())
  for program, ending in pairs { gzip = "gz", zstd = "zst" } do
    if corpora.has(program) then
      shell("cd '%s' && %s -kqf law.jsonl law2.txt", corpora.base, program)
      local packed = make { law = path("law.jsonl." .. ending) }
      expect.equal(packed:digest(), from_json:digest())
      packed = make { law = path("law2.txt." .. ending) }
      expect.equal(packed:digest(), from_json:digest())
    else
      print(("skip: no %s here, so its files are not tested"):format(program))
    end
  end
end)

test("JSON lines under every name that they go by; the reader and the cache agree on what that is", function()
  for _, name in ipairs { "a.JSONL", "a.jsonl", "a.ndjson", "a.json", "a.jsonlines", "A.Json" } do
    local text = make { law = write(name, jsonl(law, "text")) }
    expect.equal(text:digest(), from_json:digest(), name)
  end
  for _, name in ipairs { "b.JSON.gz", "b.ndjson.GZ" } do
    if corpora.has "gzip" then
      shell("gzip -c '%s' > '%s'", path "law.jsonl", path(name))
      expect.equal(make { law = path(name) }:digest(), from_json:digest(), name)
    end
  end
  write("many.jsonl", jsonl(law, "text"):rep(20, "\n"))
  local as_text = make { law = { files = path "many.jsonl", format = "text" } }
  expect.compare(as_text:prepare().domains.law.train.documents, "<=", 20, "not read as text")
  expect.equal(make({ law = path "law.jsonl" }, { format = "jsonl" }):digest(), from_json:digest())
  local wrong_name = write("lines.txt", jsonl(law, "text"))
  expect.equal(make { law = { files = wrong_name, format = "jsonl" } }:digest(), from_json:digest())
  local nested = {}
  for i, document in ipairs(law) do
    nested[i] = bam.json.encode { doc = { text = document, id = i }, text = 5 }
  end
  write("nested.jsonl", table.concat(nested, "\n"))
  expect.equal(make({ law = path "nested.jsonl" }, { field = "doc.text" }):digest(), from_json:digest())
end)

test("bad records: skipped and counted where that is asked for", function()
  local dirty = {}
  for i, document in ipairs(law) do
    dirty[i] = bam.json.encode { text = document }
    if i % 40 == 0 then dirty[i] = string.format('%s\n{"text": null}\n{"text": "a', dirty[i]) end
  end
  write("dirty.jsonl", table.concat(dirty, "\n"))
  forget_reports()
  local skipping = make { law = { files = path "dirty.jsonl", skip_bad = true } }
  expect.equal(skipping:digest(), make({ law = path "dirty.jsonl" }, { skip_bad = true }):digest())
  expect.contains(skipping:describe(), "\n  skipped: 6 bad records")
  local reported = table.concat(reports, "\n")
  expect.contains(reported, 'law: skipped 6 bad records; the first: "' .. path "dirty.jsonl"
                  .. '":41: the field "text" is null')
  expect_documents(skipping, "law", law)
end)

test("several files, in the order of their names; lists; a file twice is read once", function()
  for i = 1, 4 do
    corpora.write_documents(("parts/%d.txt"):format(i), { table.unpack(law, i * 30 - 29, i * 30) })
  end
  local globbed = make { law = path "parts/*.txt" }
  expect.equal(globbed:digest(), from_json:digest())
  local listed = make { law = { path "parts/1.txt", path "parts/[23].txt", path "parts/*.txt" } }
  expect.equal(listed:digest(), from_json:digest())
  expect.equal(tostring(make { law = path "parts/*.txt" }), "text of law, to be prepared")
  expect.matches(globbed:describe(), "law: [%d,]+ bytes, 1%d%d documents, [%d,]+ tokens\n  held out: ")
end)

local files = { files = path "parts/*.txt", heldout = path "parts/4.txt" }

local held
test("what is held out", function()
  local given = make { law = files }
  held = documents_in(given, "law", "heldout")
  expect.equal(#held, 30)
  expect.equal(held[1], law[91])
  expect.equal(held[30], law[120])
  expect.equal(#documents_in(given, "law", "train"), 90)
end)

test("a document stays on its side whatever is added", function()
  local before, more = {}, corpora.documents("more", 50)
  for _, document in ipairs(documents_in(from_text, "law", "heldout")) do before[document] = true end
  local grown = make { law = { corpora.write_documents("more.txt", more), path "law2.txt" } }
  local stayed = 0
  for _, document in ipairs(documents_in(grown, "law", "heldout")) do
    if before[document] then stayed = stayed + 1 end
  end
  for _ in pairs(before) do stayed = stayed - 1 end
  expect.equal(stayed, 0)
end)

local novel
test("a single long document is held out in parts, which end at ends of lines", function()
  local lines = corpora.documents("line", 2500)
  novel = table.concat(lines)
  local single = make({ novel = write("novel.txt", novel) }, { heldout = 0.02 })
  local kept, cut = documents_in(single, "novel", "train"), documents_in(single, "novel", "heldout")
  local length = 0
  for _, list in ipairs { kept, cut } do
    for _, document in ipairs(list) do
      length = length + #document
      expect.contains(novel, document, "a part that is not in the document")
    end
  end
  expect.equal(length, #novel)
  expect.compare(#kept, "<=", #cut + 1)
  expect.compare(#cut[1], "<", #novel / 4)
  expect.yes(cut[1]:sub(-1) == "\n" or novel:sub(-#cut[1]) == cut[1])
end)

-- ---- documents that come in pieces ----

-- What reading.each_split visits of a file that the reader gives as these pieces.
local function visits(list, split)
  local real, i, seen = core.text_open, 0, {}
  function core.text_open()
    return { close = function() end, skipped = function() return 0 end, next = function()
      i = i + 1
      if list[i] then return list[i][1], i, list[i][2] end
    end }
  end
  reading.each_split("x", { field = "text" }, split, function(text, continues, side)
    seen[#seen + 1] = { text = text, continues = continues, held = side }
  end)
  core.text_open = real
  return seen
end

test("all pieces of a document are on one side", function()
  local triples, sides = {}, {}
  for i = 1, 40 do
    for j = 1, 3 do triples[#triples + 1] = { ("piece %d of %d"):format(j, i), j < 3 or nil } end
  end
  for i, visit in ipairs(visits(triples, { limit = 0.4, in_parts = false })) do
    expect.equal(visit.text, triples[i][1])
    expect.equal((visit.continues or false), (i % 3 ~= 1))
    if visit.continues then expect.equal(visit.held, sides[#sides]) else sides[#sides + 1] = visit.held end
  end
  expect.equal(#sides, 40)
end)

test("held out in parts, a document goes on only where the part before is on the same side", function()
  local runs, all, before_part = 0, {}, nil
  local long = { { novel:sub(1, 60000), true }, { novel:sub(60001) } }
  for i, visit in ipairs(visits(long, { limit = 0.4, in_parts = true })) do
    expect.equal(visit.continues, (i > 1 and visit.held == before_part))
    runs, before_part = runs + (visit.continues and 0 or 1), visit.held
    all[i] = visit.text
  end
  expect.equal(table.concat(all), novel)
  expect.compare(#all, ">", 6)
  expect.compare(runs, ">", 2)
  expect.compare(runs, "<", #all)
end)

local words
test("shards: several, and documents in pieces", function()
  core.make_directory(path "shards")
  words = from_text.tokenizer
  local writer = shards.writer(path "shards", "x", words, 200)
  local pieces = { { "one ", false }, { (" two"):rep(100), true }, { "three", true },
                   { "four", false }, { ("five"):rep(100), false } }
  for _, piece in ipairs(pieces) do writer:append(piece[1], piece[2]) end
  local record = writer:finish()
  expect.equal(record.documents, 3)
  expect.compare(#record.shards, ">", 1)
  expect.equal(record.bytes, 4 + 400 + 5 + 4 + 400)
  local decoded, tokens = {}, 0
  for i, shard in ipairs(shards.open(path "shards", record)) do
    local ids = shard.tokens:read()
    expect.equal(ids[1]:item(), words:id(SEPARATOR))
    expect.equal(shard.documents:read(1, 1):item(), 0)
    expect.equal(#shard.documents, record.shards[i].documents)
    decoded[i], tokens = words:decode(ids:totable()), tokens + #shard.tokens
  end
  expect.equal(tokens, record.tokens)
  expect.equal(table.concat(decoded):gsub("<|endoftext|>", ""), "one " .. (" two"):rep(100) .. "threefour"
               .. ("five"):rep(100))
end)

local digest = from_text:digest()
local function reopen() return make { law = path "law2.txt" } end

test("the cache", function()
  forget_reports()
  expect.equal(reopen():digest(), digest, "what is in the cache was made anew")
  expect.equal(#reports, 0, "what is in the cache was made anew")
end)

test("files are told by size, time and inode: one that seems the same is not read again", function()
  shell("touch -d '2020-01-01' '%s'", path "law2.txt")
  expect.equal(reopen():digest(), digest)
  expect.equal(#reports, 0)
  shell("printf X | dd of='%s' conv=notrunc 2>/dev/null && touch -d '2020-01-01' '%s'",
        path "law2.txt", path "law2.txt")
  expect.equal(reopen():digest(), digest, "a file was read that seems the same")
  shell("touch '%s'", path "law2.txt")
  expect.different(reopen():digest(), digest, "a change was not noticed")
  corpora.write_documents("law2.txt", law)
  expect.equal(reopen():digest(), digest)
  expect.different(make({ law = path "law2.txt" }, { vocab = 301 }):digest(), digest)
  expect.different(make({ law = path "law2.txt" }, { heldout = 0.2 }):digest(), digest)
  write("cache/hashes.json", "[1, 2")
  expect.equal(reopen():digest(), digest)
end)

test("damage is seen, and mended", function()
  local directory = from_text:prepare().directory
  local shard = directory .. "/law.train-00001.safetensors"
  local damage = {
    ["law.train-00001.safetensors has 100 bytes instead of"] = "truncate -s 100 '" .. shard .. "'",
    ["law.train-00001.safetensors was changed"] = "printf XY | dd of='" .. shard
      .. "' bs=1 seek=900 conv=notrunc 2>/dev/null",
    ["law.train-00001.safetensors is missing"] = "rm '" .. shard .. "'",
    ["tokenizer.json is missing or was changed"] = "echo >> '" .. directory .. "/tokenizer.json'",
    ["manifest.json was changed"] = "sed -i 's/documents\": 1/documents\": 2/' '" .. directory
      .. "/manifest.json'",
    ["manifest.json cannot be read"] = "truncate -s 50 '" .. directory .. "/manifest.json'",
  }
  for message, command in pairs(damage) do
    forget_reports()
    shell("%s", command)
    expect.equal(reopen():digest(), digest)
    expect.yes(reports[1])
    expect.contains(reports[1], "making it again")
    expect.contains(reports[1], message, ("%s: %s"):format(message, reports[1]))
  end
  reopen():verify()
end)

-- What a killed process left goes away; nothing else is there than entries and their locks.
local function entries()
  local names = {}
  for _, name in ipairs(core.list_directory(path "cache/text")) do
    if not name:find "^%x+$" and not name:find "^%x+%.lock$" then names[#names + 1] = name end
  end
  return table.concat(names, " ")
end

test("what a killed process left behind is removed", function()
  write("cache/text/0123456789abcdef.tmp-0123456789abcdef/law.train-00001.safetensors", "half")
  expect.different(entries(), "")
  reopen():prepare()
  expect.equal(entries(), "")
end)

-- ---- other processes ----

local function script(name, lines_of_code)
  return write(name, ("local bam = require 'bam'\n%s\n"):format(lines_of_code))
end

local function output(command, ...)
  local pipe = io.popen(command:format(...))
  local printed = pipe:read "a"
  return printed, pipe:close()
end

test("paths are relative to the script, wherever it runs", function()
  script("recipes/relative.lua", [[
  local text = bam.corpus({ law = "../law2.txt" },
                          { vocab = 300, heldout = 0.1, cache = "../cache" })
  io.write(text:digest())]])
  expect.equal(output("cd / && '%s' '%s'", bamlua, path "recipes/relative.lua"), digest)
  expect.equal(output("cd '%s' && '%s' relative.lua", path "recipes", bamlua), digest)
end)

test("a directory whose name looks like a pattern is meant as it is", function()
  corpora.write_documents("[v2] a*b?\\/parts/1.txt", { table.unpack(law, 1, 60) })
  corpora.write_documents("[v2] a*b?\\/parts/2.txt", { table.unpack(law, 61, 120) })
  script("[v2] a*b?\\/pattern.lua", [[
  local text = bam.corpus({ law = "parts/[12].txt" },
                          { vocab = 300, heldout = 0.1, cache = "../cache" })
  io.write(text:digest())]])
  expect.equal(output("cd / && '%s' '%s'", bamlua, path "[v2] a*b?\\/pattern.lua"), digest)
  expect.equal(output("cd '%s' && '%s' pattern.lua", path "[v2] a*b?\\", bamlua), digest)
end)

test("two at once prepare once", function()
  script("two.lua", [[
  local text = bam.corpus({ law = "law2.txt", novel = "novel.txt" },
                          { vocab = 1000, cache = "two" })
  io.write(text:digest(), "\n")]])
  local both = output("cd '%s' && { '%s' two.lua & '%s' two.lua; wait; } 2>&1", corpora.base, bamlua,
                      bamlua)
  local first, second = both:match "(%x%x%x%x%x%x%x%x+)\n.-(%x%x%x%x%x%x%x%x+)\n"
  expect.yes(first, both)
  expect.equal(first, second, both)
  expect.equal(select(2, both:gsub("training a tokenizer", "")), 1, both)
end)

test("a full disk: an error, nothing half-made, and what was there is still good", function()
  script("full.lua", [[
  local bam_text = bam.corpus({ novel = "novel.txt" }, { vocab = 400, cache = "cache" })
  bam_text:prepare()]])
  local full, ended = output("cd '%s' && trap '' XFSZ && ulimit -f 100 && '%s' full.lua 2>&1",
                             corpora.base, bamlua)
  expect.no(ended, full)
  expect.matches(full, "File too large")
  expect.equal(entries(), "")
  expect.equal(reopen():digest(), digest)
end)

local function fails(words_of_error, domains, options)
  expect.raises(words_of_error, function() make(domains, options):prepare() end)
  expect.equal(entries(), "", "something half-made was left")
end
local function refuses(words_of_error, ...) expect.raises(words_of_error, bam.corpus, ...) end

test("bad input", function()
  words:save(path "words.json")
  write("empty.txt", "")
  write("blank.jsonl", "\n\n")
  write("binary.txt", "\0\1\2\3")
  write("bad.jsonl", '{"text": "a"}\n{"text": 5}\n')
  write("short.txt", "a short text")
  fails("corpus: domain law: no such file: " .. path "no.txt", { law = path "no.txt" })
  fails("corpus: domain law: no file matches " .. path "n*.x; relative paths start at",
        { law = path "n*.x" })
  fails("is a directory; name the files in it: " .. path "parts/*.txt", { law = path "parts" })
  fails("corpus: domain law has no text: no document in " .. path "empty.txt",
        { law = path "empty.txt" })
  fails("corpus: domain b has no text: no document in " .. path "blank.jsonl, " .. path "empty.txt",
        { a = path "law2.txt", b = { path "blank.jsonl", path "empty.txt" } })
  fails(path "binary.txt", { law = path "binary.txt" })
  fails('bad.jsonl":2: the field "text" is a number', { law = path "bad.jsonl" })
  fails("it holds JSON lines, but its name says plain text; set format = ",
        { law = write("lines.text", '{"text": "a"}\n{"text": "b"}\n') })
  fails('no document in ' .. path "lines.text; the first record skipped: ",
        { law = { files = path "lines.text", format = "jsonl", skip_bad = true, field = "body" } })
  refuses('corpus: domain law: option format: expected "jsonl" or "text", got the string "json"',
          { law = { files = "x", format = "json" } }, { vocab = 300 })
  refuses("corpus: domain law: option skip_bad: expected true or false, got 1",
          { law = { files = "x", skip_bad = 1 } }, { vocab = 300 })
  fails("corpus: domain law has no text: no document in " .. path "empty.txt",
        { law = { files = path "empty.txt", heldout = path "law.jsonl" } })
  fails("corpus: domain law has no text: no document in " .. path "empty.txt",
        { law = { files = path "law.jsonl", heldout = path "empty.txt" } })
  fails("is one short document, too little to hold a part of it out", { law = path "short.txt" })
  fails("all of its files are held out",
        { law = { files = path "law.jsonl", heldout = path "law.jsonl" } })
  fails("all of its text is held out", { law = path "law2.txt" }, { heldout = 1 - 2 ^ -40 })
  fails("all of its text is held out", { law = path "law2.txt" },
        { heldout = 1 - 2 ^ -40, tokenizer = path "words.json" })
  fails("corpus of law: ", { law = path "law2.txt" }, { vocab = 100000 })
  write("notes.txt.gz", "not gzip")
  fails(path "notes.txt.gz", { law = path "notes.txt.gz" })

  local by_file = make({ law = path "law2.txt" }, { tokenizer = path "words.json", vocab = false })
  expect.equal(by_file.vocab, 300)
  expect.equal(by_file:digest(), digest)
  fails("has a vocabulary of 300 tokens, but option vocab is 301", { law = path "law2.txt" },
        { tokenizer = path "words.json", vocab = 301 })
  fails(path "no.json", { law = path "law2.txt" }, { tokenizer = path "no.json" })
  local other = { texts = function() end, vocab = 257, special = { "<s>" } }
  bam.tokenizer.train(other):save(path "bytes.json")
  fails("has no token <|endoftext|>", { law = path "law2.txt" },
        { tokenizer = path "bytes.json", vocab = 257 })

  refuses("corpus: expected a table of domains", "law.txt", { vocab = 300 })
  refuses("corpus: expected a table of domains", {}, { vocab = 300 })
  refuses("corpus: option `vocab` is missing", { law = "x" })
  refuses("corpus: no option `vocabs`; did you mean `vocab`?", { law = "x" },
          { vocabs = 300 })
  refuses("corpus: domain law: no option `feild`; did you mean `field`?",
          { law = { files = "x", feild = "y" } }, { vocab = 300 })
  refuses("corpus: domain law: expected a path, got 5", { law = { "x", 5 } }, { vocab = 300 })
  refuses("corpus: domain law: heldout: expected a path or a list of paths, got true",
          { law = { files = "x", heldout = true } }, { vocab = 300 })
  refuses("corpus: the name of a domain consists of letters", { ["a/b"] = "x" }, { vocab = 300 })
  refuses("corpus: the name of a domain consists of letters", { domains = "x" }, { vocab = 300 })
  refuses("option heldout: expected a share above 0", { law = "x" }, { vocab = 300, heldout = 0 })
  refuses("options pattern and tokenizer exclude each other", { law = "x" },
          { tokenizer = "t.json", pattern = "x" })
  expect.raises("bam.corpus has no `debain`; did you mean `debian`?",
               function() return bam.corpus.debain end)
  expect.equal(tostring(bam.corpus.debian()), "text of code, general, law, math, to be prepared")
end)

corpora.clean()
