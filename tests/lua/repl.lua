-- The interactive session: what it prints, warns about, completes, remembers and survives.
-- Usage: build/bamlua tests/lua/repl.lua build/bamlua
-- The first part feeds stdin without a terminal, the second types into one that script(1) makes.
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local bamlua = arg[1] or "build/bamlua"

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  pipe:close()
  return text
end

local directory = output_of("mktemp -d"):gsub("\n$", "")
assert(directory ~= "", "mktemp gives no directory")
local history = directory .. "/history"

--- What a session prints, errors included, when these lines are its stdin.
local function piped(...)
  local input = table.concat({ ... }, "\n") .. "\n"
  return output_of(("printf %%s %s | %s -i 2>&1"):format(quoted(input), quoted(bamlua)))
end

local pace = 1 -- pauses are this many times as long

--- A case that types. A busy machine may not keep up, so one that fails is tried again, more slowly.
local function patiently(name, f)
  test(name, function()
    for _, slower in ipairs { 1, 3 } do
      pace = slower
      if pcall(f) then return end
    end
    pace = 9
    f()
  end)
end

--- What a terminal shows while the strings are typed; a number is a pause in seconds.
local function typed(...)
  local keys = { "sleep " .. 0.3 * pace }
  for _, item in ipairs { ... } do
    if type(item) == "number" then
      keys[#keys + 1] = "sleep " .. item * pace
    else
      keys[#keys + 1] = "printf %s " .. quoted(item) .. "; sleep " .. 0.05 * pace
    end
  end
  local environment = "BAMLUA_HISTORY=" .. quoted(history) .. " TERM=xterm "
  return output_of(("{ %s; } | timeout 300 script -qec %s /dev/null 2>&1"):format(
    table.concat(keys, "; "), quoted(environment .. quoted(bamlua))))
end

local function count(text, part)
  local n, at = 0, 1
  while true do
    local first, last = text:find(part, at, true)
    if not first then return n end
    n, at = n + 1, last + 1
  end
end

test("results and errors", function()
  local got = piped("6 * 7", "_ + 1", "nil", "_", "return 'r'", "_ .. _")
  expect.contains(got, "\n42\n", "_ is the last result")
  expect.contains(got, "\n43\n", "_ is the last result")
  expect.contains(got, "> nil\n", "nil is printed but not kept")
  expect.equal(count(got, "\n43\n"), 2, "nil is printed but not kept")
  expect.contains(got, "\nrr\n", "return gives a result")
  got = piped("error 'first'", "error(setmetatable({}, {__tostring = error}))",
    "'still ' .. 'here'")
  expect.contains(got, "stdin:1: first", "an error ends nothing")
  expect.contains(got, "still here", "an error ends nothing")
  got = piped("print = nil", "1 + 1", "print = io.write", "'again\\n'")
  expect.contains(got, "again", "the loop survives without print")
end)

test("warnings about undefined globals", function()
  local got = piped("mistyped", "mistyped", "fresh = 1", "fresh", "rawget(_G, 'raw')",
    "load 'return other'()")
  expect.equal(count(got, "undefined global 'mistyped'"), 1, "warns once per name")
  expect.lacks(got, "global 'fresh'", "no warning without reason")
  expect.lacks(got, "global 'raw'", "no warning without reason")
  expect.equal(count(got, "undefined global 'other'"), 1, "warns about loaded code")
  got = piped("setmetatable(_G, {__index = function(_, n) return n end})", "magic", "1 + 1")
  expect.contains(got, "\nmagic\n", "a metatable of the user's own")
  expect.contains(got, "\n2\n", "a metatable of the user's own")
  got = piped("require 'bam.util.strict'", "1 + 1", "'on'", "nothing")
  expect.contains(got, "\non\n", "strict globals")
  expect.contains(got, "undefined global 'nothing'", "strict globals")
end)

test("bytecode is refused", function()
  local got = piped("load(string.dump(function() print 'ran' end), 'x', 'b')")
  expect.contains(got, "attempt to load a binary chunk", "bytecode at the prompt")
end)

test("help", function()
  local got = piped("type(bam)", "help()", "help('matmul')", "help(bam.matmul)", "help('gradchec')",
    "help(help)", "help(12)", "help('string.rep')", "help(bam)", "help(bam.zeros(1))",
    "help 'backward'",
    "d = bam.models.parallel { layers = 1, width = 4, heads = 1, ffn = 2, vocab = 3 }", "help(d)",
    "help(d.build)", "help(d:build())", "help(bam.mix)", "help(bam.nn.Router)",
    "help 'models.Model:loss'", "help 'x:chunk'", "help(d.build(d).loss)")
  expect.contains(got, "table\n", "bam is there")
  expect.compare(count(got, "matmul("), ">=", 2, "help on a C function, by name and by value")
  expect.contains(got, "Functions of bam:", "help() is an overview")
  expect.contains(got, "nothing is called 'gradchec'", "similar names")
  expect.contains(got, "bam.gradcheck", "similar names")
  expect.contains(got, "Prints what is known about a function", "help on a Lua function")
  expect.contains(got, "a number\n", "help on a value")
  expect.contains(got, "properties:", "help on a tensor")
  expect.contains(got, "methods:", "help on a tensor")
  expect.contains(got, "a model description\n  build ", "help on an object and its methods")
  expect.contains(got, "Description:build(options?)\n", "help on an object and its methods")
  expect.contains(got, "a Model\n  after_step ", "help on a module")
  expect.contains(got, "Methods of all modules:\n  apply ", "help on a module")
  expect.contains(got, "\n    ffn?: bam.FFNMix\n      top_k?: integer", "fields of options")
  expect.contains(got, "gates, experts, record = router(h, batch)", "help on a class")
  expect.contains(got, "bam.nn.Router(options", "help on a class")
  expect.contains(got, "bam.models.Model:loss(ids, targets, options?)", "help as it is suggested")
  expect.contains(got, "\nx:chunk(n, dim?)\n", "methods of tensors")
  expect.lacks(got, "stack traceback", "help never fails")
end)

--- Every function that bam and its modules offer has a description.
test("help is complete", function()
  local got = piped [[
    for name, module in pairs(package.loaded) do
      local public = name:match "^bam" and name ~= "bam.core" and name ~= "bam.embedded"
      for key, f in next, public and type(module) == "table" and module or {} do
        if type(f) == "function" then print("ASK", name .. "." .. key) help(f) end
      end
    end]]
  expect.contains(got, "ASK", "bam offers functions")
  for name in got:gmatch "ASK\t(%S+)\n[^\n]*without a description" do
    expect.yes(false, name .. " has no description for help()")
  end
end)

--- The tracked coroutine functions are those of Lua in all but the tracking.
test("coroutines", function()
  local got = piped("function body(a) local b = coroutine.yield(a + 1) error('e' .. b) end",
    "co = coroutine.wrap(body)",
    "co(1)", "pcall(co, 'x')", "pcall(co)", "th = coroutine.create(function(...) return ... end)",
    "coroutine.resume(th, 7, 8)", "pcall(coroutine.resume, 1)")
  expect.contains(got, "> co(1)\n2\n", "values and errors")
  expect.contains(got, "false\tstdin:1: ex", "values and errors")
  expect.contains(got, "cannot resume dead coroutine", "a dead coroutine")
  expect.contains(got, "true\t7\t8", "resume")
  expect.contains(got, "bad argument #1 to 'coroutine.resume' (thread expected, got number)", "argument errors")
end)

if not output_of(": | timeout 30 script -qec 'echo works' /dev/null 2>&1"):find("works", 1, true) then
  patiently = function(name) test(name, function() test.skip "no script(1), or no pseudo-terminals here" end) end
end

patiently("typing and Ctrl-C", function()
  local got = typed("6 * 7\n", "for i = 1, 2 do\n", "print('row', i)\n", "end\n", "garbage\3",
    "'ne' .. 'xt'\n")
  expect.contains(got, "42", "typing")
  expect.contains(got, "row\t2", "typing")
  expect.contains(got, "next", "typing")
  expect.lacks(got, "undefined global 'garbage'", "Ctrl-C clears the line")
end)

patiently("Ctrl-C stops what runs", function()
  local got = typed("kept = 5\n", "while true do end\n", 0.4, "\3", 0.4, "\3", 0.2, "kept + 1\n")
  expect.contains(got, "interrupted!", "Ctrl-C stops what runs")
  expect.contains(got, "\n6", "Ctrl-C stops what runs")
  got = typed("c = coroutine.wrap(function() while true do end end)\n", "c()\n", 0.4, "\3", 0.4,
    "3 * 3\n")
  expect.contains(got, "interrupted!", "Ctrl-C stops a coroutine")
  expect.contains(got, "\n9", "Ctrl-C stops a coroutine")
  got = typed("while true do pcall(function() while true do end end) end\n", 0.4, "\3", 0.4,
    "\3", 0.4, "4 * 4\n")
  expect.contains(got, "interrupted!", "a second Ctrl-C gets past pcall")
  expect.contains(got, "\n16", "a second Ctrl-C gets past pcall")
end)

patiently("usage", function()
  local got = typed("bam.softmax(\t\3", "x = bam.ones(2)\n", "x:chunk(\t\3", "bam.nn.Linear(\t\3", "bam.optim.AdamW(\t\3")
  expect.contains(got, { "\nbam.softmax(x, dim = -1)", "\nx:chunk(n, dim?)", "\nbam.nn.Linear(inputs, outputs, options?)",
                         "\nbam.optim.AdamW(params, options?)" }, "Tab after a bracket")
  got = typed("bam.nothing(\t\3", "print(\t\3", "(\t\3", "1 + 1\n")
  expect.contains(got, "\n2", "without a function")
end)

patiently("completion", function()
  local got = typed("string.rev\t('abc')\n", "name = 'x'\n", "nam\t .. 'y'\n", "name:upp\t()\n")
  expect.contains(got, "cba", "fields, globals, methods")
  expect.contains(got, "\nxy", "fields, globals, methods")
  expect.contains(got, "\nX", "fields, globals, methods")
  got = typed("string.re\t\t\3")
  expect.contains(got, "rep", "several candidates are shown")
  expect.contains(got, "reverse", "several candidates are shown")
  got = typed("t = setmetatable({}, {__index = function() print('CAL' .. 'LED') end})\n",
    "t.a\t\3", "t.b.c\t\3")
  expect.lacks(got, "CALLED", "no metamethod is called")
  got = typed("u = setmetatable({}, {__index = {inherited = 'from' .. 'above'}})\n", "u.inh\t\n")
  expect.contains(got, "fromabove", "__index tables are followed")
  got = typed("x = bam.full({3, 5}, 7)\n", "x.sha\t[2] + 50\n", "x:tota\t()[3][5] + 60\n")
  expect.contains(got, "\n55", "properties and methods of tensors")
  expect.contains(got, "\n67", "properties and methods of tensors")
end)

patiently("history", function()
  os.remove(history)
  typed("marker = 20\n", "if true then\nmarker = marker + 1\nend\n", "s = 'a\\nb'\n")
  local file = io.open(history)
  expect.yes(file, "a history file is written")
  if not file then return end
  expect.equal(file:read "l", "marker = 20", "statements are written to the file")
  expect.equal(file:read "l", "if true then\\nmarker = marker + 1\\nend", "several lines are one entry")
  expect.equal(file:read "l", "s = 'a\\\\nb'", "backslashes are kept")
  file:close()
  expect.equal(output_of("stat -c %a " .. quoted(history)), "600\n", "the history is private")
  local got = typed("marker = 5\n", "\16\16\16\n", "'is ' .. marker\n")
  expect.contains(got, "is 6", "history survives, with all lines of a statement")
end)

os.execute("rm -rf " .. quoted(directory))
