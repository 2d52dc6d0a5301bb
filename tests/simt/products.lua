-- Products of experts: however their rows change, cuBLASLt's heuristic is asked once per class of sizes, for the
-- class and not for the first size that came, so that a resumed run computes with the same algorithms. Over the shim,
-- whose trace says what was asked.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local program = core.absolute(arg[1])

-- Run a script over the shim with these settings; the lines of its trace.
local function trace(settings, script)
  local path, log = os.tmpname(), os.tmpname()
  core.write_file(path, script)
  local pipe = io.popen(string.format("%s BAMLUA_SIMT=1 BAMLUA_SIMT_TRACE=%s '%s' %s 2>&1", settings, log, program,
                                      path))
  local output = pipe:read "a"
  local fine, lines = pipe:close(), {}
  for line in core.read_file(log):gmatch "[^\n]+" do lines[#lines + 1] = line end
  os.remove(path)
  os.remove(log)
  expect.yes(fine, output)
  return lines, output
end

-- The sizes in lines that begin with `word`.
local function sizes(lines, word)
  local list = {}
  for _, line in ipairs(lines) do
    local m, n, k = line:match(string.format("^%s (%%d+) (%%d+) (%%d+)$", word))
    if m then list[#list + 1] = { tonumber(m), tonumber(n), tonumber(k) } end
  end
  return list
end

-- Routed FFNs, forward and backward, whose 3 experts get other numbers of rows each time. Prints hashes of results.
local ROUTED = [[
local bam, core = require "bam", require "bam.core"
bam.seed(1)
local T, N, D, F = 700, 3, 12, 20
local up, down = bam.randn(N, 2 * F, D):to "cuda", bam.randn(N, D, F):to "cuda"
up.requires_grad, down.requires_grad = true, true
local sizes = { { 300, 300, 100 }, { 1, 698, 1 }, { 256, 257, 187 }, { 0, 513, 187 }, { 300, 299, 101 } }
for step = 1, 5 do
  local experts, t = bam.zeros(T, 1, { dtype = "i64" }), 0
  for e = 1, N do
    if sizes[step][e] > 0 then experts[{ { t + 1, t + sizes[step][e] } }] = e end
    t = t + sizes[step][e]
  end
  local x = bam.randn(T, D):to "cuda"
  x.requires_grad = true
  local y = core.ops.routed_ffn(x, bam.ones(T, 1, { device = "cuda" }), experts:to "cuda", up, down)
  y:sum():backward()
  print(core.hash_tensor(y:to "cpu"), core.hash_tensor(x.grad:to "cpu"), core.hash_tensor(up.grad:to "cpu"))
end
]]

test("the heuristic is asked once per class of rows", function()
  local lines, first = trace("", ROUTED)
  local asked, products, seen = sizes(lines, "heuristic"), sizes(lines, "product"), {}
  expect.equal(#products, 6 * (5 * 3 - 1)) -- a product of no rows is none
  for _, s in ipairs(asked) do
    local key = table.concat(s, " ")
    expect.no(seen[key], "asked twice: " .. key)
    seen[key] = true
    expect.yes(s[1] % 256 == 0 or s[3] % 256 == 0, "not asked for a class: " .. key)
  end
  -- classes of 256, 512 and 768 rows, for each of the 6 products of an expert
  expect.equal(#asked, 3 * 6)
  local _, second = trace("BAMLUA_SIMT_BLAS=exact", ROUTED)
  expect.equal(second, first)
end)

test("a size that its class's algorithm refuses has a plan of its own", function()
  local asked = sizes(trace("BAMLUA_SIMT_BLAS=exact", ROUTED), "heuristic")
  local own = 0
  for _, s in ipairs(asked) do
    if s[1] % 256 ~= 0 and s[3] % 256 ~= 0 then own = own + 1 end
  end
  -- rows 300, 100, 1, 698, 257, 187, 513, 299, 101; 256 is its class
  expect.equal(own, 9 * 6)
end)

test("other products are asked for as they are, once", function()
  local asked = sizes(trace("", [[
    local bam = require "bam"
    bam.device "cuda"
    local w = bam.randn(5, 7)
    for _ = 1, 3 do
      for _, rows in ipairs { 96, 100 } do bam.matmul(bam.randn(rows, 5), w) end
    end]]), "heuristic")
  expect.equal(asked, { { 96, 7, 5 }, { 100, 7, 5 } })
end)

test("a class that the heuristic refuses leaves its sizes to plans of their own", function()
  local lines, output = trace("BAMLUA_SIMT_BLAS=classes", ROUTED)
  local _, usual = trace("", ROUTED)
  expect.equal(output, usual)
  expect.equal(#sizes(lines, "product"), 6 * (5 * 3 - 1) - 6) -- of 256 rows there is none
  expect.equal(#sizes(lines, "heuristic"), (3 + 9) * 6)
end)

-- Products of all dtypes and transposes, also in batches and added to a gradient, on the CPU and on the device. Prints
-- the largest difference, in units of the dtype's rounding.
local REFUSED = [[
local bam, core = require "bam", require "bam.core"
bam.seed(1)
local worst, unit = 0, { f32 = 1.2e-7, f64 = 2.2e-16, bf16 = 3.9e-3 }
local function compare(x, y, dtype)
  local difference = (x:to("f64", "cpu") - y:to("f64", "cpu")):abs():max():item()
  worst = math.max(worst, difference / y:to("f64", "cpu"):abs():max():item() / unit[dtype])
end
for dtype in pairs(unit) do
  for _, s in ipairs { { 1, 1, 1 }, { 65, 129, 17 }, { 3, 200, 31 }, { 130, 2, 100 } } do
    local a, b = bam.randn(2, s[1], s[3]):to(dtype), bam.randn(2, s[3], s[2]):to(dtype)
    local wide = bam.matmul(a:to "f64", b:to "f64")
    local x, y = a:to "cuda", b:to "cuda"
    compare(bam.matmul(x, y), wide, dtype)
    compare(bam.matmul(x:transpose(1, 2):contiguous():transpose(1, 2), y:transpose(1, 2):contiguous():transpose(1, 2)),
            wide, dtype)
    local w, other = bam.randn(s[2], s[3]):to(dtype, "cuda"), bam.randn(s[2], s[3]):to(dtype, "cuda")
    w.requires_grad, other.requires_grad = true, true
    local up = bam.randn(s[1], s[2]):to(dtype)
    for _ = 1, 2 do core.ops.linear(x[1], w):backward(up:to "cuda") end -- the second is added to the first
    local once = bam.matmul(up:to("f64"):transpose(1, 2), a[1]:to "f64")
    compare(w.grad, once * 2, dtype == "bf16" and "f32" or dtype)
  end
end
print(worst < 16 and "close" or worst)
]]

test("what the library refuses is computed all the same", function()
  local lines, output = trace("BAMLUA_SIMT_BLAS=none", REFUSED)
  expect.equal(output, "close\n")
  expect.equal(#sizes(lines, "product"), 0)
  expect.compare(#sizes(lines, "heuristic"), ">", 0)
end)

if not bam.devices()[2] then error "this test needs the shim" end
