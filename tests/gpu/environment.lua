--- What a window's results depend on: the device, the program, the machine. Also the first product and the first
--- kernel, so that a device or a library that is not there is said before anything else is tried.
---   bamlua tests/gpu/environment.lua --device cuda --result FILE
local HERE = arg[0]:match "^(.*/)" or "./"
package.path = string.format("%s../../?.lua;%s", HERE, package.path)
local bam = require "bam"
local core = require "bam.core"
local record = require "tests.gpu.record"
local shell = require "tests.bench.shell"

local options = record.options(arg)
local list, why = bam.devices()
local device
for _, d in ipairs(list) do
  print(string.format("%s: %s", d.name, d.description))
  if d.name == core.device(options.device) then device = d end
end
assert(device, why.cuda or "no such device")

local x = bam.full({ 64, 64 }, 0.5, { device = options.device })
assert(bam.matmul(x, x):sum():item() == 64 * 64 * 16, "a product is wrong")

record.add(options, {
  part = "environment", device = device.description, memory = device.memory, version = bam.version, isa = core.isa(),
  threads = core.threads(),
  driver = shell.output_of "nvidia-smi --query-gpu=driver_version --format=csv,noheader",
  clocks = shell.output_of "nvidia-smi --query-gpu=clocks.sm,clocks.mem,power.limit --format=csv,noheader",
  machine = shell.output_of "uname -srm", glibc = shell.output_of "getconf GNU_LIBC_VERSION",
})
