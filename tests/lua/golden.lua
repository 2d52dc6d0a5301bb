-- Twenty training steps of a 2-layer transformer, compared with those that PyTorch made once
-- (tests/golden). f64 must agree to rounding, f32 to its precision.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local nn = bam.nn

local HERE = arg[0]:match "^(.*)/[^/]*$" or "."
local golden = bam.load(HERE .. "/../golden/transformer.safetensors")
local STEPS, LAYERS, HEADS, KV_HEADS = 20, 2, 4, 2
local VOCABULARY, WIDTH, HIDDEN = 61, 32, 48

-- ---- the model, as a user would write it ----

local Block = nn.module "Block"

function Block:init(dtype)
  self.norm = nn.LayerNorm(WIDTH, { bias = false, dtype = dtype })
  self.attn = nn.Attention { width = WIDTH, heads = HEADS, kv_heads = KV_HEADS, dtype = dtype }
  self.ffn = nn.SwiGLU { width = WIDTH, hidden = HIDDEN, dtype = dtype }
end

function Block:forward(x, documents, positions)
  local h = self.norm(x)
  return x + self.attn(h, documents, positions) + self.ffn(h)
end

local Model = nn.module "Model"

function Model:init(dtype)
  self.embed = nn.Embedding(VOCABULARY, WIDTH, { dtype = dtype })
  self.layers = {}
  for i = 1, LAYERS do self.layers[i] = Block(dtype) end
  self.norm = nn.LayerNorm(WIDTH, { bias = false, dtype = dtype })
  self.head = nn.Linear(WIDTH, VOCABULARY, { bias = false, dtype = dtype })
end

function Model:forward(tokens, documents, positions)
  local x = self.embed(tokens)
  for _, layer in ipairs(self.layers) do x = layer(x, documents, positions) end
  return self.norm(x)
end

-- ---- comparing ----

-- The golden tensors of `kind` ("init", "grad", "final") under our names; q, k and v are one tensor
-- there, gate and up too.
local function ours(kind)
  local function get(name) return golden[string.format("%s.%s", kind, name)] end
  local t = { ["embed.weight"] = get "embed", ["norm.weight"] = get "norm",
              ["head.weight"] = get "head" }
  for i = 1, LAYERS do
    local from, to = string.format("layers.%d.", i - 1), string.format("layers.%d.", i)
    t[to .. "norm.weight"] = get(from .. "norm")
    local qkv = { get(from .. "q"), get(from .. "k"), get(from .. "v") }
    t[to .. "attn.qkv.weight"] = bam.concat(qkv, 1)
    t[to .. "attn.out.weight"] = get(from .. "o")
    t[to .. "ffn.gate_up.weight"] = bam.concat({ get(from .. "gate"), get(from .. "up") }, 1)
    t[to .. "ffn.down.weight"] = get(from .. "down")
  end
  return t
end

local function largest(x) return x:abs():max():item() end

-- Each tensor of `t` within `tolerance` of the golden one, relative to that one's largest element.
local function compare(t, expected, tolerance, what)
  local count = 0
  for name, want in pairs(expected) do
    local off = largest(t[name]:detach():to "f64" - want) / largest(want)
    expect.compare(off, "<=", tolerance,
                   string.format("%s of %s: off by %.2e of its largest element, %.0e allowed", what, name, off,
                     tolerance))
    count = count + 1
  end
  expect.equal(count, 3 + 5 * LAYERS)
end

local function close(got, want, tolerance, what, step)
  local off = math.abs(got - want) / math.abs(want)
  expect.compare(off, "<=", tolerance,
                 string.format("%s of step %d: %.12g, PyTorch had %.12g (%.2e apart, %.0e allowed)", what, step,
                   got, want, off, tolerance))
end

test("the three ways to the loss; all are the mean over the targets that count", function()
  local losses = {}

  function losses.small_ops(model, x, targets)
    return bam.cross_entropy(model.head(x), targets)
  end

  function losses.recomputed(model, x, targets)
    return bam.linear_cross_entropy(x, model.head.weight, targets, { chunk = 5 })
  end

  function losses.in_forward(model, x, targets)
    local valid = targets:ne(-100):sum():item()
    return bam.linear_cross_entropy(x, model.head.weight, targets, { chunk = 7, scale = 1 / valid })
  end

  local function gradients(model)
    local t = {}
    for name, p in model:named_parameters() do t[name] = p.grad end
    return t
  end

  local function train(dtype, loss_of, tolerance)
    local model = Model(dtype)
    model:load_state(ours "init")
    local opt = bam.optim.AdamW(model, { betas = { 0.9, 0.95 }, eps = 1e-8, weight_decay = 0.1 })
    local schedule = bam.schedule.cosine { peak = 1e-2, warmup = 3, floor = 0.1 }
    for step = 1, STEPS do
      bam.scope(function()
        local function part(name) return golden[name][step] end
        opt:zero_grad()
        local x = model(part "tokens", part "documents", part "positions")
        local loss = loss_of(model, x, part "targets")
        loss:backward()
        close(loss:item(), part("losses.f64"):item(), tolerance.loss, "loss", step)
        if step == 1 then compare(gradients(model), ours "grad", tolerance.gradient, "gradient") end
        close(opt:clip(3), part("norms.f64"):item(), tolerance.loss, "gradient norm", step)
        local lr = schedule:at(step, STEPS)
        close(lr, part("lr"):item(), 1e-14, "learning rate", step)
        opt:step(lr)
      end)
    end
    compare(model:state(), ours "final", tolerance.weights, "final weights")
  end

  local tolerances = {
    f64 = { loss = 1e-11, gradient = 1e-11, weights = 1e-11 },
    f32 = { loss = 1e-5, gradient = 1e-5, weights = 1e-4 }, -- Adam magnifies small gradients
  }
  for dtype, tolerance in pairs(tolerances) do
    for _, loss_of in pairs(losses) do train(dtype, loss_of, tolerance) end
  end
end)

print "golden: 20 steps agree with PyTorch in f32 and f64"
