-- `make bench`: how fast bamlua is, in turn with PyTorch when one is installed, alone when not.
--
--     bamlua tests/bench/bench.lua [--device NAME] [--alone] [--rounds N] [--seconds N] [--tiny]
--                                  [PATTERN]
--
-- PATTERN selects cases by title. PyTorch is looked for in $BAMLUA_PEER_PYTHON, then in python3;
-- tests/bench/peer.py says how to install it; $BAMLUA_PEER_LOG may name a file for its complaints.
-- Each round measures bamlua, PyTorch and the machine's multiply-add peak one after the other, so
-- that all meet the same weather. On a device other than the CPU a measurement ends when the device
-- is done, and shares are of the speeds of the first cases. After --seconds no case begins. --tiny
-- makes every size small, to see that all of it runs.
local core = require "bam.core"

local HERE = arg[0]:match "^(.*/)" or "./"
local AT_ONCE = 0.2 -- seconds that one measurement takes

-- ---- arguments ----

local options = { device = "cpu", rounds = 7, seconds = math.huge, alone = false, tiny = false,
                  pattern = "" }
do
  local function number(text)
    return math.max(1, math.tointeger(tonumber(text)) or error("bench: expected a number", 0))
  end
  local i = 1
  while arg[i] do
    local name = arg[i]:match "^%-%-(%l+)$"
    if name == "alone" or name == "tiny" then
      options[name] = true
    elseif (name == "rounds" or name == "seconds") and arg[i + 1] then
      options[name], i = number(arg[i + 1]), i + 1
    elseif name == "device" and arg[i + 1] then
      options.device, i = arg[i + 1], i + 1
    elseif arg[i]:sub(1, 1) == "-" then
      error(string.format("bench: no option `%s`; there are --device NAME, --alone, --rounds N, "
                          .. "--seconds N, --tiny and a pattern", arg[i]), 0)
    else
      options.pattern = arg[i]
    end
    i = i + 1
  end
end

local begun = core.clock()
local device = core.device(options.device)
local on_device = device ~= "cpu"

-- ---- the shell ----

local function quote(word) return string.format("'%s'", word:gsub("'", [['\'']])) end

-- The first line a command prints, or nil.
local function output_of(command)
  local pipe <close> = assert(io.popen(string.format("%s 2>/dev/null", command)))
  return pipe:read "l"
end

local scratch = output_of "mktemp -d"
local cleanup <close> = setmetatable({}, { __close = function()
  os.execute(string.format("rm -rf %s", quote(scratch)))
end })

-- ---- figures ----

local function median(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  local half = (#sorted + 1) // 2
  return (sorted[half] + sorted[#sorted + 1 - half]) / 2
end

local function spread(list) return math.min(table.unpack(list)), math.max(table.unpack(list)) end

local UNITS = { { 1, "s" }, { 1e-3, "ms" }, { 1e-6, "µs" } }

-- "2.31 ms (2.28–2.55)"
local function duration(list)
  local middle, low, high = median(list), spread(list)
  local unit = UNITS[#UNITS]
  for _, u in ipairs(UNITS) do
    if middle >= u[1] then unit = u break end
  end
  local digits = middle / unit[1] >= 100 and 0 or middle / unit[1] >= 10 and 1 or 2
  local number = string.format("%%.%df", digits)
  return string.format(string.format("%s %s (%s–%s)", number, unit[2], number, number),
                       middle / unit[1], low / unit[1], high / unit[1])
end

local function map(list, f)
  local result = {}
  for i, x in ipairs(list) do result[i] = f(x, i) end
  return result
end

-- ---- PyTorch ----

local peer
local failures = 0 -- cases that do not run, or PyTorch's end

local function start_peer()
  local python = os.getenv "BAMLUA_PEER_PYTHON" or "python3"
  local script = string.format("%s %speer.py --device %s", quote(python), quote(HERE),
                               quote(device))
  local version = output_of(string.format("%s --version", script))
  if not version then return end
  local fifo = string.format("%s/answers", scratch)
  local log = os.getenv "BAMLUA_PEER_LOG" or string.format("%s/log", scratch)
  os.execute(string.format("mkfifo %s", quote(fifo)))
  peer = { version = version, log = log }
  -- What is asked after its end is still read: a broken pipe would end bamlua too.
  local command = string.format("{ %s >%s 2>%s; cat >/dev/null; }", script, quote(fifo), quote(log))
  peer.ask = assert(io.popen(command, "w"))
  peer.answers = assert(io.open(fifo))
  peer.ask:setvbuf "line"
end

-- Its answer, or "failed" when it has stopped: bamlua then goes on alone.
local function ask_peer(question)
  if not peer.stopped then
    peer.ask:write(question, "\n")
    local answer = peer.answers:read "l"
    if answer then return answer end
    peer.stopped, failures = true, failures + 1
    for line in io.lines(peer.log) do io.stderr:write(line, "\n") end
    io.stderr:write "bench: PyTorch stopped; its last words are above\n"
  end
  return "failed it stopped"
end

-- ---- measuring ----

-- Seconds of one call, over `calls` of them, including the collection of what they leave behind.
local function timed(step, calls)
  if on_device then core.synchronize() end
  local start = core.clock()
  for _ = 1, calls do step() end
  collectgarbage()
  if on_device then core.synchronize() end
  return (core.clock() - start) / calls
end

-- How many calls take about that long.
local function calls_for(step, seconds)
  local calls, once = 1, timed(step, 1)
  while once * calls < seconds / 10 do
    calls = calls * 4
    once = timed(step, calls)
  end
  return math.max(1, math.floor(seconds / once))
end

-- PyTorch's variant that takes part in the case, or nil, and why there is none.
local function prepare_peer(case)
  local answer = ask_peer(string.format("case %s", case.peer))
  local label = answer:match "^ready (.*)"
  return label, not label and string.format("none: %s", answer:match "^failed (.*)" or answer)
end

local function measure(case)
  local step = case.prepare()
  timed(step, 2)
  local calls = calls_for(step, AT_ONCE)
  local result, ready, why = { own = {}, peer = {}, peak = {} }, nil, nil
  if peer then ready, why = prepare_peer(case) end
  result.label = ready or why
  for round = 1, options.rounds do
    result.own[round] = timed(step, calls)
    if ready then result.peer[round] = tonumber(ask_peer "run") end
    if case.flops and not on_device then result.peak[round] = core.peak() end
  end
  if ready then ask_peer "end" end
  return result
end

-- ---- the table ----

-- As many columns as `text` takes on a terminal.
local function padded(text, width) return text .. string.rep(" ", width - utf8.len(text)) end

local function row(...)
  local cells, widths = table.pack(...), { on_device and 72 or 64, 24, 24, 18, 21 }
  for i = 1, cells.n do cells[i] = padded(cells[i] or "", widths[i] or 0) end
  print((table.concat(cells, " "):gsub(" +$", "")))
end

-- The best speeds of a device that were seen in cases meant for that, by what limits: FLOP/s of f32
-- and of tf32, bytes/s.
local ceilings = {}

local function limit_of(case) return not case.flops and "bytes" or case.tf32 and "tf32" or "f32" end

local function note_ceiling(case, result)
  local fastest = math.min(math.huge, table.unpack(result.own))
  fastest = math.min(fastest, table.unpack(result.peer))
  local limit = limit_of(case)
  ceilings[limit] = math.max(ceilings[limit] or 0, (case.flops or case.bytes) / fastest)
end

-- Of what is possible: ", 77 %", or nothing where that is not known.
local function share(case, result)
  local possible
  if on_device then
    possible = ceilings[limit_of(case)]
  elseif #result.peak > 0 then
    possible = median(result.peak)
  end
  local work = case.flops or case.bytes
  if not possible or not work then return "" end
  return string.format(", %.0f %%", 100 * work / median(result.own) / possible)
end

-- "182 GFLOP/s, 77 %", "31 GB/s", "52k tokens/s"
local function rate(case, result)
  local seconds, part = median(result.own), share(case, result)
  if case.tokens then
    return string.format("%.1fk tokens/s%s", case.tokens / seconds / 1e3, part)
  end
  if case.flops then return string.format("%.0f GFLOP/s%s", case.flops / seconds / 1e9, part) end
  if case.bytes then return string.format("%.1f GB/s%s", case.bytes / seconds / 1e9, part) end
  return ""
end

-- How many times faster than the other: the median over the rounds, and the range.
local function ratio(own, other)
  local ratios = map(own, function(seconds, i) return other[i] / seconds end)
  return string.format("%.2f (%.2f–%.2f)", median(ratios), spread(ratios))
end

local function show(case, result)
  local per = case.per or 1
  local function one(seconds) return seconds / per end
  local cells = { case.title, duration(map(result.own, one)) }
  if peer then
    local both = #result.peer == #result.own
    cells[3] = both and duration(map(result.peer, one)) or ""
    cells[4] = both and ratio(result.own, result.peer) or ""
  end
  cells[#cells + 1] = rate(case, result)
  cells[#cells + 1] = result.label
  row(table.unpack(cells))
end

-- ---- start-up, against the plain interpreter ----

local function start_ups()
  local function starter(program, script)
    local command = string.format("for i in 1 2 3 4 5 6 7 8 9 10; do %s -e %s; done",
                                  quote(program), quote(script))
    return function() os.execute(command) end
  end
  local own, lua = starter(arg[-1], ""), output_of "command -v lua5.4"
  local whole = starter(arg[-1], 'require "bam"')
  lua = lua and starter(lua, "")
  local times, wholes, others = {}, {}, {}
  own()
  for round = 1, options.rounds do
    times[round], wholes[round] = timed(own, 1) / 10, timed(whole, 1) / 10
    if lua then others[round] = timed(lua, 1) / 10 end
  end
  row([[start of bamlua -e 'require "bam"']], duration(wholes))
  row("start of bamlua -e ''", duration(times))
  if lua then
    row("start of lua5.4 -e ''", duration(others))
    print(string.format("bamlua takes %s times as long to start.", ratio(others, times)))
  end
end

-- ---- everything ----

local function describe_device()
  if not on_device then
    return string.format("%s, %d threads", core.isa(), core.threads())
  end
  for _, d in ipairs((core.devices())) do
    if d.name == device then return string.format("%s, %s", d.name, d.description) end
  end
end

local function describe_shares()
  if on_device then
    return "Shares are of the fastest that either side is seen at in the case that only multiplies "
           .. "or copies: those that come first."
  end
  return string.format("Shares are of the machine's multiply-add peak, %.0f GFLOP/s.",
                       core.peak() / 1e9)
end

local function show_heading()
  print(string.format("bamlua on %s. Medians of %d rounds (min–max).", describe_device(),
                      options.rounds))
  if peer then
    print(string.format("%s at its fastest variant%s, named last. Ratios above 1: "
                        .. "bamlua is that many times faster.", peer.version,
                        on_device and "" or " and thread count"))
  else
    print "No PyTorch to compare with; tests/bench/peer.py says how to install one."
  end
  print(describe_shares())
  print()
  if peer then
    row("", "bamlua", "PyTorch", "ratio", "rate", "PyTorch's fastest")
  else
    row("", "bamlua", "rate")
  end
end

local function run_case(case)
  if core.clock() - begun > options.seconds then return row(case.title, "no time left") end
  if on_device then
    core.tf32(case.tf32 or false)
    collectgarbage() -- frees the last case's tensors first
  end
  local fine, result = pcall(measure, case)
  if not fine then
    failures = failures + 1
    return row(case.title, string.format("failed: %s", result))
  end
  if on_device and case.ceiling then note_ceiling(case, result) end
  show(case, result)
end

local function used(...)
  if not options.tiny then return ... end
  local function reduced(size) return math.min(size, size < 64 and 4 or 16) end
  return table.unpack(map({ ... }, reduced))
end

io.stdout:setvbuf "line"
if not options.alone then start_peer() end
show_heading()
for _, case in ipairs(assert(loadfile(string.format("%scases.lua", HERE)))(used)) do
  if case.title:find(options.pattern) then run_case(case) end
end
if not on_device and ("start"):find(options.pattern) then start_ups() end
if peer then
  peer.ask:close()
  peer.answers:close()
end
if failures > 0 then error(string.format("bench: %d of the cases failed", failures), 0) end
