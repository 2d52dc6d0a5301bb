-- `make bench`: how fast bamlua is, in turn with PyTorch when one is installed (tests/bench/peer.lua), alone when not.
--
--     bamlua tests/bench/bench.lua [OPTION...] [PATTERN]
--
-- PATTERN selects cases by title. The JSON is written again after every case, so that it holds what was finished
-- when the benchmark is interrupted; tests/bench/report.lua makes the tables of docs/benchmarks.md from it. On a
-- device other than the CPU a measurement ends when the device is done, and shares are of the speeds of the first
-- cases.
local HERE = arg[0]:match "^(.*/)" or "./"
package.path = string.format("%s../../?.lua;%s", HERE, package.path)

local arguments = require "bam.util.arguments"
local core = require "bam.core"
local figures = require "tests.bench.figures"
local json = require "bam.util.json"
local measure = require "tests.bench.measure"
local peers = require "tests.bench.peer"
local records = require "tests.bench.results"
local settings = require "tests.bench.settings"
local shell = require "tests.bench.shell"

local options = settings.read(arg, {
  { "json", "FILE", "write the results to a file too" },
  { "rounds", "N", "measure every case that often; 7 by default" },
  { "seconds", "N", "start no case after that time" },
  { "device", "NAME", "measure on a device, such as cuda" },
  { "alone", "", "without PyTorch" },
  { "tiny", "", "make every size small, to see that all of it runs" },
}, { rounds = 7, seconds = math.huge, device = "cpu" })

local begun = core.clock()
local device = core.device(options.device)
local on_device = device ~= "cpu"
local scratch <close> = shell.scratch()
local peer = not options.alone and peers.start(device, HERE, scratch.path) or nil
local failures, left_out = 0, 0

local results = records.new(device, options.rounds, peer and peer.version:match "^PyTorch (.*)")
results.cases = json.array {}

-- ---- the table ----

-- As many columns as `text` takes on a terminal.
local function padded(text, width) return text .. string.rep(" ", width - utf8.len(text)) end

local function row(...)
  local cells, widths = table.pack(...), { on_device and 72 or 66, 24, 24, 18, 21 }
  for i = 1, cells.n do cells[i] = padded(cells[i] or "", widths[i] or 0) end
  print((table.concat(cells, " "):gsub(" +$", "")))
end

local function show(record)
  local other = record.other
  row(record.title, figures.duration_and_range(record.seconds),
      other and figures.duration_and_range(other.seconds), figures.ratio(record), figures.rate(record),
      other and other.variant or record.without)
end

local function describe_device()
  if not on_device then return string.format("%s, %d threads", core.isa(), core.threads()) end
  return string.format("%s, %s", device, results.machine.device)
end

local function describe_shares()
  if on_device then
    return "Shares are of the fastest that either side is seen at in the case that only multiplies "
           .. "or copies: those that come first."
  end
  return string.format("Shares are of the machine's multiply-add peak, %.0f GFLOP/s.", results.peak / 1e9)
end

local function show_heading()
  print(string.format("bamlua on %s. Medians of %d rounds (min–max).", describe_device(), options.rounds))
  if peer then
    print(string.format("%s at its fastest variant%s, named last. Ratios above 1: bamlua is that many times faster.",
                        peer.version, on_device and "" or " and thread count"))
  else
    print "No PyTorch to compare with; tests/bench/peer.py says how to install one."
  end
  print(describe_shares())
  print()
  row("", "bamlua", peer and "PyTorch" or "other", "ratio", "rate", peer and "PyTorch's fastest" or "other")
end

-- ---- the cases ----

-- The best speeds of a device seen in cases meant for that, by what limits: FLOP/s of f32 and of tf32, bytes/s.
local ceilings = {}

local function limit_of(case) return not case.flops and "bytes" or case.tf32 and "tf32" or "f32" end

-- What is possible on a device becomes known by the cases with `ceiling`.
local function add_share(case, record)
  local limit, work = limit_of(case), case.flops or case.bytes
  if case.ceiling then
    local fastest = math.min(math.huge, table.unpack(record.seconds))
    fastest = math.min(fastest, table.unpack(record.other and record.other.seconds or {}))
    ceilings[limit] = math.max(ceilings[limit] or 0, work / fastest)
  end
  record.possible = work and ceilings[limit]
  figures.summarize(record)
end

local how = { rounds = options.rounds, at_once = options.tiny and 0.002 or 0.2, on_device = on_device, peer = peer }

local function run_case(case)
  if core.clock() - begun > options.seconds then
    left_out = left_out + 1
    return row(case.title, "no time left")
  end
  if on_device then
    core.tf32(case.tf32 or false)
    collectgarbage() -- frees the last case's tensors first
  end
  local fine, record = core.try(measure.case, case, how)
  if not fine then
    failures = failures + 1
    return row(case.title, string.format("failed: %s", record))
  end
  if on_device then add_share(case, record) end
  table.insert(results.cases, record)
  show(record)
  records.save(results, options.json)
end

local function used(...)
  if not options.tiny then return ... end
  local sizes = table.pack(...)
  for i, size in ipairs(sizes) do sizes[i] = math.min(size, size < 64 and 4 or 16) end
  return table.unpack(sizes)
end

io.stdout:setvbuf "line"
show_heading()
local cases = assert(loadfile(string.format("%scases.lua", HERE)))(used)
if not on_device then
  local starts = require "tests.bench.start" (arg[-1])
  table.move(starts, 1, #starts, #cases + 1, cases)
end
local wanted = 0
for _, case in ipairs(cases) do
  if case.title:find(options.pattern) then
    wanted = wanted + 1
    run_case(case)
  end
end
if peer then
  if peer.stopped then failures = failures + 1 end
  peer:close()
end
results.finished = wanted > 0 and failures + left_out == 0
records.save(results, options.json)
if wanted == 0 then arguments.fail("bench: no case has %q in its title, as a Lua pattern", options.pattern) end
if failures > 0 then arguments.fail("bench: %d of the cases failed", failures) end
