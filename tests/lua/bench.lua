-- The benchmarks of tests/bench: their JSON, and the tables made from it. Sizes are tiny, a shell script
-- stands in for PyTorch, and no time is looked at.
-- Usage: build/bamlua tests/lua/bench.lua build/bamlua
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local figures = require "tests.bench.figures"
local machine = require "tests.bench.machine"
local shell = require "tests.bench.shell"
local test = require "tests.lua.support.test"
local bamlua = core.absolute(arg[1] or "build/bamlua")

local scratch <close> = shell.scratch()
local function file(name) return string.format("%s/%s", scratch.path, name) end

-- What a command prints, errors included, and its exit code.
local function run(format, ...)
  local pipe = assert(io.popen(string.format("{ %s; } 2>&1", string.format(format, ...))))
  local text = pipe:read "a"
  return text, select(3, pipe:close())
end

local function bench(words) return run("%s tests/bench/bench.lua --tiny %s", shell.quote(bamlua), words) end
local function report(words) return run("%s tests/bench/report.lua %s", shell.quote(bamlua), words) end

-- ---- the machine ----

local CPU = [[
processor	: %d
model name	: Some CPU @ 2.10GHz
physical id	: 0
core id		: %d
flags		: fpu

]]

-- Files that Linux shows of a machine with two cores of two threads each.
local function plant_machine()
  local root = file "machine"
  local cache = string.format("%s/sys/devices/system/cpu/cpu0/cache/index", root)
  local function plant(path, text)
    core.make_directory(path:match "^(.*)/")
    core.write_file(path, text)
  end
  plant(root .. "/proc/meminfo", "MemTotal:       16 kB\nMemFree:        3 kB\n")
  plant(root .. "/proc/cpuinfo", CPU:format(0, 0) .. CPU:format(1, 1) .. CPU:format(2, 0) .. CPU:format(3, 1))
  for i, cpus in ipairs { "0,2", "0-3" } do
    local index = string.format("%s%d/", cache, i - 1)
    plant(index .. "level", string.format("%d\n", i))
    plant(index .. "type", i == 1 and "Data\n" or "Unified\n")
    plant(index .. "size", i == 1 and "48K\n" or "2M\n")
    plant(index .. "shared_cpu_list", cpus .. "\n")
  end
  return root
end

test("a machine is described from what Linux reports", function()
  expect.equal(machine.describe(plant_machine()), {
    cpu = "Some CPU @ 2.10GHz", cpus = 4, cores = 2, memory = 16384,
    caches = { { level = 1, kind = "Data", bytes = 48 << 10, cpus = 2 },
               { level = 2, kind = "Unified", bytes = 2 << 20, cpus = 4 } },
  })
  expect.equal(machine.describe(file "nothing"), { caches = {} }, "what is unknown is left out")
end)

-- ---- figures ----

test("medians, ratios and shares of a record", function()
  local record = figures.summarize { seconds = { 0.2, 0.1, 0.4 }, other = { seconds = { 0.3, 0.3, 0.2 } },
                                     flops = 1e9, possible = 1e10 }
  expect.equal(record.median, 0.2)
  expect.equal(record.other.median, 0.3)
  expect.close(record.ratio.median, 1.5, 1e-12)
  expect.equal({ record.ratio.low, record.ratio.high }, { 0.5, 0.3 / 0.1 })
  expect.close(record.share, 0.5, 1e-12)
  expect.equal(figures.rate(record), "5 GFLOP/s, 50 %")
  expect.equal(figures.ratio(record, "**"), "**1.50** (0.50–3.00)")
  expect.equal(figures.duration_and_range(record.seconds), "200 ms (100–400)")
end)

test("durations have three digits and a unit", function()
  for seconds, text in pairs { [2.5e-7] = "0.25 µs", [1.234e-5] = "12.3 µs", [0.0119] = "11.9 ms", [0.9] = "900 ms",
                               [1] = "1.00 s", [123] = "123 s" } do
    expect.equal(figures.duration(seconds), text)
  end
end)

-- ---- the benchmark ----

-- A stand-in for Python with PyTorch: it needs half a second for everything, but cannot do AdamW.
core.write_file(file "python", [[
#!/bin/sh
case $* in *--version*) echo "PyTorch 9.9.9+fake"; exit;; *peer_text*) echo "100 200 0.0.9"; exit;; esac
while read -r word kind rest; do
  case "$word $kind" in
    "case adamw") echo "failed it has no AdamW";;
    case*) echo "ready $kind $rest";;
    run*) echo 0.5;;
    end*) echo ended;;
  esac
done
]])
os.execute(string.format("chmod +x %s", shell.quote(file "python")))

local function with_peer(words)
  return run("BAMLUA_PEER_PYTHON=%s %s tests/bench/bench.lua --tiny --rounds 2 %s", shell.quote(file "python"),
             shell.quote(bamlua), words)
end

local function read(name) return bam.json.decode(core.read_file(file(name))) end

local function record_of(results, title)
  for _, record in ipairs(results.cases) do
    if record.title:find(title, 1, true) then return record end
  end
  error(string.format("no case %q", title), 2)
end

test("the JSON says what was measured, and on what", function()
  local text, code = with_peer(string.format("--json %s '[aA][dt]'", file "some.json")) -- add, AdamW, attention
  expect.equal(code, 0, text)
  local results = read "some.json"
  expect.equal(results.finished, true)
  expect.equal(results.rounds, 2)
  expect.equal(results.pytorch, "9.9.9+fake")
  expect.equal(results.bamlua, core.release)
  expect.equal(results.isa, core.isa())
  expect.equal(results.machine, machine.describe())
  expect.matches(results.date, "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$")
  expect.compare(results.peak, ">", 0)
  local attention = record_of(results, "attention fwd+bwd, B=4 T=16 H=4 K=4")
  expect.equal(attention.kind, "attention")
  expect.equal(attention.sizes, { 4, 16, 4, 4, 4, 1 })
  expect.equal(attention.flops, 3 * 4 * 4 * 4 * 4 * 16 * 17 // 2)
  expect.equal(#attention.seconds, 2)
  expect.equal(#attention.peaks, 2)
  expect.close(attention.share, attention.flops / attention.median / figures.median(attention.peaks), 1e-12)
  expect.equal(attention.other, { name = "PyTorch", variant = "attention 4 16 4 4 4 1", seconds = { 0.5, 0.5 },
                                  median = 0.5 })
  expect.equal(record_of(results, "add of 2").other.seconds, { 0.0005, 0.0005 }, "of one of 1000 additions")
  local adamw = record_of(results, "AdamW")
  expect.equal(adamw.other, nil)
  expect.equal(adamw.without, "none: it has no AdamW")
  expect.lacks(core.read_file(file "some.json"), scratch.path, "no paths")
  for _, words in ipairs { "PyTorch 9.9.9+fake", "none: it has no AdamW", "attention 4 16 4 4 4 1" } do
    expect.contains(text, words)
  end
end)

test("PyTorch is held to the instruction set that bamlua is held to", function()
  core.write_file(file "limited", [[
#!/bin/sh
case $* in *--version*) echo "PyTorch 9.9.9+fake"; exit;; esac
while read -r word rest; do
  case "$word" in case) echo "ready $ATEN_CPU_CAPABILITY $ONEDNN_MAX_CPU_ISA";; run) echo 0.5;; *) echo ended;; esac
done
]])
  os.execute(string.format("chmod +x %s", shell.quote(file "limited")))
  for limits, variant in pairs {
    ["BAMLUA_ISA=baseline"] = "default SSE41",
    ["BAMLUA_ISA=baseline ATEN_CPU_CAPABILITY=mine"] = "mine SSE41",
    ["-u BAMLUA_ISA ATEN_CPU_CAPABILITY=mine ONEDNN_MAX_CPU_ISA=too"] = "mine too",
  } do
    local text, code = run("env -u ATEN_CPU_CAPABILITY -u ONEDNN_MAX_CPU_ISA %s BAMLUA_PEER_PYTHON=%s %s "
                           .. "tests/bench/bench.lua --tiny --rounds 1 --json %s AdamW", limits,
                           shell.quote(file "limited"), shell.quote(bamlua), file "limited.json")
    expect.equal(code, 0, text)
    expect.equal(read "limited.json".cases[1].other.variant, variant, limits)
  end
end)

test("PyTorch stops: the rest is measured without it, and the run fails", function()
  core.write_file(file "python", (core.read_file(file "python"):gsub("run%*%) echo 0.5", "run*) exit 1")))
  local text, code = with_peer(string.format("--json %s attention", file "stopped.json"))
  expect.equal(code, 1, text)
  expect.contains(text, "PyTorch stopped")
  local results = read "stopped.json"
  expect.compare(#results.cases, ">=", 5, text)
  expect.equal(results.finished, false)
  for _, record in ipairs(results.cases) do expect.equal(record.other, nil) end
end)

test("all cases run at tiny sizes, and start-up is beside lua5.4 where that is installed", function()
  local text, code = bench(string.format("--alone --rounds 1 --json %s", file "all.json"))
  expect.equal(code, 0, text)
  local results = read "all.json"
  expect.equal(results.pytorch, nil)
  expect.compare(#results.cases, ">=", 30, text)
  for _, title in ipairs { "matmul", "routed FFN", "AdamW", "training step, BTX", "start of bamlua -e ''" } do
    record_of(results, title)
  end
  local start = record_of(results, [[start of bamlua -e 'require "bam"']])
  if shell.output_of "command -v lua5.4" then expect.equal(start.other.name, "lua5.4 -e ''") end
end)

test("interrupted, what was finished is in the JSON", function()
  local path = file "interrupted.json"
  local script = string.format([[
    local pid = io.open("/proc/self/stat"):read "n"
    local core, figures = require "bam.core", require "tests.bench.figures"
    local median, calls = figures.summarize, 0
    function figures.summarize(record)
      calls = calls + 1
      if calls == 3 then io.popen(("kill -INT %%d"):format(pid)):close() end
      return median(record)
    end
    arg = { [-1] = %q, [0] = "tests/bench/bench.lua", "--tiny", "--alone", "--rounds", "1", "--json", %q }
    dofile "tests/bench/bench.lua"]], bamlua, path)
  local text, code = run("env --default-signal %s -e %s", shell.quote(bamlua), shell.quote(script))
  expect.different(code, 0, text)
  expect.contains(text, "interrupted!")
  local results = read "interrupted.json"
  expect.equal(#results.cases, 2)
  expect.equal(results.finished, false)
end)

test("encoding has results too, beside gigatoken where that is installed", function()
  core.write_file(file "text", ("The quick brown fox jumps over the lazy dog. "):rep(100))
  local words = string.format("--rounds 2 --vocab 260 --json %s %s", file "text.json", file "text")
  local text, code = run("BAMLUA_PEER_PYTHON=%s %s tests/bench/text.lua %s", shell.quote(file "python"),
                         shell.quote(bamlua), words)
  expect.equal(code, 0, text)
  local results = read "text.json"
  expect.equal(results.finished, true)
  for i, speed in ipairs { 100e6, 200e6 } do
    local record = results.cases[i]
    expect.equal(record.bytes, 4500)
    expect.equal(#record.seconds, 2)
    expect.equal(record.other.variant, "gigatoken 0.0.9")
    expect.close(record.other.median, 4500 / speed, 1e-12)
  end
  expect.contains(text, "gigatoken 0.0.9 100 MB/s")
  text, code = run("%s tests/bench/text.lua --alone %s", shell.quote(bamlua), words)
  expect.equal(code, 0, text)
  expect.equal(read "text.json".cases[1].other, nil)
  expect.lacks(text, "gigatoken")
end)

test("wrong options are refused", function()
  for words, message in pairs {
    ["--round 3"] = "bench: no option --round; did you mean --rounds?",
    ["--rounds 0"] = 'bench: --rounds: expected an integer of at least 1, got "0"',
    ["--json"] = "--json needs a value: --json FILE",
    ["matmul 16x16"] = 'bench: expected one pattern, got also "16x16"; quote a pattern that has blanks',
    ["nothing"] = 'bench: no case has "nothing" in its title, as a Lua pattern',
  } do
    local text, code = bench(words)
    expect.equal(code, 1, words)
    expect.contains(text, message)
  end
end)

-- ---- tables ----

-- A result of one case that took that long; PyTorch took 1.2 ms.
local function result(name, seconds, changes)
  local case = figures.summarize { title = "matmul 2x2", seconds = { seconds }, flops = 1e6, possible = 2e9,
                                   other = { name = "PyTorch", variant = "eager", seconds = { 0.0012 } } }
  local all = { machine = { cpu = "Some CPU", cores = 2 }, device = "cpu", isa = "avx2", threads = 2, rounds = 1,
                bamlua = "0.2.0", pytorch = "2.15.0", date = "2026-11-30T08:45:00Z", finished = true,
                cases = { case } }
  for key, value in pairs(changes or {}) do all[key] = value end
  core.write_file(file(name), bam.json.encode(all))
  return file(name)
end

test("a table is made of results", function()
  local a = result("a.json", 0.001)
  local start = figures.summarize { title = "start of bamlua -e ''", seconds = { 0.00125 },
                                    other = { name = "lua5.4 -e ''", seconds = { 0.001 } } }
  local copy = figures.summarize { title = "AdamW", seconds = { 0.001 }, bytes = 5e7 }
  local b = result("b.json", 0.002, { cases = { copy, start }, finished = false })
  expect.equal(report(string.format("%s %s", a, b)), [[
Some CPU, 2 cores, 2 threads, avx2, multiply-add peak 2 to 2 GFLOP/s; bamlua 0.2.0, PyTorch 2.15.0; 2026-11-30; not all cases.

| case | bamlua | PyTorch | ratio | share of peak |
|---|---|---|---|---|
| matmul 2x2 | 1.00 ms | 1.20 ms | **1.20** (1.20–1.20) | 50 % |
| AdamW | 1.00 ms |  |  | 50.0 GB/s |
| start of bamlua -e '' | 1.25 ms | 1.00 ms (`lua5.4 -e ''`) | **0.80** (0.80–0.80) |  |
]])
  local again = report(string.format("%s %s", a, result("again.json", 0.002)))
  expect.contains(again, "| matmul 2x2 | 2.00 ms |", "the last result of a case")
  expect.lacks(again, "1.00 ms")
end)

test("results of different machines are not one table", function()
  local a = result("a.json", 0.001)
  for name, value in pairs { isa = "avx512", threads = 1, pytorch = "2.14.0", machine = { cpu = "Other" } } do
    local text, code = report(string.format("%s %s", a, result("b.json", 0.002, { [name] = value })))
    expect.equal(code, 1, text)
    expect.contains(text, string.format("differ in %s: ", name))
  end
  core.write_file(file "other.json", "{}")
  expect.contains(report(file "other.json"), "is not a result of tests/bench/bench.lua")
  expect.contains(report(file "missing.json"), "missing.json is missing")
end)
