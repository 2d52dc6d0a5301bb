-- Errors that teach, of what trains and evaluates: what a user of other libraries writes on the first day, and where the
-- message leads. Written by hand.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local place = os.tmpname()
os.remove(place)
core.make_directory(place)
local cleanup <close> = setmetatable({}, { __close = function() os.execute(string.format("rm -rf '%s'", place)) end })
arg = { [0] = place .. "/recipe.lua", [-1] = "bamlua", "--out", place .. "/runs", "--cache", place .. "/cache" }

local words = {}
for i = 1, 300 do words[i] = string.format("the party shall pay the sum %d\n<|endoftext|>\n", i) end
core.write_file(place .. "/law.txt", table.concat(words))
core.write_file(place .. "/code.txt", (table.concat(words):gsub("party", "function")))

-- What the code of the cases sees.
local e = setmetatable({ bam = bam, nn = bam.nn }, { __index = _G })
e.text = bam.corpus({ law = place .. "/law.txt", code = place .. "/code.txt" }, { vocab = 280 })
e.description = bam.models.parallel { layers = 1, width = 16, heads = 2, ffn = 16, vocab = 280 }

local function train(options)
  local o = { name = "seed", model = e.description, data = e.text:sample { law = 1, code = 1 }, lr = 1e-2, batch = 4,
              context = 16 }
  for name, value in pairs(options) do o[name] = value end
  return bam.train(o)
end

e.train, e.seed = train, train { steps = 2 }
e.model = e.seed:load()

local function message_of(code)
  local fine, message = pcall(assert(load(code, "=script", "t", e)))
  return fine and "no error" or message
end

local CASES = {
  -- options by the names of other libraries
  ["train { epochs = 3 }"] = "train: no option `epochs`; the length is `tokens` or `steps`",
  ["train { batch_size = 3 }"] = "train: no option `batch_size`; it is called `batch`",
  ["train { learning_rate = 1 }"] = "it is called `lr`", ["train { max_steps = 3 }"] = "it is called `steps`",
  ["train { seq_len = 3 }"] = "it is called `context`", ["train { grad_clip = 1 }"] = "it is called `clip`",
  ["train { warmup = 10 }"] = "the learning rate is a schedule: lr = bam.schedule.cosine { peak = 1e-3, warmup = 0.03 }",
  ["train { device = 'cuda' }"] = "start the script with --device cuda",
  ["train { resume = true }"] = "a phase resumes when the script runs again",
  ["train { eval_tokns = 3 }"] = "train: no option `eval_tokns`; did you mean `eval_tokens`?",
  ["bam.models.parallel { num_layers = 1 }"] = "it is called `layers`",
  ["bam.models.parallel { layers = 1, d_model = 32 }"] = "it is called `width`",
  ["bam.optim.AdamW(model, { wd = 1 })"] = "it is called `weight_decay`",
  ["bam.schedule.cosine { lr = 1 }"] = "it is called `peak`",
  ["model:sample('law', { max_new_tokens = 5 })"] = "sample: no option `max_new_tokens`; it is called `tokens`",
  ["bam.compare { seed, on = text.heldout, baseline = seed }"] = "compare: no option `baseline`; it is called `base`",
  ["bam.mix { experts = { seed, seed }, ffn = { topk = 1 } }"] = "it is called `top_k`",
  ["bam.mix { experts = { seed, seed }, top_k = 1 }"] = "it is an option of the part: ffn = { top_k = 1 }",
  ["bam.mix { experts = { seed, seed }, router = 1 }"] = "give it to a part: attention = { router = R }, ffn = { router = R }",
  ["bam.mix { models = { seed, seed } }"] = "it is called `experts`",
  ["bam.corpus({ law = 'law.txt' }, { vocab_size = 300 })"] = "it is called `vocab`",
  -- the wrong kind of value
  ["train { data = 'text.txt' }"] = 'got the string "text.txt"; files are read by text = bam.corpus({ mine = "text.txt" }, '
    .. "{ vocab = 8192 })",
  ["train { data = text }"] = "got a bam.text; say how much of each domain, text:sample { law = 0.9, general = 0.1 }",
  ["train { data = text.heldout }"] = "got a bam.heldout, which is never trained on",
  ["train { optimizer = bam.optim.AdamW(model) }"] = 'a phase makes its own optimizer; write optimizer = "adamw"',
  ["train { continue = true }"] = 'option continue: expected "weights", "optimizer" or "run", got true',
  ["train { freeze = 'routers' }"] = "option freeze: expected a table such as { routers = true }",
  ["text:sample { 'law' }"] = "sample: a domain has a weight: text:sample { law = 1 }",
  ["bam.corpus { 'law.txt' }"] = 'corpus: a domain has a name: bam.corpus({ law = "law.txt" }, { vocab = 8192 })',
  ["bam.corpus { law = 'law.txt', vocab = 300 }"] = "options are a second table",
  ["bam.evaluate(seed, text)"] = "got a bam.text; give its field heldout",
  ["bam.evaluate(description, text.heldout)"] = "a description has no weights: give description:build()",
  ["bam.compare(seed, text.heldout)"] = "write bam.compare { a, b, on = text.heldout }",
  ["bam.compare { seed }"] = "compare: option `on` is missing: held-out text, as text.heldout",
  ["bam.compare { seed, on = text }"] = "got a bam.text; give its field heldout",
  ["bam.compare { seed, on = text.heldout, base = 1 }"] = "option base is 1, which is not one of the compared models",
  ["bam.mix { seed, seed }"] = "options must have names, but there is a phase; write experts = { ... }",
  ["bam.mix { experts = seed }"] = "option experts: expected a list of models, { a, b, ... }, got a phase",
  ["bam.mix { experts = { seed, seed }, attention = 'mean' }"] = 'expected a table such as { experts = "mean" }',
  ["bam.optim.AdamW(description)"] = "got a description, which has no parameters; give the model, description:build()",
  ["bam.optim.AdamW(seed)"] = "got a phase; give its model, phase:load()",
  ["bam.gradcheck(bam.tanh, bam.ones(2))"] = "gradcheck: expected a list of input tensors: bam.gradcheck(f, { x })",
  ["bam.load 'meta-llama/Llama-3.2-1B'"] = "bam downloads nothing: of the Hugging Face hub, `hf download "
    .. "meta-llama/Llama-3.2-1B --local-dir DIR` first",
}
for code, message in pairs(CASES) do
  test(code, function() expect.contains(message_of("return " .. code), message) end)
end

test("continue with another optimizer, in a line", function()
  local code = "train { name = 'more', model = seed, steps = 2, continue = 'optimizer', optimizer = 'muon' }"
  expect.matches(message_of(code), ": train: option continue: %S+ was trained by AdamW, and this phase has Muon, which cannot "
                 .. 'use its state; take continue = "weights", or optimizer = "adamw"$')
end)

test("bam.compare shows the mean over seeds", function()
  local list = {}
  for s = 1, 3 do list[s] = train { name = "sweep", steps = 2, seed = s } end
  local comparison = bam.compare { e.seed, list, on = e.text.heldout, base = e.seed, context = 16 }
  local text, values = tostring(comparison), {}
  for s = 1, 3 do
    expect.contains(text, string.format("\nsweep@%d ", s))
    values[s] = comparison.models[s + 1].average.perplexity
  end
  local middle = (values[1] + values[2] + values[3]) / 3
  local squares = (values[1] - middle) ^ 2 + (values[2] - middle) ^ 2 + (values[3] - middle) ^ 2
  local mean = comparison.means[1]
  expect.equal({ #comparison.means, mean.seeds }, { 1, { 1, 2, 3 } })
  expect.close(mean.average.perplexity, middle, 1e-9)
  expect.close(mean.average.standard_error, math.sqrt(squares / 2 / 3), 1e-9)
  expect.contains(text, string.format("\nsweep: mean of 3 seeds "))
  expect.contains(text, string.format("%.2f±%.2f", middle, mean.average.standard_error))
  expect.lacks(text, "differ in", "they differ in their seeds alone")
end)

test("a phase says what it is", function()
  expect.equal(e.seed.tokens, 128)
  local text = tostring(e.seed)
  expect.matches(text, "^phase seed: dense model: .*, 2 steps of 64 tokens, in .*/runs/seed%-%x%x%x%x%x%x%x%x$")
  expect.contains(text, e.seed:directory())
  expect.contains(message_of "return seed.directry", "a phase has no `directry`; did you mean `directory`?")
end)

test("the directory of a phase is a model everywhere", function()
  local directory = e.seed:directory()
  local want = bam.evaluate(e.seed, e.text.heldout, { context = 16 }).average.perplexity
  expect.equal(bam.evaluate(directory, e.text.heldout, { context = 16 }).average.perplexity, want, "bam.evaluate")
  expect.equal(bam.load(directory).embed.weight, e.model.embed.weight, "bam.load")
  local by_directory, by_phase = bam.mix { experts = { directory, directory } }, bam.mix { experts = { e.seed, e.seed } }
  expect.equal(by_directory:build().layers[1].attention.qkv, by_phase:build().layers[1].attention.qkv, "bam.mix")
  expect.contains(message_of(string.format("return bam.load '%s/runs'", place)), "it holds no config.json")
end)
