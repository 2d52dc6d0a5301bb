-- What the system says: process, terminal, time.
-- Usage: build/bamlua tests/lua/process.lua build/bamlua
local core = require "bam.core"
local bamlua = arg[1] or "build/bamlua"

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  pipe:close()
  return text
end

-- ---- the process ----

local about = core.process()
assert(about.pid == tonumber(io.open("/proc/self/stat"):read "n"))
assert(about.host .. "\n" == io.open("/proc/sys/kernel/hostname"):read "L")
local status = io.open("/proc/self/status"):read "a"
local peak = tonumber(status:match "VmHWM:%s*(%d+)") * 1024
assert(math.abs(about.peak_bytes - peak) < 10e6, about.peak_bytes)
local x <close> = core.ones(30000000)
assert(core.process().peak_bytes - about.peak_bytes > 100e6)
local available = tonumber(io.open("/proc/meminfo"):read("a"):match "MemAvailable:%s*(%d+)") * 1024
assert(about.available_bytes > 0 and about.available_bytes < available + 1e9)
assert(about.cores == tonumber(output_of "nproc"))
local ask_cores = "taskset -c 0 '%s' -e 'print(require \"bam.core\".process().cores)'"
assert(output_of(ask_cores:format(bamlua)) == "1\n")

-- ---- the time ----

local before, text, after = os.time(), core.utc(), os.time()
local found = false
for time = before, after do found = found or text == os.date("!%Y-%m-%dT%H:%M:%SZ", time) end
assert(found, text)

-- ---- the terminal ----

local script = os.tmpname()
core.write_file(script, [[
  local terminal = require "bam.core".terminal()
  print(terminal and "columns " .. terminal.columns or "none")]])
local ask = ("'%s' %s"):format(bamlua, script)
assert(output_of(ask .. " 2>/dev/null") == "none\n")
if output_of(": | timeout 30 script -qec 'echo works' /dev/null 2>&1"):find "works" then
  local sizes = ("stty cols 97; %s; stty cols 41; %s; stty cols 0; %s; %s 2>/dev/null"):format(
    ask, ask, ask, ask)
  local got = output_of((": | timeout 100 script -qec \"%s\" /dev/null 2>&1"):format(sizes))
  assert(got:gsub("\r", "") == "columns 97\ncolumns 41\ncolumns 80\nnone\n", got)
else
  print "skip: no script(1), or no pseudo-terminals here"
end
os.remove(script)
