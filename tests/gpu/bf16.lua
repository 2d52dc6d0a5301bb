-- bf16 parameters on "cuda": gradients are f32, optimizers of every kind update f32 masters to the bit as they update
-- f32 parameters, and a model and an optimizer's state that were saved go on with the same bits. Run by
-- tests/gpu/window.sh on a GPU, and over the shim of tests/simt.
local bam = require "bam"
local core = require "bam.core"

bam.device "cuda"
bam.seed(1)

local function same(a, b, what)
  assert(a.dtype == b.dtype and core.hash_tensor(a:contiguous()) == core.hash_tensor(b:contiguous()), what)
end

-- ---- optimizers ----

local Averaged = bam.optim.define {
  name = "Averaged", options = { lr = { "rate", 1e-3 } }, state = { "mean" },
  update = function(param, grad, state, o)
    state.mean = state.mean * 0.9 + grad * 0.1
    return param - state.mean * o.lr
  end,
}

local SHAPES = { { 24, 10 }, { 7 } }

local function leaves(dtype)
  local list = {}
  for i, shape in ipairs(SHAPES) do
    local x = bam.rand(shape):to("bf16"):to(dtype) -- masters begin as what bf16 holds
    x.requires_grad, list[i] = true, { name = "p" .. i, tensor = x }
  end
  return list
end

-- Parameters of f32, and the same of bf16, after steps with the same gradients.
for name, make in pairs { AdamW = bam.optim.AdamW, Lion = bam.optim.Lion, SGD = bam.optim.SGD, Muon = bam.optim.Muon,
                          Averaged = Averaged } do
  bam.seed(2)
  local wide = leaves "f32"
  bam.seed(2)
  local narrow = leaves "bf16"
  local one, two = make(wide, { lr = 1e-3 }), make(narrow, { lr = 1e-3 })
  for _ = 1, 3 do
    one:zero_grad()
    two:zero_grad()
    for i, p in ipairs(wide) do
      local grad = bam.randn(SHAPES[i])
      assert(narrow[i].tensor.grad.dtype == "f32")
      bam.no_grad(function()
        p.tensor.grad:copy_(grad)
        narrow[i].tensor.grad:copy_(grad)
      end)
    end
    one:clip(1, { wait = false })
    two:clip(1, { wait = false })
    one:step()
    two:step()
  end
  local state = two:state()
  for i, p in ipairs(wide) do
    local low = state["low.p" .. i]
    assert(low.dtype == "u8" and low:count() == 2 * p.tensor:count())
    same(core.join_masters(narrow[i].tensor:detach(), low), p.tensor:detach(), name .. ": the masters of p" .. i)
  end
end

-- ---- a model ----

local function model_of(seed)
  bam.seed(seed)
  local dense = bam.models.parallel { layers = 1, width = 16, heads = 2, ffn = 16, vocab = 50, context = 16 }
  local mix = bam.mix { experts = { dense:build(), dense:build() }, attention = { kv = "shared" }, ffn = { top_k = 1 } }
  return mix:build():to "bf16"
end

local ids = bam.randint(0, 49, 2, 8)

local function step(model, optimizer)
  optimizer:zero_grad()
  local loss = model:loss(ids, ids)
  assert(loss.dtype == "f32")
  loss:backward()
  optimizer:step(1e-2)
  return loss:item()
end

local model = model_of(3):train()
local gates = model.layers[1].ffn.router(bam.rand(1, 2, 16):to "bf16")
assert(gates.dtype == "f32", "gates are not rounded")
assert(model:log_likelihood(ids, ids).dtype == "f32")
local optimizer = bam.optim.AdamW(model)
local first = step(model, optimizer)
for _ = 1, 3 do step(model, optimizer) end

-- What was saved goes on as what went on.
local path = os.tmpname()
os.remove(path)
core.make_directory(path)
bam.save(path .. "/model.safetensors", model:state())
bam.save(path .. "/optimizer.safetensors", optimizer:state())
model:save(path .. "/model")
local other = model_of(4):train()
other:load_state(bam.load(path .. "/model.safetensors"))
local resumed = bam.optim.AdamW(other)
resumed:load_state(bam.load(path .. "/optimizer.safetensors"))
local last
for _ = 1, 2 do
  last = step(model, optimizer)
  assert(step(other, resumed) == last)
end
assert(last < first)
local left = model:state()
for name, tensor in pairs(other:state()) do same(tensor, left[name], name) end
for name, tensor in pairs(resumed:state()) do same(tensor, optimizer:state()[name], name) end

-- A saved model is of bf16, for any program.
local file = core.read_file(path .. "/model/config.json")
assert(file:find '"bfloat16"' or file:find '"bf16"', file)
assert(bam.load(path .. "/model").embed.weight.dtype == "f32")
os.execute(string.format("rm -rf '%s'", path))
