-- Modules: values of each layer, names, state, freezing, groups, what wrong input says, and two
-- models that learn.
local bam = require "bam"
local core = require "bam.core"
local nn = bam.nn

local function fails(expected, f, ...)
  local ok, message = pcall(f, ...)
  assert(not ok, string.format("no error; expected %s", expected))
  assert(message:find(expected, 1, true), string.format("got %s, expected %s", message, expected))
end

local function same(a, b, what)
  if type(a) == "table" and type(b) == "table" and #a == #b then
    for i = 1, #a do same(a[i], b[i], string.format("%s[%d]", what or "", i)) end
    return
  end
  assert(a == b, string.format("%s: %s instead of %s", what or "value", a, b))
end

local function close(x, expected, tolerance, what)
  local a, b = x:flatten():totable(), bam.tensor(expected):flatten():totable()
  assert(#a == #b, what)
  for i = 1, #a do
    assert(math.abs(a[i] - b[i]) <= tolerance,
           string.format("%s: element %d is %.9g, not %.9g", what, i, a[i], b[i]))
  end
end

local function names(m)
  local list = {}
  for name in m:named_parameters() do list[#list + 1] = name end
  return list
end

bam.seed(1)

-- Linear: y = x Wᵀ + b.
do
  local m = nn.Linear(3, 2)
  same(names(m), { "weight", "bias" })
  same(m.weight.shape, { 2, 3 })
  m:load_state { weight = bam.tensor { { 1., 2, 3 }, { 4, 5, 6 } },
                 bias = bam.tensor { 0.5, -0.5 } }
  close(m(bam.tensor { { 1., 0, 0 }, { 1, 1, 1 } }), { { 1.5, 3.5 }, { 6.5, 14.5 } }, 0, "linear")
  same(names(nn.Linear(3, 2, { bias = false })), { "weight" })
  assert(nn.Linear(2, 2, { dtype = "f64" }).weight.dtype == "f64")
  local wide = nn.Linear(100, 50)
  local bound = wide.weight:abs():max():item()
  assert(bound <= 0.1 and bound > 0.09, "evenly within 1 / sqrt(inputs)")
  local std = nn.Linear(100, 100, { std = 0.02 })
  assert(math.abs(std.weight:norm():item() / 100 - 0.02) < 0.002
         and std.bias:abs():max():item() == 0)
  bam.seed(5)
  local a = nn.Linear(3, 3).weight:totable()
  bam.seed(5)
  same(nn.Linear(3, 3).weight:totable(), a, "the seed decides")
end

-- Embedding, LayerNorm, SwiGLU, Dropout.
do
  local table_of = nn.Embedding(4, 2)
  table_of:load_state { weight = bam.tensor { { 0., 1 }, { 2, 3 }, { 4, 5 }, { 6, 7 } } }
  close(table_of(bam.tensor { { 3, 0 } }), { 6., 7, 0, 1 }, 0, "embedding")

  local norm = nn.LayerNorm(2, { eps = 1e-12 })
  close(norm(bam.tensor { { 1., 3 } }), { -1., 1 }, 1e-6, "layer norm")
  local y, sum = norm(bam.tensor { { 1., 3 } }, bam.tensor { { 1., 5 } })
  close(sum, { 2., 8 }, 0, "residual sum")
  close(y, { -1., 1 }, 1e-6, "layer norm of the sum")
  same(names(nn.LayerNorm(2, { bias = false })), { "weight" })

  local ffn = nn.SwiGLU { width = 1, hidden = 1 }
  ffn:load_state { ["gate_up.weight"] = bam.tensor { { 1. }, { 2 } },
                   ["down.weight"] = bam.tensor { { 3. } } }
  close(ffn(bam.tensor { { 2. } }), { 3 * 2 / (1 + math.exp(-2)) * 4 }, 1e-5, "swiglu")

  local drop = nn.Dropout(0.5)
  local kept = drop(bam.ones(1000)):sum():item()
  assert(kept > 800 and kept < 1200 and kept % 2 == 0, kept)
  close(drop:eval()(bam.ones(3)), { 1., 1, 1 }, 0, "dropout in evaluation")
  assert(drop:train().training)
end

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

do
  local m = nn.Attention { width = 12, heads = 4, kv_heads = 2, head_width = 6, dtype = "f64" }
  same(names(m), { "qkv.weight", "out.weight" })
  same(m.qkv.weight.shape, { 48, 12 })
  same(m.out.weight.shape, { 12, 24 })
  local x = bam.randn(2, 5, 12, { dtype = "f64" })
  local documents = bam.tensor { { 1, 1, 2, 2, 2 }, { 3, 3, 3, 3, 4 } }
  bam.no_grad(function()
    local difference = (m(x, documents) - plain_attention(m, x, documents)):abs():max():item()
    assert(difference < 1e-12, difference)
    local positions = bam.tensor { 7, 8, 9, 10, 11 } -- only differences of positions matter
    assert((m(x, documents, positions) - m(x, documents)):abs():max():item() < 1e-12)
  end)
  local flat = nn.Attention { width = 4, heads = 1, rope = false, bias = true }
  same(names(flat), { "qkv.weight", "qkv.bias", "out.weight", "out.bias" })
  same(flat(bam.randn(1, 3, 4)).shape, { 1, 3, 4 })
end

-- One's own module: order of assignment, lists, private fields, integer tensors, ties.
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

do
  local m = small_model()
  same(names(m), {
    "embed.weight",
    "layers.1.norm.weight", "layers.1.attn.qkv.weight", "layers.1.attn.out.weight",
      "layers.1.ffn.gate_up.weight",
    "layers.1.ffn.down.weight",
    "layers.2.norm.weight", "layers.2.attn.qkv.weight", "layers.2.attn.out.weight",
      "layers.2.ffn.gate_up.weight",
    "layers.2.ffn.down.weight",
    "norm.weight",
  })
  local first = m:parameters()[3]
  assert(first.name == "layers.1.attn.qkv.weight" and first.tensor == m.layers[1].attn.qkv.weight
         and first.module == m.layers[1].attn.qkv)
  local total, trainable = m:count()
  same(total, 11 * 16 + 2 * (16 + 48 * 16 + 16 * 16 + 64 * 16 + 32 * 16) + 16)
  same(trainable, total)

  local modules = {}
  for name, module in m:named_modules() do
    modules[#modules + 1] = string.format("%s:%s", name, getmetatable(module).__name)
  end
  same({ modules[1], modules[2], modules[3], modules[4] },
       { ":Model", "embed:Embedding", "layers.1:Block", "layers.1.norm:LayerNorm" })
  local seen = 0
  m:apply(function() seen = seen + 1 end)
  same(seen, #modules)

  local groups = m:groups(function(name) return name:find "norm" and "norms" or "others" end)
  same({ #groups.norms, #groups.others }, { 3, 9 })
  local tree = tostring(m)
  assert(tree:find("^Model: %d,%d+\n  embed Embedding: 176\n    weight f32 %(11, 16%)\n"), tree)
  assert(tree:find("\n  layers.1 Block: [%d,]+\n    norm LayerNorm: 16\n      weight f32 %(16%)\n"),
         tree)
end

-- Freezing and modes.
do
  local m = small_model()
  m:freeze()
  same(select(2, m:count()), 0)
  m:unfreeze "^layers%.2%."
  assert(not m.embed.weight.requires_grad and m.layers[2].attn.out.weight.requires_grad)
  assert(tostring(m):find("\n  layers.1 Block: 2,576, 0 trained\n", 1, true), tostring(m))
  m:unfreeze(function(name, tensor) return tensor.ndim == 1 and name == "norm.weight" end)
  assert(m.norm.weight.requires_grad and not m.layers[1].norm.weight.requires_grad)
  local _, trainable = m:count()
  same(trainable, 16 + 48 * 16 + 16 * 16 + 64 * 16 + 32 * 16 + 16)
  fails('freeze: no parameter matches the pattern "lyers"', m.freeze, m, "lyers")
  fails("freeze: expected a pattern or a function(name, tensor), got 3", m.freeze, m, 3)
  m:eval()
  assert(not m.training and not m.layers[2].ffn.down.training)
  m:train()
  assert(m.training and m.embed.training)
end

-- State: what goes out comes in; wrong states change nothing.
do
  local a, b = small_model(), small_model()
  local path = os.tmpname()
  bam.save(path, a:state())
  b:load_state((bam.load(path)))
  os.remove(path)
  for name, tensor in b:named_parameters() do
    assert(tensor:eq(a:state()[name]):all():item() and tensor.requires_grad, name)
  end
  local before = b.embed.weight:totable()
  local state = {}
  for name, tensor in pairs(small_model():state()) do state[name] = tensor end
  state["norm.wieght"], state["norm.weight"] = state["norm.weight"], nil
  fails("load_state: nothing here is called `norm.wieght`; did you mean `norm.weight`?; "
        .. "{ strict = false } ignores that",
        b.load_state, b, state)
  state["norm.wieght"] = nil
  fails("load_state: the state lacks `norm.weight`; { strict = false } keeps what is there",
        b.load_state, b, state)
  state["norm.weight"] = bam.zeros(17)
  fails("load_state: `norm.weight` has shape (16), but is (17) in the state", b.load_state, b,
        state)
  state["norm.weight"] = bam.zeros(16, { dtype = "i64" })
  fails("load_state: `norm.weight` is f32, but i64 in the state", b.load_state, b, state)
  state["norm.weight"] = 3
  fails("load_state: `norm.weight` is 3, not a tensor", b.load_state, b, state)
  fails("load_state: no option `stict`; did you mean `strict`?", b.load_state, b, state,
        { stict = true })
  fails("load_state: state: expected a table, got nil", b.load_state, b)
  same(b.embed.weight:totable(), before, "unchanged")
  local missing, unexpected =
    b:load_state({ ["norm.weight"] = bam.full({ 16 }, 2, { dtype = "f64" }), other = 1 },
                                           { strict = false })
  same({ #missing, missing[1], #unexpected, unexpected[1] }, { 11, "embed.weight", 1, "other" })
  same(b.norm.weight[3]:item(), 2.0)
end

-- Shared tensors count once, under the first name.
do
  local Tied = nn.module "Tied"
  function Tied:init()
    self.embed = nn.Embedding(5, 4)
    self.head = nn.Linear(4, 5, { bias = false })
    self.head.weight = self.embed.weight
    self.again = self.head
    self.counts = bam.zeros(5, { dtype = "i64" })
  end
  local m = Tied()
  same(names(m), { "embed.weight" })
  same(m:count(), 20)
  assert(m:state().counts and not m:state()["head.weight"], "integers are state, not parameters")
  fails("nothing here is called `head.weight`; it is the same tensor as `embed.weight`",
        m.load_state, m,
        { ["embed.weight"] = bam.zeros(5, 4), ["head.weight"] = bam.zeros(5, 4),
          counts = m.counts })
  assert(tostring(m):find("    weight f32 (5, 4) = embed.weight", 1, true), tostring(m))
  m:to "f64"
  assert(m.embed.weight == m.head.weight and m.embed.weight.dtype == "f64"
         and m.embed.weight.requires_grad)
  assert(m.counts.dtype == "i64")
  m:freeze():to "bf16"
  assert(m.head.weight.dtype == "bf16" and not m.head.weight.requires_grad)
  fails('to: expected "f32", "f64", "bf16" or "f16", or a device such as "cuda", got the string "i32"', m.to, m, "i32")
end

-- Inheritance, lists of tensors, what is not allowed.
do
  local Doubled = nn.module("Doubled", nn.Linear)
  function Doubled:forward(x) return nn.Linear.forward(self, x) * 2 end
  local m = Doubled(2, 1, { bias = false })
  m:load_state { weight = bam.tensor { { 1., 1 } } }
  close(m(bam.tensor { { 1., 2 } }), { 6. }, 0, "inherited")
  assert(tostring(Doubled) == "class Doubled" and nn.is_module(m) and not nn.is_module(Doubled))

  local Bag = nn.module "Bag"
  local bag = Bag()
  bag.list = { nn.weights.full({ 1 }, 1), nn.weights.full({ 1 }, 2) }
  bag.size = 3
  bag.options = { width = 4 }
  same(names(bag), { "list.1", "list.2" })
  bag.list = nil
  bag.other, bag.list = nn.weights.full({ 1 }, 0), { nn.weights.full({ 1 }, 1) }
  same(names(bag), { "list.1", "other" }, "a field keeps its place")
  fails("Bag: a field called `state` would hide the method of that name",
        function() bag.state = bam.zeros(1) end)
  bag.result = bag.other * 2
  fails("`result` is the result of an op, not a parameter; call the field `_result` to keep it out",
        names, bag)
  bag.result = nil
  bag.experts = { law = nn.Linear(1, 1) }
  fails('`experts` holds a parameter or module under the key the string "law"', names, bag)
  fails("Bag has no forward; define function Bag:forward(x)", bag, 1)
  fails("nn.module: the base of X must be a class made by nn.module, not a Bag", nn.module, "X",
        bag)
  fails("expected a module, got nil; call methods with a colon: m:name()", bag.parameters)
end

-- Wrong options.
fails("bam.nn has no `Liner`; did you mean `Linear`?", function() return nn.Liner end)
fails("nn.Linear: inputs: expected an integer of at least 1, got a table", nn.Linear,
      { inputs = 3 })
fails("nn.Linear: outputs: expected an integer of at least 1, got 2.5", nn.Linear, 3, 2.5)
fails("nn.Linear: no option `bais`; did you mean `bias`?", nn.Linear, 3, 2, { bais = false })
fails("nn.Linear: option bias: expected true or false, got 1", nn.Linear, 3, 2, { bias = 1 })
fails('nn.Linear: option dtype: expected the dtype "f32" or "f64", got the string "bf16"',
      nn.Linear, 3, 2, { dtype = "bf16" })
fails("nn.Attention: kv_heads is 3, which does not divide the 4 heads", nn.Attention,
      { width = 8, heads = 4, kv_heads = 3 })
fails("nn.Attention: 3 heads do not divide the width 8; give head_width", nn.Attention,
      { width = 8, heads = 3 })
fails("nn.Attention: rope turns pairs, and head_width is 3; make it even", nn.Attention,
      { width = 6, heads = 2 })
fails("nn.Attention: option `heads` is missing: an integer of at least 1", nn.Attention,
      { width = 6 })
fails("nn.Attention: expected x [batch, time, width], got a tensor of shape (3, 4)",
      nn.Attention { width = 4, heads = 1, rope = false }, bam.zeros(3, 4))
fails("nn.Dropout: p: expected a number from 0 to below 1, got 1", nn.Dropout, 1)
fails("nn.Sequential: entry 2 is 3, neither a module nor a function", nn.Sequential,
      { nn.Linear(1, 1), 3 })
fails("nn.Sequential: entry 2 of the list is nil; its last is 3", nn.Sequential,
      { bam.relu, nil, bam.relu })
fails("nn.Sequential: expected a list, but there is the key `relu`",
      nn.Sequential,
      { bam.tanh, relu = bam.relu })

-- A small MLP learns XOR.
do
  bam.seed(3)
  local m = nn.Sequential { nn.Linear(2, 16), bam.tanh, nn.Linear(16, 1) }
  same(names(m), { "1.weight", "1.bias", "3.weight", "3.bias" })
  assert(#m == 3 and m[1].inputs == 2)
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
  assert(last < 1e-3, last)
end

-- A small transformer learns to copy what came three tokens before, and asks nothing of the system
-- after its first step.
do
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
  assert(math.abs(losses[1] - math.log(11)) < 0.5, losses[1])
  assert(losses[steps] < 0.2, losses[steps])
  if core.memory().cached then -- not in the runs that watch every allocation
    same(core.memory().system_requests, requests, "requests to the system after the first step")
  end
end
