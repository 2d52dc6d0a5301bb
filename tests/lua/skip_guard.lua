-- The guard that skips steps: what is a spike and what is not, jumps that are the user's own, levels
-- that become usual, runs that have diverged; its state goes on to the bit.
local bam = require "bam"
local core = require "bam.core"
local skip_guard = require "bam.train.skip_guard"
local regime = require "bam.train.regime"
local small = require "tests.lua.support.small_run"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local function guard(state, o)
  o = o or {}
  return skip_guard.new({ max_grad_ratio = o.spike or 10, clip = o.clip or 1, vocab = 256 }, state)
end

-- A guard to which `n` steps have been usual.
local function settled(norm, loss, o, n)
  local g = guard(nil, o)
  for _ = 1, n or 30 do expect.no(g:judge(loss or 2, norm or 1)) end
  return g
end

test("spikes", function()
  local g = settled()
  expect.contains(g:judge(2, 11), "the norm of the gradient is 11, usual is 1")
  expect.no(g:judge(2, 9.9), "below ten times the usual")
  g = settled(0.03)
  expect.no(g:judge(2, 1), "no norm at or below clip is a spike")
  expect.no(g:judge(2, 0.9), "but above it is")
  expect.yes(g:judge(2, 1.1), "but above it is")
  expect.no(settled(0.03, 2, { clip = 1.2 }):judge(2, 1.1))
  expect.no(guard():judge(2, 1e9), "nothing is usual yet")
  expect.no(settled(1, 2, nil, 19):judge(2, 1e9))
  expect.yes(settled(1, 2, nil, 20):judge(2, 1e9))
end)

test("what is not finite is skipped; three in a row end the run", function()
  for _, bad in ipairs { { 0 / 0, 1 }, { math.huge, 1 }, { 2, 0 / 0 }, { 2, math.huge } } do
    local g = guard()
    for i = 1, 4 do
      local why, stop = g:judge(bad[1], bad[2])
      expect.yes(why, "three in a row, also at once")
      expect.equal(stop, (i >= 3), "three in a row, also at once")
    end
    expect.equal(g.state.seen, 0, "nothing is learned from them")
    expect.equal(g.state.skipped, 4, "nothing is learned from them")
    g = settled()
    for _ = 1, 5 do
      expect.no(select(2, g:judge(bad[1], bad[2])))
      expect.no(select(2, g:judge(bad[1], bad[2])))
      expect.no(g:judge(2, 1), "between them is a sound one")
    end
  end
end)

test("a run that has diverged ends", function()
  local g = settled(1, 2) -- the norm, and the loss with it
  for i = 1, 3 do
    local why, stop = g:judge(5, 20)
    expect.yes(why)
    expect.equal(stop, (i == 3))
  end
  g = guard() -- far above guessing, from the second step on
  expect.no(g:judge(5.6, 1))
  for i = 1, 3 do
    local why, stop = g:judge(1000, 1)
    expect.matches(why, "the loss is 1000; it began at 5.6, and guessing gives 5.545")
    expect.equal(stop, (i == 3))
  end
  expect.no(guard():judge(1000, 1), "a model may begin badly")
  expect.yes(g:fault_of_loss(0 / 0))
  expect.yes(g:fault_of_loss(1000))
  expect.no(g:fault_of_loss(12))
  expect.no(settled(1, 0.01):judge(12, 1), "one hard batch of a model that knows its text")
end)

test("another level becomes usual", function()
  local g = settled(1, 2)
  expect.yes(g:judge(2.1, 50))
  expect.yes(g:judge(1.9, 50))
  expect.no(g:judge(2, 50), "the loss is as usual: the third is taken")
  for _ = 1, 100 do expect.no(g:judge(2, 60)) end
  g = settled(1, 2) -- spikes now and then move what is usual, if not by all they are
  local skipped = 0
  for i = 1, 100 do
    local why, stop = g:judge(2, i % 2 == 0 and 40 or 3)
    skipped = skipped + (why and 1 or 0)
    expect.no(stop)
  end
  expect.compare(skipped, ">", 5)
  expect.compare(skipped, "<", 20)
  g = settled(1, 2)
  expect.yes(g:judge(2, 1e30), "one alone moves it little")
  expect.no(g:judge(2, 1), "one alone moves it little")
  expect.yes(g:judge(2, 15), "one alone moves it little")
end)

local function at(trained, shares, numbers)
  return { trained = trained, shares = shares, numbers = numbers or {} }
end

test("jumps that are the user's own", function()
  local a, b = at("x", { law = 1 }), at("y", { law = 1 })
  expect.yes(regime.jumped(a, b))
  expect.no(regime.jumped(a, a))
  local function shares(x, y) return at("x", { law = x, code = y }) end
  expect.yes(regime.jumped(a, at("x", { code = 1 })))
  expect.yes(regime.jumped(shares(1, 0), shares(0, 1)))
  expect.yes(regime.jumped(shares(0.5, 0.5), shares(0.7, 0.3)))
  expect.no(regime.jumped(shares(0.5, 0.5), shares(0.55, 0.45)), "a slow change")
  expect.no(regime.jumped(at "x", at "x"), "data that does not tell its shares")
  local function numbers(t) return at("x", nil, t) end
  expect.yes(regime.jumped(numbers { ["ffn.top_k"] = 3 }, numbers { ["ffn.top_k"] = 2 }))
  expect.yes(regime.jumped(numbers { z_loss = 0 }, numbers { z_loss = 0.01 }))
  expect.no(regime.jumped(numbers { z_loss = 0.01 }, numbers { z_loss = 0.0101 }))
  expect.no(regime.jumped(numbers { z_loss = 0 }, numbers { z_loss = 0 }))

  local g = guard()
  for _ = 1, 30 do expect.no(g:judge(2, 1, a)) end
  expect.no(g:judge(9, 500, b), "it begins anew at the jump")
  for _ = 1, 40 do expect.no(g:judge(8, 400, b)) end
  expect.yes(g:judge(8, 5000, b), "and guards what has become usual")
  for i = 1, 3 do expect.equal(select(2, g:judge(0 / 0, 1, i % 2 == 0 and a or b)), (i >= 2), i) end
end)

test("its state, as a checkpoint keeps it", function()
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
    expect.equal(run(first, 1, cut), before)
    expect.yes(cut < 50 or before:find "usual is")
    expect.equal(run(guard(kept(first)), cut + 1, 120), run(whole, cut + 1, 120), cut)
  end
  local old = guard { mean = 1.0, seen = 30, skipped = 0, in_a_row = 0 } -- of an earlier version
  expect.yes(old:judge(2, 11))
  expect.no(old:judge(2, 9))
end)

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
  expect.yes(fine, output)
  expect.matches(output, "done:")
  expect.lacks(output, "skipped")
end

local function fails(words, recipe)
  local output, fine = run(recipe)
  expect.no(fine, output)
  expect.contains(output, words)
  return output
end

test("routers first, then everything: with a clipping norm so small that no norm is below it", function()
  trains [[local first = function(p) return p < 0.5 and 1 or 0 end
train { name = "unfreeze", model = mix { freeze = { experts = first, rest = first } }, clip = 1e-6,
        steps = 50 }]]
  -- The coefficient of a loss jumps.
  trains [[train { name = "knob", model = mix { ffn = { top_k = 2 },
  z_loss = S.piecewise { { 0.5, 0 }, { 0.5, 1000 } } }, clip = 1e-6, steps = 50 }]]
end)

local output = fails("high stopped at step 4: the loss is",
                     [[train { name = "high", model = d, lr = 1e3, steps = 20 }]])

test("a learning rate far too large: caught, also at the last step, and not kept as good", function()
  expect.contains(output, "It has no checkpoint yet")
  for steps = 1, 3 do
    fails("stopped at step " .. steps, string.format(
      [[train { name = "short%d", model = d, lr = 1e3, steps = %d, save_every = 1 }]], steps, steps))
  end
  output = fails("jump stopped at step 2", [[train { name = "jump", model = d, steps = 40, save_every = 7,
  lr = S.piecewise { { 0.5, 1e-2 }, { 0.5, 1e3 } } }]])
  local kept = core.glob(directory .. "/runs/jump-*/step-*")
  expect.contains(output, string.format("Its last checkpoint, %s,", kept[#kept]:match "runs/.*"))
end)

test("all parts frozen in one step: said before anything is trained", function()
  local FROZEN = "at step %s: option freeze: experts, routers and rest are all frozen"
  fails(string.format("train: phase f1: " .. FROZEN, "1 of 9"), [[train { name = "f1",
  model = mix { freeze = { experts = true, routers = true, rest = true } }, steps = 9 }]])
  output = fails(string.format(FROZEN, "7 of 9"), [[train { name = "f2", model = mix {
  freeze = { experts = true, routers = function(p) return p > 0.7 end, rest = true } }, steps = 9 }]])
  expect.matches(output, "recipe.lua:%d+: train: phase f2")
end)

test("routers that cannot learn: the same, under --plan too. Frozen ones may be so, and more experts", function()
  local K1 = "option %s: with k = 1 and renormalize every gate is 1"
  fails("at step 1 of 9: " .. K1:format "ffn", [[train { name = "k1", model = mix {
  ffn = { top_k = 1, renormalize = true } }, steps = 9 }]])
  fails("at step 6 of 9: " .. K1:format "attention", [[train { name = "k2", steps = 9, model = mix {
  attention = { routing = function(p) return p > 0.6 and 1 or 2 end, renormalize = true } } }]])
  trains [[
train { name = "k3", model = mix { ffn = { renormalize = true }, freeze = { routers = true } }, steps = 3 }
train { name = "k4", model = mix { ffn = { top_k = 2, renormalize = true } }, steps = 3 }]]
end)

