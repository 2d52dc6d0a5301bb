-- Locks between processes: taken once, let go when a process ends, and sound when the file is
-- deleted or replaced.
-- Usage: build/bamlua tests/lua/locks.lua build/bamlua
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local bamlua = arg[1] or "build/bamlua"

local base = os.tmpname()
os.remove(base)
core.make_directory(base)
local path = base .. "/lock"

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

--- Another process that runs a script and says when it has come to its `say`; a pipe to its stdin.
--- It goes on, and ends, when that is closed.
local function child(script)
  local said = base .. "/said"
  os.remove(said)
  local program = ("local core = require 'bam.core' local function say(x) "
    .. "core.write_file(%q, tostring(x)) io.read 'a' end %s"):format(said, script)
  local pipe = assert(io.popen(("exec %s -e %s"):format(quoted(bamlua), quoted(program)), "w"))
  local text
  repeat
    os.execute "sleep 0.02"
    local fine, got = pcall(core.read_file, said)
    text = fine and got
  until text
  return pipe, text
end

local holder_pattern = "^process %d+ on host %S+, since %d+%-%d+%-%d+ %d+:%d+:%d+ UTC$"

local lock, holder = core.lock(path)

local other, said
test("in one process", function()
  expect.yes(lock)
  expect.no(holder)
  expect.equal(tostring(lock), "lock")
  other, said = core.lock(path)
  expect.equal(other, nil, said)
  expect.matches(said, holder_pattern)
  expect.equal(core.read_file(path), said .. "\n")
  lock:release()
  expect.equal(tostring(lock), "lock (released)")
  expect.equal(core.read_file(path), "")
  lock:release()
  do
    local again <close> = core.lock(path)
    expect.yes(again)
    expect.no(core.lock(path))
  end
  expect.yes(core.lock(path)) -- kept by nothing
  collectgarbage()
  lock = assert(core.lock(path))
  lock:release()
end)

local script = ("held = core.lock %q say(held)"):format(path)
local pipe, answer = child(script)

test("between processes", function()
  expect.equal(answer, "lock")
  other, said = core.lock(path)
  expect.equal(other, nil, said)
  expect.matches(said, holder_pattern)
  local pid = said:match "%d+"
  assert(os.execute("kill -9 " .. pid))
  pipe:close()
  lock = assert(core.lock(path), "a killed process left its lock")
  expect.different(core.read_file(path):match "%d+", pid)
  pipe, answer = child(("say(select(2, core.lock %q))"):format(path))
  expect.equal(answer .. "\n", core.read_file(path), answer)
  pipe:close()
end)

test("a child that this process starts must not inherit the lock", function()
  pipe = io.popen("sleep 5 & echo $!")
  local sleeper = pipe:read "l"
  lock:release()
  lock = assert(core.lock(path))
  os.execute("kill " .. sleeper)
  pipe:close()
end)

os.remove(path) -- the lock is on a file that nobody can open any more

test("a file that does not stay", function()
  pipe, answer = child(script)
  expect.equal(answer, "lock")
  expect.no(core.lock(path))
  lock:release()
  expect.no(core.lock(path), "releasing the old lock released the new one")
  pipe:close()
end)

-- Processes that lock, and delete the file before they let go, as fast as they can: who holds the
-- lock has the token, so two at once are found out.
test("processes that lock and delete exclude each other", function()
  local token = base .. "/token"
  core.write_file(token, "")
  core.write_file(base .. "/racer.lua", ([[
  local core, path, token, taken = require "bam.core", %q, %q, 0
  while taken < 300 do -- not so many tries: on a busy machine another may hold it all the while
    local lock = core.lock(path)
    if lock then
      taken = taken + 1
      if not os.rename(token, token .. "-held") then os.exit(3) end
      if not os.rename(token .. "-held", token) then os.exit(4) end
      os.remove(path)
      lock:release()
    end
  end
  os.exit(true)]]):format(path, token))
  local run = ("%s %s"):format(quoted(bamlua), quoted(base .. "/racer.lua"))
  local race = ("%s & a=$!; %s & b=$!; %s && wait $a && wait $b"):format(run, run, run)
  local fine, how, code = os.execute(race)
  expect.yes(fine, ("two processes held the lock at once (%s %s)"):format(how, code))
end)

test("what is refused", function()
  expect.raises(('lock: cannot lock "%s/no/lock": No such file'):format(base), core.lock, base .. "/no/lock")
  expect.raises("check the name, and the directory", core.lock, base .. "/no/lock")
  expect.raises(('cannot lock "%s": Is a directory'):format(base), core.lock, base)
  os.execute("mkfifo " .. quoted(base .. "/pipe"))
  expect.raises("it is not a regular file", core.lock, base .. "/pipe")
  expect.raises("it is not a regular file", core.lock, "/dev/null")
end)

test("nothing of anybody's is overwritten: neither another text nor what a planted link leads to", function()
  for _, text in ipairs { "thesis\n", "process 1 on host h, since 2026-01-01 00:00:00 UTC\nand more\n",
                          "process 1 at host h, since 2026-01-01", "process 1\0\0x", "\0\0x", ("x"):rep(500) } do
    core.write_file(base .. "/text", text)
    expect.raises("it exists and is not a lock file; choose another path", core.lock, base .. "/text")
    expect.equal(core.read_file(base .. "/text"), text)
  end
  core.write_file(base .. "/empty", "")
  for _, name in ipairs { "text", "empty", "missing" } do
    os.execute(("ln -sf %s %s"):format(name, quoted(base .. "/planted")))
    expect.raises("it is a symbolic link; choose another path", core.lock, base .. "/planted")
  end
  expect.equal(core.read_file(base .. "/text"), ("x"):rep(500))
  expect.no(core.file_info(base .. "/missing"))
  local line = "process 1 on host a b, since 2026-01-01 00:00:00 UTC\n"
  for _, text in ipairs { "", "\0\0\0", line, line:sub(1, -2), line:sub(1, 20), "proc\0\0" } do
    core.write_file(base .. "/empty", text) -- what a power failure and a killed process leave
    local taken = core.lock(base .. "/empty")
    expect.matches(core.read_file(base .. "/empty"), "^process %d+ on host")
    taken:release()
  end
  expect.raises("lock: expected the path of a file, got nothing", core.lock)
  expect.raises("cannot contain a zero byte", core.lock, "a\0b")
  expect.raises("expected a lock, got a table", lock.release, {})
end)

local file
test("what the file says is shown as it is, but for what a terminal would take for more", function()
  pipe = child(script)
  file = io.open(path, "wb")
  file:write("\27[2Jx\ny")
  file:close()
  expect.equal(select(2, core.lock(path)), "?[2Jx")
  file = io.open(path, "wb")
  file:write(("x"):rep(1000))
  file:close()
  expect.equal(select(2, core.lock(path)), ("x"):rep(199))
  file = io.open(path, "wb")
  file:close()
  expect.equal(select(2, core.lock(path)), "another process")
  pipe:close()
end)

test("what came into the file while it was locked stays when the lock is let go", function()
  lock = assert(core.lock(path))
  file = io.open(path, "wb")
  file:write "somebody's text"
  file:close()
  lock:release()
  expect.equal(core.read_file(path), "somebody's text")
end)

os.execute("rm -rf " .. quoted(base))
