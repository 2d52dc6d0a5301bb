-- A run under every failure of the system: a small recipe runs while the N-th call of each kind fails,
-- is cut short or ends in SIGKILL, N = 1, 2, ... as far as there are calls; from nothing, from a run that
-- was killed half way, and from a finished one. After each, the same command runs undisturbed and must
-- end with the weights and figures of a run that nothing happened to, and leave nothing behind.
-- Usage: bamlua tests/faults/run.lua PROGRAM INJECTOR [--every N] [--first N] [--state FILE]
--   --every N    only every N-th of the faults, from number --first on
--   --state FILE what is done already: a run that was stopped goes on from there
package.path = string.format("tests/faults/?.lua;%s", package.path)
local bench = require "bench"
local core = require "bam.core"

local INJECTOR = core.absolute(arg[2])
local options = bench.options(3)

-- What can happen to each kind of call.
local FAULTS = {
  { "open", "EIO", "EACCES", "EMFILE", "ENOMEM", "EINTR", "ENOSPC", "kill" },
  { "read", "EIO", "EINTR", "ENOMEM", "short", "kill" },
  { "write", "EIO", "ENOSPC", "EINTR", "short", "kill" },
  { "fsync", "EIO", "ENOSPC", "EINTR", "kill" },
  { "rename", "EIO", "ENOSPC", "EACCES", "kill" },
  { "link", "EIO", "ENOSPC", "EACCES", "kill" },
  { "unlink", "EIO", "EACCES", "kill" },
  { "mkdir", "EIO", "ENOSPC", "EACCES", "kill" },
  { "truncate", "EIO", "ENOSPC", "kill" },
  { "mmap", "ENOMEM", "EACCES" },
  { "stat", "EIO", "EACCES", "ENOMEM" },
  { "lock", "EIO", "EINTR" },
  { "readdir", "EIO", "ENOMEM", "kill" },
}

if not bench.can_watch(INJECTOR) then os.exit(true, true) end
local scratch <close> = bench.begin(arg[1])
local tally = bench.tally(options)
io.stdout:setvbuf "line"

-- What is wrong with the disturbed run itself, or nil: it may fail, but says why, as an error of the
-- user's.
local function check_disturbed(output, code, fault)
  if fault == "kill" then return code ~= 137 and string.format("exit %d after kill", code) or nil end
  if code >= 128 or code > 1 then return string.format("it ends with %d: %s", code, output) end
  if code == 1 and not output:find("recipe.lua", 1, true) and not output:find("cannot", 1, true) then
    return string.format("it does not say why it ends: %s", output)
  end
  if output:find("\tbam/", 1, true) or output:find("attempt to", 1, true) then
    return string.format("it speaks of its own insides: %s", output)
  end
end

local function try(begun, kind, n, fault)
  tally:try(string.format("%s %s %d %s", begun.name, kind, n, fault), function()
    local directory = scratch.path .. "/run"
    bench.copy(begun.place, directory)
    local output, code = bench.inject(INJECTOR, directory, kind, n, fault)
    return check_disturbed(output, code, fault) or bench.check_end(directory)
  end)
end

local function try_all(begun)
  for _, row in ipairs(FAULTS) do
    local directory = scratch.path .. "/count"
    bench.copy(begun.place, directory)
    local _, _, calls = bench.inject(INJECTOR, directory, row[1], 0, "EIO")
    local before = tally.passed + tally.failed
    for k = 2, #row do
      for n = 1, calls do try(begun, row[1], n, row[k]) end
    end
    print(string.format("%-11s %-8s %4d calls, %5d faults", begun.name, row[1], calls,
                        tally.passed + tally.failed - before))
  end
end

-- From nothing; from a run killed in its second phase; and from a finished one.
local halfway = { name = "interrupted", place = scratch.path .. "/interrupted" }
bench.copy(scratch.fresh, halfway.place)
local _, _, _, hit = bench.inject(INJECTOR, halfway.place, "rename", 24, "kill")
assert(hit, "the run to be interrupted has ended before")

try_all { name = "fresh", place = scratch.fresh }
try_all(halfway)
try_all { name = "finished", place = scratch.reference }
assert(bench.finish(tally), "some failed")
