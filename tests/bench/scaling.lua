-- `make scaling`: how the speed of a training step changes with width, context, experts and threads, and its memory
-- with context and vocabulary; in turn with PyTorch when one is installed (tests/bench/peer.lua).
--
--     bamlua tests/bench/scaling.lua [OPTION...] [PATTERN]
--
-- PATTERN selects figures by name. Every point gets an equal share of the time that is left, of which PyTorch may use
-- two thirds to get its variants ready, the quickest first. The JSON is written after every point;
-- tests/bench/charts.lua draws it.
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
  { "seconds", "N", "how long all of it may take, about; 600 by default" },
  { "rounds", "N", "measure every point that often at most; 3 by default" },
  { "alone", "", "without PyTorch" },
  { "tiny", "", "make every size small, to see that all of it runs" },
}, { rounds = 3, seconds = 600 })

local PROGRAM = arg[-1]
local THREADS = core.threads()
local scratch <close> = shell.scratch()
local peer = not options.alone and peers.start("cpu", HERE, scratch.path) or nil
local deadline = core.clock() + options.seconds
local failures, left_out = 0, 0

local results = records.new("cpu", options.rounds, peer and peer.version:match "^PyTorch (.*)")
results.figures = json.array {}

-- ---- points ----

local function measure_speed(point, seconds)
  local threads = core.threads(point.threads or THREADS)
  return measure.case(point.case, {
    rounds = options.rounds, at_once = options.tiny and 0.002 or 0.2, peer = peer,
    peer_options = string.format("threads=%d seconds=%d", threads, math.max(1, seconds * 2 // 3)),
    till = core.clock() + seconds,
  })
end

-- The number that a command prints, or an error.
local function number_from(command)
  local line = shell.output_of(command)
  return math.tointeger(tonumber(line)) or error(string.format("memory is not known: %s", line or "no answer"), 0)
end

-- Both sides in processes of their own.
local function measure_memory(point)
  local sizes = point.case.sizes
  local record = { sizes = sizes, title = point.case.title }
  record.bytes = number_from(string.format("%s %sresident.lua %s", shell.quote(PROGRAM), shell.quote(HERE),
                                           table.concat(sizes, " ", 1, 7)))
  if peer then
    local fine, bytes = core.try(number_from, string.format("%s --memory model %s", peers.command("cpu", HERE),
                                                            table.concat(sizes, " ")))
    if fine then record.other = { name = "PyTorch", variant = "eager", bytes = bytes } else record.without = bytes end
  end
  return record
end

local function show(name, record)
  local other = record.other
  local own, theirs
  if record.seconds then
    own, theirs = figures.rate(record), other and figures.duration(other.median)
    own = string.format("%s, %s", figures.duration(record.median), own)
  else
    own, theirs = figures.short(record.bytes, "B"), other and figures.short(other.bytes, "B")
  end
  print(string.format("  %-26s %-36s %s", name, own,
                      other and string.format("%s %s (%s)", other.name, theirs, other.variant) or record.without or ""))
end

local function run_point(figure, point, points_left)
  local seconds = (deadline - core.clock()) / points_left
  local name = string.format("%s at %d", point.series, point.x)
  if seconds <= 0 then
    left_out = left_out + 1
    return print(string.format("  %-26s no time left", name))
  end
  local fine, record
  if figure.unit == "B" then
    fine, record = core.try(measure_memory, point)
  else
    fine, record = core.try(measure_speed, point, seconds)
  end
  if not fine then
    failures = failures + 1
    return print(string.format("  %-26s failed: %s", name, record))
  end
  record.series, record.x, record.threads = point.series, point.x, point.threads or THREADS
  table.insert(figure.points, record)
  show(name, record)
  records.save(results, options.json)
end

-- ---- everything ----

local function wanted_figures()
  local list, count = {}, 0
  for _, figure in ipairs(require "tests.bench.scaling_figures" (THREADS, options.tiny)) do
    if figure.name:find(options.pattern) then
      list[#list + 1], count = figure, count + #figure.points
    end
  end
  return list, count
end

io.stdout:setvbuf "line"
print(string.format("bamlua on %s, %d threads; %s. Medians of up to %d rounds, in about %d s.", core.isa(), THREADS,
                    peer and peer.version or "no PyTorch", options.rounds, options.seconds))
local list, points_left = wanted_figures()
if #list == 0 then arguments.fail("scaling: no figure has %q in its name, as a Lua pattern", options.pattern) end
for _, figure in ipairs(list) do
  print(string.format("%s, against %s", figure.title, figure.x))
  local points = figure.points
  figure.points = json.array {}
  table.insert(results.figures, figure)
  for _, point in ipairs(points) do
    run_point(figure, point, points_left)
    points_left = points_left - 1
  end
end
if peer then
  if peer.stopped then failures = failures + 1 end
  peer:close()
end
results.finished = failures + left_out == 0
records.save(results, options.json)
if failures > 0 then arguments.fail("scaling: %d of the points failed", failures) end
