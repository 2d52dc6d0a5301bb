-- bam.train's options `model`, `continue`, `steps` and those that win over the model's own: a phase starts from a phase,
-- a checkpoint directory or a live model, with or without the optimizer's state, or goes on with a run; resuming,
-- fingerprints, audits and the plan of such phases. Each recipe runs as a process.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local small = require "tests.lua.support.small_run"
local test = require "tests.lua.support.test"

local directories = {}
local cleanup <close> = setmetatable({}, { __close = function()
  for _, directory in ipairs(directories) do small.remove(directory) end
end })

-- A recipe that has trained `seed`, and a mixture `mixed`, for 6 steps each; `rest` is the test's own.
local BEGINNING = [[
local bam = require "bam"
local opt = bam.options { vocab = 280, context = 16, batch = 4, save_every = 3,
                          model = { layers = 1, width = 16, heads = 2, ffn = 16 } }
local text = bam.corpus({ law = "law.txt", general = "general.txt" }, { vocab = opt.vocab, heldout = 0.3 })
local data = text:sample { general = 1, law = 1 }
local function train(phase)
  phase.steps, phase.data, phase.lr = phase.steps or 6, phase.data or data, phase.lr or 1e-2
  phase.save_every, phase.eval_tokens = opt.save_every, 64
  return bam.train(phase)
end
local function digest(phase)
  print("DIGEST", phase.name, require("bam.core").hash_file(phase:last() .. "/model.safetensors"))
end
local dense = bam.models.parallel(opt.model)
local function mix(seed)
  return bam.mix { experts = { seed, seed }, attention = { kv = "shared" }, ffn = { top_k = 1, jitter = 0.1 } }
end
local seed = train { name = "seed", model = dense }
]]

local function new_directory(rest)
  local directory = small.directory(BEGINNING .. rest)
  directories[#directories + 1] = directory
  return directory
end

local function write(directory, rest) core.write_file(directory .. "/recipe.lua", BEGINNING .. rest) end

local function run(directory, flags)
  local output, fine = small.run(directory, flags)
  if not fine then error(output, 0) end
  return output
end

-- The digests that a recipe prints, by name.
local function digests(output)
  local list = {}
  for name, digest in output:gmatch "DIGEST%s+(%S+)%s+(%x+)" do list[name] = digest end
  return list
end

local function phases(directory)
  local names = {}
  for _, name in ipairs(core.list_directory(directory .. "/runs")) do
    if name:find "%-%x%x%x%x%x%x%x%x$" then names[#names + 1] = name end
  end
  return table.concat(names, " ")
end

-- ---- weights ----

local STARTS = [[
local from_phase = train { name = "from-phase", model = seed }
local from_live = train { name = "from-live", model = seed:load() }
local from_directory = train { name = "from-directory", model = seed:last() }
local from_run = train { name = "from-run", model = seed:directory() }
for _, phase in ipairs { from_phase, from_live, from_directory, from_run } do digest(phase) end
]]

test("a phase, its live model, its checkpoint and its directory lead to the same weights", function()
  local directory = new_directory(STARTS)
  local found = digests(run(directory))
  for _, name in ipairs { "from-live", "from-directory", "from-run" } do
    expect.equal(found[name], found["from-phase"], name)
  end
  local sound, report = bam.audit(directory .. "/runs", { quiet = true })
  expect.yes(sound, table.concat(report.problems, "\n"))
  expect.equal(#report.notes, 1, table.concat(report.notes, "\n"))
  expect.contains(report.notes[1], "started from a model that belongs to no phase")
end)

test("the plan reads no weights, and --only finds the phase", function()
  local directory = new_directory [[
local live = bam.models.parallel(opt.model):build { seed = 3 }
live:save "saved"
train { name = "live", model = live }
train { name = "directory", model = "saved", load_balance = nil }
train { name = "longer", model = seed, continue = "run", steps = 4 }
]]
  core.make_directory(directory .. "/saved")
  local output = run(directory, "--plan")
  for _, line in ipairs { "\nseed %s*%S+ .* 384 ", "\nlive ", "\ndirectory ", "\nlonger .* 256 " } do
    expect.matches(output, line)
  end
  expect.no(core.is_directory(directory .. "/runs"))
  output = run(directory, "--only live")
  expect.contains(output, "live  done: 6 steps")
  expect.lacks(output, "seed  done")
  local message, fine = small.run(directory, "--only longer")
  expect.no(fine)
  expect.contains(message, "phase seed is not trained yet")
end)

test("the plan ends where the script needs weights", function()
  local directory = new_directory [[
for _, r in ipairs(bam.metrics(seed)) do error "no record" end
local second = train { name = "second", model = seed }
local live = second:load()
error "it went on"
]]
  local output = run(directory, "--plan")
  expect.matches(output, "\nsecond .*\ntogether .*\nthe plan ends here: what follows in the script needs the weights of "
    .. "phase second\n$")
  expect.no(core.is_directory(directory .. "/runs"))
end)

test("content is the fingerprint: a copy is the same phase, other weights are another", function()
  local directory = new_directory [[
bam.seed(5)
local live = bam.models.parallel(opt.model):build()
if os.getenv "CHANGE" then bam.no_grad(function() live.embed.weight:mul_(0.5) end) end
live:save(os.getenv "PLACE")
local a, b = train { name = "a", model = live }, train { name = "b", model = os.getenv "PLACE" }
digest(a)
digest(b)
assert(live:state()["embed.weight"]:eq(bam.load(os.getenv "PLACE").embed.weight):all():item(), "a copy is trained")
]]
  local function with(variables)
    local output, fine = small.run(directory, "", variables)
    if not fine then error(output, 0) end
    return output
  end
  local first = with "export PLACE=one;"
  local names = phases(directory)
  expect.lacks(with "export PLACE=two;", "done")
  expect.equal(phases(directory), names)
  expect.equal(digests(first).a, digests(first).b)
  expect.contains(with "export PLACE=three CHANGE=1;", "a  done")
  local _, count = phases(directory):gsub("%S+", "")
  expect.equal(count, 5)
end)

test("a model of another program is trained on", function()
  local directory = new_directory(string.format([[
local start = %q
local before = bam.evaluate(bam.load(start), text.heldout).average.perplexity
local phase = train { name = "on", model = start, steps = 30 }
print("RATIO", bam.evaluate(phase:load(), text.heldout).average.perplexity / before)
]], core.absolute "tests/golden/experts/1"))
  local output = run(directory)
  expect.compare(tonumber(output:match "RATIO%s+(%S+)"), "<", 0.7, output)
end)

test("a downloaded tokenizer, laid out in another way and with another separator, makes the text of its model", function()
  local directory = new_directory [[
seed:load():save "downloaded"
local core, path = require "bam.core", "downloaded/tokenizer.json"
local value = bam.json.decode((core.read_file(path):gsub("<|endoftext|>", "<EOS>")))
core.write_file(path, bam.json.encode(value, { indent = 4 }))
local own = bam.corpus({ law = "law.txt" }, { tokenizer = path, separator = "<EOS>", heldout = 0.3 })
local phase = train { name = "on", model = "downloaded", data = own:sample { law = 1 } }
assert(core.read_file(phase:last() .. "/tokenizer.json") == core.read_file(path), "it is kept as it was")
local tuned = bam.mix { experts = { "downloaded", phase }, attention = { kv = "shared" } }
train { name = "mixed", model = tuned, data = own:sample { law = 1 } }
]]
  run(directory)
  write(directory, 'train { name = "wrong", model = "downloaded", data = data }')
  local output, fine = small.run(directory)
  expect.no(fine)
  expect.contains(output, "phase wrong: the model and the text have different tokenizers; give the model's to the text")
end)

-- ---- the optimizer's state, and a run that goes on ----

test("a run that goes on ends where a longer one does, to the bit", function()
  local directory = new_directory [[
local constant = bam.schedule.cosine { peak = 1e-2, warmup = 3, floor = 1 } -- does not depend on the whole
local whole = train { name = "whole", model = mix(seed), lr = constant, steps = 11 }
local half = train { name = "half", model = mix(seed), lr = constant, steps = 6 }
local rest = train { name = "rest", model = half, continue = "run", lr = constant, steps = 5 }
local again = train { name = "again", model = half:directory(), continue = "run", lr = constant, steps = 5 }
for _, phase in ipairs { whole, half, rest, again } do digest(phase) end
print("STEPS", rest.steps, rest:results().step, rest)
bam.compare { whole, half, rest, on = text.heldout }
]]
  local output = run(directory)
  local found = digests(output)
  expect.equal(found.rest, found.whole)
  expect.equal(found.again, found.whole)
  expect.different(found.half, found.whole)
  expect.matches(output, "STEPS%s+11%s+11%s+phase rest: .* 5 steps of 64 tokens")
  expect.contains(output, "rest  done: 5 steps")
  local steps = {}
  for line in io.lines(small.phase(directory, "rest") .. "/metrics.jsonl") do
    local record = bam.json.decode(line)
    if not record.eval then steps[#steps + 1] = record.step end
  end
  expect.equal(steps, { 7, 8, 9, 10, 11 })
  local results = bam.json.decode(core.read_file(directory .. "/runs/recipe/results.json")).models
  expect.equal(results[3].tokens, 5 * 64)
  expect.equal(results[1].flops - results[2].flops, results[3].flops)
  local sound, report = bam.audit(directory .. "/runs", { quiet = true })
  expect.yes(sound, table.concat(report.problems, "\n"))
  expect.contains(run(directory, "--audit"), "rest: sound; steps 10 to 11, trained again, give the same bits")
end)

-- The same by hand, from what the public functions give.
local BY_HAND = [[
local phase = train { name = "phase", model = seed, continue = "optimizer", lr = 3e-3 }
local model = seed:load()
local optimizer = bam.optim.AdamW(model, { betas = { 0.9, 0.95 }, weight_decay = 0.1 })
optimizer:load_state((bam.load(seed:last() .. "/training.safetensors")))
print("AGE", optimizer)
bam.loop.run { model = model, optimizer = optimizer, lr = bam.schedule.constant(3e-3), first = 1, steps = 6, batch = 4,
               clip = 1, after = function() end,
               stream = data:open { context = 16, batch = 4, steps = 6, seed = 1 + 1000003 } }
for name, x in pairs(phase:load():state()) do assert(x:eq(model:state()[name]):all():item(), name) end
local plain = train { name = "plain", model = seed, lr = 3e-3 }
digest(phase)
digest(plain)
]]

test("continue = optimizer: the moments and their age are taken over, the schedule begins again", function()
  local directory = new_directory(BY_HAND)
  local output = run(directory)
  expect.contains(output, "6 steps done")
  local found = digests(output)
  expect.different(found.phase, found.plain)
  local state = core.load(small.phase(directory, "phase") .. "/step-00000006/training.safetensors")
  expect.equal(state.step:item(), 12)
end)

test("a damaged checkpoint is not gone on from", function()
  local directory = new_directory ""
  run(directory)
  for _, case in ipairs { { "model.safetensors", "weights" }, { "training.safetensors", "optimizer" },
                          { "training.json", "run" } } do
    local file, continue = table.unpack(case)
    write(directory, string.format([[
local core = require "bam.core"
local file = "copy/%s"
os.execute(string.format("rm -rf copy && cp -r '%%s' copy && chmod -R u+w copy", seed:last()))
local content = core.read_file(file)
core.write_file(file, (content:gsub("(.)(.)$", "%%2%%1")))
train { name = "x", model = "copy", continue = "%s" }]], file, continue))
    local output, fine = small.run(directory)
    expect.no(fine, file)
    expect.matches(output, "copy/" .. file:gsub("%.", "%%.") .. " is damaged: its digest")
  end
end)

-- ---- interruptions ----

local KILL = [[
local plain = train
function train(phase)
  if phase.name ~= "seed" and not os.getenv "GO_ON" then
    phase.on_step = function(record) if record.step % 6 == 5 then os.execute "kill -9 $PPID" end end
  end
  return plain(phase)
end
]]

local KINDS = {
  weights = 'train { name = "on", model = seed:directory() }',
  live = 'train { name = "on", model = seed:load(), freeze = { "norm" } }',
  optimizer = 'train { name = "on", model = seed, continue = "optimizer" }',
  run = 'train { name = "on", model = seed, continue = "run" }',
  mixture = 'train { name = "on", model = mix(seed), freeze = { routers = true, "embed" }, '
    .. 'load_balance = bam.schedule.linear { from = 0.1, to = 0 }, temperature = 2 }',
}

for name, phase in pairs(KINDS) do
  test(string.format("a kill, going on, --audit and audit_every: the same bits (%s)", name), function()
    local rest = string.format("local on = %s\ndigest(on)\n", phase)
    local whole = new_directory(rest)
    local expected = digests(run(whole)).on
    expect.matches(run(whole, "--audit"), "on: sound; steps %d+ to %d+, trained again, give the same bits")
    local killed = new_directory(KILL .. rest)
    local _, fine = small.run(killed)
    expect.no(fine, "killed")
    expect.equal(#core.glob(small.phase(killed, "on") .. "/step-*"), 1)
    local output, done = small.run(killed, "", "export GO_ON=1;")
    expect.yes(done, output)
    expect.equal(digests(output).on, expected)
    local sound, report = bam.audit(killed .. "/runs", { quiet = true })
    expect.yes(sound, table.concat(report.problems, "\n"))
    write(whole, (rest:gsub("digest", "-- ") .. string.format("digest(%s)", phase:gsub("%}$", ", audit_every = 2 }"))))
    expect.equal(digests(run(whole, "--fresh")).on, expected)
  end)
end

-- ---- options that win over the model's own ----

test("what is frozen stays as it was, by part and by pattern", function()
  local directory = new_directory [[
local mixed = train { name = "mixed", model = mix(seed) }
local function changed(phase)
  local before, after, list = bam.load(mixed:last() .. "/model.safetensors"), {}, {}
  after = bam.load(phase:last() .. "/model.safetensors")
  for name, x in pairs(after) do
    if not x:eq(before[name]):all():item() then list[#list + 1] = name end
  end
  table.sort(list)
  print("CHANGED", phase.name, table.concat(list, " "))
end
local routers = train { name = "routers", model = mixed, freeze = { routers = true, "^embed%.", "norm" } }
changed(routers)
changed(train { name = "again", model = routers:directory(), freeze = { rest = true, routers = true, "down$" } })
changed(train { name = "all", model = routers, freeze = {} })
]]
  local output = run(directory)
  local function changed(name) return output:match(string.format("CHANGED\t%s\t([^\n]*)", name)) end
  for _, name in ipairs { "lm_head.weight", "experts.1.up_proj", "experts.0.q_proj" } do
    expect.contains(changed "routers", name)
  end
  for _, name in ipairs { "embed", "router", "norm" } do expect.lacks(changed "routers", name) end
  expect.contains(changed "again", { "lm_head.weight", "experts.0.down_proj" }) -- as before
  expect.contains(changed "all", { "embed_tokens.weight", "model.norm.weight", "mlp.router.weight" })
  local function file(name, rest) return small.phase(directory, name) .. "/step-00000006/" .. rest end
  local before, after = core.load(file("routers", "model.safetensors")), core.load(file("again", "model.safetensors"))
  for name, x in pairs(after) do
    local trained = name:find "q_proj" or name:find "o_proj" or name:find "gate_proj" or name:find "up_proj"
    expect.equal(x:eq(before[name]):all():item(), not trained, name)
  end
  local config = bam.json.decode(core.read_file(file("routers", "config.json")))
  expect.equal(config.freeze, { routers = true })
end)

test("coefficients and the routers' options win over the model's own", function()
  local directory = new_directory [[
local mixed = train { name = "mixed", model = mix(seed) }
local same = train { name = "mixed", model = mix(seed), load_balance = 0.01, jitter = { ffn = 0.1 } }
assert(same.identity == mixed.identity, "the same values are the same phase")
train { name = "on", model = mixed:directory(), load_balance = 0.5, z_loss = 0, top_k = 2, routing = 1,
        temperature = { attention = 0.5, ffn = bam.schedule.linear { from = 4, to = 2 } }, jitter = 0 }
]]
  run(directory)
  local config = bam.json.decode(core.read_file(small.phase(directory, "on") .. "/step-00000006/config.json"))
  for name, value in pairs { load_balance = 0.5, z_loss = 0, ffn_top_k = 2, attention_routing = 1,
                             attention_temperature = 0.5, ffn_temperature = 2, ffn_jitter = 0 } do
    expect.equal(config[name], value, name)
  end
end)

test("steps in place of tokens are the same phase", function()
  local directory = new_directory [[
local a = bam.train { name = "a", model = dense, data = data, steps = 3, lr = 1e-3 }
local b = bam.train { name = "a", model = dense, data = data, tokens = 3 * 64 + 5, lr = 1e-3 }
assert(a.identity == b.identity)
]]
  run(directory)
end)

-- ---- mistakes ----

local MISTAKES = {
  ["options steps and tokens are both given"] = 'train { name = "x", model = seed, tokens = 3 }',
  ["Give `tokens`, the number of tokens to train on, or `steps`"] =
    'bam.train { name = "x", model = seed, data = data, lr = 1 }',
  ["option model: expected a description, a phase, a live model or the directory of a checkpoint, got 3"] =
    'train { name = "x", model = 3 }',
  ['option model: the string "nowhere" is not a directory'] = 'train { name = "x", model = "nowhere" }',
  ["./cache holds neither a model nor a phase's checkpoints"] = 'train { name = "x", model = "./cache" }',
  ['expected "weights", "optimizer" or "run", got the string "optimiser"; did you mean `optimizer`?'] =
    'train { name = "x", model = seed, continue = "optimiser" }',
  ["a description has no weights to go on from"] = 'train { name = "x", model = dense, continue = "run" }',
  ["a live model has no optimizer state"] = 'train { name = "x", model = seed:load(), continue = "optimizer" }',
  ["holds no optimizer state"] =
    'seed:load():save "plain" train { name = "x", model = "plain", continue = "optimizer" }',
  ['does not say what continue = "run" needs (its step)'] =
    'seed:load():save "plain" train { name = "x", model = "plain", continue = "run" }',
  ["a run that goes on keeps its batch of 4, got 8"] =
    'train { name = "x", model = seed, continue = "run", batch = 8 }',
  ['was trained by AdamW, and this phase has Lion, which cannot use its state; take continue = "weights", or optimizer = '
    .. '"adamw"'] =
    'train { name = "x", model = seed, continue = "optimizer", optimizer = "lion" }',
  ["option load_balance: this is a dense model, which has no routers"] =
    'train { name = "x", model = seed, load_balance = 0.1 }',
  ["option temperature: this is a dense model"] = 'train { name = "x", model = seed, temperature = 2 }',
  ["option freeze: routers: this is a dense model"] = 'train { name = "x", model = seed, freeze = { routers = true } }',
  ["rest is all of a dense model, so that nothing is trained"] =
    'train { name = "x", model = seed, freeze = { rest = true } }',
  ['no parameter matches the pattern "emebd"; there are embed.weight,'] =
    'train { name = "x", model = seed, freeze = { "emebd" } }',
  ["option freeze: no option `router`; did you mean `routers`?"] =
    'train { name = "x", model = mix(seed), freeze = { router = true } }',
  ["option freeze: entry 1: expected a Lua pattern"] = 'train { name = "x", model = seed, freeze = { "[" } }',
  ["every parameter is frozen"] = 'train { name = "x", model = seed, freeze = { "." } }',
  ["option top_k: the model has no experts in its FFN"] = [[
local one = bam.mix { experts = { seed, seed }, attention = { routing = 1 } }
train { name = "x", model = seed:load(), top_k = 1 }]],
  ["option top_k is 3, and there are 2 experts"] = 'train { name = "x", model = mix(seed), top_k = 3 }',
  ["`embed.weight` of this model is frozen, which a phase does not look at"] =
    'train { name = "x", model = seed:load():freeze "embed" }',
  ["this model is f64, and phases train in f32"] = 'train { name = "x", model = seed:load():to "f64" }',
  ['is f64, and phases train in f32; give bam.load("wide", { dtype = "f32" })'] =
    'seed:load():to("f64"):save "wide" train { name = "x", model = "wide" }',
}
MISTAKES["option top_k: the model has no experts in its FFN"] = nil
MISTAKES["option top_k: this is a dense model"] = 'train { name = "x", model = seed, top_k = 1 }'

test("mistakes are named, and nothing is trained", function()
  local directory = new_directory ""
  run(directory)
  local before = phases(directory)
  for words, rest in pairs(MISTAKES) do
    write(directory, rest)
    local output, fine = small.run(directory)
    expect.no(fine, words)
    expect.contains(output, words)
    expect.lacks(output, "x  done")
    os.execute(string.format("rm -rf '%s'/runs/x-*", directory))
  end
  expect.equal(phases(directory), before)
end)
