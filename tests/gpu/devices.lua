-- Tensors, gradients, modules, optimizers and files on "cuda", against the same on the CPU. Run by
-- tests/gpu/window.sh on a GPU, and over the shim of tests/simt.
local bam = require "bam"
local core = require "bam.core"

local function values(x) return x:totable() end

local function close(a, b, tolerance, what)
  a, b = a:to("f64", "cpu"), b:to("f64", "cpu")
  local difference = bam.max(bam.abs(a - b)):item()
  assert(difference <= tolerance, string.format("%s: they differ by %g", what, difference))
end

local function same(a, b, what)
  a, b = a:to "cpu", b:to "cpu"
  assert(a.dtype == b.dtype and core.hash_tensor(a) == core.hash_tensor(b), what)
end

local function expect_error(words, f, ...)
  local ok, message = pcall(f, ...)
  assert(not ok and message:find(words, 1, true), string.format("%q is not about %q", message, words))
end

-- ---- devices by name ----

do
  local list, why = bam.devices()
  assert(list[1].name == "cpu" and list[2].name == "cuda:0" and not why.cuda)
  assert(list[2].memory > 0 and #list[2].description > 0)
  assert(bam.device() == "cpu" and bam.zeros(1).device == "cpu")
  assert(bam.zeros(1, { device = "cuda" }).device == "cuda:0")
  assert(bam.device "cuda" == "cuda:0" and bam.zeros(1).device == "cuda:0")
  assert(bam.zeros(1, { device = "cpu" }).device == "cpu" and bam.device "cpu" == "cpu")
  expect_error(string.format('no device "cuda:%d"; the last is', #list - 1), bam.zeros, 1,
               { device = string.format("cuda:%d", #list - 1) })
  expect_error('no device "cuda:x"', bam.device, "cuda:x")
  expect_error('no device "gpu"', bam.device, "gpu")
  assert(bam.device() == "cpu")
end

-- ---- to and fro ----

for _, dtype in ipairs { "bool", "u8", "i32", "i64", "f16", "bf16", "f32", "f64" } do
  local x = bam.randint(0, 1, 37, 5):to(dtype)
  local there = x:to "cuda"
  assert(there.device == "cuda:0" and there.dtype == dtype)
  same(x, there, dtype)
  same(x:t():contiguous(), x:t():to "cuda", dtype)
  same(x:t():contiguous(), there:t(), dtype)
  for _, other in ipairs { "bool", "u8", "i32", "i64", "f16", "bf16", "f32", "f64" } do
    same(x:to(other), there:to(other), dtype .. " to " .. other)
  end
end

do -- larger than what copies are staged through, and than one piece of the allocator
  local x = bam.rand(3000001)
  same(x, x:to "cuda", "a long tensor")
  local wide = bam.full({ 1200, 1200 }, 1.5):to "cuda"
  wide[{ {}, { 7, 11 } }] = 2
  assert(wide:sum():item() == 1200 * 1200 * 1.5 + 1200 * 5 * 0.5)
  same(wide:t():to("f64"):contiguous(), wide:to("cpu"):t():to("f64"):contiguous(), "a transposed one")
end

do -- numbers, indexing, printing, mixed devices
  local x = bam.tensor({ { 1, 2, 3 }, { 4, 5, 6 } }, { device = "cuda", dtype = "f32" })
  assert(x[2][3]:item() == 6 and #x == 2 and x[{ 1, { 2, 3 } }]:sum():item() == 5)
  assert(tostring(x):find("on cuda:0", 1, true) and tostring(x):find("4. 5. 6.", 1, true))
  same(x[x:gt(2)], x:to("cpu")[x:to("cpu"):gt(2)], "a mask")
  same(x[{ {}, { 1, 3, 2 } }], x:to("cpu")[{ {}, { 1, 3, 2 } }], "steps")
  close((2 * x + 1) / x - 2 ^ x, (2 * x:to "cpu" + 1) / x:to "cpu" - 2 ^ x:to "cpu", 1e-5, "numbers")
  local y, here = bam.zeros(3), bam.tensor { 3, 1 }
  x[x:gt(9)] = bam.zeros(0)
  x[bam.tensor({ 2 }, { device = "cuda" })] = bam.tensor { { 4., 5, 6 } } -- a value from elsewhere
  bam.device "cuda"
  y[here] = { 5.5, 6.5 }
  bam.device "cpu"
  assert(y[1]:item() == 6.5 and y[3]:item() == 5.5 and x[2][2]:item() == 5)
  x[1] = bam.tensor { 7.0, 8.0, 9.0 }
  assert(x[1]:sum():item() == 24)
  expect_error("tensors on cuda:0 and cpu; move one with x:to", function() return x + bam.ones(3) end)
  expect_error("where to?", bam.to, x)
  local whole = bam.arange(5, { device = "cuda" })
  assert((whole // 2):sum():item() == 6 and (whole % 3):sum():item() == 6)
  expect_error("zero", function() return whole // 0 end)
end

-- ---- random numbers: the same as on the CPU ----

local function drawn(device, f)
  bam.seed(7)
  return f { device = device }
end
for name, f in pairs {
  rand = function(o) return bam.rand(1001, o) end,
  randint = function(o) return bam.randint(-5, 70000, 1001, o) end,
  randperm = function(o) return bam.randperm(501, o) end,
} do
  same(drawn("cpu", f), drawn("cuda", f), name)
end
close(drawn("cpu", function(o) return bam.randn(1001, o) end),
      drawn("cuda", function(o) return bam.randn(1001, o) end), 1e-5, "randn")

-- ---- gradients ----

do
  local x, w = bam.randn(6, 8), bam.randn(8, 8)
  local grads = {}
  for _, device in ipairs { "cpu", "cuda" } do
    local a, b = x:to(device):clone(), w:to(device):clone()
    a.requires_grad, b.requires_grad = true, true
    local y = bam.softmax(bam.matmul(a, b):tanh(), -1) * a
    y:sum():backward()
    grads[device] = { a.grad, b.grad }
    assert(a.grad.device == b.grad.device and a.grad.device:find(device, 1, true))
  end
  for i = 1, 2 do close(grads.cpu[i], grads.cuda[i], 1e-5, "a gradient") end
  local here = bam.randn(3, 4) -- through a move
  here.requires_grad = true
  ;(here:to "cuda" * 3):to("cpu"):sum():backward()
  assert(here.grad.device == "cpu" and here.grad:sum():item() == 36)
end

-- ---- modules and optimizers ----

local function trained(device, make, dtype, steps)
  bam.seed(3)
  local m = bam.nn.Linear(9, 4)
  m:to(dtype or "f32", device)
  local opt = (make or bam.optim.AdamW)(m, { lr = 0.05 })
  local x = bam.arange(18):to(dtype or "f32"):reshape(2, 9):to(device) / 9
  local requests
  for step = 1, steps or 6 do
    bam.scope(function()
      opt:zero_grad()
      local loss = (m(x) - 1):pow(2):mean()
      loss:backward()
      opt:clip(0.5)
      opt:step()
    end)
    if step == 2 then requests = bam.memory().system_requests end
  end
  local asked = bam.memory().system_requests - requests
  assert(asked == 0 or not bam.memory().cached, "memory is asked for after the first steps")
  return m, opt
end
do
  local here, there = trained "cpu", trained "cuda"
  close(here.weight, there.weight, 1e-5, "trained weights")
  local again, opt = trained "cuda"
  same(there.weight, again.weight, "the same twice")
  local path = os.tmpname()
  bam.save(path, again:state())
  same(bam.load(path).weight, again.weight, "saved from the device")
  local other = bam.nn.Linear(9, 4):to "cuda"
  other:load_state((bam.load(path)))
  same(other.weight, again.weight, "loaded to the device")
  bam.save(path, opt:state())
  opt:load_state((bam.load(path)))
  os.remove(path)
end
local Signs = bam.optim.define { name = "Signs", options = { lr = { "rate", 0.1 } }, state = { "m" },
                                 update = function(param, grad, state, o)
                                   state.m = (state.m + grad) / 2
                                   return param - state.m:sign() * o.lr
                                 end }
for _, make in ipairs { bam.optim.SGD, bam.optim.Lion, bam.optim.Muon, Signs } do
  local here, there = trained("cpu", make, "f64", 2), trained("cuda", make, "f64", 2)
  close(here.weight, there.weight, 1e-10, tostring(make))
end

-- ---- blocks of all kinds, in mixtures of attention ----

local function gradients(model, ids)
  local loss, list = model:loss(ids, ids), {}
  loss:backward()
  for i, p in ipairs(model:parameters()) do
    list[i] = { name = p.name, grad = p.tensor.grad:clone() }
    p.tensor.grad = nil
  end
  return loss, list
end

local LLAMA3 = { scaling = "llama3", factor = 8, low = 1, high = 4, context = 40 }
for i, case in ipairs {
  { "sequential", "own", { norm = "rms", qk_norm = "head", window = 4, rope = LLAMA3 } },
  { "sequential", "shared", { norm = "rms", qkv_bias = true, out_bias = true, window = { 3, 0 },
                              rope_width = 4, activation = "gelu_tanh" } },
  { "parallel", "own", {} },
  { "sequential", "own", { norm = "layer" } },
  { "post_norm", "own", { norm = "rms", qk_norm = "width", norm_weight = false, activation = "gelu" } },
  { "parallel", "shared", { window = 3, rope = { scaling = "yarn", factor = 4, context = 40 }, qk_norm = "layer" } },
} do
  local o = { layers = 2, width = 24, heads = 4, kv_heads = 2, ffn = 20, vocab = 33, std = 0.3 }
  for name, value in pairs(case[3]) do o[name] = value end
  local d = bam.models[case[1]](o)
  local mixture = bam.mix { experts = { d:build { seed = 1 }, d:build { seed = 2 } }, attention = { kv = case[2] },
                            ffn = { top_k = 2, renormalize = true } }
  local ids = bam.randint(0, 32, 2, 11)
  for kind, model in pairs { dense = d:build { dtype = "f64", seed = 3 }, mixture = mixture:build { dtype = "f64", seed = 3 } } do
    local loss, here = gradients(model, ids)
    local there_loss, there = gradients(model:to "cuda", ids:to "cuda")
    close(loss, there_loss, 1e-12, string.format("loss of %s %d", kind, i))
    for k, p in ipairs(here) do close(p.grad, there[k].grad, 1e-12, string.format("%s %d: %s", kind, i, p.name)) end
  end
end

-- ---- memory ----

do
  expect_error("out of memory on cuda:0: asked for", function()
    return bam.empty(1 << 20, 1 << 20, { device = "cuda" })
  end)
  local before = bam.memory("cuda").live
  local x = bam.ones(1000, { device = "cuda" })
  assert(bam.memory("cuda").live >= before + 4000)
  x:close()
  assert(bam.memory("cuda").live == before)
  bam.synchronize "cuda"
  assert(values(bam.ones(3, { device = "cuda" }) + 1)[3] == 2, "it goes on after an error")
end
