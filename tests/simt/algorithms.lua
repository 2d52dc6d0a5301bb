-- Algorithms of products, chosen by measurement, over the shim, whose stand-in for cuBLASLt offers several that add in
-- different orders, take declared times, give other bits each time, or fail (tests/simt/cublaslt.cpp).
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local program = core.absolute(arg[1])

-- Run a script over the shim with these algorithms; what it prints, and how many products of its trace each algorithm
-- computed.
local function run(offers, script, settings)
  local path, log = os.tmpname(), os.tmpname()
  core.write_file(path, string.format([[
    local bam, core = require "bam", require "bam.core"
    bam.device "cuda"
    bam.seed(1)
    %s]], script))
  local pipe = io.popen(string.format("BAMLUA_SIMT=1 BAMLUA_SIMT_TRACE=%s BAMLUA_SIMT_ALGORITHMS='%s' %s '%s' %s 2>&1",
                                      log, offers, settings or "", program, path))
  local output = pipe:read "a"
  local fine, times = pipe:close(), {}
  for number in core.read_file(log):gmatch "\nalgorithm (%d+)" do
    times[tonumber(number)] = (times[tonumber(number)] or 0) + 1
  end
  os.remove(path)
  os.remove(log)
  expect.yes(fine, output)
  return output, times
end

-- One product, whose sums differ with their order. Prints what is known of it, and a hash.
local ONE = [[
core.set_product_algorithms({}, true)
local a, b = bam.randn(40, 300), bam.randn(300, 24)
local y = bam.matmul(a, b)
for _, x in ipairs(core.product_algorithms()) do
  print(string.format("%d of %s: %g ms, %g ms at first, %s", x.rank, x.product:match "^.-%]", x.ms, x.first_ms,
                      x.used and "used" or "not used"))
end
print(core.hash_tensor(y))]]

local function untuned(offers)
  return run(offers, "print(core.hash_tensor(bam.matmul(bam.randn(40, 300), bam.randn(300, 24))))")
end

local IN_ORDER, SPLIT = untuned "1", untuned "1:split"

test("the orders of the stand-in differ", function() expect.different(IN_ORDER, SPLIT) end)

test("the fastest is taken, and each is tried as often", function()
  local output, times = run("8 5:split 6", ONE)
  expect.equal(output, "2 of f32, 1 of [40, 300]: 5 ms, 8 ms at first, used\n" .. SPLIT)
  expect.equal(times, { 6, 6 + 1, 6 })
end)

test("under all schedules of threads: what makes operands and hashes results", function()
  expect.equal((run("8 5:split 1:wild", ONE, "BAMLUA_SIMT=0 BAMLUA_ALLOCATOR=malloc")),
               "2 of f32, 1 of [40, 300]: 5 ms, 8 ms at first, used\n" .. SPLIT)
end)

test("without measuring the first is taken", function()
  local output, times = untuned "8 5:split 6"
  expect.equal(output, IN_ORDER)
  expect.equal(times, { 1 })
end)

test("one that is faster by less than noise is not taken", function()
  expect.equal((run("5 4.95:split", ONE)), "1 of f32, 1 of [40, 300]: 5 ms, 5 ms at first, used\n" .. IN_ORDER)
  expect.equal((run("5 4.8:split", ONE)), "2 of f32, 1 of [40, 300]: 4.8 ms, 5 ms at first, used\n" .. SPLIT)
end)

test("one whose bits do not repeat is never taken", function()
  expect.equal((run("8 1:wild 5:split 2:wild", ONE)), "3 of f32, 1 of [40, 300]: 5 ms, 8 ms at first, used\n" .. SPLIT)
  expect.equal((run("1:wild 8", ONE)), "2 of f32, 1 of [40, 300]: 8 ms, 1 ms at first, used\n" .. IN_ORDER)
end)

test("zeros hide nothing: what is measured is random", function()
  local output = run("1:wild 8 2:wild", [[
    core.set_product_algorithms({}, true)
    for _, dtype in ipairs { "f32", "f64", "bf16" } do
      local w = bam.zeros(24, 300):to(dtype)
      w.requires_grad = true
      core.ops.linear(bam.zeros(40, 300):to(dtype), w):backward(bam.zeros(40, 24):to(dtype))
    end
    for _, x in ipairs(core.product_algorithms()) do
      if not x.product:find "in bf16" then io.write(x.rank) end -- which hides most of it
    end]])
  expect.equal(output, ("2"):rep(2 + 2 + 1)) -- x has no gradient
end)

test("where none repeats its bits a plain kernel computes", function()
  local output, times = run("1:wild 2:wild", ONE)
  expect.contains(output, "0 of f32, 1 of [40, 300]: 0 ms, 1 ms at first, used\n")
  expect.equal(times, { 6, 6 })
  expect.equal((run("1:wild 2:wild", ONE)), output)
end)

test("one that fails is not taken", function()
  expect.equal((run("1:refuse 8 5:split 2:refuse", ONE)),
               "3 of f32, 1 of [40, 300]: 5 ms, 0 ms at first, used\n" .. SPLIT)
end)

test("all dtypes and layouts are measured, and what is added to stays as it was", function()
  local output = run("8 5", [[
    local function compute()
      local hashes = {}
      local function note(x) hashes[#hashes + 1] = core.hash_tensor(x) end
      bam.seed(2)
      for _, dtype in ipairs { "f32", "f64", "bf16" } do
        local a, b = bam.randn(3, 20, 30):to(dtype), bam.randn(3, 30, 10):to(dtype)
        note(bam.matmul(a, b))
        note(bam.matmul(a:transpose(2, 3), bam.randn(3, 20, 7):to(dtype)))
        local w = bam.randn(12, 30):to(dtype)
        w.requires_grad = true
        for _ = 1, 3 do core.ops.linear(a[1], w):backward(bam.randn(20, 12):to(dtype)) end
        note(w.grad)
      end
      return table.concat(hashes, " ")
    end
    local before = compute()
    core.set_product_algorithms({}, true)
    assert(compute() == before, "measuring changed a result")
    local list = core.product_algorithms()
    assert(#list >= 3 * 4, #list)
    for _, x in ipairs(list) do assert(x.rank == 2 and x.ms == 5, x.product) end
    assert(compute() == before)
    assert(#core.product_algorithms() == #list, "measured twice")
    print "same"]])
  expect.equal(output, "same\n")
end)

test("measuring a product that adds leaves alone what it adds to", function()
  local output, times = run("8 5", [[
    for _, dtype in ipairs { "f32", "f64", "bf16" } do
      local x, w, up = bam.randn(20, 30):to(dtype), bam.randn(12, 30):to(dtype), bam.randn(20, 12):to(dtype)
      w.requires_grad = true
      local function backward()
        local y = core.ops.linear(x, w)
        core.set_product_algorithms({}, w.grad ~= nil)
        y:backward(up)
        core.set_product_algorithms({}, false)
      end
      backward()
      local once = w.grad:clone()
      backward() -- whose product is the first to be measured
      assert((w.grad - once * 2):abs():max():item() == 0, dtype)
    end
    print "twice"]])
  expect.equal(output, "twice\n")
  expect.equal(times, { 3 * (1 + 1 + 1 + 6), 3 * (6 + 1) })
end)

test("products of FP8 are measured, with scales", function()
  local output = run("8 5:split", [[
    local x, w = bam.randn(32, 256):to "bf16", bam.randn(48, 256):to "bf16"
    local function compute() return core.ops.linear(x, w, { fp8 = true }) end
    local before = compute()
    core.set_product_algorithms({}, true)
    local y = compute()
    local list = core.product_algorithms()
    assert(#list == 1 and list[1].rank == 2, #list)
    assert(list[1].product:find("e4m3, 1 of [32, 256] x [256, 48] transposed", 1, true), list[1].product)
    assert((y - before):abs():max():item() < 0.01 * before:abs():max():item())
    assert(core.hash_tensor(compute()) == core.hash_tensor(y))
    print "scaled"]])
  expect.equal(output, "scaled\n")
end)

test("algorithms that are set are used and not measured", function()
  local output, times = run("8 5:split", [[
    core.set_product_algorithms({}, true)
    local a, b = bam.randn(40, 300), bam.randn(300, 24)
    local first = core.hash_tensor(bam.matmul(a, b))
    local list = core.product_algorithms()
    core.set_product_algorithms({}, false)
    assert(core.hash_tensor(bam.matmul(a, b)) ~= first and #core.product_algorithms() == 0)
    core.set_product_algorithms(list, true)
    assert(not core.product_algorithms()[1].used)
    print(core.hash_tensor(bam.matmul(a, b)) == first)
    assert(core.product_algorithms()[1].used and #core.product_algorithms() == 1)
    bam.matmul(a, bam.randn(300, 8))
    assert(#core.product_algorithms(nil, 2) == 1)]])
  expect.equal(output, "true\n")
  expect.equal(times, { 6 + 1 + 6, 6 + 1 + 1 + 6 + 1 })
end)

test("rows of experts are measured once per class", function()
  local output = run("8 5:split", [[
    core.set_product_algorithms({}, true)
    local up, down = bam.randn(3, 40, 12), bam.randn(3, 12, 20)
    up.requires_grad, down.requires_grad = true, true
    for _, sizes in ipairs { { 300, 299, 101 }, { 260, 340, 100 }, { 400, 44, 256 } } do
      local experts, t = bam.zeros(700, 1, { dtype = "i64" }), 0
      for e = 1, 3 do
        experts[{ { t + 1, t + sizes[e] } }] = e
        t = t + sizes[e]
      end
      core.ops.routed_ffn(bam.randn(700, 12), bam.ones(700, 1), experts, up, down):sum():backward()
    end
    for _, x in ipairs(core.product_algorithms()) do
      assert(x.rank == 2 and (x.product:find "%[256" or x.product:find "%[512" or x.product:find ", 256%]"
                              or x.product:find ", 512%]"), x.product)
    end
    print(#core.product_algorithms())]])
  -- 2 classes of rows in 5 products: x has no gradient
  expect.equal(output, "10\n")
end)

test("a size that its class's algorithm refuses is not measured", function()
  local output, times = run("8 5:split", [[
    core.set_product_algorithms({}, true)
    local up, down = bam.randn(1, 8, 4), bam.randn(1, 4, 4)
    for rows = 5, 9 do
      core.ops.routed_ffn(bam.randn(rows, 4), bam.ones(rows, 1), bam.ones(rows, 1, { dtype = "i64" }), up, down)
    end
    for _, x in ipairs(core.product_algorithms()) do print(x.rank, x.product:match "^.-%]", x.ms) end]],
                            "BAMLUA_SIMT_BLAS=exact")
  expect.equal(output, "2\tf32, 1 of [256, 4]\t5.0\n2\tf32, 1 of [256, 4]\t5.0\n")
  expect.equal(times, { 2 * (6 + 5), 2 * 6 }) -- the sizes themselves by the first
end)

test("too little memory for another result: the first is taken, and that is kept", function()
  local output, times = run("8 5", [[
    local x, w, up = bam.randn(4, 8), bam.randn(4000, 8), bam.randn(4, 4000)
    w.requires_grad = true
    local function backward()
      local y = core.ops.linear(x, w)
      return function() y:backward(up) end
    end
    backward()()
    local once, again, last = w.grad:clone(), backward(), backward()
    local filled = {}
    for size = 22, 14, -1 do -- down to 64 KB, and the gradient has 128 KB
      repeat
        local fits, y = pcall(bam.empty, 1 << size)
        filled[#filled + 1] = fits and y or nil
      until not fits
    end
    core.set_product_algorithms({}, true)
    again()
    for i = 1, #filled do filled[i]:close() end
    last()
    for _, x in ipairs(core.product_algorithms()) do print(x.rank, x.ms) end
    print((w.grad - once * 3):abs():max():item() < 1e-5)]], "BAMLUA_SIMT_MEMORY=60000000 BAMLUA_ALLOCATOR=malloc")
  expect.equal(output, "1\t0.0\ntrue\n")
  expect.equal(times, { 3 + 3 })
end)

test("too little memory for operands: those of the product are measured", function()
  local output, times = run("8 5:split 1:wild", [[
    local x, w = bam.randn(4, 300), bam.randn(4000, 300)
    local wanted = core.hash_tensor(core.ops.linear(x, w))
    local filled, room = {}, bam.empty(1 << 14)
    for size = 22, 14, -1 do -- down to 64 KB
      repeat
        local fits, y = pcall(bam.empty, 1 << size)
        filled[#filled + 1] = fits and y or nil
      until not fits
    end
    room:close() -- for the result of 64 KB
    core.set_product_algorithms({}, true)
    local y = core.ops.linear(x, w)
    for i = 1, #filled do filled[i]:close() end
    for _, a in ipairs(core.product_algorithms()) do print(a.rank, a.ms) end
    print(core.hash_tensor(y) ~= wanted, core.hash_tensor(y) == core.hash_tensor(core.ops.linear(x, w)))]],
    "BAMLUA_SIMT_MEMORY=60000000 BAMLUA_ALLOCATOR=malloc")
  expect.equal(output, "2\t5.0\ntrue\ttrue\n")
  expect.equal(times, { 1 + 6, 6 + 2, 6 })
end)

test("what is no algorithm is refused", function()
  local output = run("8 5", [[
    local function refused(words, list)
      local ok, why = pcall(core.set_product_algorithms, list, true)
      assert(not ok and why:find(words, 1, true), tostring(why))
    end
    refused("entry 1 is not a table", { 1 })
    refused("entry 2: `product`", { { product = "p", rank = 0 }, { rank = 0 } })
    refused("entry 1: `product`", { { product = ("p"):rep(1000), rank = 0 } })
    refused("entry 1: `rank`", { { product = "p", rank = -1 } })
    refused("entry 1: `algorithm`", { { product = "p", rank = 1 } })
    refused("entry 1: `algorithm`", { { product = "p", rank = 1, algorithm = ("x"):rep(128) } })
    core.set_product_algorithms({}, true)
    local a, b = bam.randn(3, 4), bam.randn(4, 5)
    local y = bam.matmul(a, b)
    local list = core.product_algorithms()
    list[1].algorithm = ("0"):rep(128)
    core.set_product_algorithms(list, true)
    local ok, why = pcall(bam.matmul, a, b)
    assert(not ok and why:find("cuBLASLt does not have the recorded algorithm of a product of f32, 1 of [3, 4]", 1, true),
           tostring(why))
    core.set_product_algorithms({}, false)
    assert(core.hash_tensor(bam.matmul(a, b)) == core.hash_tensor(y))
    ok, why = pcall(core.set_product_algorithms, {}, true, "cpu")
    assert(not ok and why:find("products on cpu have one implementation", 1, true), why)
    assert(core.product_library "cpu" == nil and core.product_library() == "cuBLASLt 13.1.0")
    print "refused"]])
  expect.equal(output, "refused\n")
end)

test("a fault while measuring is reported, and nothing is kept", function()
  local output = run("8 5", [[
    core.set_product_algorithms({}, true)
    local ok, why = pcall(bam.matmul, bam.randn(3, 4), bam.randn(4, 5))
    assert(not ok and why:find("an illegal memory access", 1, true), tostring(why))
    print(#core.product_algorithms())]], "BAMLUA_SIMT_FAIL_LATE=product")
  expect.equal(output, "0\n")
end)

if not bam.devices()[2] then error "this test needs the shim" end
