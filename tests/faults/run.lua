-- A run under every failure of the system: a small recipe runs while the N-th call of each kind fails,
-- is cut short or ends in SIGKILL, N = 1, 2, ... as far as there are calls; from nothing, from a run that
-- was killed half way, and from a finished one. After each, the same command runs undisturbed and must
-- end with the weights and figures of a run that nothing happened to, and leave nothing behind.
-- Usage: bamlua tests/faults/run.lua PROGRAM INJECTOR [--every N] [--state FILE]
--   --every N    only every N-th of the faults
--   --state FILE what is done already: a run that was stopped goes on from there
package.path = string.format("tests/lua/support/?.lua;%s", package.path)
local bam = require "bam"
local core = require "bam.core"
local small = require "small_run"

local PROGRAM, INJECTOR = core.absolute(arg[1]), core.absolute(arg[2])
local every, state_file = 1, nil
for i = 3, #arg, 2 do
  local value = assert(arg[i + 1], "an option needs a value")
  if arg[i] == "--every" then every = assert(math.tointeger(tonumber(value)))
  elseif arg[i] == "--state" then state_file = value
  else error(string.format("no option %s", arg[i]), 0) end
end

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

-- ---- runs ----

local scratch = os.tmpname()
os.remove(scratch)
if core.is_directory "/dev/shm" then scratch = scratch:gsub("^.*/", "/dev/shm/") end -- fsync is free there
core.make_directory(scratch)
scratch = core.absolute(scratch)
local cleanup <close> = setmetatable({}, { __close = function() small.remove(scratch) end })

local function shell(format, ...)
  local command = string.format(format, ...)
  assert(os.execute(command), command)
end

local function copy(from, to) shell("rm -rf '%s' && cp -a '%s' '%s'", to, from, to) end

-- Run the recipe of a directory, below the injector when there is one: output and exit code. Time is
-- limited for the processor only, so that a hang ends.
local function run(directory, injection)
  local command = string.format(
    "cd '%s' && ulimit -t 120 && %s '%s' recipe.lua --cache cache --threads 1 2>&1; echo \"exit $?\"",
    directory, injection or "", PROGRAM)
  local pipe = assert(io.popen(command))
  local output = pipe:read "a"
  pipe:close()
  return output, math.tointeger(tonumber(output:match "exit (%d+)\n$"))
end

local function inject(directory, kind, n, fault)
  local output, code = run(directory, string.format("'%s' %s %d %s .", INJECTOR, kind, n, fault))
  local calls, how = output:match "inject: (%d+) calls, (%a+)\n"
  assert(calls, output)
  return output, code, math.tointeger(tonumber(calls)), how == "hit"
end

-- Where the system lets no program watch another's calls there is nothing to do here.
local function can_inject()
  local pipe = io.popen(string.format("'%s' read 0 EIO . true 2>&1", INJECTOR))
  local output = pipe:read "a"
  pipe:close()
  return output:find("inject: 0 calls, missed", 1, true) ~= nil, output
end

local able, why = can_inject()
if not able then
  print(string.format("skipped: the injector does not work here: %s\n0 passed, 0 failed", why))
  os.exit(true, true)
end

-- ---- what must come out ----

-- The figures of the comparison, without times, and without checksums that depend on them.
local function figures(directory)
  local results = bam.json.decode(core.read_file(directory .. "/runs/recipe/results.json"))
  for _, model in ipairs(results.models) do model.seconds, model.weights = nil, nil end
  results.digest = nil
  return bam.json.encode(results)
end

-- Names that no undisturbed run leaves, below a directory.
local function litter(directory)
  local pipe = io.popen(string.format("cd '%s' && find runs cache -name '*.tmp-*' -o -name '*.set-aside*'",
                                      directory))
  local names = pipe:read "a"
  pipe:close()
  return names
end

local reference = { place = scratch .. "/reference" }

local function check_end(directory)
  local output, code = run(directory)
  if code ~= 0 then return string.format("the undisturbed run ends with %d: %s", code, output) end
  for name, digest in pairs(small.digests(directory)) do
    if reference.digests[name] ~= digest then return string.format("other weights of %s", name) end
  end
  if figures(directory) ~= reference.figures then return "other figures" end
  local names = litter(directory)
  if names ~= "" then return string.format("left behind: %s", names) end
end

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

-- ---- all faults ----

local done = {}
if state_file and core.file_info(state_file) then
  for line in io.lines(state_file) do done[line] = true end
end

local function note(line)
  if not state_file then return end
  local file = assert(io.open(state_file, "a"))
  file:write(line, "\n")
  file:close()
end

local passed, failed, number = 0, 0, 0

local function try(begun, kind, n, fault)
  local name = string.format("%s %s %d %s", begun.name, kind, n, fault)
  number = number + 1
  if number % every ~= 0 or done[name] then return end
  local directory = scratch .. "/run"
  copy(begun.place, directory)
  local output, code = inject(directory, kind, n, fault)
  local problem = check_disturbed(output, code, fault) or check_end(directory)
  if problem then
    failed = failed + 1
    print(string.format("FAILED %s: %s", name, problem))
  else
    passed = passed + 1
    note(name)
  end
end

local function try_all(begun)
  for _, row in ipairs(FAULTS) do
    local directory = scratch .. "/count"
    copy(begun.place, directory)
    local _, _, calls = inject(directory, row[1], 0, "EIO")
    local before = passed + failed
    for k = 2, #row do
      for n = 1, calls do try(begun, row[1], n, row[k]) end
    end
    print(string.format("%-11s %-8s %4d calls, %5d faults", begun.name, row[1], calls,
                        passed + failed - before))
  end
end

-- From nothing; from a run killed in its second phase; and from a finished one.
local fresh = { name = "fresh", place = small.directory() }
copy(fresh.place, scratch .. "/fresh")
small.remove(fresh.place)
fresh.place = scratch .. "/fresh"
copy(fresh.place, reference.place)
local output, code = run(reference.place)
assert(code == 0, output)
reference.digests, reference.figures = small.digests(reference.place), figures(reference.place)

local halfway = { name = "interrupted", place = scratch .. "/interrupted" }
copy(fresh.place, halfway.place)
local _, _, _, hit = inject(halfway.place, "rename", 24, "kill")
assert(hit, "the run to be interrupted has ended before")

io.stdout:setvbuf "line"
for _, begun in ipairs { fresh, halfway, { name = "finished", place = reference.place } } do
  try_all(begun)
end
print(string.format("%d passed, %d failed", passed, failed))
os.exit(failed == 0, true)
