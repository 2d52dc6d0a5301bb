-- Modules: values of each layer, names, state, freezing, groups, what wrong input says, and two
-- models that learn.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local nn = bam.nn

local function names(m)
  local list = {}
  for name in m:named_parameters() do list[#list + 1] = name end
  return list
end

bam.seed(1)

test("linear: y = x Wᵀ + b", function()
  local m = nn.Linear(3, 2)
  expect.equal(names(m), { "weight", "bias" })
  expect.equal(m.weight.shape, { 2, 3 })
  m:load_state { weight = bam.tensor { { 1., 2, 3 }, { 4, 5, 6 } },
                 bias = bam.tensor { 0.5, -0.5 } }
  expect.close(m(bam.tensor { { 1., 0, 0 }, { 1, 1, 1 } }), { { 1.5, 3.5 }, { 6.5, 14.5 } }, 0, "linear")
  expect.equal(names(nn.Linear(3, 2, { bias = false })), { "weight" })
  expect.equal(nn.Linear(2, 2, { dtype = "f64" }).weight.dtype, "f64")
  local wide = nn.Linear(100, 50)
  local bound = wide.weight:abs():max():item()
  expect.compare(bound, "<=", 0.1, "evenly within 1 / sqrt(inputs)")
  expect.compare(bound, ">", 0.09, "evenly within 1 / sqrt(inputs)")
  local std = nn.Linear(100, 100, { std = 0.02 })
  expect.close(std.weight:norm():item() / 100, 0.02, 0.002)
  expect.equal(std.bias:abs():max():item(), 0)
  bam.seed(5)
  local a = nn.Linear(3, 3).weight:totable()
  bam.seed(5)
  expect.equal(nn.Linear(3, 3).weight:totable(), a, "the seed decides")
end)

test("embedding, LayerNorm, SwiGLU, Dropout", function()
  local table_of = nn.Embedding(4, 2)
  table_of:load_state { weight = bam.tensor { { 0., 1 }, { 2, 3 }, { 4, 5 }, { 6, 7 } } }
  expect.close(table_of(bam.tensor { { 3, 0 } }), { 6., 7, 0, 1 }, 0, "embedding")

  local norm = nn.LayerNorm(2, { eps = 1e-12 })
  expect.close(norm(bam.tensor { { 1., 3 } }), { -1., 1 }, 1e-6, "layer norm")
  local y, sum = norm(bam.tensor { { 1., 3 } }, bam.tensor { { 1., 5 } })
  expect.close(sum, { 2., 8 }, 0, "residual sum")
  expect.close(y, { -1., 1 }, 1e-6, "layer norm of the sum")
  expect.equal(names(nn.LayerNorm(2, { bias = false })), { "weight" })

  local ffn = nn.SwiGLU { width = 1, hidden = 1 }
  ffn:load_state { ["gate_up.weight"] = bam.tensor { { 1. }, { 2 } },
                   ["down.weight"] = bam.tensor { { 3. } } }
  expect.close(ffn(bam.tensor { { 2. } }), { 3 * 2 / (1 + math.exp(-2)) * 4 }, 1e-5, "swiglu")

  local drop = nn.Dropout(0.5)
  local kept = drop(bam.ones(1000)):sum():item()
  expect.compare(kept, ">", 800)
  expect.compare(kept, "<", 1200)
  expect.equal(kept % 2, 0, kept)
  expect.close(drop:eval()(bam.ones(3)), { 1., 1, 1 }, 0, "dropout in evaluation")
  expect.yes(drop:train().training)
end)

-- Attention against the same computed from small ops in double precision, with grouped heads and
-- documents.
local function rotated(x, base)
  local b, t, h, k = table.unpack(x.shape)
  local rows = x:totable()
  for i = 1, b do for j = 1, t do for n = 1, h do
    local v = rows[i][j][n]
    for p = 0, k // 2 - 1 do
      local angle = (j - 1) * base ^ (-2 * p / k)
      local a, c, co, si = v[2 * p + 1], v[2 * p + 2], math.cos(angle), math.sin(angle)
      v[2 * p + 1], v[2 * p + 2] = a * co - c * si, a * si + c * co
    end
  end end end
  return bam.tensor(rows, { dtype = "f64" })
end

local function plain_attention(m, x, documents)
  local h, g, k = m.heads, m.kv_heads, m.head_width
  local b, t = x:size(1), x:size(2)
  local qkv = bam.linear(x, m.qkv.weight):view(b, t, h + 2 * g, k)
  local q, keys = rotated(qkv:narrow(3, 1, h), 10000), rotated(qkv:narrow(3, h + 1, g), 10000)
  local v = qkv:narrow(3, h + g + 1, g)
  local heads = {}
  for n = 1, h do
    local kv = (n - 1) // (h // g) + 1
    local scores = bam.matmul(q:select(3, n), keys:select(3, kv):transpose(2, 3)) / math.sqrt(k)
    local allowed = bam.ones(t, t):tril():gt(0) & documents:unsqueeze(3):eq(documents:unsqueeze(2))
    scores = scores:masked_fill(~allowed, -1e30)
    heads[n] = bam.matmul(scores:softmax(-1), v:select(3, kv))
  end
  return bam.linear(bam.concat(heads, -1), m.out.weight)
end

test("attention equals the same computed from small ops", function()
  local m = nn.Attention { width = 12, heads = 4, kv_heads = 2, head_width = 6, dtype = "f64" }
  expect.equal(names(m), { "qkv.weight", "out.weight" })
  expect.equal(m.qkv.weight.shape, { 48, 12 })
  expect.equal(m.out.weight.shape, { 12, 24 })
  local x = bam.randn(2, 5, 12, { dtype = "f64" })
  local documents = bam.tensor { { 1, 1, 2, 2, 2 }, { 3, 3, 3, 3, 4 } }
  bam.no_grad(function()
    local difference = (m(x, documents) - plain_attention(m, x, documents)):abs():max():item()
    expect.compare(difference, "<", 1e-12)
    local positions = bam.tensor { 7, 8, 9, 10, 11 } -- only differences of positions matter
    expect.compare((m(x, documents, positions) - m(x, documents)):abs():max():item(), "<", 1e-12)
  end)
  local flat = nn.Attention { width = 4, heads = 1, rope = false, bias = true }
  expect.equal(names(flat), { "qkv.weight", "qkv.bias", "out.weight", "out.bias" })
  expect.equal(flat(bam.randn(1, 3, 4)).shape, { 1, 3, 4 })
end)

local Block = nn.module "Block"

function Block:init(options)
  self.norm = nn.LayerNorm(options.width, { bias = false })
  self.attn = nn.Attention { width = options.width, heads = options.heads, std = 0.1 }
  self.ffn = nn.SwiGLU { width = options.width, hidden = 2 * options.width, std = 0.1 }
end

function Block:forward(x)
  local y = self.norm(x)
  return x + self.attn(y) + self.ffn(y)
end

local Model = nn.module "Model"

function Model:init(options)
  self.embed = nn.Embedding(options.vocabulary, options.width, { std = 0.1 })
  self.layers = {}
  for i = 1, options.layers do self.layers[i] = Block(options) end
  self.norm = nn.LayerNorm(options.width, { bias = false })
  self._cache = bam.zeros(3)
end

function Model:forward(ids, targets)
  local x = self.embed(ids)
  for _, layer in ipairs(self.layers) do x = layer(x) end
  return bam.linear_cross_entropy(self.norm(x), self.embed.weight, targets)
end

local function small_model() return Model { vocabulary = 11, width = 16, heads = 2, layers = 2 } end

test("one's own module: order of assignment, lists, private fields, integer tensors, ties", function()
  local m = small_model()
  expect.equal(names(m), { "embed.weight", "layers.1.norm.weight", "layers.1.attn.qkv.weight",
                 "layers.1.attn.out.weight", "layers.1.ffn.gate_up.weight", "layers.1.ffn.down.weight",
                 "layers.2.norm.weight", "layers.2.attn.qkv.weight", "layers.2.attn.out.weight",
                 "layers.2.ffn.gate_up.weight", "layers.2.ffn.down.weight", "norm.weight", })
  local first = m:parameters()[3]
  expect.equal(first.name, "layers.1.attn.qkv.weight")
  expect.same(first.tensor, m.layers[1].attn.qkv.weight)
  expect.same(first.module, m.layers[1].attn.qkv)
  local total, trainable = m:count()
  expect.equal(total, 11 * 16 + 2 * (16 + 48 * 16 + 16 * 16 + 64 * 16 + 32 * 16) + 16)
  expect.equal(trainable, total)

  local modules = {}
  for name, module in m:named_modules() do
    modules[#modules + 1] = string.format("%s:%s", name, getmetatable(module).__name)
  end
  expect.equal({ modules[1], modules[2], modules[3], modules[4] },
               { ":Model", "embed:Embedding", "layers.1:Block", "layers.1.norm:LayerNorm" })
  local seen = 0
  m:apply(function() seen = seen + 1 end)
  expect.equal(seen, #modules)

  local groups = m:groups(function(name) return name:find "norm" and "norms" or "others" end)
  expect.equal({ #groups.norms, #groups.others }, { 3, 9 })
  local tree = tostring(m)
  expect.matches(tree, "^Model: %d,%d+\n  embed Embedding: 176\n    weight f32 %(11, 16%)\n")
  expect.matches(tree, "\n  layers.1 Block: [%d,]+\n    norm LayerNorm: 16\n      weight f32 %(16%)\n")
end)

test("freezing and modes", function()
  local m = small_model()
  m:freeze()
  expect.equal(select(2, m:count()), 0)
  m:unfreeze "^layers%.2%."
  expect.no(m.embed.weight.requires_grad)
  expect.yes(m.layers[2].attn.out.weight.requires_grad)
  expect.contains(tostring(m), "\n  layers.1 Block: 2,576, 0 trained\n")
  m:unfreeze(function(name, tensor) return tensor.ndim == 1 and name == "norm.weight" end)
  expect.yes(m.norm.weight.requires_grad)
  expect.no(m.layers[1].norm.weight.requires_grad)
  local _, trainable = m:count()
  expect.equal(trainable, 16 + 48 * 16 + 16 * 16 + 64 * 16 + 32 * 16 + 16)
  expect.raises('freeze: no parameter matches the pattern "lyers"', m.freeze, m, "lyers")
  expect.raises("freeze: expected a pattern or a function(name, tensor), got 3", m.freeze, m, 3)
  m:eval()
  expect.no(m.training)
  expect.no(m.layers[2].ffn.down.training)
  m:train()
  expect.yes(m.training)
  expect.yes(m.embed.training)
end)

test("state: what goes out comes in; wrong states change nothing", function()
  local a, b = small_model(), small_model()
  local path = os.tmpname()
  bam.save(path, a:state())
  b:load_state((bam.load(path)))
  os.remove(path)
  for name, tensor in b:named_parameters() do
    expect.equal(tensor, a:state()[name], name)
    expect.yes(tensor.requires_grad, name)
  end
  local before = b.embed.weight:totable()
  local state = {}
  for name, tensor in pairs(small_model():state()) do state[name] = tensor end
  state["norm.wieght"], state["norm.weight"] = state["norm.weight"], nil
  expect.raises("load_state: the state has `norm.wieght`, and this module does not; did you mean `norm.weight`? "
                .. "The module has `embed.weight`, ", b.load_state, b, state)
  state["norm.wieght"] = nil
  expect.raises("load_state: the state has no `norm.weight`; it has `", b.load_state, b, state)
  state["norm.weight"] = bam.zeros(17)
  expect.raises("load_state: `norm.weight` has shape (16), but is (17) in the state", b.load_state, b, state)
  state["norm.weight"] = bam.zeros(16, { dtype = "i64" })
  expect.raises("load_state: `norm.weight` is f32, but i64 in the state", b.load_state, b, state)
  state["norm.weight"] = 3
  expect.raises("load_state: `norm.weight` is 3, not a tensor", b.load_state, b, state)
  expect.raises("load_state: no option `stict`; did you mean `strict`?", b.load_state, b, state,
                { stict = true })
  expect.raises("load_state: state: expected a table, got nil", b.load_state, b)
  expect.equal(b.embed.weight:totable(), before, "unchanged")
  local missing, unexpected =
    b:load_state({ ["norm.weight"] = bam.full({ 16 }, 2, { dtype = "f64" }), other = 1 },
                                           { strict = false })
  expect.equal({ #missing, missing[1], #unexpected, unexpected[1] }, { 11, "embed.weight", 1, "other" })
  expect.equal(b.norm.weight[3]:item(), 2.0)
end)

test("shared tensors count once, under the first name", function()
  local Tied = nn.module "Tied"
  function Tied:init()
    self.embed = nn.Embedding(5, 4)
    self.head = nn.Linear(4, 5, { bias = false })
    self.head.weight = self.embed.weight
    self.again = self.head
    self.counts = bam.zeros(5, { dtype = "i64" })
  end
  local m = Tied()
  expect.equal(names(m), { "embed.weight" })
  expect.equal(m:count(), 20)
  expect.yes(m:state().counts, "integers are state, not parameters")
  expect.no(m:state()["head.weight"], "integers are state, not parameters")
  expect.raises("the state has `head.weight`, and this module does not: it is the same tensor as `embed.weight`",
                m.load_state, m, { ["embed.weight"] = bam.zeros(5, 4), ["head.weight"] = bam.zeros(5, 4), counts = m.counts })
  expect.contains(tostring(m), "    weight f32 (5, 4) = embed.weight")
  m:to "f64"
  expect.same(m.embed.weight, m.head.weight)
  expect.equal(m.embed.weight.dtype, "f64")
  expect.yes(m.embed.weight.requires_grad)
  expect.equal(m.counts.dtype, "i64")
  m:freeze():to "bf16"
  expect.equal(m.head.weight.dtype, "bf16")
  expect.no(m.head.weight.requires_grad)
  expect.raises('to: expected "f32", "f64", "bf16" or "f16", or a device such as "cuda", got the string "i32"',
                m.to, m, "i32")
end)

test("inheritance, lists of tensors, what is not allowed", function()
  local Doubled = nn.module("Doubled", nn.Linear)
  function Doubled:forward(x) return nn.Linear.forward(self, x) * 2 end
  local m = Doubled(2, 1, { bias = false })
  m:load_state { weight = bam.tensor { { 1., 1 } } }
  expect.close(m(bam.tensor { { 1., 2 } }), { 6. }, 0, "inherited")
  expect.equal(tostring(Doubled), "class Doubled")
  expect.yes(nn.is_module(m))
  expect.no(nn.is_module(Doubled))

  local Bag = nn.module "Bag"
  local bag = Bag()
  bag.list = { nn.weights.full({ 1 }, 1), nn.weights.full({ 1 }, 2) }
  bag.size = 3
  bag.options = { width = 4 }
  expect.equal(names(bag), { "list.1", "list.2" })
  bag.list = nil
  bag.other, bag.list = nn.weights.full({ 1 }, 0), { nn.weights.full({ 1 }, 1) }
  expect.equal(names(bag), { "list.1", "other" }, "a field keeps its place")
  expect.raises("Bag: a field `state` would hide the method of the same name",
        function() bag.state = bam.zeros(1) end)
  bag.result = bag.other * 2
  expect.raises("`result` is the result of an op, not a parameter; name the field `_result` to keep it out",
                names, bag)
  bag.result = nil
  bag.experts = { law = nn.Linear(1, 1) }
  expect.raises('`experts` holds a parameter or module under the key the string "law"', names, bag)
  expect.raises("Bag has no forward; define function Bag:forward(x)", bag, 1)
  expect.raises("nn.module: the base of X must be a class made by nn.module, not a Bag", nn.module, "X", bag)
  expect.raises("parameters: expected a module, got nothing; call it with a colon: m:parameters()", bag.parameters)
end)

test("wrong options", function()
  expect.raises("bam.nn has no `Liner`; did you mean `Linear`?", function() return nn.Liner end)
  expect.raises("nn.Linear: inputs: expected an integer of at least 1, got a table", nn.Linear, { inputs = 3 })
  expect.raises("nn.Linear: outputs: expected an integer of at least 1, got 2.5", nn.Linear, 3, 2.5)
  expect.raises("nn.Linear: no option `bais`; did you mean `bias`?", nn.Linear, 3, 2, { bais = false })
  expect.raises("nn.Linear: option bias: expected true or false, got 1", nn.Linear, 3, 2, { bias = 1 })
  expect.raises('nn.Linear: option dtype: expected the dtype "f32" or "f64", got the string "bf16"', nn.Linear, 3,
                2, { dtype = "bf16" })
  expect.raises("nn.Attention: kv_heads is 3, which does not divide the 4 heads", nn.Attention,
                { width = 8, heads = 4, kv_heads = 3 })
  expect.raises("nn.Attention: 3 heads do not divide the width 8; give option head_width", nn.Attention,
                { width = 8, heads = 3 })
  expect.raises("nn.Attention: rope rotates pairs, so head_width must be even, got 3", nn.Attention,
                { width = 6, heads = 2 })
  expect.raises("nn.Attention: option `heads` is missing: an integer of at least 1", nn.Attention, { width = 6 })
  expect.raises("nn.Attention: expected x [batch, time, width], got a tensor of shape (3, 4)",
                nn.Attention { width = 4, heads = 1, rope = false }, bam.zeros(3, 4))
  expect.raises("nn.Dropout: p: expected a number from 0 to below 1, got 1", nn.Dropout, 1)
  expect.raises("nn.Sequential: entry 2 is 3, neither a module nor a function", nn.Sequential,
        { nn.Linear(1, 1), 3 })
  expect.raises("nn.Sequential: entry 2 of the list is nil; its last is 3", nn.Sequential,
                { bam.relu, nil, bam.relu })
  expect.raises("nn.Sequential: expected a list, but there is the key `relu`", nn.Sequential,
                { bam.tanh, relu = bam.relu })
end)

test("a small MLP learns XOR", function()
  bam.seed(3)
  local m = nn.Sequential { nn.Linear(2, 16), bam.tanh, nn.Linear(16, 1) }
  expect.equal(names(m), { "1.weight", "1.bias", "3.weight", "3.bias" })
  expect.equal(#m, 3)
  expect.equal(m[1].inputs, 2)
  local x = bam.tensor { { 0., 0 }, { 0, 1 }, { 1, 0 }, { 1, 1 } }
  local y = bam.tensor { { 0. }, { 1 }, { 1 }, { 0 } }
  local opt, last = bam.optim.AdamW(m, { lr = 0.03, weight_decay = 0 }), nil
  for _ = 1, 200 do
    last = bam.scope(function()
      opt:zero_grad()
      local loss = ((m(x) - y) ^ 2):mean()
      loss:backward()
      opt:step()
      return loss:item()
    end)
  end
  expect.compare(last, "<", 1e-3)
end)

-- A small transformer learns to copy what came three tokens before, and asks nothing of the system
-- after its first step.
test("a small transformer learns to copy, without new memory", function()
  bam.seed(4)
  local m = small_model()
  local opt = bam.optim.AdamW(m, { lr = 1e-2 })
  local lr = bam.schedule.cosine { peak = 1e-2, warmup = 10, floor = 0.1 }
  local steps, losses, requests = 150, {}, nil
  local function step(i)
    local ids = bam.randint(0, 10, 8, 24)
    local targets = bam.full({ 8, 24 }, -100)
    targets:narrow(2, 4, 21):copy_(ids:narrow(2, 1, 21))
    opt:zero_grad()
    local loss = m(ids, targets)
    loss:backward()
    opt:clip(1)
    opt:step(lr(i, steps))
    return loss:item()
  end
  for i = 1, steps do
    losses[i] = bam.scope(step, i)
    if i == 1 then requests = core.memory().system_requests end
  end
  expect.close(losses[1], math.log(11), 0.5)
  expect.compare(losses[steps], "<", 0.2)
  if core.memory().cached then -- not in the runs that watch every allocation
    expect.equal(core.memory().system_requests, requests, "requests to the system after the first step")
  end
end)
