-- Ctrl-C and SIGTERM put off, in real processes: scripts and sessions that send signals to
-- themselves.
-- Usage: build/bamlua tests/lua/signals.lua build/bamlua
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local bamlua = arg[1] or "build/bamlua"

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- What the scripts use: `send` comes back when the signal has been delivered.
local PRELUDE = [[
  local core = require "bam.core"
  local pid = io.open("/proc/self/stat"):read "n"
  io.stdout:setvbuf "no"
  local function send(name) io.popen(("kill -%s %d"):format(name, pid)):close() end
  ]]

--- Run a script: what it prints, errors included, and how it ends ("exit 0", "signal 2").
local function run(script)
  local pipe = io.popen(("exec env --default-signal %s -e %s 2>&1"):format(quoted(bamlua), quoted(PRELUDE .. script)))
  local text = pipe:read "a"
  local _, how, code = pipe:close()
  return text, how .. " " .. code
end

--- Check the lines that a script prints, and how it ends.
local function expect_run(script, lines, ends)
  local text, how = run(script)
  expect.equal(text, lines, ("%s\nprints %q, not %q"):format(script, text, lines))
  expect.equal(how, ends, ("%s\nends with %s, not %s"):format(script, how, ends))
end

test("the first signal is noted, and what runs goes on", function()
  for _, name in ipairs { "INT", "TERM", "HUP", "PIPE" } do
    expect_run(([[print(core.defer_signals(true), core.pending_signal())
    send %q
    print(core.pending_signal(), core.pending_signal())
    print(core.defer_signals(false), core.pending_signal())]]):format(name),
      ("false\tnil\nSIG%s\tSIG%s\ntrue\tnil\n"):format(name, name), "exit 0")
  end
end)

test("the second one ends the process, whichever it is", function()
  for first in ("INT TERM"):gmatch "%S+" do
    for second, number in pairs { INT = 2, TERM = 15 } do
      expect_run(([[core.defer_signals(true) send %q print(core.pending_signal()) send %q
      print "lives"]]):format(first, second), ("SIG%s\n"):format(first), "signal " .. number)
    end
  end
end)

test("other code is not disturbed: what reads goes on, children die of what is sent to them", function()
  expect_run([[core.defer_signals(true)
  local pipe = io.popen("sleep 0.2; kill -INT " .. pid .. "; sleep 0.2; echo done")
  print(pipe:read "a", core.pending_signal())
  print(select(2, io.popen("exec sh -c 'kill -TERM $$'"):close()))]],
    "done\n\tSIGINT\nsignal\t15\n", "exit 0")
end)

test("putting off again changes nothing, ending it twice neither, and it may begin anew", function()
  expect_run([[print(core.defer_signals(false))
  print(core.defer_signals(true), core.defer_signals(true))
  send "INT"
  print(core.defer_signals(true), core.pending_signal())
  print(core.defer_signals(false), core.defer_signals(false), core.pending_signal())
  core.defer_signals(true)
  print(core.pending_signal())
  send "TERM"
  print(core.pending_signal())]],
    "false\nfalse\ttrue\ntrue\tSIGINT\ntrue\tfalse\tnil\nnil\nSIGTERM\n", "exit 0")
end)

local text, how = run [[print(pcall(function() send "INT" while true do end end))]]

test("before and after, the signals do what they always do", function()
  expect.matches(text, "false\t.*interrupted!", text .. how)
  expect.equal(how, "exit 0", text .. how)
  text, how = run [[core.defer_signals(true) send "INT" core.defer_signals(false)
  print(pcall(function() send "INT" while true do end end))]]
  expect.matches(text, "false\t.*interrupted!", text .. how)
  expect.equal(how, "exit 0", text .. how)
  local GOES_ON = "; run the same command again to resume"
  expect_run([[core.defer_signals(true) send "TERM" core.defer_signals(false) print "here" send "TERM"
  print "lives"]], ("here\nbamlua: ended by SIGTERM%s\n"):format(GOES_ON), "signal 15")
  for name, number in pairs { TERM = 15, HUP = 1 } do
    expect_run(("send %q print 'lives'"):format(name), ("bamlua: ended by SIG%s\n"):format(name), "signal " .. number)
  end
end)

test("nobody reads: a closed pipe is said on stderr, and put off it is noted, however often it comes", function()
  local WRITE = [[io.popen("true"):close() local pipe = io.popen("exec true", "w")
  local function write() while pipe:write(("x"):rep(1 << 20)) and not core.pending_signal() do end end]]
  expect_run(WRITE .. [[ write() print "lives"]], "bamlua: ended by SIGPIPE: the reader of its output is gone\n",
             "signal 13")
  expect_run(WRITE .. [[ core.defer_signals(true) write() print(core.pending_signal())
  print((select(2, pipe:write(("x"):rep(1 << 20))))) send "TERM" print(core.pending_signal())]],
    "SIGPIPE\nBroken pipe\nSIGTERM\n", "exit 0")
end)

test("in a coroutine, in a protected call, while kernels run on their threads", function()
  expect_run([[core.defer_signals(true)
  local x = core.rand(64, 64)
  local turn = coroutine.wrap(function()
    local kill = io.popen("sleep 0.1; kill -TERM " .. pid)
    while not core.pending_signal() do core.ops.matmul(x, x) end
    kill:close()
    return core.pending_signal()
  end)
  print(pcall(turn))]], "true\tSIGTERM\n", "exit 0")
end)

--- What a session prints, errors included, and how it ends.
local function session(...)
  local lines = table.concat({ ... }, "\n") .. "\n"
  local input = os.tmpname()
  core.write_file(input, lines)
  local pipe = io.popen(("exec env --default-signal %s -i 2>&1 < %s"):format(quoted(bamlua), input))
  local said = pipe:read "a"
  local _, ended, code = pipe:close()
  os.remove(input)
  return said, ended .. " " .. code
end

test("the end of a statement, also by an error, ends what it put off", function()
  local globals = PRELUDE:gsub("local ", ""):gsub("\n%s*", " ")
  for _, statement in ipairs { "core.defer_signals(true)", "core.defer_signals(true) error 'e'" } do
    text, how = session(globals, statement, "'next ' .. tostring(core.defer_signals(false))",
      statement, "send 'TERM'", "'lives'")
    expect.contains(text, "next false", text .. how)
    expect.lacks(text, "lives\n", text .. how)
    expect.equal(how, "signal 15", text .. how)
  end
  text, how = session(globals, "core.defer_signals(true) send 'INT' print(core.pending_signal())",
    "core.pending_signal()", "send 'INT' while true do end", "'still ' .. 'here'")
  expect.matches(text, "SIGINT\n")
  expect.matches(text, "\nnil\n")
  expect.contains(text, "interrupted!")
  expect.contains(text, "still here", text .. how)
  expect.equal(how, "exit 0", text .. how)

  local fine, message = pcall(core.defer_signals, 1)
  expect.no(fine)
  expect.contains(message, "defer_signals: expected true or false, got 1")
end)

-- Ctrl-C inside an update of several buffers, or inside load_state: the error comes after it, and everything is counted.
test("Ctrl-C inside an update or load_state comes after it", function()
  local TRAINED = [[
  local bam = require "bam"
  local a, b = bam.ones(3, { requires_grad = true }), bam.ones(3, { requires_grad = true })
  local opt = bam.optim.SGD({ { name = "a", params = { a } }, { name = "b", params = { b } } }, { lr = 0.5 })
  local function says(...) return (select(2, pcall(...)):gsub("^.*: ", "")) end
  local function interrupt_after(owner, name)
    local original = owner[name]
    owner[name] = function(...)
      owner[name] = original
      original(...)
      send "INT"
    end
  end
  opt:zero_grad()
  local loss = (a + b):sum()
  loss:backward() ]]
  expect_run(TRAINED .. [[
  interrupt_after(core, "sgd_step")
  print(says(opt.step, opt))
  print(a[1]:item(), b[1]:item(), opt.steps)
  opt:step() print(a[1]:item(), b[1]:item(), opt.steps)]],
    "interrupted!\n0.5\t0.5\t1\n0.0\t0.0\t2\n", "exit 0")
  expect_run(TRAINED .. [[
  local state = { step = bam.tensor(7) }
  interrupt_after(core, "with_grad")
  print(says(opt.load_state, opt, state)) print(opt.steps)]], "interrupted!\n7\n", "exit 0")
  expect_run([[print(core.uninterrupted(function(...) return select("#", ...), ... end, 1, nil))
  print(pcall(core.uninterrupted, error, "text"))
  print(pcall(core.uninterrupted, function() core.uninterrupted(send, "INT") print "inside" end))
  print(pcall(core.uninterrupted, 1))]],
    "2\t1\tnil\nfalse\ttext\ninside\nfalse\tinterrupted!\nfalse\t(command line):8: uninterrupted: expected a function, got 1\n",
    "exit 0")
end)
