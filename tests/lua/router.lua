-- Routers written in Lua: the contract that nn.Router documents, and that one of a few lines trains
-- as well as the built-in one on a toy task: sequences that follow one of three rules, which the
-- first tokens tell.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local nn = bam.nn

local VOCAB, TIME, BATCH, STEPS = 24, 16, 12, 120
local RULES = { { 1, 5 }, { 5, 7 }, { 7, 2 } } -- next = (a * token + c) mod 24

local function batch_of(seed)
  local rows = {}
  bam.seed(seed)
  local starts = bam.randint(0, VOCAB - 1, BATCH):totable()
  for b = 1, BATCH do
    local rule, row = RULES[b % #RULES + 1], { starts[b] }
    for t = 2, TIME + 1 do row[t] = (rule[1] * row[t - 1] + rule[2]) % VOCAB end
    rows[b] = row
  end
  local all = bam.tensor(rows)
  return all:slice(2, 1, TIME), all:slice(2, 2, TIME + 1)
end

-- ---- the built-in router, by hand ----

local Plain = nn.module "Plain"
function Plain:init(o)
  self.k = o.top_k
  self.logits = nn.Linear(o.width, o.experts, { bias = false, std = o.std, dtype = o.dtype })
end
function Plain:forward(h)
  local logits = self.logits(h)
  local p = logits:softmax(-1)
  local gates, experts = p:topk(self.k, -1)
  local chosen = bam.one_hot(experts, p:size(-1)):to(p.dtype)
  local share, mean = chosen:mean({ 1, 2, 3 }), p:mean({ 1, 2 })
  local z = logits:logsumexp(-1)
  local balance = (share * mean):sum() * p:size(-1)
  return gates, experts, { losses = bam.stack { balance, (z * z):mean() } }
end

-- ---- one with another idea: the choice of the layer before counts, and few experts may do ----

local Recurrent = nn.module "Recurrent"
function Recurrent:init(o)
  self.input = nn.Linear(o.width, o.experts, { bias = false, std = o.std })
  self.carry = nn.Linear(o.experts, o.experts, { bias = false, std = o.std })
end
function Recurrent:forward(h, batch)
  local logits = self.input(h)
  if batch.before then logits = logits + self.carry(batch.before) end
  batch.before = logits:tanh()
  local gates, experts = logits:softmax(-1):topk(2, -1)
  local weak = gates:lt(0.1) -- as many experts as have something to say (0: none)
  return gates:masked_fill(weak, 0), experts:masked_fill(weak, 0)
end

local mixture
test("training", function()
  local DENSE = bam.models.parallel { layers = 2, width = 32, heads = 2, ffn = 32, vocab = VOCAB }

  function mixture(router)
    local experts = {}
    for i = 1, 3 do experts[i] = DENSE:build { seed = i } end
    local d = bam.mix { experts = experts, attention = { kv = "shared" }, ffn = { router = router } }
    return d:build()
  end

  local function train(model)
    local optimizer = bam.optim.AdamW(model, { betas = { 0.9, 0.95 } })
    local lr, losses = bam.schedule.cosine { peak = 1e-2, warmup = 0.1, floor = 0.1 }, {}
    for step = 1, STEPS do
      losses[step] = bam.scope(function()
        local ids, targets = batch_of(step)
        optimizer:zero_grad()
        local loss, parts = model:loss(ids, targets)
        loss:backward()
        optimizer:clip(1)
        optimizer:step(lr:at(step, STEPS))
        return parts.loss:item()
      end)
    end
    return losses
  end

  local function last(losses)
    local sum = 0
    for step = STEPS - 9, STEPS do sum = sum + losses[step] / 10 end
    return sum
  end

  local built_in, plain = train(mixture()), train(mixture(Plain))
  local recurrent = train(mixture(Recurrent))
  print(string.format("built-in %.4f, the same in Lua %.4f, recurrent %.4f", last(built_in),
                      last(plain), last(recurrent)))
  expect.compare(last(built_in), "<", 0.5 * built_in[1], "the built-in router does not train")
  for step = 1, 10 do -- the same arithmetic in another order
    expect.close(built_in[step], plain[step], 1e-3, "the router in Lua computes something else")
  end
  expect.compare(last(plain), "<", 1.1 * last(built_in) + 0.02, "the router in Lua trains worse")
  expect.compare(last(recurrent), "<", 1.1 * last(built_in) + 0.02, "the recurrent router trains worse")
end)

local path = os.tmpname()
os.remove(path)

local ids, targets, ok, message
test("a router of one's own is saved with the model, and asked for when that is loaded", function()
  local model = mixture(Recurrent)
  ids, targets = batch_of(1)
  model:save(path)
  ok, message = pcall(bam.load, path)
  expect.no(ok, message)
  expect.contains(message, "its ffn routers were written in Lua")
  local loaded = bam.load(path, { routers = { ffn = Recurrent } })
  os.execute(string.format("rm -r '%s'", path))
  expect.equal(loaded:loss(ids, targets):item(), model:loss(ids, targets):item())
end)

local Counting = nn.module("Counting", Recurrent)
function Counting:init(o)
  Recurrent.init(self, o)
  self.seen = bam.tensor(0)
  self.mask = bam.tensor { true, false }
  self.scale = bam.full({ 2 }, 0.5)
end
function Counting:forward(h, batch)
  self.seen:add_(1)
  return Recurrent.forward(self, h, batch)
end

test("its buffers too, of any dtype; those of floating point in the dtype of the file", function()
  local counting = mixture(Counting)
  counting:loss(ids, targets)
  counting:save(path, { dtype = "bf16" })
  local counted = bam.load(path, { routers = { ffn = Counting } }).layers[2].ffn.router
  expect.equal(counted.seen:item(), 1)
  expect.equal(counted.seen.dtype, "i64")
  expect.equal(counted.mask.dtype, "bool")
  expect.yes(counted.mask[1]:item())
  expect.no(counted.mask[2]:item())
  expect.equal(counted.scale, { 0.5, 0.5 })
  local file = string.format("%s/model.safetensors", path)
  local tensors = bam.load(file)
  tensors["model.layers.1.mlp.router.seen"] = bam.tensor(1.5)
  bam.save(file, tensors)
  ok, message = pcall(bam.load, path, { routers = { ffn = Counting } })
  os.execute(string.format("rm -r '%s'", path))
  expect.no(ok, message)
  expect.contains(message, "router.seen` is of dtype f32; it must be i64")
end)

test("the built-in one, with settings of one's own", function()
  local warm = mixture(function(options)
    options.temperature = 2
    return nn.Router(options)
  end)
  expect.equal(warm.layers[1].ffn.router.temperature, 2)
  expect.different(mixture(nn.Router):loss(ids, targets):item(), warm:loss(ids, targets):item())
end)

local function refuses(words, router)
  expect.raises(words, function() return mixture(router):loss(ids, targets) end)
end

test("what a router must not give", function()
  refuses("router: expected what makes one, a class or a "
        .. "function, got a router; every layer has its own", nn.Router { width = 32, experts = 3 })
  -- With gates as they should be, this is the record.
  local function with_record(record)
    return function()
      return function(h) return h:sum(-1, true), bam.ones(12, 16, 1, { dtype = "i64" }), record end
    end
  end
  refuses("router of ffn: record: expected a table, got 5", with_record(5))
  refuses("router of ffn (forward at tests/lua/router.lua:173): expected losses [2], load balance and z, got 5", with_record { losses = 5 })
  refuses(": expected statistics [3, experts], shares of the assignments, mean gates and entropies, got a "
          .. "tensor of shape (2)", with_record { statistics = bam.zeros(2) })
  refuses(": expected losses [2], load balance and z, got a tensor of shape (3)",
          with_record { losses = bam.ones(3) })
  refuses("router: expected a module or a function(h, batch) to be made, got 5", function() return 5 end)
  refuses(": expected gates [B, T, k] for h (12, 16, 32), got a tensor of shape (16, 32)",
          function() return function(h) return h[1] end end)
  refuses(": 1 gates without `experts`, and there are 3 experts; return both: gates, experts",
          function() return function(h) return h:sum(-1, true) end end)
  refuses(": expected experts [B, T, k] for h (12, 16, 32), got 4",
          function() return function(h) return h:sum(-1, true), 4 end end)
  refuses("expert_order: expert 9 (element 1 of `experts`) is outside 0 .. 3; they count from 1, and 0 "
         .. "means none", function()
    return function(h) return h:sum(-1, true), bam.full({ 12, 16, 1 }, 9, { dtype = "i64" }) end
  end)
end)

