-- bam.train's option optimizer: fingerprints, resuming after a kill, freezing schedules, audits and the plan, with
-- bam's own optimizers and a script's. Each recipe runs as a process.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local small = require "tests.lua.support.small_run"
local test = require "tests.lua.support.test"

local directories = {}
local cleanup <close> = setmetatable({}, { __close = function()
  for _, directory in ipairs(directories) do small.remove(directory) end
end })

-- The recipe of small_run with `before` its phases and an option of all of them.
local function recipe(option, before)
  return (small.RECIPE:gsub("local function train%(phase%)", function(line)
    return string.format("%s\n%s\n%s", before or "", line, option or "")
  end))
end

local function new_directory(text)
  local directory = small.directory(text)
  directories[#directories + 1] = directory
  return directory
end

local function run(directory, text, flags)
  if text then core.write_file(string.format("%s/recipe.lua", directory), text) end
  local output, fine = small.run(directory, flags)
  if not fine then error(output, 0) end
  return output
end

local function fails(directory, text, words)
  core.write_file(string.format("%s/recipe.lua", directory), text)
  local output, fine = small.run(directory)
  expect.no(fine, words)
  expect.contains(output, words)
end

local base = new_directory(recipe())
run(base)
local expected = small.digests(base)

-- The names of all phases' directories.
local function phases(directory)
  local list = {}
  for _, pattern in ipairs { "runs/*-????????", "runs/*/*-????????" } do
    for _, path in ipairs(core.glob(string.format("%s/%s", directory, pattern))) do list[#list + 1] = path end
  end
  return table.concat(list, "\n"):gsub(directory:gsub("%p", "%%%0"), "")
end

local SIGN = [[
local strength = 1
local Sign = bam.optim.define {
  name = "Sign", options = { lr = { "rate", 0.1 }, beta = { "fraction", 0.5 } }, state = { "momentum" },
  update = function(param, grad, state, o)
    state.momentum = state.momentum * o.beta + grad * (1 - o.beta)
    return param - state.momentum:sign() * (o.lr * strength)
  end,
}
]]

local OTHERS = {
  muon = { 'phase.optimizer = { "muon", momentum = 0.9, adamw = { lr_scale = 0.5 } }' },
  lion = { 'phase.optimizer = { "Lion", groups = { { params = "norm", lr_scale = 0.5 } } }' },
  own = { "phase.optimizer = { Sign, beta = 0.25 }", SIGN },
}

test("AdamW by name is the same phase as without the option", function()
  for _, option in ipairs { 'phase.optimizer = "adamw"', "phase.optimizer = bam.optim.AdamW",
                            'phase.optimizer = { "AdamW", betas = { 0.9, 0.95 }, weight_decay = 0.1 }' } do
    local before = phases(base)
    local output = run(base, recipe(option))
    expect.equal(phases(base), before, option)
    expect.lacks(output, "step 10 of 10")
  end
  local other = new_directory(recipe "phase.weight_decay, phase.betas = 0.2, { 0.8, 0.9 }")
  run(other)
  local before = phases(other)
  run(other, recipe 'phase.optimizer = { "adamw", weight_decay = 0.2, betas = { 0.8, 0.9 } }')
  expect.equal(phases(other), before)
end)

test("another optimizer, another option, other code are other phases", function()
  local directory, seen = new_directory(), {}
  local variants = {
    recipe(), recipe 'phase.optimizer = "muon"', recipe 'phase.optimizer = { "muon", momentum = 0.9 }',
    recipe 'phase.optimizer = { "muon", adamw = { eps = 1e-7 } }',
    recipe 'phase.optimizer = { "muon", use_muon = function(name) return name:find "ffn" end }',
    recipe 'phase.optimizer = { "muon", use_muon = function(name) return name:find "attention" end }',
    recipe 'phase.optimizer = { "adamw", groups = { { params = "norm", lr_scale = 0.5 } } }',
    recipe("phase.optimizer = Sign", SIGN), recipe('phase.optimizer = "sign"', (SIGN:gsub("strength = 1", "strength = 2"))),
    recipe("phase.optimizer = Sign", (SIGN:gsub("%* %(1 %- o.beta%)", "* (1.0 - o.beta)"))),
    recipe("phase.optimizer = { Sign, beta = 0.6 }", SIGN),
  }
  for number, text in ipairs(variants) do
    local identity = run(directory, text .. "\nprint('ID', seed.identity)"):match "ID%s+(%x+)"
    expect.no(seen[identity], string.format("variant %d is phase %s", number, identity))
    seen[identity] = true
  end
  local one = run(directory, recipe("phase.optimizer = Sign", SIGN) .. "\nprint('ID', seed.identity)"):match "ID%s+(%x+)"
  local again = run(directory, recipe('phase.optimizer = { "SIGN", beta = 0.5 }', SIGN) .. "\nprint('ID', seed.identity)")
  expect.equal(again:match "ID%s+(%x+)", one)
end)

-- Kills the process after step 5, unless it is told to go on. The last checkpoint is then of step 3.
local KILL = "\nphase.on_step = function(record) if record.step == 5 and not os.getenv 'GO_ON' then "
  .. "os.execute('kill -9 $PPID') end end"

for name, other in pairs(OTHERS) do
  test(string.format("%s goes on after a kill, and with audits, to the same bits", name), function()
    local whole = new_directory(recipe(other[1], other[2]))
    run(whole)
    local digests = small.digests(whole)
    expect.different(digests.seed, expected.seed)
    expect.contains(run(whole, nil, "--audit"), "steps 10 to 10, trained again, give the same bits")
    local killed = new_directory(recipe(other[1] .. KILL, other[2]))
    for _, phase in ipairs { "seed", "experts/law", "mixed" } do
      local _, fine = small.run(killed)
      expect.no(fine, "killed")
      local output, done = small.run(killed, string.format("--only %s", phase), "export GO_ON=1;")
      expect.yes(done, output)
    end
    small.assert_same(digests, small.digests(killed))
    local audited = new_directory(recipe(other[1] .. "\nphase.audit_every = 2", other[2]))
    run(audited)
    small.assert_same(digests, small.digests(audited))
  end)
end

test("freezing schedules leave the state of what is frozen alone", function()
  local text = recipe('phase.optimizer = "muon"'):gsub("load_balance = bam", "freeze = { experts = "
    .. "function(p) return p < 0.5 and 1 or 0 end }, load_balance = bam")
  local directory = new_directory(text)
  run(directory)
  local found = string.format("%s/step-00000009/training.safetensors", small.phase(directory, "mixed"))
  local state = core.load(found)
  expect.equal(state["step.layers.1.attention.out"]:item(), 4)
  expect.equal(state["step.layers.1.attention.keys_values"]:item(), 9)
  expect.equal(state["step.embed.weight"]:item(), 9)
  expect.yes(state["momentum.layers.1.ffn.down"], "experts have momentum")
  expect.no(state["m.layers.1.ffn.down"], "and no second optimizer")
end)

test("an optimizer whose code changes while it trains is stopped", function()
  local counting = SIGN:gsub("state.momentum = ", "strength = strength + 1 %0", 1)
  fails(new_directory(), recipe("phase.optimizer = Sign", counting),
        "the optimizer's update has changed while the phase trained")
  fails(new_directory(), recipe("phase.optimizer = Sign", (SIGN:gsub("o.lr %* strength", "math.random()"))),
        "uses math.random: no checkpoint saves its state")
  fails(new_directory(), recipe("phase.optimizer = Sign", (SIGN:gsub("o.lr %* strength", "o.lr * (0 / 0)"))),
        "is not finite at step 1; nothing was changed")
end)

test("wrong options are refused before anything is trained", function()
  local directory = new_directory()
  local cases = {
    { 'phase.optimizer = "mion"', 'train: option optimizer: no optimizer is called "mion"; did you mean `lion`?' },
    { "phase.optimizer = 3", "train: option optimizer: expected the name of an optimizer" },
    { 'phase.optimizer = { "muon", momentm = 0.9 }', "option optimizer: Muon: no option `momentm`; did you mean" },
    { 'phase.optimizer = { "muon", lr = 1 }', "the learning rate is option lr of bam.train" },
    { 'phase.optimizer, phase.betas = "muon", { 0.9, 0.9 }', "train: option betas: give it to the optimizer" },
    { 'phase.optimizer = { "adamw", groups = { { params = "norm", lr_sc = 1 } } }', "group 1: no option `lr_sc`" },
  }
  for _, case in ipairs(cases) do fails(directory, recipe(case[1]), case[2]) end
  expect.equal(phases(directory), "")
end)

test("the plan counts what an optimizer keeps", function()
  local function megabytes(option, before)
    local text = recipe(option, before):gsub("width = 16", "width = 512"):gsub("layers = 1", "layers = 4")
    return tonumber(run(base, text, "--plan"):match "\nseed [^\n]- ([%d.]+) MB")
  end
  local buffer = 18 * 2 ^ 20 / 1e6 -- of 4,581,888 parameters in f32, 18.3 MB, rounded up to a size of the allocator's
  local adamw = megabytes()
  expect.close(megabytes 'phase.optimizer = "lion"', adamw - buffer, 0.15)
  expect.close(megabytes 'phase.optimizer = "sgd"', adamw - 2 * buffer, 0.15)
  expect.compare(megabytes 'phase.optimizer = "muon"', ">", adamw)
  expect.close(megabytes("phase.optimizer = Sign", SIGN), adamw + buffer, 0.6) -- 100 MB and more have no decimals
end)
