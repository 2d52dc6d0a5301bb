-- Phases from the outside: a small recipe runs as a process, and what it prints and leaves is
-- looked at; what is said to wrong flags, damaged checkpoints, NaNs, a full disk and a second process.
local bam = require "bam"
local core = require "bam.core"
local small = require "tests.lua.support.small_run"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local directory = small.directory()
local others = {}
local cleanup <close> = setmetatable({}, { __close = function()
  small.remove(directory)
  for _, other in ipairs(others) do small.remove(other) end
end })

local function another(recipe)
  local other = small.directory(recipe)
  others[#others + 1] = other
  return other
end

local function within(...) return table.concat({ directory, ... }, "/") end

-- Run the recipe; it must fail and say `words`.
local function expect_failure(words, flags, where, prefix)
  local output, fine = small.run(where or directory, flags, prefix)
  expect.no(fine, string.format("no failure, but: %s", output))
  expect.contains(output, words)
  expect.yes(not output:find "stack traceback" or output:find "recipe.lua:%d+: ", output)
  expect.lacks(output, "\tbam/", string.format("frames of bam's own:\n%s", output))
  return output
end

local function read_lines(path)
  local records = {}
  for line in io.lines(path) do records[#records + 1] = bam.json.decode(line) end
  return records
end

local output, fine = small.run(directory, "--plan")

test("--plan: nothing is made", function()
  expect.yes(fine, output)
  for _, name in ipairs { "seed", "experts/law", "mixed", "together" } do expect.contains(output, name) end
  expect.no(core.is_directory(within "runs"))
  expect.no(core.is_directory(within "cache"))
end)

test("wrong flags", function()
  expect_failure("unknown flag --pln; did you mean --plan?", "--pln")
  expect_failure("--set token: this recipe has no such option; did you mean `tokens`?",
                 "--set token=3")
  expect_failure("--set tokens: expected a number", "--set tokens=many")
  expect_failure("--set: expected KEY=VALUE", "--set tokens")
  expect_failure("--seed: expected an integer of at least 0", "--seed one")
  expect_failure("--scale: no sizes called", "--scale dem")
  expect_failure("--set model: this is a group; there are model.ffn, model.heads,", "--set model=3")
  expect_failure("--set scale: type --scale NAME", "--set scale=590m")
  expect_failure("--only: no phase is called mixd; did you mean `mixed`? There are ", "--plan --only mixd")
  expect_failure('no device "gpu"', "--device gpu")
  output, fine = small.run(directory, "--plan --device cuda") -- for another machine
  expect.yes(fine, output)
  expect.contains(output, "the times assume 10.0 TFLOP/s")
  local untrained = expect_failure("phase seed is not trained yet; type: bamlua recipe.lua",
                                   "--only mixed")
  expect.lacks(untrained, "no phase is called")
  output, fine = small.run(directory, "--help")
  expect.yes(fine, output)
  expect.contains(output, "model.layers         1")
end)

local first
test("a run", function()
  output, fine = small.run(directory)
  expect.yes(fine, output)
  expect.contains(output, "seed  done: 10 steps")
  expect.contains(output, "average")
  first = small.digests(directory)

  local results = bam.json.decode(core.read_file(within("runs/recipe/results.json")))
  expect.equal(#results.models, 3)
  expect.equal(results.base, "experts/law")
  for _, m in ipairs(results.models) do
    expect.equal(m.tokens, 640)
    expect.compare(m.flops, ">", 0)
    expect.compare(m.seconds, ">", 0)
    expect.compare(m.parameters, ">=", m.active)
    for _, domain in ipairs { "general", "law" } do
      local d = m.domains[domain]
      expect.compare(d.perplexity, ">", 1)
      expect.compare(d.standard_error, ">", 0)
      expect.compare(d.bits_per_byte, ">", 0)
      expect.compare(d.tokens, ">", 0)
      expect.close(math.exp(d.loss), d.perplexity, 1e-9 * d.perplexity)
    end
    local mean = (m.domains.general.perplexity + m.domains.law.perplexity) / 2
    expect.close(m.average.perplexity, mean, 1e-9)
  end
  expect.equal(results.models[2].ratio.average.ratio, 1)
  expect.equal(results.models[2].ratio.domains.law.standard_error, 0)

  local mixed = small.phase(directory, "mixed")
  local records = read_lines(mixed .. "/metrics.jsonl")
  local steps, evaluations = 0, 0
  for _, r in ipairs(records) do
    if r.eval then
      evaluations = evaluations + 1
      expect.compare(r.eval.perplexity.law, ">", 1)
      expect.compare(r.eval.average, ">", 1)
    else
      steps = steps + 1
      expect.equal(r.step, steps)
      expect.compare(r.loss, ">", 0)
      expect.compare(r.lr, ">", 0)
      expect.compare(r.norm, ">", 0)
      expect.compare(r.tokens_per_second, ">", 0)
      expect.equal(#r.routing, 2)
      expect.equal(#r.routing[1].load, 2)
      expect.equal(r.routing[2].module, "ffn")
      expect.compare(r.load_balance, ">", 0)
      expect.compare(r.z_loss, ">=", 0)
    end
  end
  expect.equal(steps, 10)
  expect.compare(evaluations, ">=", 3)
  expect.yes(core.is_directory(mixed .. "/best"))
  -- a link to the phase, relative, so that everything can be moved
  expect.equal(core.file_info(within "runs/recipe/experts-law/phase.json").kind, "file")
end)

local again

test("again: nothing is trained, and the table is the same", function()
  again, fine = small.run(directory)
  expect.yes(fine, again)
  expect.lacks(again, "done:")
  expect.equal(output:sub(-#again), again)
end)

local moved = another()

test("the same bits elsewhere, whatever is logged; other bits with another seed", function()
  output, fine = small.run(moved, "--out elsewhere")
  expect.yes(fine, output)
  small.assert_same(first, small.digests(moved, "elsewhere"))
  expect.yes(small.run(moved, "--seed 2 --out two"))
  expect.different(small.digests(moved, "two").seed, first.seed)
  expect.yes(core.file_info(moved .. "/two/recipe/seed@2/phase.json"))
  expect.yes(core.file_info(moved .. "/two/recipe/results@2.json"))
end)

test("a change trains what depends on it, and nothing else", function()
  local changed = small.RECIPE:gsub("law = 9, general = 1", "law = 8, general = 1")
  core.write_file(within "recipe.lua", changed)
  output = small.run(directory)
  expect.lacks(output, "seed  done")
  expect.contains(output, "experts/law  done")
  expect.contains(output, "mixed  done")
  core.write_file(within "recipe.lua", small.RECIPE)
end)

test("old runs beside each other: how their settings differ", function()
  local both = core.glob(within("runs/experts/law-????????"))
  expect.equal(#both, 2)
  core.write_file(within "recipe.lua", small.RECIPE:gsub("bam.compare.*",
    string.format('bam.compare { "%s", "%s", on = text.heldout }', both[1], both[2])))
  output, fine = small.run(directory)
  expect.yes(fine, output)
  expect.contains(output, "differ in\n  data.weights.law:")
  core.write_file(within "recipe.lua", small.RECIPE)
end)

test("--fresh --only: one phase anew, the same bits", function()
  local law = small.phase(moved, "experts/law", "elsewhere")
  os.remove(law .. "/metrics.jsonl")
  output, fine = small.run(moved, "--out elsewhere --fresh --only experts/law")
  expect.yes(fine, output)
  expect.contains(output, "experts/law  done")
  expect.lacks(output, "seed  done")
  expect.lacks(output, "mixed  done")
  small.assert_same(first, small.digests(moved, "elsewhere"))
end)

local function newest(place)
  local list = core.glob(place .. "/step-????????")
  return list[#list], #list
end

local function flip(path, at)
  local text = core.read_file(path)
  core.write_file(path, string.format("%s%s%s", text:sub(1, at - 1),
                                      string.char(text:byte(at) ~ 1), text:sub(at + 1)))
end

test("a damaged checkpoint is named, and the one before serves", function()
  for _, damage in ipairs {
    { "model.safetensors", function(path) flip(path, 900) end, "its digest does not match the manifest" },
    { "training.json", function(path) core.truncate_file(path, 20) end, "has 20 bytes instead of" },
    { "manifest.json", function(path) flip(path, 60) end, "manifest.json" },
    { "config.json", os.remove, "config.json is missing" },
  } do
    local place = small.phase(moved, "seed", "elsewhere")
    local last, count = newest(place)
    expect.equal(count, 2, "two checkpoints are kept")
    damage[2](string.format("%s/%s", last, damage[1]))
    output, fine = small.run(moved, "--out elsewhere --only seed")
    expect.yes(fine, output)
    expect.contains(output, damage[3])
    expect.contains(output, "skipping this checkpoint")
    small.assert_same(first, small.digests(moved, "elsewhere"))
  end
end)

local function with_bad_steps(condition)
  return small.RECIPE:gsub("local seed = train {.-\n\n?local law", string.format([[
local data = text:sample { general = 1 }
local bad = { text = text, identity = function(_, steps) return data:identity(steps) end }
function bad:open(options)
  local stream = data:open(options)
  return { batch = function(_, step, ...)
    local batch = stream:batch(step, ...)
    if %s then batch.tokens = 1e-300 end -- the loss is divided by it
    return batch
  end }
end
local seed = train { name = "seed", model = bam.models.parallel(opt.model), data = bad }
local law]], condition))
end

test("a step that is not fit is skipped; three in a row end the run", function()
  local skipping = another(with_bad_steps "step == 4 or step == 7 or step == 8")
  output, fine = small.run(skipping)
  expect.yes(fine, output)
  expect.contains(output, "seed  step 4 was skipped: the loss is")
  expect.contains(output, "; it arose in the forward pass, in the loss")
  for _, r in ipairs(read_lines(small.phase(skipping, "seed") .. "/metrics.jsonl")) do
    local bad = not r.eval and (r.step == 4 or r.step == 7 or r.step == 8)
    expect.equal((r.skipped ~= nil), bad, r.step)
  end

  local stopping = another(with_bad_steps "step >= 8")
  expect_failure("seed stopped at step 10: the loss is", "", stopping)
  core.write_file(stopping .. "/recipe.lua", with_bad_steps "false")
  output, fine = small.run(stopping)
  expect.yes(fine, output) -- it goes on from the last good state
  small.assert_same(first, small.digests(stopping))
end)

local function with_other_text(options)
  return small.RECIPE:gsub("local law = train .*", string.format([[
local other = bam.corpus({ law = "law.txt" }, { heldout = 0.3, %s })
train { name = "law", model = seed, data = other:sample { law = 1 } }]], options))
end

local strange = another(with_other_text "vocab = 280")

test("a text that is not the model's", function()
  expect_failure("phase law: the model and the text have different tokenizers", "", strange)
  core.write_file(strange .. "/recipe.lua", with_other_text "vocab = 300")
  expect_failure("the text has a vocabulary of 300, and the model one of 280", "", strange)
end)

test("mistakes in a recipe: nothing is trained before they are found", function()
  for _, case in ipairs {
    { "eval_tokens = 64", "eval_tokns = 64",
      "train: no option `eval_tokns`; did you mean `eval_tokens`?" },
    { 'name = "seed"', 'name = "../seed"', "train: option name: expected letters, digits" },
    { "general = 1 } }", "generl = 1 } }",
      "sample: there is no domain `generl`; did you mean `general`?" },
    { "opt.tokens,", "opt.tokns,", "options: there is no `tokns`; did you mean `tokens`?" },
    { "on = text.heldout", "on = 3", "compare: option on: expected held-out text, as text.heldout, got 3" },
  } do
    local recipe, count = small.RECIPE:gsub(case[1]:gsub("%p", "%%%0"), (case[2]:gsub("%%", "%%%%")))
    expect.compare(count, ">", 0, case[1])
    core.write_file(strange .. "/recipe.lua", recipe)
    expect_failure(case[3], "", strange)
  end
end)

test("option rows: micro-batches of the size that is wanted, or an error", function()
  local recipe, count = small.RECIPE:gsub("phase%.eval_tokens = 64", "%0 phase.rows = tonumber(os.getenv 'ROWS')")
  expect.equal(count, 1)
  local place = another(recipe)
  local function rows_of(phase)
    local found = core.glob(small.phase(place, phase) .. "/step-*/training.json")
    return bam.json.decode(core.read_file(found[#found])).rows
  end
  output, fine = small.run(place, "", "export ROWS=1;")
  expect.yes(fine, output)
  expect.equal({ rows_of "seed", rows_of "mixed" }, { 1, 1 })
  output, fine = small.run(place, "", "export ROWS=2;")
  expect.yes(fine, output)
  expect.equal(rows_of "seed", 1, "a dense phase is the same phase")
  expect_failure("train: option rows: a step of 4 rows has no whole number of micro-batches of 3 rows; take a divisor "
                 .. "of the batch, such as 2", "", place, "export ROWS=3;")
end)

test("a disk that is full during a save: an error, and nothing is lost", function()
  local full = another()
  expect.yes(small.run(full, "--only seed --set tokens=64 --set save_every=1")) -- prepares the text
  output, fine = small.run(full, "", "ulimit -f 20;") -- blocks of 512 bytes or 1 KiB
  expect.no(fine, output)
  expect.contains(output, "model.safetensors")
  expect.equal(#core.glob(full .. "/runs/*/*.tmp-*"), 0, "a failed save leaves nothing behind")
  os.execute(string.format("rm -rf '%s/runs'", full))
  output, fine = small.run(full)
  expect.yes(fine, output)
  small.assert_same(first, small.digests(full))
end)


test("training that diverges stops, and its log can be read", function()
  local recipe, count = small.RECIPE:gsub("from = 1e%-2, to = 1e%-3", "from = 1e3, to = 1e3")
  expect.equal(count, 1)
  local place = another((recipe:gsub("phase.eval_tokens = 64", "%0 phase.eval_every = 2")))
  expect_failure("seed stopped at step", "", place)
  expect.yes(#read_lines(small.phase(place, "seed") .. "/metrics.jsonl") > 2)
end)
