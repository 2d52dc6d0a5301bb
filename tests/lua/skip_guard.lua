-- The guard that skips steps: what is a spike and what is not, jumps that are the user's own, levels
-- that become usual, runs that have diverged; its state goes on to the bit.
package.path = string.format("tests/lua/support/?.lua;%s", package.path)
local bam = require "bam"
local core = require "bam.core"
local health = require "bam.train.health"
local regime = require "bam.train.regime"
local small = require "small_run"

local function guard(state, o)
  o = o or {}
  return health.new({ spike = o.spike or 10, clip = o.clip or 1, vocab = 256 }, state)
end

-- A guard to which `n` steps have been usual.
local function settled(norm, loss, o, n)
  local g = guard(nil, o)
  for _ = 1, n or 30 do assert(not g:judge(loss or 2, norm or 1)) end
  return g
end

-- ---- spikes ----

do
  local g = settled()
  assert(g:judge(2, 11):find("the norm of the gradient is 11, usual is 1", 1, true))
  assert(not g:judge(2, 9.9), "below ten times the usual")
  g = settled(0.03)
  assert(not g:judge(2, 1), "no norm at or below clip is a spike")
  assert(not g:judge(2, 0.9) and g:judge(2, 1.1), "but above it is")
  assert(not settled(0.03, 2, { clip = 1.2 }):judge(2, 1.1))
  assert(not guard():judge(2, 1e9), "nothing is usual yet")
  assert(not settled(1, 2, nil, 19):judge(2, 1e9) and settled(1, 2, nil, 20):judge(2, 1e9))
end

-- ---- what is not finite is skipped; three in a row end the run ----

for _, bad in ipairs { { 0 / 0, 1 }, { math.huge, 1 }, { 2, 0 / 0 }, { 2, math.huge } } do
  local g = guard()
  for i = 1, 4 do
    local why, stop = g:judge(bad[1], bad[2])
    assert(why and stop == (i >= 3), "three in a row, also at once")
  end
  assert(g.state.seen == 0 and g.state.skipped == 4, "nothing is learned from them")
  g = settled()
  for _ = 1, 5 do
    assert(not select(2, g:judge(bad[1], bad[2])) and not select(2, g:judge(bad[1], bad[2])))
    assert(not g:judge(2, 1), "between them is a sound one")
  end
end

-- ---- a run that has diverged ends ----

do
  local g = settled(1, 2) -- the norm, and the loss with it
  for i = 1, 3 do
    local why, stop = g:judge(5, 20)
    assert(why and stop == (i == 3))
  end
  g = guard() -- far above guessing, from the second step on
  assert(not g:judge(5.6, 1))
  for i = 1, 3 do
    local why, stop = g:judge(1000, 1)
    assert(why:find "the loss is 1000; it began at 5.6, and guessing gives 5.545" and stop == (i == 3))
  end
  assert(not guard():judge(1000, 1), "a model may begin badly")
  assert(g:fault_of_loss(0 / 0) and g:fault_of_loss(1000) and not g:fault_of_loss(12))
  assert(not settled(1, 0.01):judge(12, 1), "one hard batch of a model that knows its text")
end

-- ---- another level becomes usual ----

do
  local g = settled(1, 2)
  assert(g:judge(2.1, 50) and g:judge(1.9, 50))
  assert(not g:judge(2, 50), "the loss is as usual: the third is taken")
  for _ = 1, 100 do assert(not g:judge(2, 60)) end
  g = settled(1, 2) -- spikes now and then move what is usual, if not by all they are
  local skipped = 0
  for i = 1, 100 do
    local why, stop = g:judge(2, i % 2 == 0 and 40 or 3)
    skipped = skipped + (why and 1 or 0)
    assert(not stop)
  end
  assert(skipped > 5 and skipped < 20, skipped)
  g = settled(1, 2)
  assert(g:judge(2, 1e30) and not g:judge(2, 1) and g:judge(2, 15), "one alone moves it little")
end

-- ---- jumps that are the user's own ----

local function at(trained, shares, numbers)
  return { trained = trained, shares = shares, numbers = numbers or {} }
end

do
  local a, b = at("x", { law = 1 }), at("y", { law = 1 })
  assert(regime.jumped(a, b) and not regime.jumped(a, a))
  local function shares(x, y) return at("x", { law = x, code = y }) end
  assert(regime.jumped(a, at("x", { code = 1 })) and regime.jumped(shares(1, 0), shares(0, 1)))
  assert(regime.jumped(shares(0.5, 0.5), shares(0.7, 0.3)))
  assert(not regime.jumped(shares(0.5, 0.5), shares(0.55, 0.45)), "a slow change")
  assert(not regime.jumped(at "x", at "x"), "data that does not tell its shares")
  local function numbers(t) return at("x", nil, t) end
  assert(regime.jumped(numbers { ["ffn.top_k"] = 3 }, numbers { ["ffn.top_k"] = 2 }))
  assert(regime.jumped(numbers { z_loss = 0 }, numbers { z_loss = 0.01 }))
  assert(not regime.jumped(numbers { z_loss = 0.01 }, numbers { z_loss = 0.0101 }))
  assert(not regime.jumped(numbers { z_loss = 0 }, numbers { z_loss = 0 }))

  local g = guard()
  for _ = 1, 30 do assert(not g:judge(2, 1, a)) end
  assert(not g:judge(9, 500, b), "it begins anew at the jump")
  for _ = 1, 40 do assert(not g:judge(8, 400, b)) end
  assert(g:judge(8, 5000, b), "and guards what has become usual")
  for i = 1, 3 do assert(select(2, g:judge(0 / 0, 1, i % 2 == 0 and a or b)) == (i >= 2), i) end
end

-- ---- its state, as a checkpoint keeps it ----

do
  local steps = {}
  bam.seed(4)
  for i, x in ipairs(bam.rand(120, { dtype = "f64" }):totable()) do
    local norm = x < 0.1 and 0 / 0 or x > 0.8 and 100 * x or i / 3 + x
    steps[i] = { 2 + x, norm, at(i < 60 and "x" or "y", { law = i / 120, code = 1 - i / 120 }) }
  end
  local function run(g, first, last)
    local said = {}
    for i = first, last do
      local why, stop = g:judge(table.unpack(steps[i]))
      said[#said + 1] = string.format("%d %s %s", i, why, stop)
    end
    return table.concat(said, "\n")
  end
  local function kept(g) return bam.json.decode(bam.json.encode(g.state)) end
  for cut = 1, 119 do
    local whole, first = guard(), guard()
    local before = run(whole, 1, cut)
    assert(run(first, 1, cut) == before and (cut < 50 or before:find "usual is"))
    assert(run(guard(kept(first)), cut + 1, 120) == run(whole, cut + 1, 120), cut)
  end
  local old = guard { mean = 1.0, seen = 30, skipped = 0, in_a_row = 0 } -- of an earlier version
  assert(old:judge(2, 11) and not old:judge(2, 9))
end

-- ---- whole runs ----

local TRAIN = [[
local bam = require "bam"
local text = bam.corpus({ law = "law.txt", general = "general.txt" }, { vocab = 280, heldout = 0.3 })
local d = bam.models.parallel { layers = 1, width = 16, heads = 2, ffn = 16, vocab = 280, context = 16 }
local S = bam.schedule
local function train(o)
  o.batch, o.context, o.eval_every, o.tokens, o.lr = 4, 16, 0, o.steps * 64, o.lr or 1e-2
  o.data, o.steps = o.data or text:sample { general = 1, law = 1 }, nil
  return bam.train(o)
end
local function mix(o)
  o.experts = { d:build { seed = 1 }, d:build { seed = 2 } }
  return bam.mix(o)
end
]]

local directory = small.directory()
local cleanup <close> = setmetatable({}, { __close = function() small.remove(directory) end })

local function run(recipe)
  core.write_file(directory .. "/recipe.lua", string.format("%s%s\n", TRAIN, recipe))
  return small.run(directory)
end

local function trains(recipe)
  local output, fine = run(recipe)
  assert(fine and output:find "done:", output)
  assert(not output:find "skipped", output)
end

-- Routers first, then everything: with a clipping norm so small that no norm is below it.
trains [[local first = function(p) return p < 0.5 and 1 or 0 end
train { name = "unfreeze", model = mix { freeze = { experts = first, rest = first } }, clip = 1e-6,
        steps = 50 }]]
-- The coefficient of a loss jumps.
trains [[train { name = "knob", model = mix { ffn = { top_k = 2 },
  z_loss = S.piecewise { { 0.5, 0 }, { 0.5, 1000 } } }, clip = 1e-6, steps = 50 }]]

local function fails(words, recipe)
  local output, fine = run(recipe)
  assert(not fine and output:find(words, 1, true), output)
  return output
end

-- A learning rate far too large: caught, also at the last step, and not kept as good.
local output = fails("high stopped at step 4: the loss is",
                     [[train { name = "high", model = d, lr = 1e3, steps = 20 }]])
assert(output:find("There is no checkpoint of it yet", 1, true), output)
for steps = 1, 3 do
  fails("stopped at step " .. steps, string.format(
    [[train { name = "short%d", model = d, lr = 1e3, steps = %d, save_every = 1 }]], steps, steps))
end
output = fails("jump stopped at step 2", [[train { name = "jump", model = d, steps = 40, save_every = 7,
  lr = S.piecewise { { 0.5, 1e-2 }, { 0.5, 1e3 } } }]])
local kept = core.glob(directory .. "/runs/jump-*/step-*")
assert(output:find(string.format("Its last checkpoint, %s,", kept[#kept]:match "runs/.*"), 1, true),
       output)

-- All parts frozen in one step: said before anything is trained.
local FROZEN = "at step %s: option freeze: experts, routers and rest are all frozen"
fails(string.format("train: phase f1: " .. FROZEN, "1 of 9"), [[train { name = "f1",
  model = mix { freeze = { experts = true, routers = true, rest = true } }, steps = 9 }]])
output = fails(string.format(FROZEN, "7 of 9"), [[train { name = "f2", model = mix {
  freeze = { experts = true, routers = function(p) return p > 0.7 end, rest = true } }, steps = 9 }]])
assert(output:find "recipe.lua:%d+: train: phase f2", output)

-- Routers that cannot learn: the same, under --plan too. Frozen ones may be so, and more experts.
local K1 = "option %s: with k = 1 and renormalise every gate is 1"
fails("at step 1 of 9: " .. K1:format "ffn", [[train { name = "k1", model = mix {
  ffn = { top_k = 1, renormalise = true } }, steps = 9 }]])
fails("at step 6 of 9: " .. K1:format "attention", [[train { name = "k2", steps = 9, model = mix {
  attention = { routing = function(p) return p > 0.6 and 1 or 2 end, renormalise = true } } }]])
trains [[
train { name = "k3", model = mix { ffn = { renormalise = true }, freeze = { routers = true } }, steps = 3 }
train { name = "k4", model = mix { ffn = { top_k = 2, renormalise = true } }, steps = 3 }]]

print "skip_guard: ok"
