-- Which kernels compute attention: for bf16 with head widths of 64 and 128 and aligned rows those on tensor cores, else
-- those for any width. Over the shim, whose trace names them: `width` is a parameter of the first.
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

-- The kernels of attention, forward and backward: rows of `pitch` elements, of which a head is the first `width`.
local function kernels_of(dtype, pitch, width, scale)
  local path, log, names = os.tmpname(), os.tmpname(), {}
  core.write_file(path, string.format(ATTENTION, pitch, dtype, width, scale))
  local pipe = io.popen(string.format("BAMLUA_SIMT=1 BAMLUA_SIMT_TRACE=%s '%s' %s 2>&1", log, program, path))
  local output = pipe:read "a"
  expect.yes(pipe:close(), output)
  for name, parameters in core.read_file(log):gmatch "([%w_]+)<([%w_, ]+)>%)? %d" do
    if name == "attend" or name:find "^find_d[qk]" then names[#names + 1] = name .. " " .. parameters end
  end
  os.remove(path)
  os.remove(log)
  return table.concat(names, ", ")
end

local TENSOR_CORES = "attend width, find_dq width, find_dk_dv width"
local NARROW = "attend 4, find_dq 8, 4, find_dk_dv 8, 4"
local WIDE = "attend 8, find_dq 4, 8, find_dk_dv 4, 8"

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
