--- The same bits, many times: products of each kind, attention, the loss and the layers with experts are computed again
--- and again from the same inputs, forward and backward; one other hash is a failure.
---   bamlua tests/gpu/hashes.lua --device cuda --result FILE [--tiny]
local HERE = arg[0]:match "^(.*/)" or "./"
package.path = string.format("%s../../?.lua;%s", HERE, package.path)
local bam = require "bam"
local core = require "bam.core"
local record = require "tests.gpu.record"
local sizes = require "tests.gpu.timing.sizes"

local ops = core.ops
local options = record.options(arg)
local TIMES = options.tiny and 3 or 50
local T, D, V = table.unpack(options.tiny and { 32, 16, 64 } or { 2048, 1024, 16000 })
local dtype = sizes.dtype(options.device)
local passed, failed = 0, 0

core.device(options.device)
bam.seed(1)

local function randn(...) return bam.randn(...):to(dtype) end

local function leaf(...)
  local x = randn(...)
  x.requires_grad = true
  return x
end

-- Fill memory of the sizes of these tensors with NaN, and give it back for the next run's results: what a kernel does
-- not write shows.
local function poison(tensors)
  core.scope(function()
    local kept = {}
    for i, x in ipairs(tensors) do kept[i] = ops.mul(x:detach(), 0 / 0) end
  end)
end

-- The hashes of the result of f and of the gradients of its inputs, and the result; `like` is one of a run before.
local function hashes(inputs, f, like)
  for _, x in ipairs(inputs) do x.grad = nil end
  poison { like, table.unpack(inputs) }
  return core.scope(function()
    local y = f(table.unpack(inputs))
    ops.sum(y):backward()
    local list, results = {}, { y:detach() }
    for i, x in ipairs(inputs) do results[i + 1] = x.grad end
    for i, x in ipairs(results) do
      x = x:to "cpu"
      list[i] = ops.all(ops.isfinite(x:to "f32")):item() and core.hash_tensor(x) or "not finite"
    end
    return table.concat(list, " "), results[1]
  end)
end

local function check(name, inputs, f)
  local first, like = hashes(inputs, f)
  local others = first:find "not finite" and TIMES or 0
  for _ = 2, TIMES do
    if hashes(inputs, f, like) ~= first then others = others + 1 end
  end
  record.add(options, { part = "same bits", case = name, dtype = dtype, times = TIMES, bits = first,
                        other_bits = others })
  if others == 0 then passed = passed + 1 else failed = failed + 1 end
end

-- Products in the three forms of a layer: forward, and both of backward.
for _, shape in ipairs { { T, D, D }, { T, D, 3 * D }, { T - 1, D, D // 2 } } do
  check(string.format("linear %dx%d to %d", table.unpack(shape)),
        { leaf(shape[1], shape[2]), leaf(shape[3], shape[2]) }, ops.linear)
end

local documents = bam.ones(2, T, { dtype = "i64" })
documents[{ {}, { T // 3, T } }] = 2
for _, heads in ipairs { { 8, 8 }, { 8, 2 } } do
  check(string.format("attention of %d heads on %d", heads[1], heads[2]),
        { leaf(2, T, heads[1], D // 8), leaf(2, T, heads[2], D // 8), leaf(2, T, heads[2], D // 8) },
        function(q, k, v) return ops.attention(q, k, v, documents) end)
end

local targets = bam.randint(0, V - 1, T)
check("head and loss", { leaf(T, D), leaf(V, D) }, function(x, w)
  return ops.linear_cross_entropy(ops.mul(x, 0.1), w, targets)
end)

local chosen = bam.randint(1, 4, T, 1)
check("routed FFN", { leaf(T, D), leaf(4, 2 * D, D), leaf(4, D, D) }, function(x, up, down)
  return ops.routed_ffn(x, bam.ones(T, 1):to(dtype), chosen, up, down)
end)

check("norm", { leaf(T, D), leaf(D) }, ops.layer_norm)
local ids = bam.randint(0, V - 1, T)
check("embedding", { leaf(V, D) }, function(w) return ops.embedding(ids, w) end)

print(string.format("%d passed, %d failed", passed, failed))
os.exit(failed == 0 and 0 or 1)
