-- What training and evaluation read: the permutations, the shares of the domains, windows and their
-- masks; and that every row is a pure function of seed, step and row.
local domain_sampler = require "bam.data.domain_sampler"
local bam = require "bam"
local corpora = require "tests.lua.support.corpora"
local permutation = require "bam.data.permutation"
local windows = require "bam.data.windows"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local row_text = corpora.row_text

test("permutations", function()
  for _, n in ipairs { 1, 2, 3, 4, 5, 16, 17, 64, 100, 1000, 4097 } do
    for key = 1, 3 do
      local seen = {}
      for i = 0, n - 1 do
        local j = permutation.at(i, n, key)
        expect.equal(math.type(j), "integer", "not a bijection")
        expect.compare(j, ">=", 0, "not a bijection")
        expect.compare(j, "<", n, "not a bijection")
        expect.no(seen[j], "not a bijection")
        seen[j] = true
      end
    end
  end
  -- Every place is taken about equally often, also in the smallest.
  for _, n in ipairs { 2, 3, 5, 20 } do
    local counts = {}
    for key = 1, 200 * n do
      local j = permutation.at(1, n, permutation.mix(key))
      counts[j] = (counts[j] or 0) + 1
    end
    for j = 0, n - 1 do
      expect.compare(counts[j], ">", 130, "not uniform")
      expect.compare(counts[j], "<", 270, "not uniform")
    end
  end
  -- Runs that were begun by an older program go on with the same text.
  local pinned = {}
  for i = 0, 7 do pinned[i + 1] = permutation.at(i, 1000000007, 42) end
  expect.equal(table.concat(pinned, " "),
               "55382432 985783437 588322780 251892506 787411675 594552640 865830614 592840701")
  expect.compare(permutation.at(5, 1 << 50, -7), "<", 1 << 50)
end)

local function check_shares(weights, rows, steps, tolerance)
  local a = domain_sampler.new(weights, #weights(1), rows)
  local owed, had, list = {}, {}, {}
  for step = 1, steps do
    local now, sum, handed = weights(step), 0, 0
    for _, w in ipairs(now) do sum = sum + w end
    local counts, before = a:at(step)
    list[step] = table.concat(counts, " ")
    for d, count in ipairs(counts) do
      expect.equal(before[d], (had[d] or 0), "before is not the sum of the steps before")
      expect.compare(count, ">=", 0)
      expect.yes(now[d] > 0 or count == 0)
      had[d], handed = before[d] + count, handed + count
      owed[d] = (owed[d] or 0) + rows * now[d] / sum
      expect.close(owed[d], had[d], tolerance, "a weight is not met")
    end
    expect.equal(handed, rows)
  end
  for _, step in ipairs { steps, 1, steps // 2, 129, 128, 128, 130 } do -- in any order
    if step <= steps then expect.equal(table.concat((a:at(step)), " "), list[step]) end
  end
end

local function constant(...)
  local list = { ... }
  return function() return list end
end

test("shares", function()
  check_shares(constant(0.9, 0.1), 7, 400, 1)
  check_shares(constant(1, 1, 1, 1), 6, 300, 1)
  check_shares(constant(5, 0, 3), 4, 300, 1)
  check_shares(constant(1, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3), 1, 3000, 2)
  check_shares(function(step)
    return { 1, math.max(0, math.sin(step / 20)), step / 500 }
  end, 5, 500, 2)
end)

local function shard(n)
  return { tokens = bam.arange(1, n, { dtype = "i32" }), documents = bam.tensor { 0 } }
end

local function check_sequence(sizes, time, count)
  local shards = {}
  for i, n in ipairs(sizes) do shards[i] = shard(n) end
  local sequence, offsets = windows.sequence(shards, time, "law", 1), {}
  expect.equal(sequence.count, count)
  for epoch = 0, 9 do
    local seen, offset = {}, {}
    for k = epoch * count, (epoch + 1) * count - 1 do
      local row = sequence:row(k)
      expect.compare(row.start, ">=", 0, "beyond the shard")
      expect.compare(row.start + time, "<", #row.shard.tokens, "beyond the shard")
      local key = string.format("%s %d", row.shard, row.start // time)
      expect.no(seen[key], "a window twice in an epoch")
      seen[key] = true
      offset[row.shard] = offset[row.shard] or row.start % time
      expect.equal(row.start % time, offset[row.shard], "windows overlap")
    end
    offsets[offset[shards[1]]] = true
  end
  return offsets
end

test("windows: each once an epoch, on a grid that moves", function()
  local offsets, different = check_sequence({ 1000, 100, 10, 35 }, 16, 61 + 5 + 1), 0
  for _ in pairs(offsets) do different = different + 1 end
  expect.compare(different, ">", 4, "the grid does not move")
  check_sequence({ 17 }, 16, 1)
  check_sequence({ 31, 33 }, 16, 2)
  expect.equal(windows.sequence({ shard(16) }, 16, "law", 1).count, 0)
end)

-- ---- a corpus ----

corpora.write_documents("law.txt", corpora.documents("law", 300))
corpora.write_documents("math.txt", corpora.documents("math", 60))
corpora.write_documents("code.txt", corpora.documents("code", 120))
local path = corpora.path
local function make_text()
  return bam.corpus({ law = path "law.txt", math = path "math.txt", code = path "code.txt" },
                    { vocab = 300, heldout = 0.1, cache = corpora.cache })
end
local text = make_text()
local C, B, N = 24, 12, 60
local weights = { law = 0.5, code = bam.schedule.linear { from = 0, to = 1 },
                  math = function(p) return p < 0.5 and 0.25 or 0 end }
local source = text:sample(weights)
local function open(seed, batch)
  return source:open { context = C, batch = batch or B, steps = N, seed = seed or 7 }
end

local stream, rows = open(), {}

local prepared_anew
test("each row as text, drawn a step at a time", function()
  for step = 1, N do
    local batch = stream:batch(step)
    expect.equal(batch.tokens, B * C)
    expect.equal(#batch.domains, B)
    expect.equal(#batch.ids, B)
    for r = 1, B do rows[step * B + r] = row_text(batch, r) end
  end
  -- The same from others that are opened anew: alone, in pieces, in other orders.
  local again = open()
  for step = N, 1, -7 do
    for r = B, 1, -1 do
      expect.equal(row_text(again:batch(step, r, 1), 1), rows[step * B + r], "a row drawn alone differs")
    end
  end
  for _, piece in ipairs { 5, 4, 3 } do
    local other = open()
    for _, step in ipairs { 31, 2, 59, 60, 1 } do
      for first = 1, B, piece do
        local count = math.min(piece, B - first + 1)
        local batch = other:batch(step, first, count)
        for i = 1, count do expect.equal(row_text(batch, i), rows[step * B + first + i - 1]) end
      end
    end
  end
  prepared_anew = make_text()
  local reopened = prepared_anew:sample(weights):open { context = C, batch = B, steps = N, seed = 7 }
  expect.equal(row_text(reopened:batch(17), 5), rows[17 * B + 5])
  local differing = 0
  for r = 1, B do
    if row_text(open(8):batch(1), r) ~= rows[B + r] then differing = differing + 1 end
  end
  expect.compare(differing, ">", B // 2, "another seed gives the same rows")
end)

local law = windows.sequence(text:prepare().domains.law.shards.train, C, "law", 7)

test("a domain's rows are its windows in order, none left out", function()
  local only = text:sample { law = 1 }:open { context = C, batch = 10, steps = N, seed = 7 }
  expect.compare(10 * N, ">", law.count, "fewer rows than an epoch has")
  for k = 0, 10 * N - 1 do
    local expected = windows.pack({ law:row(k) }, C)
    expected.domains = { "law" }
    expect.equal(row_text(only:batch(k // 10 + 1, k % 10 + 1, 1), 1), row_text(expected, 1))
  end
  expect.equal(only:epochs(N).law, 10 * N / law.count)
end)

test("scheduled weights: math in the first half only, code more and more", function()
  local counts = {}
  for step = 1, N do
    for r = 1, B do
      local key = rows[step * B + r]:match "^%a+" .. (step <= N // 2 and 1 or 2)
      counts[key] = (counts[key] or 0) + 1
    end
  end
  expect.compare(counts.math1, ">", 60, "math is sampled after its weight became 0")
  expect.no(counts.math2, "math is sampled after its weight became 0")
  expect.compare(counts.code2, ">", counts.code1 * 2)
  local epochs = open():epochs(N)
  expect.equal(epochs.math, counts.math1 / stream.sequences[3].count)
  expect.equal(stream.names[3], "math")
end)

local even = text:sample { law = 1, math = 1, code = 2 }:open { context = C, batch = 16, steps = 9 }

test("any group of rows has about its share of each domain", function()
  for step = 1, 9 do
    local names = even:batch(step).domains
    for first = 1, 13 do
      local here = { law = 0, math = 0, code = 0 }
      for r = first, first + 3 do here[names[r]] = here[names[r]] + 1 end
      expect.compare(here.law, "<=", 2, "a group of rows is lopsided")
      expect.compare(here.math, "<=", 2, "a group of rows is lopsided")
      expect.compare(here.code, ">=", 1, "a group of rows is lopsided")
      expect.compare(here.code, "<=", 3, "a group of rows is lopsided")
    end
  end
end)

local words = text.tokenizer
local separator = words:id "<|endoftext|>"
local function check_row(batch, r)
  local ids, targets = batch.ids[r]:totable(), batch.targets[r]:totable()
  local documents, positions = batch.documents[r]:totable(), batch.positions[r]:totable()
  expect.equal(documents[1], 1)
  expect.equal(positions[1], 0)
  for t = 2, #ids do
    if targets[t - 1] == -100 then return end
    expect.equal(targets[t - 1], ids[t])
    local begins = ids[t] == separator
    expect.equal(documents[t], documents[t - 1] + (begins and 1 or 0))
    expect.equal(positions[t], (begins and 0 or positions[t - 1] + 1))
  end
end

test("masks: what the documents and positions tell agrees with the tokens", function()
  for step = 1, N, 9 do
    for r = 1, B do check_row(stream:batch(step), r) end
  end
end)

local batch = even:batch(3)

test("rows are text of the domain that is named", function()
  for r = 1, 16 do
    for document in words:decode(batch.ids[r]:totable()):gmatch "<|endoftext|>(%a+) %d+:" do
      expect.equal(document, batch.domains[r])
    end
  end
end)

local function decoded(ids)
  return (words:decode(ids))
end

local heldout
test("held out: every token predicted once, none of it seen in training", function()
  local training = {}
  for _, part in ipairs(text:prepare().domains.law.shards.train) do
    for document in (decoded(part.tokens:read():totable()) .. "<|endoftext|>"):gmatch "(law %d+):" do
      training[document] = true
    end
  end

  heldout = text.heldout:open { context = C }
  expect.equal(table.concat(heldout.domains, " "), "code law math")
  for _, name in ipairs(heldout.domains) do
    local set, ids = heldout[name], { separator }
    local all = heldout:batch(name)
    expect.equal(#all.ids, set.count)
    expect.equal(all.tokens, set.tokens)
    for r = 1, set.count do
      check_row(all, r)
      expect.equal(row_text(heldout:batch(name, r, 1), 1), row_text(all, r))
      for _, id in ipairs(all.targets[r]:totable()) do
        if id ~= -100 then ids[#ids + 1] = id end
      end
    end
    expect.equal(#ids, set.tokens + 1, "a token is predicted twice or never")
    local found, bytes = 0, 0
    for document in (decoded(ids) .. "<|endoftext|>"):gmatch "(.-)<|endoftext|>" do
      bytes = bytes + #document
      if document ~= "" then
        found = found + 1
        expect.yes(name ~= "law" or not training[document:match "law %d+"], "held out, and trained on")
      end
    end
    expect.equal(bytes, set.bytes)
    expect.equal(found, text:prepare().domains[name].heldout.documents)
  end

  local few = text.heldout:open { context = C, tokens = 100 }
  for _, name in ipairs(few.domains) do
    local set, ids = few[name], {}
    expect.equal(set.count, math.min(100 // C, heldout[name].count))
    expect.compare(set.tokens, "<=", 100)
    for r = 1, set.count do
      for _, id in ipairs(few:batch(name, r, 1).targets[1]:totable()) do
        if id ~= -100 then ids[#ids + 1] = id end
      end
    end
    expect.equal(#ids, set.tokens)
    expect.equal(#decoded(ids):gsub("<|endoftext|>", ""), set.bytes, "the bytes of a part")
  end
  expect.equal(text.heldout:open { context = C, tokens = 1 }.law.count, 1)
end)

test("identities", function()
  local json = bam.json
  local function identity(weights_given, steps)
    return json.encode(text:sample(weights_given):identity(steps))
  end
  expect.equal(identity(weights, 60), identity(weights, 60))
  expect.different(identity(weights, 60), identity(weights, 61))
  expect.equal(identity({ law = 1 }, 5), identity({ law = 1 }, 500))
  expect.different(identity({ law = 1 }, 5), identity({ law = 2 }, 5))
  expect.equal(identity({ law = function() return 1 end }, 5), identity({ law = bam.schedule.constant(1) }, 5))
  expect.equal(json.encode(text.heldout:identity()), json.encode(prepared_anew.heldout:identity()))
end)

test("errors", function()
  expect.raises("sample: there is no domain `lwa`; did you mean `law`?", text.sample, text, { lwa = 1 })
  expect.raises("sample: there is no domain `poetry`; there are code, law, math", text.sample, text,
                { poetry = 1 })
  expect.raises("sample: expected weights by domain, such as { code = 1 }, got nil", text.sample, text)
  expect.raises("sample: weight of law: expected a number of at least 0, got -1", text.sample, text, { law = -1 })
  expect.raises("sample: every weight is 0", text.sample, text, { law = 0 })
  expect.raises("sample: weight of law: expected a number or a schedule, got true", text.sample, text,
                { law = true })
  local fading = text:sample { law = function(p) return 0.5 - p end }
  expect.raises("at step 6 of 10; it must be at least 0", fading.identity, fading, 10)
  local gone = text:sample { law = bam.schedule.piecewise { { 0.5, 1 }, { 0.5, 0 } } }
  expect.raises("sample: every weight is 0 at step 6 of 10", gone.open, gone,
                { context = 8, batch = 1, steps = 10 })
  expect.raises("fewer than one row of 100000 needs", source.open, source,
                { context = 100000, batch = 1, steps = 10 })
  expect.raises("batch: step 61 is beyond the last step, 60", stream.batch, stream, 61)
  expect.raises("batch: rows 12 to 13 are out of range; a step has 12", stream.batch, stream, 1, 12, 2)
  expect.raises("no option `contxt`; did you mean `context`?", source.open, source, { contxt = 1 })
  expect.raises('heldout: there is no domain `maths`; did you mean `math`?', heldout.batch, heldout, "maths")
  expect.raises("a text has no `smaple`; did you mean `sample`?", function() return text.smaple end)
  expect.matches(tostring(source), "^sample { code = linear")
  expect.matches(tostring(stream), "^stream of 60")
end)

corpora.clean()
