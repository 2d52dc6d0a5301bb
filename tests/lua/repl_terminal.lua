-- The interactive session on a terminal: keys, completion, history, pasted text, colors, resizing, Ctrl-C and Ctrl-D.
-- Usage: build/bamlua tests/lua/repl_terminal.lua build/bamlua
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local tmux = require "tests.lua.support.tmux"

local bamlua = arg[1] or "build/bamlua"
local missing = tmux.missing()

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  pipe:close()
  return text
end

local directory = output_of("mktemp -d"):gsub("\n$", "")
local history = directory .. "/history"

--- A session in a terminal at its first prompt. The history is a file of this test unless another is named.
local function open(options)
  options = options or {}
  local environment = string.format("HOME='%s' BAMLUA_HISTORY='%s' %s", directory, options.history or "",
                                    options.environment or "")
  local s = tmux.open(string.format("'%s'", bamlua), { columns = options.columns, rows = options.rows,
                                                       environment = environment })
  s:prompt()
  return s
end

local function case(name, f)
  test(name, function()
    if missing then test.skip(missing) end
    f()
  end)
end

--- Wait until the last line is this.
local function shows(s, line)
  s:wait_until(function(screen) return screen:match "([^\n]*)\n*$" == line end, string.format("the line %q", line))
end

--- The session that docs/repl.md shows, typed input by input: the lines after `>` and `>>`, the latter without the
--- indentation that bamlua adds.
case("the session of docs/repl.md", function()
  local text = core.read_file "docs/repl.md":match "```console\n%$ build/bamlua\n(.-)> help%("
  expect.yes(text, "the session")
  text = text:gsub("\n\t", "\n        ") -- as a terminal shows it
  local s <close> = open { columns = 140, environment = "NO_COLOR=1" }
  for line in text:gmatch "[^\n]+" do
    local code = line:match "^>>? (.*)$"
    if line:find "^> " then s:prompt() end
    if code then
      s:type((code:gsub("^ +", "")))
      s:key "Enter"
    end
  end
  s:prompt()
  expect.equal(s:screen():match "\n(> .*)\n>%s*$" .. "\n", text)
end)

case("typing, and Ctrl-C at the prompt", function()
  local s <close> = open()
  expect.equal(s:run "6 * 7", "42\n")
  s:type "garbage"
  shows(s, "> garbage")
  s:key "C-c"
  s:wait "> garbage^C"
  expect.equal(s:run "'ne' .. 'xt'", "next\n")
  expect.lacks(s:screen(), "undefined global", "Ctrl-C clears the line")
end)

case("a block is edited as a block", function()
  local s <close> = open()
  s:type "for i = 1, 2 do"
  s:key "Enter"
  shows(s, ">>")
  s:type "print('row', i)"
  s:key "Enter"
  s:type "end"
  shows(s, ">>   end")
  s:key("Up", "Home")
  s:type "io.write 'in ' "
  s:key("Down", "End", "Enter")
  s:wait "in row  2"
  expect.contains(s:screen(), "\n>> end\n", "`end` is moved out")
  s:key("Up", "Up", "Up")
  shows(s, ">> end")
  s:type "x"
  s:wait "> forx i = 1, 2 do" -- recalled, and edited in its first line
end)

case("Alt-Enter begins a line, and Enter in a wrong input shows why", function()
  local s <close> = open()
  s:type "a = 1"
  s:key "M-Enter"
  shows(s, ">>")
  s:type "= = 2"
  s:key "Enter"
  s:wait "stdin:2: unexpected symbol near '='"
  expect.equal(s:run "rawget(_G, 'a')", "nil\n")
end)

case("a pasted block is one chunk", function()
  local s <close> = open()
  s:paste "local n = 3\nprint(n * 2)\n"
  s:wait "\n6\n"
  s:paste "local n = 30\nn\n" -- a name could go on, but is complete
  s:wait "\n30\n"
  s:paste "st\t= 5\n"
  s:wait "> st    = 5"
  expect.equal(s:run "st", "5\n", "a Tab is text")
  s:paste "local t = {}\nfor i = 1, 3 do\n\tt[i] = i\nend\n#t + 10\n"
  s:wait "\n13\n" -- the last expression is shown
  s:paste "x = bam.ones(2)\n  :sum()\n  :item()\n"
  s:wait ">>   :item()"
  expect.equal(s:run "x + 40", "42.0\n", "a chain of methods")
  s:paste "5 + 5\n6 + 6\n"
  s:wait "\n10\n12\n"
  s:paste "if true then\n"
  shows(s, ">>")
  s:type "print 'fin' end"
  s:key "Enter"
  s:wait "\nfin\n"
  s:paste "'no newline'"
  shows(s, "> 'no newline'")
  s:key "Enter"
  s:wait "\nno newline\n"
  s:paste "> y = 20\n> y + 1\n21\n"
  s:wait "> y = 20\n>> y + 1\n21\n" -- of a copied session only the inputs
  s:paste "a = 1\nb = = 2\n"
  s:wait "stdin:2: unexpected symbol"
  expect.equal(s:run "rawget(_G, 'a')", "nil\n", "a wrong block is not run")
end)

case("the training loop of the README can be pasted", function()
  local block
  for code in core.read_file "README.md":gmatch "```lua\n(.-)```" do
    if code:find "backward" then block = code break end
  end
  expect.yes(block, "the README has no training loop")
  local s <close> = open { columns = 120, rows = 60 }
  s:paste(block)
  s:prompt()
  expect.lacks(s:screen(), "stdin:", "no error")
end)

case("a block taller than the window", function()
  local s <close> = open { rows = 8 }
  local lines = {}
  for i = 1, 20 do lines[i] = string.format("a%d = %d", i, i) end
  s:paste(table.concat(lines, "\n"))
  shows(s, ">> a20 = 20")
  for _ = 1, 19 do s:key "Up" end
  s:key "Home"
  s:type "z = 0 "
  s:wait "z = 0 a1 = 1"
  s:key "Enter"
  s:prompt()
  for i = 1, 20 do expect.contains(s:screen(), string.format("a%d = %d\n", i, i), "the whole block is shown at the end") end
  expect.equal(s:run "a20 + z", "20\n")
end)

case("words, Home, End, Delete", function()
  local s <close> = open()
  s:type "alpha.beta_2 gamma"
  s:key("C-Left", "C-Left")
  s:type "X"
  shows(s, "> alpha.Xbeta_2 gamma")
  s:key "C-Right"
  s:type "Y"
  shows(s, "> alpha.Xbeta_2Y gamma")
  s:key "Home"
  s:type "Z"
  s:key "End"
  s:type "W"
  shows(s, "> Zalpha.Xbeta_2Y gammaW")
  s:key("Home", "DC", "M-f", "C-k")
  shows(s, "> alpha")
end)

case("history: by prefix, as blocks, in a private file", function()
  do
    local s <close> = open { history = history }
    s:run "marker = 20"
    s:run "other = 1"
    s:type "if true then"
    s:key "Enter"
    s:type "marker = marker + 1"
    s:key "Enter"
    expect.equal(s:run "end", "")
    s:run "s = 'a\\nb'"
    s:type "mark"
    s:key "Up"
    shows(s, "> marker = 20")
    s:key "Down"
    shows(s, "> mark")
    s:key "C-c"
    s:key "C-r"
    s:type "oth"
    s:wait "other = 1" -- searched
    s:key "Enter"
  end
  local file = io.open(history)
  expect.yes(file, "a history file is written")
  expect.equal(file:read "l", "marker = 20", "inputs are written to the file")
  expect.equal(file:read "l", "other = 1")
  expect.equal(file:read "l", "if true then\\n  marker = marker + 1\\nend", "several lines are one entry")
  expect.equal(file:read "l", "s = 'a\\\\nb'", "backslashes are kept")
  file:close()
  expect.equal(output_of("stat -c %a '" .. history .. "'"), "600\n", "the history is private")
  local s <close> = open { history = history }
  s:run "marker = 5"
  s:type "if"
  s:key "Up"
  shows(s, ">> end")
  s:key "Enter"
  s:prompt()
  expect.equal(s:run "'is ' .. marker", "is 6\n", "history survives, with all lines of an input")
end)

case("~/.editrc is read", function()
  core.write_file(directory .. "/.editrc", "bamlua:bind ^T ed-move-to-beg\n")
  do
    local s <close> = open()
    s:type "bc"
    s:key "C-t"
    s:type "a"
    shows(s, "> abc")
  end
  core.write_file(directory .. "/.editrc", "bind -v\n")
  do
    local s <close> = open()
    s:type "string.reverse 'cb'"
    s:key("Escape", "0", "x")
    s:type "is"
    s:key "Enter"
    s:wait "bc"
  end
  os.remove(directory .. "/.editrc")
end)

case("Tab", function()
  local s <close> = open()
  local function completes(text, result)
    s:type(text)
    shows(s, "> " .. text)
    s:key "Tab"
    shows(s, "> " .. result)
    s:key "C-c"
    s:prompt()
  end
  s:run "x = bam.ones(2, 3)"
  s:run "t = { [1] = x, list = { x } }"
  s:run "f = function() return x end"
  s:run "opt = bam.options { scale = 'demo', flavour = 3 }"
  s:run "lin = bam.nn.Linear(2, 2)"
  completes("string.rev", "string.reverse")
  completes("x:chu", "x:chunk")
  completes("x[1]:chu", "x[1]:chunk")
  completes("t[1]:chu", "t[1]:chunk")
  completes("t.list[1].sha", "t.list[1].shape")
  completes("f():chu", "f():chunk")
  completes("bam.randn(2):chu", "bam.randn(2):chunk")
  completes("('s'):upp", "('s'):upper")
  completes("('s'):upper():low", "('s'):upper():lower")
  completes("lin:para", "lin:parameters")
  completes("lin.wei", "lin.weight")
  completes("lin(x):chu", "lin(x):chunk")
  completes("opt.fla", "opt.flavour")
  completes("bam.randn(2, { req", "bam.randn(2, { requires_grad")
  completes("bam.nn.Linear(2, 3, { bi", "bam.nn.Linear(2, 3, { bias")
  completes("bam.train { name = 'a', tok", "bam.train { name = 'a', tokens")
  completes("bam.train { optimizer = 'mu", "bam.train { optimizer = 'muon")
  completes("bam.mix { attention = { rou", "bam.mix { attention = { rout")
  completes("whi", "while")
  completes("for i = 1, 2 do local abc = i; print(ab", "for i = 1, 2 do local abc = i; print(abc")
  core.write_file(directory .. "/notes.txt", "")
  core.make_directory(directory .. "/runs")
  completes(string.format("print('%s/no", directory), string.format("print('%s/notes.txt", directory))
  completes("print('~/ru", "print('~/runs/")
end)

case("Tab shows several names, and how a function is called", function()
  local s <close> = open()
  local function asks(text, ...)
    s:type(text)
    shows(s, "> " .. text)
    s:key "Tab"
    for _, shown in ipairs { ... } do s:wait(shown) end
    shows(s, "> " .. text)
    s:key "C-c"
    s:prompt()
  end
  s:run "x = bam.ones(2)"
  asks("string.re", "rep", "reverse")
  asks("bam.softmax(", "bam.softmax(x, dim = -1)")
  asks("x:chunk(", "x:chunk(n, dim?)")
  asks("bam.nn.Linear(", "bam.nn.Linear(inputs, outputs, options?)")
  asks("bam.optim.AdamW(", "bam.optim.AdamW(params, options?)")
  s:run "u = setmetatable({}, { __index = function() print('CAL' .. 'LED') end })"
  s:type "u.a"
  s:key "Tab"
  s:type "b:c"
  s:key("Tab", "C-c")
  s:prompt()
  expect.lacks(s:screen(), "CALLED", "no metamethod is called")
  s:type "  "
  s:key "Tab"
  s:type "y = 1"
  shows(s, ">     y = 1")
end)

case("the text is drawn again when the window is resized", function()
  local s <close> = open { columns = 100, rows = 24 }
  local digits = ("0123456789"):rep(25)
  s:type("print('" .. digits)
  s:wait_until(function(screen) return screen:gsub("\n", ""):find(digits, 1, true) end, "the digits")
  -- What is on the screen, redrawn for this width.
  local function drawn(columns, text)
    return s:wait_until(function(screen)
      local rows = screen:match "\n(> *print[^>]*)$"
      return rows and #rows:match "[^\n]*" == columns and rows:gsub("\n", "") == text and rows
    end, text)
  end
  s:resize(60, 24)
  drawn(60, "> print('" .. digits)
  s:key "Home"
  s:type " "
  drawn(60, ">  print('" .. digits)
  s:resize(120, 10)
  drawn(120, ">  print('" .. digits)
  s:key "End"
  s:type "')"
  local rows = drawn(120, ">  print('" .. digits .. "')")
  expect.equal(select(2, rows:gsub("\n", "")), 3, "rows")
  s:key "Enter"
  s:wait(digits:sub(-10) .. "\n>")
end)

case("a traceback is shown if it says more than the message", function()
  local s <close> = open()
  expect.lacks(s:run "error 'wrong'", "stack traceback")
  expect.lacks(s:run "x = 1 + {}", "stack traceback")
  s:run "function f() error 'deep' end"
  local got = s:run "f()"
  expect.contains(got, { "stdin:1: deep", "stack traceback:", "in function 'f'" })
  expect.contains(s:run "error({})", "stack traceback:", "of a message without a line")
end)

case("colors, where they are wanted", function()
  local function colored(environment)
    local s <close> = open { environment = environment }
    s:run "local s = 'text'"
    s:run "error 'wrong'"
    s:run "{ key = 'value' }"
    return s:screen(true):find("\27[3", 1, true) ~= nil
  end
  expect.yes(colored "NO_COLOR=", "an empty NO_COLOR")
  expect.no(colored "NO_COLOR=1", "NO_COLOR")
end)

case("a dumb terminal is not drawn on", function()
  local s <close> = open { environment = "TERM=dumb" }
  expect.equal(s:run "6 * 7", "42\n")
  expect.lacks(s:screen(true), "\27[3", "no colors")
end)

case("Ctrl-C stops what runs", function()
  local s <close> = open()
  local times = 0
  local function stops(line)
    s:type("print(6 * 111) " .. line)
    s:key "Enter"
    times = times + 1
    s:wait("\n666\n", times)
    s:key "C-c"
    s:wait("interrupted!", times)
    s:prompt()
  end
  s:run "kept = 5"
  stops "while true do end"
  stops "coroutine.wrap(function() while true do end end)()"
  stops "return setmetatable({}, { __tostring = function() while true do end end })"
  stops "return { setmetatable({}, { __pairs = function() while true do end end }) }"
  expect.equal(s:run "kept + 1", "6\n", "variables are kept")
  s:type "print(6 * 111) while true do pcall(function() while true do end end) end"
  s:key "Enter"
  s:wait("\n666\n", times + 1)
  s:wait_until(function(screen) -- the second gets past pcall; pressed at once, two may arrive as one
    if select(2, screen:gsub("interrupted!", "")) > times then return true end
    s:key "C-c"
    core.sleep(0.2)
  end, "interrupted!")
end)

case("while an operation runs on, Ctrl-C says what happens, and never ends the session", function()
  local s <close> = open()
  s:run "kept = 5"
  s:run "core = require 'bam.core'"
  s:type(("core.uninterrupted(function() print(6 * 111) while not core.file_info('@/done') do end end)"):gsub("@", directory))
  s:key "Enter"
  s:wait "\n666\n"
  s:key "C-c"
  s:wait "Ctrl-C: stops after the running operation"
  s:key "C-c"
  s:wait "Ctrl-\\ ends the session at once"
  for _ = 1, 10 do s:key "C-c" end
  core.write_file(directory .. "/done", "")
  s:wait "interrupted!"
  s:prompt()
  os.remove(directory .. "/done")
  for _ = 1, 10 do s:key "C-c" end
  s:prompt()
  expect.equal(s:run "kept + 1", "6\n", "the session lives")
end)

case("Ctrl-C while signals are deferred, as in bam.train", function()
  local s <close> = open()
  s:run "core = require 'bam.core'"
  s:type(("core.defer_signals(true) print(6 * 111) while not core.file_info '@/done' do end print(core.pending_signal())"):gsub("@", directory))
  s:key "Enter"
  s:wait "\n666\n"
  s:key "C-c"
  s:wait "Ctrl-C: stops after the running step"
  s:key "C-c"
  s:wait "Ctrl-C: the step still runs"
  s:key("C-c", "C-c")
  core.write_file(directory .. "/done", "")
  s:wait "\nSIGINT\n"
  os.remove(directory .. "/done")
  expect.equal(s:run "6 * 7", "42\n", "the session lives")
end)

case("Ctrl-D asks when variables would be lost", function()
  local s <close> = open()
  s:run "number = 5"
  s:run "model = bam.nn.Linear(2, 2)"
  s:key "C-d"
  s:wait "leave and lose model?"
  s:type "n"
  s:key "Enter"
  s:prompt()
  expect.equal(s:run "number + 1", "6\n", "the session goes on")
  s:key "C-d"
  s:wait("leave and lose model?", 2)
  s:key "C-d"
  s:ended()
end)

case("Ctrl-D does not ask without variables, or when it shall not", function()
  local s <close> = open()
  s:run "number = 5"
  s:key "C-d"
  s:ended()
  local other <close> = open { environment = "BAMLUA_CONFIRM_EXIT=0" }
  other:run "model = bam.nn.Linear(2, 2)"
  other:key "C-d"
  other:ended()
  local third <close> = open()
  third:run "model = bam.nn.Linear(2, 2)"
  third:type "exit"
  third:key "Enter"
  third:ended()
end)

case("Ctrl-Z stops the session, and fg continues it", function()
  local s <close> = tmux.open(string.format("BAMLUA_HISTORY= sh -ic '%s; echo left; fg'", bamlua))
  s:prompt()
  s:type "1 + "
  s:key "C-z"
  s:wait "left"
  s:type "1"
  shows(s, "> 1 + 1")
  s:key "Enter"
  s:wait "\n2\n"
end)

os.execute(string.format("rm -rf '%s'", directory))
