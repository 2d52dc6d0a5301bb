--- How a case is measured: each round measures bamlua, the other side and the machine's multiply-add peak one after
--- the other, so that whatever else the machine does meets them all.
local core = require "bam.core"
local figures = require "tests.bench.figures"

local M = {}

-- Seconds of one call, over `calls` of them, including the collection of the garbage that they leave.
local function timed(step, calls, on_device)
  if on_device then core.synchronize() end
  local start = core.clock()
  for _ = 1, calls do step() end
  collectgarbage()
  if on_device then core.synchronize() end
  return (core.clock() - start) / calls
end

-- How many calls take about that long.
local function calls_for(step, seconds, on_device)
  local calls, once = 1, timed(step, 1, on_device)
  while once * calls < seconds / 10 do
    calls = calls * 4
    once = timed(step, calls, on_device)
  end
  return math.max(1, math.floor(seconds / once))
end

-- A side that is run here, in this process: { run, free }.
local function own_side(step, options)
  timed(step, 2, options.on_device)
  local calls = calls_for(step, options.at_once, options.on_device)
  return { run = function() return timed(step, calls, options.on_device) end }
end

-- The other side of a case, or nil and why it has none: its own one, or PyTorch.
local function other_side(case, options)
  if case.other then
    local side = own_side(case.other.step, options)
    side.name, side.variant = case.other.name, case.other.name
    return side
  end
  local peer = options.peer
  if not peer or not case.kind then return nil end
  local variant, why = peer:prepare(case, options.peer_options)
  if not variant then return nil, string.format("none: %s", why) end
  return { name = "PyTorch", variant = variant, run = function() return peer:seconds() end,
           free = function() peer:free() end }
end

local function take_rounds(case, own, other, options)
  local record = { seconds = {}, other = other and { name = other.name, variant = other.variant, seconds = {} } }
  local peaks, per = {}, case.per or 1
  for round = 1, options.rounds do
    record.seconds[round] = own.run() / per
    local seconds = other and other.run()
    if seconds then record.other.seconds[round] = seconds / per end
    if case.flops and not options.on_device then peaks[round] = core.peak() end
    if options.till and core.clock() > options.till then break end
  end
  if other and #record.other.seconds < #record.seconds then record.other = nil end -- it stopped meanwhile
  if #peaks > 0 then record.peaks, record.possible = peaks, figures.median(peaks) end
  return record
end

--- Measure a case.
---@param case table see cases.lua
---@param options table { rounds, at_once: seconds that a measurement takes, on_device, peer, peer_options, till: the
--- time after which no further round starts }
---@return table record
function M.case(case, options)
  local own = own_side(case.prepare(), options)
  local other, why = other_side(case, options)
  local record = take_rounds(case, own, other, options)
  if other and other.free then other.free() end
  record.without = why
  for _, field in ipairs { "title", "kind", "sizes", "flops", "bytes", "tokens", "tf32" } do
    record[field] = case[field]
  end
  return figures.summarize(record)
end

return M
