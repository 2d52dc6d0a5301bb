-- Phases from the outside: a small recipe runs as a process, and what it prints and leaves is
-- looked at; what is said to wrong flags, damaged checkpoints, NaNs, a full disk and a second process.
package.path = string.format("tests/lua/support/?.lua;%s", package.path)
local bam = require "bam"
local core = require "bam.core"
local small = require "small_run"

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

local function expect(output, words)
  assert(output:find(words, 1, true), string.format("not said: %s\nbut:\n%s", words, output))
end

-- Run the recipe; it must fail and say `words`.
local function expect_failure(words, flags, where, prefix)
  local output, fine = small.run(where or directory, flags, prefix)
  assert(not fine, string.format("no failure, but: %s", output))
  expect(output, words)
  assert(not output:find "stack traceback" or output:find "recipe.lua:%d+: ", output)
  assert(not output:find("\tbam/", 1, true), string.format("frames of bam's own:\n%s", output))
  return output
end

local function read_lines(path)
  local records = {}
  for line in io.lines(path) do records[#records + 1] = bam.json.decode(line) end
  return records
end

-- ---- --plan: nothing is made ----

local output, fine = small.run(directory, "--plan")
assert(fine, output)
for _, name in ipairs { "seed", "experts/law", "mixed", "together" } do expect(output, name) end
assert(not core.is_directory(within "runs") and not core.is_directory(within "cache"))

-- ---- wrong flags ----

expect_failure("--pln is no flag of this recipe; did you mean --plan?", "--pln")
expect_failure("--set token: this recipe has no such option; did you mean `tokens`?",
               "--set token=3")
expect_failure("--set tokens: expected a number", "--set tokens=many")
expect_failure("--set: expected KEY=VALUE", "--set tokens")
expect_failure("--seed: expected an integer of at least 0", "--seed one")
expect_failure("--scale: no sizes called", "--scale dem")
expect_failure("--set model: this is a group; there are model.ffn, model.heads,", "--set model=3")
expect_failure("--set scale: type --scale NAME", "--set scale=590m")
expect_failure("--only: no phase is called mixd; did you mean `mixed`?", "--plan --only mixd")
expect_failure('no device "gpu"', "--device gpu")
output, fine = small.run(directory, "--plan --device cuda") -- for another machine
assert(fine, output)
expect(output, "the times assume 10.0 TFLOP/s")
local untrained = expect_failure("phase seed is not trained yet; type: bamlua recipe.lua",
                                 "--only mixed")
assert(not untrained:find("no phase is called", 1, true), untrained)
output, fine = small.run(directory, "--help")
assert(fine, output)
expect(output, "model.layers         1")

-- ---- a run ----

output, fine = small.run(directory)
assert(fine, output)
expect(output, "seed  done: 10 steps")
expect(output, "average")
local first = small.digests(directory)

local results = bam.json.decode(core.read_file(within("runs/recipe/results.json")))
assert(#results.models == 3 and results.base == "experts/law")
for _, m in ipairs(results.models) do
  assert(m.tokens == 640 and m.flops > 0 and m.seconds > 0 and m.parameters >= m.active)
  for _, domain in ipairs { "general", "law" } do
    local d = m.domains[domain]
    assert(d.perplexity > 1 and d.standard_error > 0 and d.bits_per_byte > 0 and d.tokens > 0)
    assert(math.abs(math.exp(d.nll) - d.perplexity) < 1e-9 * d.perplexity)
  end
  local mean = (m.domains.general.perplexity + m.domains.law.perplexity) / 2
  assert(math.abs(m.average.perplexity - mean) < 1e-9)
end
assert(results.models[2].ratio.average.ratio == 1
       and results.models[2].ratio.domains.law.standard_error == 0)

local mixed = small.phase(directory, "mixed")
local records = read_lines(mixed .. "/metrics.jsonl")
local steps, evaluations = 0, 0
for _, r in ipairs(records) do
  if r.eval then
    evaluations = evaluations + 1
    assert(r.eval.perplexity.law > 1 and r.eval.average > 1)
  else
    steps = steps + 1
    assert(r.step == steps and r.nll > 0 and r.lr > 0 and r.norm > 0 and r.tokens_per_second > 0)
    assert(#r.routing == 2 and #r.routing[1].load == 2 and r.routing[2].module == "ffn")
    assert(r.load_balance > 0 and r.z >= 0)
  end
end
assert(steps == 10 and evaluations >= 3)
assert(core.is_directory(mixed .. "/best"))
-- a link to the phase, relative, so that everything can be moved
assert(core.file_info(within "runs/recipe/experts-law/phase.json").kind == "file")

-- ---- again: nothing is trained, and the table is the same ----

local again
again, fine = small.run(directory)
assert(fine and not again:find "done:", again)
assert(output:sub(-#again) == again, again)

-- ---- the same bits elsewhere, whatever is logged; other bits with another seed ----

local moved = another()
output, fine = small.run(moved, "--out elsewhere")
assert(fine, output)
small.assert_same(first, small.digests(moved, "elsewhere"))
assert(small.run(moved, "--seed 2 --out two"))
assert(small.digests(moved, "two").seed ~= first.seed)
assert(core.file_info(moved .. "/two/recipe/seed@2/phase.json"))
assert(core.file_info(moved .. "/two/recipe/results@2.json"))

-- ---- a change trains what depends on it, and nothing else ----

local changed = small.RECIPE:gsub("law = 9, general = 1", "law = 8, general = 1")
core.write_file(within "recipe.lua", changed)
output = small.run(directory)
assert(not output:find "seed  done", output)
expect(output, "experts/law  done")
expect(output, "mixed  done")
core.write_file(within "recipe.lua", small.RECIPE)

-- ---- old runs beside each other: how their settings differ ----

local both = core.glob(within("runs/experts/law-????????"))
assert(#both == 2)
core.write_file(within "recipe.lua", small.RECIPE:gsub("bam.compare.*",
  string.format('bam.compare { "%s", "%s", on = text.heldout }', both[1], both[2])))
output, fine = small.run(directory)
assert(fine, output)
expect(output, "differ in\n  data.weights.law:")
core.write_file(within "recipe.lua", small.RECIPE)

-- ---- --fresh --only: one phase anew, the same bits ----

local law = small.phase(moved, "experts/law", "elsewhere")
os.remove(law .. "/metrics.jsonl")
output, fine = small.run(moved, "--out elsewhere --fresh --only experts/law")
assert(fine, output)
expect(output, "experts/law  done")
assert(not output:find "seed  done" and not output:find "mixed  done")
small.assert_same(first, small.digests(moved, "elsewhere"))

-- ---- a damaged checkpoint is named, and the one before serves ----

local function newest(place)
  local list = core.glob(place .. "/step-????????")
  return list[#list], #list
end

local function flip(path, at)
  local text = core.read_file(path)
  core.write_file(path, string.format("%s%s%s", text:sub(1, at - 1),
                                      string.char(text:byte(at) ~ 1), text:sub(at + 1)))
end

for _, damage in ipairs {
  { "model.safetensors", function(path) flip(path, 900) end, "its digest is not the manifest's" },
  { "training.json", function(path) core.truncate_file(path, 20) end, "has 20 bytes instead of" },
  { "manifest.json", function(path) flip(path, 60) end, "manifest.json" },
  { "config.json", os.remove, "config.json is missing" },
} do
  local place = small.phase(moved, "seed", "elsewhere")
  local last, count = newest(place)
  assert(count == 2, "two checkpoints are kept")
  damage[2](string.format("%s/%s", last, damage[1]))
  output, fine = small.run(moved, "--out elsewhere --only seed")
  assert(fine, output)
  expect(output, damage[3])
  expect(output, "it is passed over")
  small.assert_same(first, small.digests(moved, "elsewhere"))
end

-- ---- a step that is not fit is skipped; three in a row end the run ----

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

local skipping = another(with_bad_steps "step == 4 or step == 7 or step == 8")
output, fine = small.run(skipping)
assert(fine, output)
expect(output, "seed  step 4 was skipped: the loss is")
expect(output, "; it arose in the forward pass, in the loss")
for _, r in ipairs(read_lines(small.phase(skipping, "seed") .. "/metrics.jsonl")) do
  local bad = not r.eval and (r.step == 4 or r.step == 7 or r.step == 8)
  assert((r.skipped ~= nil) == bad, r.step)
end

local stopping = another(with_bad_steps "step >= 8")
expect_failure("seed stopped at step 10: the loss is", "", stopping)
core.write_file(stopping .. "/recipe.lua", with_bad_steps "false")
output, fine = small.run(stopping)
assert(fine, output) -- it goes on from the last good state
small.assert_same(first, small.digests(stopping))

-- ---- a text that is not the model's ----

local function with_other_text(options)
  return small.RECIPE:gsub("local law = train .*", string.format([[
local other = bam.corpus({ law = "law.txt" }, { heldout = 0.3, %s })
train { name = "law", model = seed, data = other:sample { law = 1 } }]], options))
end

local strange = another(with_other_text "vocab = 280")
expect_failure("phase law: the model has another tokenizer than the text", "", strange)
core.write_file(strange .. "/recipe.lua", with_other_text "vocab = 300")
expect_failure("the text has a vocabulary of 300, and the model one of 280", "", strange)

-- ---- mistakes in a recipe: nothing is trained before they are found ----

for _, case in ipairs {
  { "eval_tokens = 64", "eval_tokns = 64",
    "train: no option `eval_tokns`; did you mean `eval_tokens`?" },
  { 'name = "seed"', 'name = "../seed"', "train: option name: expected letters, digits" },
  { "general = 1 } }", "generl = 1 } }",
    "sample: there is no domain `generl`; did you mean `general`?" },
  { "opt.tokens,", "opt.tokns,", "options: there is no `tokns`; did you mean `tokens`?" },
  { "on = text.heldout", "on = 3", "compare: option on: expected a table, got 3" },
} do
  local recipe, count = small.RECIPE:gsub(case[1]:gsub("%p", "%%%0"), (case[2]:gsub("%%", "%%%%")))
  assert(count > 0, case[1])
  core.write_file(strange .. "/recipe.lua", recipe)
  expect_failure(case[3], "", strange)
end

-- ---- a disk that is full during a save: an error, and nothing is lost ----

local full = another()
assert(small.run(full, "--only seed --set tokens=64 --set save_every=1")) -- prepares the text
output, fine = small.run(full, "", "ulimit -f 20;") -- blocks of 512 bytes or 1 KiB
assert(not fine, output)
expect(output, "model.safetensors")
assert(#core.glob(full .. "/runs/*/*.tmp-*") == 0, "a failed save leaves nothing behind")
os.execute(string.format("rm -rf '%s/runs'", full))
output, fine = small.run(full)
assert(fine, output)
small.assert_same(first, small.digests(full))

print "train: ok"
