-- Named cases. A script of tests/lua is a list of them:
--   local test = require "tests.lua.support.test"
--   test("adds", function() expect.equal(1 + 1, 2) end)
-- A case runs at once. When it fails, its name, the message and the lines of the script that led to it are printed,
-- and the script goes on with the next case. At the end the script prints how many cases passed, and its exit code is
-- 1 when one failed. BAMLUA_TEST_CASES="nn/linear*" picks cases: the glob before the first slash is of scripts and
-- read by tests/engine/test_scripts.c; the one after it is of the names of cases, with * and ?.
local core = require "bam.core"

local SCRIPT = arg[0]:match "([^/]*)%.lua$" or arg[0]
local ROOM = "tests/lua/support/" -- whose own lines are left out of traces

local counts = { passed = 0, failed = 0, skipped = 0, left_out = 0 }
local running -- the name of the case that runs
local seen = {}
local Skip = {} -- what skip() raises

-- The glob of the names of cases as a Lua pattern; nil: all are wanted.
local function wanted_pattern()
  local glob = (os.getenv "BAMLUA_TEST_CASES" or ""):match "/(.*)$"
  if not glob then return nil end
  local pattern = glob:gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".")
  return string.format("^%s$", pattern)
end

local wanted = wanted_pattern()

-- The lines of scripts on the stack, innermost first, up to the case.
local function trace()
  local lines, level = {}, 3
  local info = debug.getinfo(level, "Sl")
  while info and not info.short_src:find("support/test.lua", 1, true) do
    if info.currentline > 0 and not info.short_src:find(ROOM, 1, true) then
      lines[#lines + 1] = string.format("%s:%d", info.short_src, info.currentline)
    end
    level = level + 1
    info = debug.getinfo(level, "Sl")
  end
  return table.concat(lines, ", called from ")
end

local function with_trace(problem)
  if problem == Skip then return problem end
  return string.format("%s\n  at %s", tostring(problem), trace())
end

local function finish(name, fine, problem)
  local label = string.format("%s/%s", SCRIPT, name)
  if fine then
    counts.passed = counts.passed + 1
  elseif problem == Skip then
    counts.skipped = counts.skipped + 1
    print(string.format("skip %s: %s", label, Skip.reason))
  else
    counts.failed = counts.failed + 1
    print(string.format("FAILED %s: %s", label, problem))
  end
end

local function run(_, name, f)
  if running then error(string.format("the case %q is within the case %q", name, running), 2) end
  if seen[name] then error(string.format("there are two cases %q", name), 2) end
  seen[name] = true
  if wanted and not name:find(wanted) then
    counts.left_out = counts.left_out + 1
    return
  end
  running = name
  local fine, problem = xpcall(f, with_trace)
  running = nil
  finish(name, fine, problem)
end

core.at_end(function()
  local all = counts.passed + counts.failed + counts.skipped + counts.left_out
  if all == 0 then print(string.format("FAILED %s: it has no cases", SCRIPT)) end
  print(string.format("%s: %d passed, %d failed%s", SCRIPT, counts.passed, counts.failed,
                      counts.skipped > 0 and string.format(", %d skipped", counts.skipped) or ""))
  if counts.failed > 0 or all == 0 then os.exit(false, true) end
end)

local M = {}

--- Leave the rest of the running case out, and say why.
---@param reason string
function M.skip(reason)
  Skip.reason = reason
  error(Skip, 0)
end

--- Run a case: test("name", function() ... end).
return setmetatable(M, { __call = run })
