-- The parts of the training loop: gradients do not depend on how a batch is split, how a step is
-- split, evaluation against sums by hand.
local bam = require "bam"
local budget = require "bam.train.budget"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local function near(a, b, tolerance, what)
  expect.close(a, b, tolerance * math.max(1, math.abs(b)), string.format("%s: %.12g, not %.12g", what, a, b))
end

local SIZES = { layers = 2, width = 16, heads = 2, ffn = 16, vocab = 23, context = 8 }
local dense = bam.models.parallel(SIZES)
local mixture = bam.mix { experts = { dense:build { seed = 1 }, dense:build { seed = 2 } },
                          attention = { kv = "shared" }, aux_group_size = 8 }

local function new_batch()
  bam.seed(3)
  local ids = bam.randint(0, 22, 4, 9)
  local batch = { ids = ids:slice(2, 1, 8), targets = ids:slice(2, 2, 9):clone(),
                  documents = bam.ones(4, 8, { dtype = "i64" }) }
  batch.targets[{ 1, { 1, 3 } }] = -100 -- rows with unequal numbers of targets
  batch.tokens = bam.ne(batch.targets, -100):sum():item()
  return batch
end

local function gradients(description, rows)
  local model = description:build { seed = 5, dtype = "f64" }
  local record = bam.loop.gradients(model, new_batch(), rows)
  local grads = {}
  for name, p in model:named_parameters() do grads[name] = p.grad end
  return record, grads
end

test("gradients, whole and in parts", function()
  for _, description in ipairs { dense, mixture } do
    local record, grads = gradients(description)
    for _, rows in ipairs { 1, 2, 3 } do
      local other, others = gradients(description, rows)
      near(other.loss, record.loss, 1e-12, "loss")
      for name, g in pairs(grads) do
        near((others[name] - g):abs():max():item(), 0, 1e-12, name)
      end
      if description ~= mixture then goto continue end
      near(other.load_balance, record.load_balance, 1e-12, "load balance")
      near(other.z_loss, record.z_loss, 1e-12, "z")
      expect.equal(#other.routing, 4, "two routers in each of two layers")
      for i, r in ipairs(record.routing) do
        for _, figure in ipairs { "load", "gate", "entropy" } do
          near(other.routing[i][figure][2], r[figure][2], 1e-12, figure)
        end
        near(r.load[1] + r.load[2], 1, 1e-12, "shares")
      end
      ::continue::
    end
  end
end)

local model = dense:build { seed = 1 }
local optimizer = bam.optim.AdamW(model)

test("a step that is not fit leaves everything as it was", function()
  local before = model.embed.weight:clone()
  local record = bam.loop.step(model, optimizer, new_batch(), { lr = 1, judge = function(loss, norm)
    expect.compare(loss, ">", 0)
    expect.compare(norm, ">", 0)
    return "a reason", false
  end })
  expect.equal(record.skipped, "a reason")
  expect.equal(optimizer.steps, 0)
  expect.equal((model.embed.weight - before):abs():max():item(), 0)
  record = bam.loop.step(model, optimizer, new_batch(), { lr = 1e-2 })
  expect.no(record.skipped)
  expect.equal(optimizer.steps, 1)
  expect.compare((model.embed.weight - before):abs():max():item(), ">", 0)
end)

test("the loss alone: as in evaluation, however it is split, and whatever batch.tokens says", function()
  local shaky = bam.mix { experts = { dense:build { seed = 1 }, dense:build { seed = 2 } },
                          ffn = { jitter = 0.5 }, aux_group_size = 8, seed = 3 }:build { dtype = "f64" }
  local batch = new_batch()
  local nll = bam.loop.loss(shaky, batch)
  expect.yes(shaky.training, "the mode is as it was")
  expect.yes(shaky.layers[1].ffn.router.training, "the mode is as it was")
  local loss = shaky:eval():loss(batch.ids, batch.targets, { documents = batch.documents })
  local _, parts = shaky:loss(batch.ids, batch.targets, { documents = batch.documents })
  near(nll, parts.loss:item(), 1e-12, "loss in evaluation")
  expect.compare(loss:item(), ">", nll, "without auxiliary losses")
  batch.tokens = 1e-300
  near(bam.loop.loss(shaky, batch, 3), nll, 1e-12, "loss in parts")
end)

test("padding is in no auxiliary loss, nor in the statistics", function()
  local routed = bam.mix { experts = { dense:build { seed = 1 }, dense:build { seed = 2 } }, seed = 3,
                           attention = { routing = 1 }, aux_group_size = 8 }
  local padded = new_batch()
  padded.targets[{ { 3, 4 }, {} }] = -100
  padded.tokens = bam.ne(padded.targets, -100):sum():item()
  local function of(batch, rows)
    local built = routed:build { dtype = "f64" }
    local got = bam.loop.gradients(built, batch, rows)
    local grads = {}
    for name, p in built:named_parameters() do grads[name] = p.grad end
    return got, grads
  end
  local alone = { tokens = padded.tokens }
  for _, name in ipairs { "ids", "targets", "documents" } do
    alone[name] = padded[name]:slice(1, 1, 2)
  end
  local want, wanted = of(alone)
  for _, rows in ipairs { 4, 3, 2, 1 } do
    local got, grads = of(padded, rows)
    near(got.loss, want.loss, 1e-12, "loss")
    near(got.load_balance, want.load_balance, 1e-12, "load balance")
    near(got.z_loss, want.z_loss, 1e-12, "z")
    for name, g in pairs(wanted) do near((grads[name] - g):abs():max():item(), 0, 1e-12, name) end
    for i, r in ipairs(want.routing) do
      for _, figure in ipairs { "load", "gate", "entropy" } do
        near(got.routing[i][figure][2], r[figure][2], 1e-12, figure)
      end
    end
  end
  padded.targets:fill_(-100)
  padded.tokens = 1
  local none, grads = of(padded, 2)
  expect.equal(none.load_balance, 0)
  expect.equal(none.z_loss, 0)
  expect.equal(none.routing[1].load[1], 0)
  for name, g in pairs(grads) do expect.equal(g:abs():max():item(), 0, name) end
end)

-- A router that gives statistics every other time, and of another dtype than the model's.
test("statistics of some micro-batches only", function()
  local calls = 0
  local function make(options)
    local own = bam.nn.Router(options)
    return function(h, pass)
      local gates, experts, record = own(h, pass)
      calls = calls + 1
      record.statistics = calls % 2 == 1 and bam.full({ 3, 2 }, calls, { dtype = "f32" }) or nil
      return gates, experts, record
    end
  end
  local some = bam.mix { experts = { dense:build { seed = 1 }, dense:build { seed = 2 } },
                         ffn = { router = make }, attention = { experts = "mean" } }:build { dtype = "f64" }
  local batch = new_batch()
  batch.targets = bam.zeros(4, 8, { dtype = "i64" })
  batch.tokens = 32
  local record = bam.loop.gradients(some, batch, 1) -- two layers: calls 1, 3, 5, 7 are the first layer's
  expect.equal(record.routing[1].load, { 4, 4 })
  expect.no(record.routing[2])
  expect.equal(record.routing[1].module, "ffn")
  expect.equal(record.routing[1].layer, 1)
end)

test("a router with one renormalized gate is not trained", function()
  for _, o in ipairs { { ffn = { renormalize = true } },
                       { attention = { routing = 1, renormalize = true } } } do
    o.experts = { dense:build { seed = 1 }, dense:build { seed = 2 } }
    local useless, batch = bam.mix(o):build(), new_batch()
    local function loss() return (useless:loss(batch.ids, batch.targets)) end
    local fine, message = pcall(loss)
    expect.no(fine, message)
    expect.contains(message, "with k = 1 and renormalize every gate is 1")
    bam.no_grad(loss) -- inference may use it, and frozen routers
    useless:log_likelihood(batch.ids, batch.targets)
    useless:sample({ 1, 2 }, { tokens = 1 })
    useless:eval()(batch.ids)
    useless:train():freeze "router"
    loss():backward()
  end
end)

test("everything frozen: an error that says so", function()
  local frozen = dense:build { seed = 1 }
  local run = { model = frozen, optimizer = bam.optim.AdamW(frozen), first = 1, steps = 3, batch = 4,
                stream = { batch = new_batch }, lr = bam.schedule.of(1),
                after = function() frozen:freeze() end }
  local fine, message = pcall(bam.loop.run, run)
  expect.no(fine, message)
  expect.contains(message, "at step 2 of 3 every parameter is frozen")
end)

local fine, message
test("how a step is split", function()
  expect.equal(budget.micro_batch(dense, 16, 128), 16)
  local large = bam.models.parallel { layers = 18, width = 2304, heads = 18, kv_heads = 6, ffn = 9216,
                                      vocab = 256000 }
  local rows = budget.micro_batch(large, 2048, 2048)
  expect.equal(2048 % rows, 0)
  expect.compare(rows, "<", 2048)
  expect.equal(select(2, budget.micro_batch(mixture, 4, 8)), false, "groups of their own")
  fine, message = pcall(budget.micro_batch, mixture, 3, 5)
  expect.no(fine)
  expect.matches(message, "groups of 8 tokens")
end)

test("evaluation", function()
  local targets = new_batch()
  local set = { domains = { "a" }, a = { count = 4, bytes = 100 },
                batch = function(_, _, first, count)
                  return { ids = targets.ids:slice(1, first, first + count - 1),
                           targets = targets.targets:slice(1, first, first + count - 1) }
                end }
  local result = bam.evaluate(model, { open = function() return set end }, { context = 8 })
  local logs = bam.log_softmax(model(targets.ids), -1)
  local sum, windows = 0, {}
  for i = 1, 4 do
    windows[i] = 0
    for t = 1, 8 do
      local target = targets.targets[{ i, t }]:item()
      if target >= 0 then windows[i] = windows[i] - logs[{ i, t, target + 1 }]:item() end
    end
    sum = sum + windows[i]
  end
  local d, tokens = result.domains.a, { 5, 8, 8, 8 }
  near(d.loss, sum / 29, 1e-6, "nats")
  near(d.perplexity, math.exp(sum / 29), 1e-6, "perplexity")
  near(d.bits_per_byte, sum / 100 / math.log(2), 1e-6, "bits per byte")
  local squares = 0
  for i = 1, 4 do squares = squares + (windows[i] - sum / 29 * tokens[i]) ^ 2 end
  near(d.standard_error, d.perplexity * math.sqrt(squares * 4 / 3) / 29, 1e-5, "standard error")
  near(result.average.perplexity, d.perplexity, 1e-12, "average")
  expect.yes(model.training, "the model is as it was")
  fine, message = pcall(bam.evaluate, model, { open = function() return set end },
                        { context = 8, domains = { "b" } })
  expect.no(fine)
  expect.matches(message, "no domain")
  expect.yes(model.training)
end)

