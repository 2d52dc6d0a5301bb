-- bam.profile: rows add up to the whole, FLOPs and bytes are those of the shapes, and a trace is written.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local small = require "tests.lua.support.small_run"
local test = require "tests.lua.support.test"

local function find(profile, name, backward)
  for _, op in ipairs(profile.ops) do
    if op.name == name and op.backward == (backward or false) then return op end
  end
  return error(string.format("no %s in\n%s", name, profile), 2)
end

test("calls, FLOPs and bytes of a product", function()
  local a, b = bam.randn(30, 40, { requires_grad = true }), bam.randn(40, 50)
  local profile = bam.profile(function()
    for _ = 1, 3 do bam.matmul(a, b):sum():backward() end
  end)
  local forward, backward = find(profile, "matmul"), find(profile, "matmul", true)
  expect.equal(forward.calls, 3)
  expect.equal(forward.flops, 3 * 2 * 30 * 40 * 50)
  expect.equal(forward.bytes, 3 * 4 * (30 * 40 + 40 * 50 + 30 * 50))
  expect.equal(backward.calls, 3)
  expect.equal(backward.flops, 3 * 2 * 30 * 40 * 50, "one of two gradients is wanted")
end)

test("FLOPs of a model are what its description says", function()
  local d = bam.models.parallel { layers = 2, width = 32, heads = 4, kv_heads = 2, ffn = 48, vocab = 64 }
  local experts = { d:build(), d:build(), d:build() }
  for what, model in pairs {
    dense = experts[1],
    btx = bam.mix({ experts = experts, attention = { experts = "mean" }, ffn = { top_k = 1 } }):build(),
    bam = bam.mix({ experts = experts, attention = { kv = "own" }, ffn = { top_k = 2 } }):build(),
  } do
    local ids, targets = bam.randint(0, 63, 2, 16), bam.randint(0, 63, 2, 16)
    local profile, flops = bam.profile(function() model:loss(ids, targets, { scale = 1 }):backward() end), 0
    for _, op in ipairs(profile.ops) do flops = flops + op.flops end
    local said = 32 * model.description:flops(16).training
    -- the kernels compute the scores of attention again in backward
    expect.compare(math.abs(flops / said - 1), "<", 0.1, string.format("%s: %g, not %g", what, flops, said))
  end
end)

test("the rows add up to the whole", function()
  local x = bam.randn(64, 64)
  local profile = bam.profile(function() for _ = 1, 20 do (x * x + x):softmax(2) end end)
  local sum = profile.outside
  for _, op in ipairs(profile.ops) do sum = sum + op.seconds end
  expect.compare(math.abs(sum - profile.seconds), "<=", 1e-9 + 1e-6 * profile.seconds)
  expect.compare(profile.outside, ">", 0)
end)

test("an op inside another counts for itself", function()
  local outer = bam.custom { name = "twice", forward = function(_, x) return bam.exp(x) * 2 end,
                             backward = function(_, grad) return grad end }
  local profile = bam.profile(function() outer(bam.randn(1000)) end)
  expect.equal(find(profile, "exp").calls, 1)
  local sum = profile.outside
  for _, op in ipairs(profile.ops) do
    expect.compare(op.seconds, ">=", 0, op.name)
    sum = sum + op.seconds
  end
  expect.compare(math.abs(sum - profile.seconds), "<=", 1e-9 + 1e-6 * profile.seconds)
end)

test("steps of an optimizer", function()
  local model = bam.nn.Linear(8, 8)
  local opt = bam.optim.AdamW(model, { lr = 1e-3 })
  model(bam.randn(2, 8)):sum():backward()
  local profile = bam.profile(function() opt:clip(1) opt:step() end)
  expect.compare(find(profile, "adamw").calls, ">=", 1)
  expect.equal(find(profile, "norm").calls, 1)
end)

test("results are the same, and f gets its arguments", function()
  local x, seen = bam.randn(10, 10), nil
  bam.profile(function(a, b) seen = a:matmul(b) end, x, x)
  expect.equal(seen, x:matmul(x))
end)

test("the table and the trace", function()
  local profile = bam.profile(function() bam.matmul(bam.randn(64, 64), bam.randn(64, 64)) end)
  local text = tostring(profile)
  for _, words in ipairs { "op ", "GFLOP/s", "matmul", "outside of ops", "together" } do expect.contains(text, words) end
  local path = os.tmpname()
  profile:save(path)
  local trace = bam.json.decode(core.read_file(path))
  os.remove(path)
  local event = trace.traceEvents[1]
  expect.equal(event.name, "matmul")
  expect.equal(event.ph, "X")
  expect.close(event.args.gflop, 2 * 64 ^ 3 / 1e9, 1e-12)
end)

test("errors end the profile", function()
  expect.raises("stop here", bam.profile, function() error("stop here", 0) end)
  expect.raises("profile: expected a function, got 3", bam.profile, 3)
  expect.raises("profile: a profile is being recorded; profiles cannot be nested", bam.profile,
                function() bam.profile(print) end)
  expect.equal(core.profile_end(), nil, "none is left")
  expect.raises("save: expected a profile, got a table; call methods with a colon: profile:save(path)",
                bam.profile(print).save, {})
end)

test("--profile shows steps of each phase, and changes no bit", function()
  local plain, profiled = small.directory(), small.directory()
  local cleanup <close> = setmetatable({}, { __close = function()
    small.remove(plain)
    small.remove(profiled)
  end })
  small.run(plain)
  local output, fine = small.run(profiled, "--profile")
  expect.yes(fine, output)
  for _, words in ipairs { "seed  steps 3 to 10", "experts/law  steps 3 to 10", "mixed  steps 3 to 10",
                           "linear, backward", "adamw", "outside of ops" } do
    expect.contains(output, words)
  end
  local trace = core.read_file(small.phase(profiled, "mixed") .. "/profile.json")
  expect.contains(trace, '"name":"routed_ffn"')
  small.assert_same(small.digests(plain), small.digests(profiled))
  expect.yes(bam.audit(profiled .. "/runs", { quiet = true }))
end)
