-- What ptxas says of kernels that must keep everything in registers: nvcc leaves a report beside their objects
-- (REPORTED in the Makefile). A spill costs more than what it is for, and no test of values would notice it. That two
-- blocks fit on a multiprocessor is in their __launch_bounds__, which ptxas keeps to by spilling. Where it cannot prove
-- that registers of products of a warpgroup are left alone, it waits for them by itself, and says so (C7510 and on).
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local bamlua = os.getenv "BAMLUA" or "build/bamlua"
local directory = bamlua:match "^(.*)/" or "."

local REPORTS = { "attention_mma", "attention_mma_backward", "attention_hopper",
                  "attention_hopper_backward" }

local function read(path)
  local file <close> = io.open(path)
  return file and file:read "a"
end

-- The kernels of a report: { name, arch, registers, spilled }, spilled being bytes.
local function kernels_of(report)
  local kernels = {}
  for line in report:gmatch "[^\n]+" do
    local name, arch = line:match "Compiling entry function '([^']+)' for '([^']+)'"
    local stores, loads = line:match "(%d+) bytes spill stores, (%d+) bytes spill loads"
    local registers = line:match "Used (%d+) registers"
    if name then kernels[#kernels + 1] = { name = name, arch = arch } end
    if stores then kernels[#kernels].spilled = tonumber(stores) + tonumber(loads) end
    if registers then kernels[#kernels].registers = tonumber(registers) end
  end
  return kernels
end

-- `for_hopper`: kernels that are empty but for sm_90a.
local function check(report, for_hopper)
  local kernels = kernels_of(report)
  expect.no(report:match "[^\n]*%(C75%d%d%)[^\n]*")
  for _, kernel in ipairs(kernels) do
    local where = string.format("%s for %s", kernel.name, kernel.arch)
    expect.equal(kernel.spilled, 0, "spills of " .. where)
    expect.compare(kernel.registers, "<=", 255, "registers of " .. where)
    if for_hopper and kernel.arch ~= "sm_90a" then
      expect.compare(kernel.registers, "<=", 8, "registers of the empty kernel " .. where)
    end
  end
  return kernels
end

test("a spill is found", function()
  local report = [[
ptxas info    : Compiling entry function '_Z6attendv' for 'sm_80'
ptxas info    : Function properties for _Z6attendv
    8 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 8 bytes cumulative stack size
]]
  local kernels = kernels_of(report)
  expect.equal(kernels, { { name = "_Z6attendv", arch = "sm_80", registers = 255, spilled = 20 } })
  expect.raises("spills of _Z6attendv for sm_80", check, report)
end)

test("products that are waited for one by one are found", function()
  expect.raises("are serialized due to", check, "ptxas info    : (C7512) Potential Performance Loss: wgmma.mma_async "
                .. "instructions are serialized due to insufficient register resources for the function '_Z6attendv'")
end)

for _, name in ipairs(REPORTS) do
  test(name, function()
    local object = string.format("%s/kernels/cuda/%s", directory, name)
    if not read(object .. ".o") then test.skip "the program was built without CUDA (nvcc)" end
    local kernels = check(read(object .. ".ptxas") or "", name:find "hopper")
    expect.compare(#kernels, ">=", 2, "kernels in the report")
  end)
end
