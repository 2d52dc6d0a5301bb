-- `make bench`: how fast bamlua is, in turn with PyTorch when one is installed, alone when not.
--
--     bamlua tests/bench/bench.lua [--alone] [--rounds N] [PATTERN]
--
-- PATTERN selects cases by title. PyTorch is looked for in $BAMLUA_PEER_PYTHON, then in python3;
-- tests/bench/peer.py says how to install it. Each round measures bamlua, PyTorch and the machine's
-- multiply-add peak one after the other, so that all meet the same weather.
local core = require "bam.core"

local HERE = arg[0]:match "^(.*/)" or "./"
local AT_ONCE = 0.2 -- seconds that one measurement takes

-- ---- arguments ----

local options = { rounds = 7, alone = false, pattern = "" }
do
  local i = 1
  while arg[i] do
    if arg[i] == "--alone" then
      options.alone = true
    elseif arg[i] == "--rounds" and math.tointeger(tonumber(arg[i + 1])) then
      options.rounds, i = math.max(1, math.tointeger(tonumber(arg[i + 1]))), i + 1
    elseif arg[i]:sub(1, 1) == "-" then
      error(string.format("bench: no option `%s`; there are --alone, --rounds N and a pattern",
                          arg[i]), 0)
    else
      options.pattern = arg[i]
    end
    i = i + 1
  end
end

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

local function start_peer()
  local python = os.getenv "BAMLUA_PEER_PYTHON" or "python3"
  local script = string.format("%s %speer.py", quote(python), quote(HERE))
  local version = output_of(string.format("%s --version", script))
  if not version then return end
  local fifo, log = string.format("%s/answers", scratch), string.format("%s/log", scratch)
  os.execute(string.format("mkfifo %s", quote(fifo)))
  peer = { version = version, log = log }
  peer.ask = assert(io.popen(string.format("%s >%s 2>%s", script, quote(fifo), quote(log)), "w"))
  peer.answers = assert(io.open(fifo))
  peer.ask:setvbuf "line"
end

local function ask_peer(question)
  peer.ask:write(question, "\n")
  local answer = peer.answers:read "l"
  if answer then return answer end
  for line in io.lines(peer.log) do io.stderr:write(line, "\n") end
  error("bench: PyTorch stopped; its last words are above", 0)
end

-- ---- the machine ----

local peak_program

local function build_peak()
  local program = string.format("%s/peak", scratch)
  local flags = "-O3 -march=native -ffp-contract=fast -fopenmp"
  local built = os.execute(string.format("%s %s %speak.c -o %s 2>/dev/null", os.getenv "CC" or "cc",
                                         flags, quote(HERE), quote(program)))
  peak_program = built and program
end

-- FLOPs per second.
local function measure_peak() return tonumber(output_of(quote(peak_program))) * 1e9 end

-- ---- measuring ----

-- Seconds of one call, over `calls` of them, including the collection of what they leave behind.
local function timed(step, calls)
  local start = core.clock()
  for _ = 1, calls do step() end
  collectgarbage()
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

local function measure(case)
  local step = case.prepare()
  timed(step, 2)
  local calls = calls_for(step, AT_ONCE)
  local result = { own = {}, peer = {}, peak = {} }
  if peer then result.label = ask_peer(string.format("case %s", case.peer)):match "^ready (.*)" end
  for round = 1, options.rounds do
    result.own[round] = timed(step, calls)
    if peer then result.peer[round] = tonumber(ask_peer "run") end
    if case.flops and peak_program then result.peak[round] = measure_peak() end
  end
  return result
end

-- ---- the table ----

-- As many columns as `text` takes on a terminal.
local function padded(text, width) return text .. string.rep(" ", width - utf8.len(text)) end

local function row(...)
  local cells, widths = table.pack(...), { 64, 24, 24, 18, 21 }
  for i = 1, cells.n do cells[i] = padded(cells[i] or "", widths[i] or 0) end
  print((table.concat(cells, " "):gsub(" +$", "")))
end

-- "182 GFLOP/s, 77 %", "31 GB/s", "52k tokens/s"
local function rate(case, result)
  local seconds, share = median(result.own), ""
  if #result.peak > 0 then
    share = string.format(", %.0f %%", 100 * case.flops / seconds / median(result.peak))
  end
  if case.tokens then
    return string.format("%.1fk tokens/s%s", case.tokens / seconds / 1e3, share)
  end
  if case.flops then return string.format("%.0f GFLOP/s%s", case.flops / seconds / 1e9, share) end
  if case.bytes then return string.format("%.1f GB/s", case.bytes / seconds / 1e9) end
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
    cells[3], cells[4] = duration(map(result.peer, one)), ratio(result.own, result.peer)
  end
  cells[#cells + 1] = rate(case, result)
  cells[#cells + 1] = result.label
  row(table.unpack(cells))
end

-- ---- start-up, against the plain interpreter ----

local function start_ups()
  local function starter(program)
    local command = string.format("for i in 1 2 3 4 5 6 7 8 9 10; do %s -e ''; done",
                                  quote(program))
    return function() os.execute(command) end
  end
  local own, lua = starter(arg[-1]), output_of "command -v lua5.4"
  lua = lua and starter(lua)
  local times, others = {}, {}
  own()
  for round = 1, options.rounds do
    times[round] = timed(own, 1) / 10
    if lua then others[round] = timed(lua, 1) / 10 end
  end
  row("start of bamlua -e ''", duration(times))
  if lua then
    row("start of lua5.4 -e ''", duration(others))
    print(string.format("bamlua takes %s times as long to start.", ratio(others, times)))
  end
end

-- ---- everything ----

local function show_heading()
  print(string.format("bamlua on %s, %d threads. Medians of %d rounds (min–max).", core.isa(),
                      core.threads(), options.rounds))
  if peer then
    print(string.format("%s at its fastest variant and thread count, named last. Ratios above 1: "
                        .. "bamlua is that many times faster.", peer.version))
  else
    print "No PyTorch to compare with; tests/bench/peer.py says how to install one."
  end
  if peak_program then
    print(string.format("Shares are of the machine's multiply-add peak, %.0f GFLOP/s.",
                        measure_peak() / 1e9))
  else
    print "No share of the machine's multiply-add peak: that needs a C compiler."
  end
  print()
  if peer then
    row("", "bamlua", "PyTorch", "ratio", "rate", "PyTorch's fastest")
  else
    row("", "bamlua", "rate")
  end
end

build_peak()
if not options.alone then start_peer() end
show_heading()
for _, case in ipairs(dofile(string.format("%scases.lua", HERE))) do
  if case.title:find(options.pattern) then show(case, measure(case)) end
end
if ("start"):find(options.pattern) then start_ups() end
if peer then
  peer.ask:close()
  peer.answers:close()
end
