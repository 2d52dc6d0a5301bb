-- Nothing may change weights outside a phase's fingerprint: callbacks look at the model and log, and
-- are stopped when they change it; schedules, routers and what these use are held to what they were;
-- what routers keep is in the checkpoints or refused. Each recipe runs as a process, and goes on
-- after an error to the bits of an undisturbed run.
local bam = require "bam"
local core = require "bam.core"
local small = require "tests.lua.support.small_run"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local directories = {}
local cleanup <close> = setmetatable({}, { __close = function()
  for _, directory in ipairs(directories) do small.remove(directory) end
end })

-- The recipe, with code before its phases, options of all phases, and another router.
local function recipe(before, options, router)
  local text = small.RECIPE:gsub("local function train%(phase%)", function(line)
    return string.format("%s\n%s\n%s", before or "", line, options or "")
  end)
  return (text:gsub("jitter = 0.1 }", string.format("jitter = 0.1, router = %s }", router or "nil")))
end

local function new_directory(text)
  local directory = small.directory(text)
  directories[#directories + 1] = directory
  return directory
end

local function run(directory, text)
  if text then core.write_file(directory .. "/recipe.lua", text) end
  local output, fine = small.run(directory)
  expect.yes(fine, output)
  return output
end

local function fails(directory, text, words)
  core.write_file(directory .. "/recipe.lua", text)
  local output, fine = small.run(directory)
  expect.no(fine, string.format("no error about %s:\n%s", words, output))
  expect.contains(output, words)
end

local base = new_directory(recipe())
run(base)
local expected = small.digests(base)

test("callbacks that look", function()
  local LOOKING = [[
  phase.on_step = function(record, m)
    bam.seed(record.step)
    bam.randn(3)
    local ids = bam.randint(0, 279, 1, 8)
    m:log_likelihood(ids, ids)
    m:routing(ids)
    m:loss(ids, ids):backward()
    m:sample("river", { tokens = 3 })
    m:count()
    for _, p in ipairs(m:parameters()) do assert(p.tensor:norm():item() >= 0) end
    record.step, record.routing = nil, nil
  end
  phase.on_eval = function(result, m)
    bam.rand(5)
    m:sample("law", { tokens = 2, temperature = 1 })
    m.tokenizer = nil
    result.average.perplexity = 0
  end]]
  local looking = new_directory(recipe(nil, LOOKING))
  run(looking)
  small.assert_same(expected, small.digests(looking))
end)

local function callback(code, name)
  return string.format([[
  phase.%s = function(record, m)
    if phase.name == "mixed" and (record.step or 4) == 4 then
      local w, layer = m.embed.weight, m.layers[1]
      %s
    end
  end]], name or "on_step", code)
end

test("callbacks that change the model", function()
  local changed = new_directory(recipe())
  for code, words in pairs {
    ["w.requires_grad = false"] = ") changed `embed.weight` of the model: requires_grad is false",
    ['m:freeze "ffn"'] = "requires_grad is false now",
    ["bam.no_grad(function() w:mul_(2) end)"] = ") changed the values of the model's parameters",
    ["bam.no_grad(function() w[1] = 0 end)"] = ") changed the values of the model's parameters",
    ["m:load_state(m.description:build { seed = 9 }:state())"] = ") changed the values of the model's parameters",
    ["m:eval()"] = ") changed `training` of the model",
    ["layer.ffn.router.temperature = 5"] = ") changed `layers.1.ffn.router.temperature` of the",
    ["layer.ffn.router = function(h) return h end"] = ") changed `layers.1.ffn.router` of the",
    ["m.layers[2] = layer"] = ") changed `layers.2` of the model",
    ["m.load_balance = 1"] = ") changed `load_balance` of the model",
    ["m.reached.load_balance = 1"] = ") changed `reached.load_balance` of the model",
    ["m.extra = bam.zeros(2)"] = ") changed `extra` of the model",
    ["m.embed.weight = bam.zeros(w.shape)"] = ") changed `embed.weight` of the model",
    ["layer.forward = function() end"] = ") changed `layers.1.forward` of the model",
    ["setmetatable(layer, {})"] = ") changed `layers.1.metatable` of the model",
    ["w:close()"] = ") changed `embed.weight` of the model: it was closed",
    ["bam.threads(3)"] = ") changed bam.threads",
  } do
    fails(changed, recipe(nil, callback(code)), words)
  end
  fails(changed, recipe(nil, callback("w.requires_grad = false")), "train: on_step (recipe.lua:")
  fails(changed, recipe(nil, callback("m:unfreeze() w.requires_grad = false", "on_eval")),
        ") changed `embed.weight` of the model: requires_grad is false now")
  run(changed, recipe())
  small.assert_same(expected, small.digests(changed))
end)

local kept
test("a model that a callback keeps, and something else changes later", function()
  local KEEPING = [[
  if phase.name == "mixed" then
    phase.on_step = function(_, m) kept = m end
    local lr = phase.lr
    phase.lr = function(p)
      if kept then %s end
      return 1e-2 * (1 - p)
    end
  end]]
  kept = new_directory(recipe())
  for code, words in pairs {
    ["bam.no_grad(function() kept.embed.weight:mul_(2) end)"] =
      "something changed the values of the model's parameters between two steps",
    ["kept.layers[1].ffn.router.temperature = 2"] =
      "something changed `layers.1.ffn.router.temperature` of the model between two steps",
    ["kept:freeze()"] = "nothing here requires a gradient",
    ["kept.embed.weight.requires_grad = false"] =
      "something changed `embed.weight` of the model: requires_grad is false now between two steps",
  } do
    local text = recipe("local kept", KEEPING:format(code))
    text = text:gsub("(phase.tokens.-to = 1e%-3 })", ""):gsub("(local function train%(phase%)\n)",
      "%1  phase.tokens, phase.save_every, phase.lr = opt.tokens, opt.save_every, 1e-2\n")
    fails(kept, text, words)
  end
end)

test("schedules that depend on more than the progress", function()
  local DRIFTING = [[
  if phase.name == "mixed" then
    phase.on_step = function(record) if record.step == 4 then factor = 2 end end
    %s
  end]]
  for code, words in pairs {
    ["phase.lr = function(p) return factor * 1e-3 end"] = "option lr: function recipe.lua:",
    ["phase.data = text:sample { law = function(p) return factor + p end, general = 1 }"] =
      "sample: weight of law: function recipe.lua:",
    ["phase.model = bam.mix { experts = phase.experts, z_loss = function(p) return 1e-3 * factor end }"] =
      "train: z_loss: function recipe.lua:",
    [ [[phase.model = bam.mix { experts = phase.experts,
                             ffn = { top_k = 1, temperature = function(p) return factor end } }]] ] =
      "train: ffn.temperature: function recipe.lua:",
    [ [[phase.model = bam.mix { experts = phase.experts,
                             freeze = { routers = function(p) return factor - 1 end } }]] ] =
      "train: freeze.routers: function recipe.lua:",
  } do
    local text = recipe("local factor = 1", nil)
    text = text:gsub("  phase.eval_tokens = 64", function(line)
      return string.format("%s\n%s\n  phase.experts = nil", line, DRIFTING:format(code))
    end):gsub('name = "mixed",', "%0 experts = { seed, law },")
    fails(kept, text, words)
  end
end)

-- ---- routers: what they use, and what they keep ----

local MINE = [[
local calls = 0
scale = 1
local Mine = bam.nn.module "Mine"
function Mine:init(o)
  self.logits = bam.nn.Linear(o.width, o.experts, { bias = false, std = o.std })
  self.seen = bam.zeros(1, { dtype = "i64" })
  self.k, self.name = 1, "mine"
  self.jitter, self.temperature = o.jitter, o.temperature
end
function Mine:forward(h)
  %s
  local tilt = 1 + 0.01 * self.seen:item()
  return (self.logits(h) * (scale * tilt)):softmax(-1):topk(self.k, -1)
end]]

local function mine(code) return recipe(MINE:format(code or ""), nil, "Mine") end

local output
test("a global is in the fingerprint", function()
  local routers = new_directory(mine())
  run(routers)
  output = run(routers, mine():gsub("scale = 1", "scale = 2"))
  expect.contains(output, "mixed  done")
  expect.lacks(output, "seed  done")
  expect.equal(#core.glob(routers .. "/runs/mixed-????????"), 2, "a changed global returned the old phase")
  output = run(routers, mine())
  expect.lacks(output, "done:")
end)

test("the recipe may be edited while it runs: its text is that from when it was started", function()
  local edited = new_directory()
  local editing = [[phase.on_step = function(r)
  if r.step == 2 then require("bam.core").write_file("recipe.lua", "-- edited\nerror 'new'\n") end
end]]
  run(edited, recipe(MINE:format "", editing, "Mine"))
  output = run(edited, mine())
  expect.lacks(output, "done:")
end)

local stopping
test("what a router keeps is saved as a tensor, and an interrupted phase goes on to the same bits", function()
  local COUNTING = "if self.training then bam.no_grad(function() self.seen:add_(1) end) end"
  local counting = new_directory(mine(COUNTING))
  run(counting)
  local counted = small.digests(counting)
  local broken = new_directory()
  stopping = [[phase.on_step = function(r)
  if phase.name == "mixed" and r.step == 8 then error "enough" end
end]]
  fails(broken, recipe(MINE:format(COUNTING), stopping, "Mine"), "enough")
  output = run(broken, mine(COUNTING))
  expect.contains(output, "mixed  done")
  small.assert_same(counted, small.digests(broken))
end)

test("sigmoid gates with a bias that the load moves, in the forward of a training step", function()
  local BALANCED = [[
local Mine = bam.nn.module "Mine"
function Mine:init(o)
  self.logits = bam.nn.Linear(o.width, o.experts, { bias = false, std = o.std })
  self.bias = bam.zeros(o.experts)
  self.jitter = o.jitter
end
function Mine:forward(h)
  local scores = self.logits(h):sigmoid()
  local _, experts = (scores + self.bias):topk(1, -1)
  if self.training then
    bam.no_grad(function()
      local load = bam.one_hot(experts, scores:size(-1)):to "f32":mean({ 1, 2, 3 })
      self.bias:add_((load:mean() - load) * 0.3)
    end)
  end
  return scores:gather(experts, -1), experts
end]]
  local balanced, resumed = new_directory(recipe(BALANCED, nil, "Mine")), new_directory()
  run(balanced)
  fails(resumed, recipe(BALANCED, stopping, "Mine"), "enough")
  run(resumed, recipe(BALANCED, nil, "Mine"))
  small.assert_same(small.digests(balanced), small.digests(resumed))
  local last = bam.load(small.phase(balanced, "mixed") .. "/step-00000010/model.safetensors")
  expect.compare(last["model.layers.0.mlp.router.bias"]:abs():max():item(), ">", 0, "the bias did not move")
end)

local other = new_directory()

test("otherwise it is refused by name; caches are let be", function()
  run(other, mine "self._mask = self._mask or bam.ones(h:size(2)):keep()")
  for code, words in pairs {
    ["calls = calls + 1"] = "ffn.router has changed while the phase trained",
    ["scale = scale * 1.01"] = "ffn.router has changed while the phase trained",
    ["self.k, self.calls = 1, (self.calls or 0) + 1"] =
      "the router's layers.1.ffn.router.calls changed while the phase trained",
    ['self.name = self.name .. "+"'] = "the router's layers.1.ffn.router.name changed",
    ["self.logits.weight.requires_grad = false"] =
      "the router's layers.1.ffn.router.logits.weight.requires_grad changed",
    ["self.load = h:detach():sum():keep()"] = "the router's layers.1.ffn.router.load changed",
    ["bam.no_grad(function() self.seen:add_(1) end)"] =
      "an evaluation changed the values of `layers.1.ffn.router.seen` of the model",
  } do
    fails(other, mine(code), words)
  end
  fails(other, recipe([[local function Mine(o)
  local n, w = 0, bam.ones(o.width, o.experts):keep()
  return function(h)
    n = n + 1
    return bam.matmul(h, w):softmax(-1):topk(1, -1)
  end
end]], nil, "Mine"), "the router's layers.1.ffn.router changed while the phase trained")
  fails(other, mine():gsub("local tilt =", "local luck = math.random() %0"), "uses math.random: no checkpoint")
  local patched = mine():gsub('phase.eval_tokens = 64', [[%0
  phase.on_step = function(r)
    local before = bam.nn.Linear.forward
    if r.step == 2 then function bam.nn.Linear:forward(x) return before(self, x) * 2 end end
  end]])
  fails(other, patched, "bam.nn.Linear.forward was replaced while the phase trained")
end)

test("also what is as it was whenever something is saved", function()
  local toggling = [[phase.on_step = function(r) scale = r.step % 2 == 0 and 1 or 2 end]]
  fails(other, recipe(MINE:format "", toggling, "Mine"), "ffn.router has changed while the phase trained")
end)

