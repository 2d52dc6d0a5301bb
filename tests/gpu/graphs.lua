-- bam.graph on a device: the bits are those of the function itself, whatever else happens between the calls; what cannot
-- be recorded runs op by op, and a recording is never used for what it is not for. Run by tests/gpu/window.sh on a GPU,
-- and over the shim of tests/simt.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

bam.device "cuda"

local FIRST = "the first call prepares what a recording needs"
local here = { device = "cpu", dtype = "i64" }

-- A small model with an optimizer; every call gives the same.
local function new_model(options)
  local d = bam.models.parallel { layers = 2, width = 32, heads = 2, kv_heads = 1, head_width = 16, ffn = 32,
                                  vocab = 100, context = 16, tied = true }
  local model = d:build { seed = 1 }
  model:to "cuda"
  if options and options.dtype then model:to(options.dtype) end
  return model, bam.optim.AdamW(model, {})
end

-- Batch number i, on the device.
local function batch(i, rows)
  bam.seed(i)
  local b = {}
  for _, name in ipairs { "ids", "targets" } do b[name] = bam.randint(0, 99, rows or 3, 16, here):to "cuda" end
  b.documents = (bam.randint(0, 5, rows or 3, 16, here):cumsum(2) // 16):to "cuda"
  return b
end

-- A micro-step as a graph can be made of it.
local function micro_step(model)
  return function(ids, targets, documents, scale)
    local total, parts = model:loss(ids, targets, { documents = documents, scale = scale })
    total:backward()
    return parts.loss:detach()
  end
end

-- Train `steps` steps; `call` computes gradients. Losses and the hashes of all weights.
local function train(steps, make, options, between)
  local model, optimizer = new_model(options)
  local call, losses, hashes = make(micro_step(model)), {}, {}
  for i = 1, steps do
    core.scope(function()
      local b = batch(i)
      optimizer:zero_grad()
      local loss = call(b.ids, b.targets, b.documents, 1 / 48)
      if between then between(i, model, optimizer, call) end
      losses[i] = loss:item()
      optimizer:clip(1)
      optimizer:step(0.01)
    end)
  end
  for _, t in ipairs((optimizer:buffers())) do hashes[#hashes + 1] = core.hash_tensor(t:to "cpu") end
  return { losses = losses, hashes = hashes }, call
end

local function plain(f) return f end

for _, dtype in ipairs { "f32", "bf16" } do
  test(string.format("training in %s has the bits of training without graphs", dtype), function()
    local seen = {}
    local got, graph = train(6, bam.graph, { dtype = dtype }, function(i, _, _, call) seen[i] = tostring(call:obstacle()) end)
    expect.equal(got, (train(6, plain, { dtype = dtype })))
    expect.equal(seen, { FIRST, "nil", "nil", "nil", "nil", "nil" })
    graph:close()
  end)
end

test("memory that is allocated and filled between the calls is neither changed nor used", function()
  local kept = {}
  local function fill()
    for power = 6, 22 do
      for part = 8, 15 do kept[#kept + 1] = bam.full((1 << power) * part // 32, 0 / 0):keep() end
    end
  end
  local got = train(5, bam.graph, nil, fill)
  expect.equal(got, (train(5, plain)))
  for _, x in ipairs(kept) do assert(bam.isnan(x):all():item(), "a replay has written into somebody's tensor") end
end)

test("large tensors that used the same memory one after the other", function()
  local x = bam.rand(600001)
  local function part(y, n)
    return core.scope(function()
      local wide = bam.concat({ y, y * n }, 1)
      local more = bam.concat({ wide, wide + 1, y }, 1)
      return (more * more):sum()
    end)
  end
  local function f(y)
    local a, kept = part(y, 1), y * 3
    local b = part(bam.concat({ y, kept }, 1), 2)
    return a + b + kept:sum(), kept
  end
  local want, want_kept = f(x)
  local graph = bam.graph(f)
  for _ = 1, 4 do
    core.scope(function()
      local held = {}
      for n = 1, 12 do held[n] = bam.full(n * 300000, 0 / 0) end
      local sum, kept = graph(x)
      expect.equal(sum:item(), want:item())
      expect.equal(core.hash_tensor(kept:to "cpu"), core.hash_tensor(want_kept:to "cpu"))
      for _, y in ipairs(held) do assert(bam.isnan(y):all():item(), "a replay has written into somebody's tensor") end
    end)
  end
  expect.equal(graph:obstacle(), nil)
  graph:close()
end)

test("scratch memory may grow between the calls", function()
  local sizes = { 1 << 10, 1 << 14, 1 << 18, 1 << 20, 1 << 21 }
  local got = train(5, bam.graph, nil, function(i) bam.ones(sizes[i]):var():item() end)
  expect.equal(got, (train(5, plain)))
end)

test("collections during a recording are harmless", function()
  local function make(f)
    return bam.graph(function(...)
      for _ = 1, 50 do bam.zeros(100000):keep() end
      local loss = f(...)
      collectgarbage()
      return loss
    end)
  end
  expect.equal((train(4, make)), (train(4, plain)))
end)

test("each combination of shapes has a recording, up to a limit", function()
  local graph = bam.graph(function(x, factor) return (x * factor):sum() end, { strict = false })
  for round = 1, 3 do
    for n = 1, 4 do
      expect.equal(graph(bam.full(n, round), 2):item(), 2 * round * n)
      expect.equal(graph:obstacle(), round == 1 and FIRST or nil)
    end
  end
  expect.equal(tostring(graph), "graph with 4 recordings")
  expect.equal(graph(bam.full(3, 1), 5):item(), 15) -- another number
  for n = 5, 9 do expect.equal(graph(bam.full(n, 1), 1):item(), n) end
  expect.equal(graph:obstacle(), "the arguments have differed 8 times")
  expect.equal(graph(bam.full(3, 1), 2):item(), 6)
  expect.equal(graph:obstacle(), nil)
  graph:close()
  expect.equal(tostring(graph), "graph with 0 recordings")
  expect.equal(graph(bam.ones(9), 1):item(), 9)
  expect.equal(graph(bam.ones(9), 1):item(), 9)
  expect.equal(graph:obstacle(), nil)
end)

test("views and what the function uses from outside", function()
  local weight = bam.arange(12):to "f32":view(3, 4)
  local graph = bam.graph(function(x) return bam.matmul(x, weight), nil, x:sum() end)
  for i = 1, 4 do
    local x = (bam.arange(24):to "f32" * i):view(8, 3):narrow(1, i, 2)
    local y, none, sum = graph(x)
    expect.equal(y, bam.matmul(x, weight))
    expect.equal(none, nil)
    expect.equal(sum:item(), x:sum():item())
    if i == 3 then weight:add_(1) end
  end
  local y = bam.matmul(bam.ones(2, 3), weight)
  weight:close() -- the recording keeps its memory
  local taken = bam.full({ 3, 4 }, 7)
  expect.equal((graph(bam.ones(2, 3))), y)
  expect.equal(graph:obstacle(), nil)
  expect.equal(taken:sum():item(), 84)
end)

-- Call a graph of f three times: why the last call ran f itself.
local function obstacle_of(f, ...)
  local graph = bam.graph(f)
  for _ = 1, 3 do graph(...) end
  local obstacle = graph:obstacle()
  graph:close()
  return obstacle or "nothing"
end

test("what cannot be recorded runs by itself", function()
  local x = bam.ones(4, 5)
  expect.contains(obstacle_of(function(y) return y * y:sum():item() end, x), "a copy to the host, which waits")
  expect.contains(obstacle_of(function(y) return y + bam.ones(5, { device = "cpu" }):to "cuda" end, x),
                  "a graph cannot capture a copy from the host")
  expect.contains(obstacle_of(function(y) return bam.nn.Dropout(0.5)(y) end, x), "a graph cannot capture random numbers")
  expect.contains(obstacle_of(function(y) return bam.rand(4, 5) + y end, x), "a graph cannot capture random numbers")
  expect.contains(obstacle_of(function(y) bam.synchronize() return y + 1 end, x), "a graph cannot capture a wait")
  expect.contains(obstacle_of(function(y) return y[y:gt(0)] + 0 end, x), "a copy to the host, which waits")
  expect.contains(obstacle_of(function(y) return y:to "cpu" end, x), "a copy to the host, which waits")
  expect.equal(obstacle_of(function(y) return y + 1 end, x), "nothing")
end)

test("a refused recording changes nothing", function()
  local x, total, calls = bam.ones(3), bam.zeros(3), 0
  local graph = bam.graph(function(y)
    calls = calls + 1
    total:add_(y)
    return y * total:sum():item()
  end)
  for i = 1, 4 do expect.equal(graph(x), { 3 * i, 3 * i, 3 * i }) end
  expect.equal(calls, 5) -- once more for the attempt
  local strict = bam.graph(function(y) return y * y:sum():item() end, { strict = true })
  strict(x)
  expect.raises("cuda:0: a graph cannot capture a copy to the host", function() strict(x) end)
  expect.equal((x + 1):sum():item(), 6)
end)

test("errors of the function are its own", function()
  local fail = false
  local graph = bam.graph(function(x)
    if fail then bam.matmul(x, x) end
    return x + 1
  end)
  graph(bam.ones(3, 4))
  fail = true
  expect.raises("matmul: ", function() graph(bam.ones(3, 4)) end)
  expect.raises("matmul: ", function() graph(bam.ones(3, 4)) end)
  fail = false
  expect.equal(graph(bam.ones(3, 4)):sum():item(), 24)
end)

test("gradients must be there, and recordings do not outlive their places", function()
  local w = bam.full(3, 2.)
  w.requires_grad = true
  local graph = bam.graph(function(x)
    local y = (x * w * w):sum()
    y:backward()
    return y:detach()
  end)
  local x = bam.ones(3)
  graph(x)
  w.grad = nil
  graph(x)
  expect.contains(graph:obstacle(), "a graph cannot capture the first gradient of a tensor")
  expect.equal(w.grad, { 4, 4, 4 })
  graph:close()
  graph(x)
  graph(x)
  expect.equal(graph:obstacle(), nil)
  expect.equal(w.grad, { 12, 12, 12 })
  graph(x)
  expect.equal(w.grad, { 16, 16, 16 })
  w.grad = bam.zeros(3) -- another place
  graph(x)
  expect.contains(graph:obstacle(), "parameters or gradients have changed place")
  expect.equal(w.grad, { 4, 4, 4 })
  graph(x)
  expect.equal(graph:obstacle(), nil)
  expect.equal(w.grad, { 8, 8, 8 })
end)

test("a new optimizer, freezing, no_grad and tf32 are noticed", function()
  local model, optimizer = new_model()
  local graph = bam.graph(micro_step(model))
  local b = batch(1)
  local function call() return graph(b.ids, b.targets, b.documents, 1 / 48):item() end
  local function changed()
    local loss = call()
    local obstacle = graph:obstacle()
    for _ = 1, 2 do expect.equal(call(), loss) end
    expect.equal(graph:obstacle(), nil)
    return obstacle
  end
  expect.equal(changed(), FIRST)
  optimizer = bam.optim.SGD(model, { lr = 1 })
  expect.contains(changed(), "have changed place")
  model.embed.weight.requires_grad = false
  expect.contains(changed(), "what is trained or")
  optimizer:zero_grad()
  call()
  expect.equal(graph:obstacle(), nil)
  model.embed.weight.requires_grad = true
  expect.contains(changed(), "what is trained or")
  bam.tf32(true)
  call()
  expect.contains(graph:obstacle(), "no_grad or tf32 are different")
  bam.tf32(false)
  call()
  expect.equal(graph:obstacle(), nil)
  local sum = bam.graph(function(x) return (x * 2):sum():detach() end)
  for _ = 1, 3 do sum(bam.ones(2)) end
  expect.equal(bam.no_grad(function() return sum(bam.ones(2)):item() end), 4)
  expect.contains(sum:obstacle(), "no_grad or tf32")
end)

test("ids are checked although a recording does not look at them", function()
  local model = new_model()
  local graph = bam.graph(micro_step(model))
  local b = batch(1)
  for _ = 1, 3 do graph(b.ids, b.targets, b.documents, 1 / 48) end
  expect.equal(graph:obstacle(), nil)
  local wrong = bam.full({ 3, 16 }, 100, here):to "cuda"
  expect.raises("100", function() graph(wrong, b.targets, b.documents, 1 / 48) end)
  expect.contains(graph:obstacle(), "integers of an input must be checked")
  graph(b.ids, b.targets, b.documents, 1 / 48)
  expect.equal(graph:obstacle(), nil)
  local unknown = b.ids + 0 -- nothing is known of it without a wait
  local loss = graph(unknown, b.targets, b.documents, 1 / 48):item()
  expect.contains(graph:obstacle(), "integers of an input must be checked")
  expect.equal(graph(b.ids, b.targets, b.documents, 1 / 48):item(), loss)
end)

test("changes by a replay count as changes", function()
  local x, y = bam.ones(3), bam.zeros(3)
  x.requires_grad = true
  local graph = bam.graph(function(z)
    y:add_(z)
    return y:sum()
  end)
  for _ = 1, 2 do graph(bam.ones(3)) end
  local loss = (x * y):sum() -- saves y
  graph(bam.ones(3))
  expect.equal(graph:obstacle(), nil)
  expect.raises("changed in place", function() loss:backward() end)
end)

test("a graph that is closed leaves nothing behind", function()
  local x = bam.ones(300, 200)
  local function round()
    local graph = bam.graph(function(y) return (y * 2 + x):sum() end)
    for _ = 1, 3 do core.scope(function() return graph(x):item() end) end
    expect.equal(graph:obstacle(), nil)
    graph:close()
    collectgarbage()
    collectgarbage()
    local memory = bam.memory "cuda"
    return { memory.live, memory.reserved, bam.memory().objects }
  end
  local first = round()
  expect.equal(round(), first)
end)

test("arguments and results of other kinds are refused", function()
  local x = bam.ones(3)
  expect.raises("graph: expected a function, got 3", function() bam.graph(3) end)
  expect.raises("did you mean `strict`?", function() bam.graph(print, { strikt = true }) end)
  local graph = bam.graph(function(y) return y end)
  expect.raises("graph: argument 1: expected a tensor, number, string, boolean or nil, got", function() graph {} end)
  expect.raises("graph: result 1: expected a tensor, got 3", function() bam.graph(function() return 3 end)(x) end)
  local w = bam.ones(3)
  w.requires_grad = true
  expect.raises("graph: result 1 requires a gradient", function() bam.graph(function(y) return y * w end)(x) end)
  expect.contains(obstacle_of(function(y) return (y * 2):detach() end, w), "argument 1 requires a gradient")
  expect.contains(obstacle_of(function(_, y) return y * 2 end, bam.ones(2, { device = "cpu" }), x), "argument 1 is on cpu")
  expect.equal(bam.graph(function(y) return y * 2 end)(bam.ones(2, { device = "cpu" })), { 2, 2 })
end)
