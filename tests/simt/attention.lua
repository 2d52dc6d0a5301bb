-- Which kernels compute attention: for bf16 with head widths of 64 and 128 and aligned rows those on tensor cores, else
-- those for any width. Over the shim, whose trace names them: `width` is a parameter of the first.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local program = core.absolute(arg[1])

local ATTENTION = [[
local bam = require "bam"
local function rows()
  local x = bam.zeros(1, 5, 2, %d, { device = "cuda", dtype = "%s" })
  x.requires_grad = true
  return x
end
local function part(x) return x:narrow(4, 1, %d) end
local q, k, v = rows(), rows(), rows()
bam.attention(part(q), part(k), part(v), { scale = %g }):sum():backward()
]]

-- Run attention, forward and backward: rows of `pitch` elements, of which a head is the first `width`. The kernels with
-- the threads of their blocks; nil and what was printed when it failed.
local function kernels_of(dtype, pitch, width, scale, environment)
  local path, log, names = os.tmpname(), os.tmpname(), {}
  core.write_file(path, string.format(ATTENTION, pitch, dtype, width, scale))
  local pipe = io.popen(string.format("BAMLUA_SIMT=1 BAMLUA_SIMT_TRACE=%s %s '%s' %s 2>&1", log, environment or "",
                                      program, path))
  local output = pipe:read "a"
  local good = pipe:close()
  for name, parameters, threads in core.read_file(log):gmatch "([%w_]+)<([%w_, ]+)>%)? %d+ (%d+)" do
    if name == "attend" or name:find "^find_d[qk]" then
      names[#names + 1] = string.format("%s<%s> %s", name, parameters, threads)
    end
  end
  os.remove(path)
  os.remove(log)
  if not good then return nil, output end
  return table.concat(names, ", ")
end

local TENSOR_CORES = "attend<width> 128, find_dq<width> 128, find_dk_dv<width> 128"
local NARROW = "attend<4> 128, find_dq<8, 4> 128, find_dk_dv<8, 4> 128"
local WIDE = "attend<8> 128, find_dq<4, 8> 256, find_dk_dv<4, 8> 256"

test("bf16 is computed on tensor cores", function()
  expect.equal(kernels_of("bf16", 64, 64, 0.1), TENSOR_CORES)
  expect.equal(kernels_of("bf16", 128, 128, 0.1), TENSOR_CORES)
  expect.equal(kernels_of("bf16", 72, 64, 0.1), TENSOR_CORES, "rows of 72")
end)

test("what they are not for has other kernels", function()
  expect.equal(kernels_of("f32", 64, 64, 0.1), NARROW)
  expect.equal(kernels_of("bf16", 32, 32, 0.1), NARROW)
  expect.equal(kernels_of("bf16", 136, 136, 0.1), WIDE)
  expect.equal(kernels_of("bf16", 132, 128, 0.1), WIDE, "rows that are not aligned")
  expect.equal(kernels_of("bf16", 64, 64, -0.1), NARROW, "a negative scale")
end)

test("BAMLUA_ATTENTION decides, where the device and the program allow it", function()
  local function kernels(width, environment) return kernels_of("bf16", width, width, 0.1, environment) end
  expect.equal(kernels(64, "BAMLUA_ATTENTION=mma"), TENSOR_CORES)
  expect.equal(kernels(64, "BAMLUA_ATTENTION=hopper"), "attend<width> 512, find_dq<width> 384, find_dk_dv<width> 384")
  expect.equal(kernels(128, "BAMLUA_ATTENTION=hopper"), "attend<width> 384, find_dq<width> 384, find_dk_dv<width> 384")
  expect.equal(kernels(32, "BAMLUA_ATTENTION=hopper"), NARROW)
  local function refused(words, environment)
    local names, output = kernels(64, environment)
    expect.no(names)
    expect.contains(output, words)
  end
  refused("compiled for 90a", "BAMLUA_ATTENTION=hopper BAMLUA_SIMT_PLAIN=1")
  refused([[BAMLUA_ATTENTION is "tma"; set it to mma or hopper]], "BAMLUA_ATTENTION=tma")
end)

-- Queries, keys and values of all experts are rows of one tensor; gates, documents and rotation are what models have.
test("a mixture in bf16 agrees with one in f64", function()
  local N, H, G, K, D, T = 2, 2, 1, 64, 48, 150
  bam.seed(5)
  local made = { bam.randn(1, T, D), bam.randn((N * H + 2 * G) * K, D) * 0.15, bam.randn(D, N * H * K) * 0.1,
                 bam.randn(1, T, N):softmax() }
  local documents = bam.arange(1, T):reshape(1, T):to "i64" // 60
  local function run(dtype, device)
    local inputs = {}
    for i, x in ipairs(made) do
      inputs[i] = x:to(i == 4 and dtype == "bf16" and "f32" or dtype, device):detach()
      inputs[i].requires_grad = true
    end
    local y = bam.mixture_of_attention(inputs[1], inputs[2], inputs[3], inputs[4], documents:to(device),
                                       { heads = H, kv_heads = G })
    y:backward(bam.ones(1, T, D, { dtype = dtype, device = device }))
    local results = { y:detach():to("f64", "cpu") }
    for i, x in ipairs(inputs) do results[i + 1] = x.grad:to("f64", "cpu") end
    return results
  end
  local got, want = run("bf16", "cuda"), run("f64", "cpu")
  for i, x in ipairs(want) do
    local error = ((got[i] - x):norm() / x:norm()):item()
    expect.compare(error, "<", 0.02, string.format("result %d", i))
  end
end)
