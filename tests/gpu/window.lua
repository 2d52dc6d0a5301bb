--- A window on a GPU: runs parts (tests/gpu/parts.lua) while their estimates fit into the time that is left, and writes
--- results.json after each. Started by tests/gpu/window.sh. When a test fails, nothing is measured: the time goes to
--- finding out why.
local HERE = arg[0]:match "^(.*/)" or "./"
package.path = string.format("%s../../?.lua;%s", HERE, package.path)

local core = require "bam.core"
local json = require "bam.util.json"
local parts = require "tests.gpu.parts"
local queue = require "tests.gpu.queue"
local settings = require "tests.bench.settings"
local shell = require "tests.bench.shell"

local GRACE, SOFT_GRACE = 3, 1.5 -- multiples of its estimate that a part may take
local TAIL = 2000 -- bytes of a log that go into the results

local options = settings.read(arg, {
  { "folder", "DIR", "what make window has built" },
  { "seconds", "N", "the time given" },
  { "out", "DIR", "where results.json and log.txt go" },
  { "device", "NAME", "cuda by default" },
  { "python", "PROGRAM", "with PyTorch; python3 by default" },
  { "only", "PATTERN", "run only parts whose names match this pattern of Lua" },
  { "limit", "N", "stop every part after that time" },
  { "index", "FILE", "what is known, in place of tests/gpu/results/index.json" },
  { "tiny", "", "make every size small, to see that all of it runs" },
}, { device = "cuda", python = "python3" })

local begun = core.clock()
local scratch <close> = shell.scratch()
local results = { date = os.date "!%Y-%m-%dT%H:%M:%SZ", seconds_given = options.seconds, tiny = options.tiny and true,
                  commit = shell.output_of(string.format("cat %s/commit", shell.quote(options.folder))),
                  parts = json.array {} }
local passed, failed = 0, 0

local window = { program = core.absolute(options.folder .. "/bamlua"), folder = core.absolute(options.folder),
                 device = options.device, python = options.python, tiny = options.tiny,
                 size = options.tiny and "--tiny" or "", logs = scratch.path }

local function left() return options.seconds - (core.clock() - begun) end

local function save()
  results.passed, results.failed, results.seconds = passed, failed, core.clock() - begun
  core.write_file(options.out .. "/results.json", json.encode(json.finite(results), { indent = 1 }))
end

local function read(path)
  local file <close> = io.open(path)
  return file and file:read "a" or ""
end

-- The rows that a part has appended, as far as they are whole: it may have been stopped.
local function rows_of(path)
  local rows = json.array {}
  for line in read(path):gmatch "([^\n]+)\n" do
    local ok, row = pcall(json.decode, line)
    if ok then rows[#rows + 1] = row end
  end
  return rows
end

-- Run a command for at most `limit` seconds; its log, its exit code and how long it took.
local function run(command, limit, log)
  local start = core.clock()
  local _, _, code = os.execute(string.format("timeout -k 5 %d sh -c %s >%s 2>&1 </dev/null", math.ceil(limit),
                                              shell.quote(command), shell.quote(log)))
  return read(log), code, core.clock() - start
end

local function keep_log(name, text)
  local file <close> = assert(io.open(options.out .. "/log.txt", "a"))
  file:write(string.format("== %s\n%s\n", name, text))
end

-- "N passed, N failed" of the last line; a command that does not count is one test.
local function counts_of(log, code)
  local p, f = log:match "(%d+) passed, (%d+) failed%s*$"
  p, f = tonumber(p) or (code == 0 and 1 or 0), tonumber(f) or (code == 0 and 0 or 1)
  if code ~= 0 and f == 0 then f = 1 end
  if p + f == 0 then f = 1 end -- nothing ran
  return p, f
end

-- Why a part cannot run here; nil if it can.
local function missing(part)
  local needs = part.needs
  if not needs then return nil end
  if needs == "python" then
    local there = os.execute(string.format("command -v %s >/dev/null", shell.quote(options.python)))
    return not there and string.format("no %s", options.python) or nil
  end
  local file = needs:match "^folder/(.*)$"
  if file then
    local there <close> = io.open(string.format("%s/%s", window.folder, file))
    return not there and "not built" or nil
  end
  return not os.execute(string.format("command -v %s >/dev/null", needs)) and string.format("no %s", needs) or nil
end

local function show(result)
  print(string.format("%-9s %-28s %6.1f s  %s", result.status, result.name, result.seconds or 0,
                      result.reason or (result.passed and string.format("%d passed, %d failed", result.passed,
                                                                        result.failed)) or ""))
  io.stdout:flush()
end

-- The failed tests once more, so that the log names the ops at fault.
local function look_closer(part, result, log)
  local command = part.retry and result.status ~= "ok" and part.retry(window, log)
  if not command or left() < 5 then return end
  local text = run(command, math.min(left(), 60), scratch.path .. "/retry.log")
  keep_log(part.name .. ", again with BAMLUA_SYNC=1", text)
  result.again = text:sub(-TAIL)
end

local function run_part(part)
  window.result = string.format("%s/rows", scratch.path)
  os.remove(window.result)
  local grace = part.soft and SOFT_GRACE or GRACE
  local limit = math.min(options.limit or grace * part.seconds, math.max(left(), 1))
  local log, code, seconds = run(part.command(window), limit, scratch.path .. "/part.log")
  local result = { name = part.name, stage = part.stage, seconds = seconds, estimate = part.seconds,
                   sources = part.hash, rows = rows_of(window.result) }
  result.passed, result.failed = counts_of(log, code)
  result.status = code == 124 and "timeout" or (code ~= 0 or result.failed > 0) and "failed" or "ok"
  if code == 124 then
    result.reason = string.format("stopped after %.0f s", seconds)
    if part.soft then result.passed, result.failed = 0, 0 end
  end
  keep_log(part.name, log)
  if result.status ~= "ok" then result.tail = log:sub(-TAIL) end
  look_closer(part, result, log)
  passed, failed = passed + result.passed, failed + result.failed
  return result
end

local status_of = {} -- by the names of parts that had their turn

local function passed_all(names)
  for _, name in ipairs(names or {}) do
    if status_of[name] ~= "ok" then return false end
  end
  return true
end

local function take(part)
  local why = missing(part)
  local result
  if why then
    result = { name = part.name, stage = part.stage, status = "missing", reason = why }
  elseif not passed_all(part.after) then
    result = { name = part.name, stage = part.stage, status = "left out",
               reason = string.format("needs: %s", table.concat(part.after, ", ")) }
  elseif part.large and options.tiny then
    result = { name = part.name, stage = part.stage, status = "left out", reason = "has no tiny size" }
  elseif part.seconds > left() then
    result = { name = part.name, stage = part.stage, status = "left out",
               reason = string.format("takes %d s, and %.0f are left", part.seconds, math.max(left(), 0)) }
  else
    result = run_part(part)
  end
  table.insert(results.parts, result)
  status_of[part.name] = result.status
  show(result)
  save()
  return result
end

local function parts_of(stage)
  local list = {}
  for _, part in ipairs(parts.list) do
    if part.stage == stage and (not options.only or part.name:find(options.only)) then list[#list + 1] = part end
  end
  return queue.sort(list, queue.known(options.index))
end

local wrong = false
for _, stage in ipairs(parts.STAGES) do
  for _, part in ipairs(parts_of(stage)) do
    if wrong and stage == "measure" then break end
    local status = take(part).status
    local bad = status == "failed" or status == "timeout" and not part.soft
    wrong = wrong or bad and not part.peer and not part.trial
    if bad and stage == "environment" then goto done end -- without a device nothing else can be right
  end
end
::done::
if wrong then print "something is wrong: nothing more is measured; results.json and log.txt say what" end
save()
print(string.format("after %.0f s; results in %s", core.clock() - begun, options.out))
print(string.format("%d passed, %d failed", passed, failed))
os.exit(failed == 0 and passed > 0 and 0 or 1)
