-- What is said of a step whose loss or gradient is not finite: the layer, its part and the direction.
local bam = require "bam"
local core = require "bam.core"
local diagnose = require "bam.train.diagnose"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local dense = bam.models.parallel { layers = 3, width = 16, heads = 2, ffn = 16, vocab = 23, context = 8 }

local function new_batch()
  local ids = bam.randint(0, 22, 2, 9)
  return { ids = ids:slice(2, 1, 8), targets = ids:slice(2, 2, 9), tokens = 16 }
end

-- A model of which `damage` changes something, before or after its gradients are there.
local function said(before, after, nll)
  bam.seed(1)
  local model, batch = dense:build { seed = 1 }, new_batch()
  if before then bam.no_grad(before, model) end
  local record = bam.loop.gradients(model, batch)
  if after then bam.no_grad(after, model) end
  local random = bam.json.encode(core.random_state())
  local place = diagnose.find(model, batch, nll or record.loss)
  expect.yes(model.training, "nothing changes")
  expect.equal(bam.json.encode(core.random_state()), random, "nothing changes")
  return place
end

local function expect_place(words, ...)
  local place = said(...)
  expect.yes(place, string.format("%s, not %s", place, words))
  expect.contains(place, words, string.format("%s, not %s", place, words))
end

test("names the layer, its part and the direction", function()
  expect_place("the weights of layers.2.ffn.down.weight are not finite", function(m)
    m.layers[2].ffn.down.weight[1][1] = 0 / 0
  end)
  expect_place("in the forward pass, in layer 3, ffn", function(m) m.layers[3].ffn.gate_up.weight:fill_(1e30) end)
  expect_place("in the forward pass, in layer 1, attention", function(m)
    m.layers[1].attention.qkv:fill_(3e38)
  end)
  expect_place("in the forward pass, in the loss", nil, nil, math.huge)
  expect_place("in the backward pass, in layer 2, gradient of attention.out", nil, function(m)
    m.layers[2].attention.out.grad[1][1] = 0 / 0 -- and what comes after it on the way back
    m.layers[1].ffn.down.weight.grad:fill_(0 / 0)
    m.embed.weight.grad:fill_(0 / 0)
  end)
  expect_place("in the backward pass, in gradient of embed.weight", nil, function(m)
    m.embed.weight.grad:fill_(math.huge)
  end)
  expect.equal(said(), nil, "nothing is wrong")
end)

