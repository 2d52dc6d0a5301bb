-- What a script is told when a device fails, and that it can go on: memory that is short, a kernel
-- that cannot be launched, no device at all; and two devices side by side. The shim does all that on
-- demand, in processes of their own.
local core = require "bam.core"

local program = core.absolute(arg[1])

-- Run a script with these settings of the environment; its output, which must not be an error's.
local function run(settings, script)
  local path = os.tmpname()
  core.write_file(path, string.format([[
    local bam = require "bam"
    local function expect_error(words, f, ...)
      local ok, message = pcall(f, ...)
      assert(not ok and message:find(words, 1, true),
             string.format("%%q is not about %%q", tostring(message), words))
    end
    %s]], script))
  local pipe = io.popen(string.format("%s '%s' %s 2>&1", settings, program, path))
  local output = pipe:read "a"
  local fine = pipe:close()
  os.remove(path)
  assert(fine, string.format("%s:\n%s", settings, output))
end

-- Without pages that it can place, the allocator takes segments.
for _, settings in ipairs { "", " BAMLUA_ALLOCATOR=segments", " BAMLUA_SIMT_FAIL=pages",
                            " BAMLUA_SIMT_FAIL=cuMemAddressReserve", " BAMLUA_SIMT_FAIL=cuMemAddressReserve:1",
                            " BAMLUA_SIMT_FAIL=cuMemCreate", " BAMLUA_SIMT_FAIL=cuMemMap", " BAMLUA_SIMT_FAIL=cuMemMap:1",
                            " BAMLUA_SIMT_FAIL=cuMemSetAccess" } do
  run("BAMLUA_SIMT_MEMORY=30000000" .. settings, [[
    bam.device "cuda"
    local x = bam.ones(4000000) -- 16 MB
    local before = bam.memory "cuda"
    expect_error("out of memory on cuda:0: asked for 16.0 MB with 16.0 MB in use and ", bam.ones, 4000000)
    expect_error("use a smaller batch", function() return x + 1 end)
    assert(bam.memory "cuda".reserved <= before.reserved + (2 << 20)) -- of the number
    assert(x[4000000]:item() == 1)
    x:close()
    assert(bam.ones(4000000):sum():item() == 4e6)]])
end

-- Memory that is free in many places serves a tensor that fits in none of them; the others keep their values.
run("BAMLUA_SIMT_MEMORY=100000000", [[
  bam.device "cuda"
  local list = {}
  for i = 1, 20 do list[i] = bam.full({ 1000000 }, i + 0.0) end
  for i = 1, 20, 2 do list[i]:close() end
  local reserved = bam.memory "cuda".reserved
  local large = bam.ones(12000000)
  expect_error("reserved, the largest free piece being", bam.ones, 12000000)
  assert(bam.memory "cuda".reserved > reserved and large:sum():item() == 12e6)
  for i = 2, 20, 2 do assert(list[i]:sum():item() == i * 1e6) end]])

-- Every allocation of a call may fail: the call fails, everything else stays, and the next one succeeds.
run("", [[
  local core = require "bam.core"
  bam.device "cuda"
  local x = bam.randn(600, 600) -- 1.4 MB, a block of the arena
  x.requires_grad = true
  local function compute() return (bam.softmax(x * 2, -1) * x):sum():item() end
  local expected, before = compute(), nil
  for n = 1, 1000 do
    collectgarbage()
    before = before or bam.memory "cuda".live
    assert(bam.memory "cuda".live == before, "something was lost")
    core.fail_allocation(n)
    local ok, value = pcall(compute)
    core.fail_allocation(0)
    if ok then
      assert(n > 10 and value == expected)
      break
    end
    assert(value:find "out of memory", value)
    assert(compute() == expected)
  end]])

-- A driver that refuses pages later is an error of the device, with the name of its function.
for name, calls in pairs { cuMemCreate = 3, cuMemMap = 4, cuMemSetAccess = 2 } do
  run(string.format("BAMLUA_SIMT_FAIL=%s:%d", name, calls), string.format([[
    expect_error("cuda:0: %s: unknown error", bam.ones, 1000000, { device = "cuda" })
    assert(bam.memory "cuda".reserved == 0)]], name))
end

run("BAMLUA_SIMT_MEMORY=100000000", [[
  local big = bam.ones(40000000)
  expect_error("out of memory on cuda:0", big.to, big, "cuda")
  assert(big:to("cpu"):sum():item() == 4e7)]])

run("BAMLUA_SIMT_FAIL=softmax_rows", [[
  bam.device "cuda"
  local x = bam.randn(3, 4)
  x.requires_grad = true
  local y = x * 2
  expect_error("cuda:0: ", bam.softmax, y, -1)
  expect_error("softmax_rows", bam.softmax, y, -1)
  expect_error("unspecified launch failure", bam.softmax, y, -1)
  y:sum():backward()
  assert(x.grad:sum():item() == 24)]])

run("BAMLUA_SIMT_FAIL=quantize", [[
  bam.device "cuda"
  local linear = require("bam.core").ops.linear
  local x, w = bam.rand(16, 32):to "bf16", bam.rand(16, 32):to "bf16"
  w.requires_grad = true
  expect_error("cuda:0: quantize", linear, x, w, nil, nil, true)
  linear(x, w):sum():backward() -- without FP8
  assert(w.grad.ndim == 2)]])

run("BAMLUA_SIMT_FAIL=adamw_elements", [[
  bam.device "cuda"
  local m = bam.nn.Linear(3, 2)
  local opt = bam.optim.AdamW(m)
  m(bam.ones(1, 3)):sum():backward()
  local before = m.weight:totable()
  expect_error("cuda:0: adamw_elements: unspecified launch failure", opt.step, opt)
  assert(opt.steps == 0)
  for i, row in ipairs(m.weight:totable()) do
    for j, w in ipairs(row) do assert(w == before[i][j]) end
  end]])

-- A fault that shows later is blamed on what waits first; BAMLUA_SYNC=1 names the kernel and the op.
local LATE = [[
  bam.device "cuda"
  local x = bam.randn(3, 4)
  expect_error("%s: cuda:0: %s: an illegal memory access was encountered", function()
    return bam.softmax(x * 2, -1):sum():item()
  end)]]
run("BAMLUA_SIMT_FAIL_LATE=softmax_rows", LATE:format("", "copy from the device"):gsub(": cuda", "cuda", 1))
run("BAMLUA_SIMT_FAIL_LATE=softmax_rows BAMLUA_SYNC=0", LATE:format("", "copy from the device"):gsub(": cuda", "cuda", 1))
run("BAMLUA_SIMT_FAIL_LATE=softmax_rows BAMLUA_SYNC=1", LATE:format("softmax", "softmax_rows"))
run("BAMLUA_SIMT_FAIL_LATE=product BAMLUA_SYNC=1", [[
  bam.device "cuda"
  local x, w = bam.randn(3, 4), bam.randn(4, 5)
  expect_error("matmul: cuda:0: product of f32, 1 of [3, 4] x [4, 5], rows 4, 5 and 5 apart: an illegal memory access",
               bam.matmul, x, w)]])

-- What does not arrive is not saved: a file of zeros would look like weights.
run("BAMLUA_SIMT_FAIL=cudaMemcpyAsync", [[
  local path = os.tmpname()
  os.remove(path)
  local x = bam.ones(300000, { device = "cuda" })
  expect_error("cuda:0: copy from the device: unspecified launch failure", bam.save, path, { x = x })
  expect_error("copy from the device", bam.save_npy, path, x)
  expect_error("copy from the device", x.totable, x)
  expect_error("copy from the device", bam.sum(x).item, bam.sum(x))
  assert(not io.open(path), "a file was left")]])

run("BAMLUA_SIMT_DEVICES=0", [[
  expect_error('no device "cuda:0": the NVIDIA driver finds no GPU', bam.device, "cuda")
  local list, why = bam.devices()
  assert(#list == 1 and why.cuda:find "finds no GPU")]])

run("BAMLUA_SIMT_DEVICES=2", [[
  assert(#bam.devices() == 3)
  local a, b = bam.rand(700001):to "cuda:0", bam.ones(3, { device = "cuda:1" })
  local moved = a:to "cuda:1"
  assert(moved.device == "cuda:1" and moved:sum():item() > 0)
  assert((moved:to "cpu" - a:to "cpu"):abs():max():item() == 0)
  expect_error("tensors on cuda:0 and cuda:1; move one", function() return a[1] + b end)
  local w, v = bam.ones(2, { device = "cuda:0" }), bam.ones(2, { device = "cuda:1" })
  w.requires_grad, v.requires_grad = true, true
  local opt = bam.optim.SGD({ w, v }, { lr = 1 })
  ;((w * 3):to "cuda:1" + v * 4):sum():backward()
  assert(math.abs(opt:clip(1) - math.sqrt(50)) < 1e-6)
  opt:step()
  assert(math.abs(w[1]:item() - (1 - 3 / math.sqrt(50))) < 1e-6)
  assert(math.abs(v[1]:item() - (1 - 4 / math.sqrt(50))) < 1e-6)]])
