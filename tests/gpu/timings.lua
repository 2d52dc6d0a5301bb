--- Timings of one group of a window, as rows of results: medians of repeated calls, each waited for, with the rate that
--- the counted FLOPs or bytes give.
---   bamlua tests/gpu/timings.lua --device cuda --result FILE [--tiny] GROUP
local HERE = arg[0]:match "^(.*/)" or "./"
package.path = string.format("%s../../?.lua;%s", HERE, package.path)
local bam = require "bam"
local core = require "bam.core"
local algorithms = require "tests.gpu.timing.algorithms"
local ops = require "tests.gpu.timing.ops"
local record = require "tests.gpu.record"
local sizes = require "tests.gpu.timing.sizes"
local steps = require "tests.gpu.timing.steps"

local options = record.options(arg)
local group = table.concat(options.words, " ")
local part = "time " .. group .. (os.getenv "BAMLUA_ATTENTION" == "hopper" and " on warpgroups" or "")
local BUDGET = options.tiny and 0 or 1.5 -- seconds of one case
local AT_ONCE = 0.005 -- seconds between two waits, at least: a wait takes some 10 microseconds

core.device(options.device)
bam.seed(1)

-- Seconds of each of `calls` calls.
local function timed(f, calls)
  core.synchronize()
  local start = core.clock()
  for _ = 1, calls do core.scope(f) end
  core.synchronize()
  return (core.clock() - start) / calls
end

-- Seconds of a call, sorted: as many measurements as fit into the budget.
local function measure(f)
  timed(f, 1)
  local once = timed(f, options.tiny and 1 or 2)
  local calls, list = options.tiny and 1 or math.max(1, math.ceil(AT_ONCE / once)), {}
  local till = core.clock() + BUDGET
  repeat list[#list + 1] = timed(f, calls) until #list >= 3 and core.clock() > till
  table.sort(list)
  return list
end

-- Measure a case { case, step, flops?, bytes?, ... } and record it with its other fields. One that does not fit into
-- memory is a row that says so.
local function case(of)
  local row = { part = part, dtype = of.dtype or sizes.dtype(options.device) }
  for name, value in pairs(of) do
    if type(value) ~= "function" then row[name] = value end
  end
  local ok, list = core.try(measure, of.step)
  if ok then
    local median = list[(#list + 1) // 2]
    row.ms_median, row.ms_min, row.ms_max, row.measured = median * 1e3, list[1] * 1e3, list[#list] * 1e3, #list
    row.tflops, row.gbs = of.flops and of.flops / median / 1e12, of.bytes and of.bytes / median / 1e9
    row.peak_gb = bam.memory().peak / 1e9
  else
    row.failed = tostring(list)
  end
  record.add(options, row)
  collectgarbage()
  collectgarbage()
  return ok and list[(#list + 1) // 2] or nil
end

local size, kind, fp8 = group:match "^step (%a+) (%a+)(.*)$"
local function note(row)
  row.part = part
  record.add(options, row)
end
local measured
if size then
  measured = steps.run(options.tiny and "tiny" or size, kind, fp8 == " in FP8", options, case, note)
elseif group == "algorithms" then
  measured = algorithms.run(options, note)
else
  measured = ops.run(group, options, case)
end
if not measured then
  print(string.format("no group %q", group))
  os.exit(1)
end
