-- What a model says about text: model:score ranks answers, model:explain prints the loss of each token, and
-- model:sample ends at the end of the text. Values are compared with a softmax over logits in f64.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local tokenizer = bam.tokenizer.train { texts = { ("the cat sat on the mat "):rep(20) }, vocab = 262 }
local END = tokenizer:id "<|endoftext|>"
local model = bam.models.parallel { layers = 2, width = 16, heads = 2, ffn = 16, vocab = 262, context = 12 }
  :build { seed = 1, dtype = "f64" }
model:eval()
bam.no_grad(function() model.embed.weight:mul_(20) end)
model.tokenizer = tokenizer

-- ln p of each token of a list but the first.
local function log_likelihoods(ids)
  local logs = bam.log_softmax(model(bam.tensor { ids }), -1)
  local list = {}
  for t = 2, #ids do list[t - 1] = logs[{ 1, t - 1, ids[t] + 1 }]:item() end
  return list
end

local function sum_of_last(ids, count)
  local logs, sum = log_likelihoods(ids), 0
  for i = #logs - count + 1, #logs do sum = sum + logs[i] end
  return sum
end

local function joined(...)
  local all = {}
  for _, list in ipairs { ... } do table.move(list, 1, #list, #all + 1, all) end
  return all
end

test("score: sums over the tokens of each answer, whatever is beside it in the batch", function()
  local answers = { " sat", " on the mat", " xyz" }
  local scores, means = model:score("the cat", answers), model:score("the cat", answers, { per_token = true })
  for i, answer in ipairs(answers) do
    local ids = tokenizer:encode(answer)
    expect.close(means[i], scores[i] / #ids, 1e-12)
    expect.close(scores[i], sum_of_last(joined({ END }, tokenizer:encode "the cat", ids), #ids), 1e-9, answer)
    expect.close(model:score("the cat", { answer })[1], scores[i], 1e-9, "alone")
  end
  local by_ids = model:score(joined({ END }, tokenizer:encode "the cat"), { tokenizer:encode " sat" })
  expect.close(by_ids[1], scores[1], 1e-12, "token ids")
  expect.close(model:score("", { "the" })[1], sum_of_last(joined({ END }, tokenizer:encode "the"), 1), 1e-9)
  expect.equal(select("#", model:score("the cat", answers)), 1)
  local of_ensemble = bam.ensemble { models = { model } }:score("the cat", answers)
  expect.close(of_ensemble, scores, 1e-6, "an ensemble")
  expect.yes(not model.training)
end)

test("score: a long context keeps its last tokens", function()
  local long, answer = tokenizer:encode(("the mat sat "):rep(9)), tokenizer:encode " on"
  local all = joined(long, answer)
  local last = table.move(all, #all - 12, #all, 1, {})
  expect.close(model:score(long, { answer })[1], sum_of_last(last, #answer), 1e-9)
  local many = {}
  for i = 1, 400 do many[i] = { i % 262 } end
  local scores = model:score(long, many)
  expect.equal(#scores, 400)
  for _, i in ipairs { 1, 341, 342, 400 } do
    expect.close(scores[i], model:score(long, { many[i] })[1], 1e-9, i)
  end
end)

test("score: what is refused", function()
  local function fails(words, ...) expect.raises(words, model.score, model, ...) end
  fails("score: answers: expected a list of texts or of lists of token ids, got the string", "a", "b")
  fails("score: answers: expected a list of texts or of lists of token ids, got an empty list", "a", {})
  fails("score: answer 2 is empty", "a", { "b", "" })
  fails("score: answer 1: expected a text or a list of token ids, got 3", "a", { 3 })
  fails("score: context: expected a text or a list of token ids, got nil", nil, { "a" })
  fails("score: context: expected at least one token", {}, { "a" })
  fails("score: answer 1 has 40 tokens, and the model a context of 12", "a", { ("x"):rep(40) })
  local mute = bam.models.parallel { layers = 1, width = 8, heads = 1, ffn = 8, vocab = 300 }:build()
  expect.raises("score: this model has no tokenizer", mute.score, mute, "a", { "b" })
end)

-- ---- explain ----

local function printed(f, ...)
  local lines, original = {}, print
  print = function(...) lines[#lines + 1] = table.concat({ ... }, "\t") end -- luacheck: ignore
  local results = table.pack(pcall(f, ...))
  print = original -- luacheck: ignore
  if not results[1] then error(results[2], 0) end
  return table.concat(lines, "\n") .. "\n", table.unpack(results, 2, results.n)
end

test("explain: a text with the loss of each token", function()
  local text = 'the cat\n"é\xff'
  local ids = joined({ END }, tokenizer:encode(text))
  local output, losses = printed(model.explain, model, text)
  local want, sum = log_likelihoods(ids), 0
  expect.equal(losses.shape, { 1, #want })
  for t, x in ipairs(want) do
    expect.close(losses[{ 1, t }]:item(), -x, 1e-9)
    sum = sum - x
  end
  expect.matches(output, "^ +loss  target +after\n")
  expect.matches(output, string.format('\n +%.3f  "the" +"<|endoftext|>"\n', -want[1]):gsub("%-", "%%-"):gsub("|", "|"))
  expect.contains(output, { '"\\n"', '"\\""', '"\\xc3"', '"\\xff"' })
  expect.contains(output, string.format("loss %.3f per token, perplexity %.3f, %d tokens\n", sum / #want,
                                        math.exp(sum / #want), #want))
end)

test("explain: pairs of a batch, of which padding does not count", function()
  local ids = bam.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
  local targets = bam.tensor { { 2, 3, -100 }, { 5, 6, 7 } }
  local documents = bam.tensor { { 0, 1, 1 }, { 0, 0, 0 } }
  local output, losses = printed(model.explain, model, ids, targets, { documents = documents, rows = 2, tokens = 2 })
  expect.close(losses, -model:log_likelihood(ids, targets, { documents = documents }), 0)
  local _, rows = output:gsub("loss  target", "")
  expect.equal(rows, 2)
  expect.contains(output, { "... 1 more tokens; option tokens shows more", ", 2 tokens\n", ", 3 tokens\n" })
  output = printed(model.explain, model, { 1, 2 }, { -100, -100 })
  expect.contains(output, "no targets")
  expect.contains(printed(model.explain, model, { 1, 2, 3 }), ", 2 tokens")
  local mute = bam.models.parallel { layers = 1, width = 8, heads = 1, ffn = 8, vocab = 300 }:build()
  expect.matches(printed(mute.explain, mute, { 1, 2, 299 }), " 299 +2\n")
end)

test("explain: one sequence as a tensor", function()
  local ids = bam.tensor { 1, 2, 3 }
  local _, losses = printed(model.explain, model, ids)
  local _, want = printed(model.explain, model, { 1, 2, 3 })
  expect.equal(losses, want)
  printed(model.explain, model, ids, bam.tensor { 2, 3, 4 })
  expect.raises("token ids are integers, got a tensor of f32", model.explain, model, bam.tensor { 1.5 })
end)

test("explain: what is refused", function()
  expect.raises("explain: expected at least two tokens", model.explain, model, { 1 })
  expect.raises("explain: ids: expected a text, a list of token ids, or a tensor", model.explain, model, 3)
  expect.raises("explain: a text is given, so there are no other targets", model.explain, model, "a", { 1 })
  expect.raises("of shape (1, 2), that of the ids", model.explain, model, { 1, 2 }, { 1 })
end)

-- ---- sample ----

test("sample: it stops at the end of the text", function()
  local loud = bam.models.parallel { layers = 1, width = 16, heads = 2, ffn = 16, vocab = 262 }:build { seed = 1 }
  local all = loud:sample({ 5, 6 }, { tokens = 30, seed = 3 })
  expect.equal(#all, 32, "a model that does not say what ends a text")
  local stop = all[12]
  local first
  for i = 3, #all do first = first or all[i] == stop and i end
  local short = table.move(all, 1, first - 1, 1, {})
  expect.equal(loud:sample({ 5, 6 }, { tokens = 30, seed = 3, stop = stop }), short)
  expect.equal(loud:sample({ 5, 6 }, { tokens = 30, seed = 3, stop = { 261, stop } }),
               loud:sample({ 5, 6 }, { tokens = 30, seed = 3, stop = { stop, 261 } }))
  loud.token_ids = { eos = { stop } }
  expect.equal(loud:sample({ 5, 6 }, { tokens = 30, seed = 3 }), short)
  expect.equal(loud:sample({ 5, 6 }, { tokens = 30, seed = 3, stop = false }), all)
  local both = bam.ensemble { models = { loud } }
  expect.compare(#both:sample({ 5, 6 }, { tokens = 400, seed = 3 }), "<", 402)
  expect.raises("sample: option stop (a token id, a list of them, or false): expected an integer", loud.sample, loud,
                { 1 }, { stop = "x" })
  loud.token_ids, loud.tokenizer = nil, tokenizer
  bam.no_grad(function() loud.head.weight[END + 1]:add_(loud.embed.weight[7] * 1e4) end)
  expect.compare(#loud:sample({ 5, 6 }, { tokens = 4000, seed = 3 }), "<", 4002, "the tokenizer's <|endoftext|>")
end)

test("sample: a model with more tokens than its tokenizer writes text", function()
  local wide = bam.models.parallel { layers = 1, width = 8, heads = 1, ffn = 8, vocab = 4000 }:build { seed = 1 }
  wide.tokenizer = tokenizer
  for seed = 1, 5 do
    local text = wide:sample("the cat", { tokens = 10, seed = seed })
    expect.equal(text:sub(1, 7), "the cat")
  end
  local found
  for _, id in ipairs(wide:sample({ 1, 2 }, { tokens = 20, seed = 1 })) do found = found or id >= 262 end
  expect.yes(found, "token ids are not limited")
end)

test("sample: top_p draws from the fewest tokens that reach it", function()
  local p = { 0.5, 0.3, 0.15, 0.05 }
  local d = bam.models.parallel { layers = 1, width = 4, heads = 1, ffn = 4, vocab = 4, tied = false }
  local skewed = d:build { seed = 1 }
  function skewed.forward() return bam.log(bam.tensor { { p } }) end
  local function drawn(options)
    local seen = {}
    options.tokens, options.stop = 1, false
    for seed = 1, 200 do
      options.seed = seed
      seen[skewed:sample({ 0 }, options)[2]] = true
    end
    return seen
  end
  expect.equal(drawn { top_p = 0.4 }, { [0] = true })
  expect.equal(drawn { top_p = 0.79 }, { [0] = true, [1] = true })
  expect.equal(drawn { top_p = 0.81 }, { [0] = true, [1] = true, [2] = true })
  expect.equal(drawn { top_p = 1 }, { [0] = true, [1] = true, [2] = true, [3] = true })
  expect.raises("sample: option top_p: expected a number from 0 to 1, got 1.5", skewed.sample, skewed, { 0 },
                { top_p = 1.5 })
end)

test("routing takes a text", function()
  local one = bam.models.parallel { layers = 1, width = 8, heads = 1, ffn = 8, vocab = 256 }:build { seed = 1 }
  local mixture = bam.mix({ experts = { one, one }, attention = { experts = "mean" } }):build()
  local got, want = mixture:routing "ab", mixture:routing(bam.tensor { { 97, 98 } })
  expect.equal(got[1].statistics, want[1].statistics)
end)
