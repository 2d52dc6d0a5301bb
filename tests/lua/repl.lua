-- The interactive session: what it prints, warns about, completes, remembers and survives.
-- Usage: build/bamlua tests/lua/repl.lua build/bamlua
-- The first part feeds stdin without a terminal, the second types into one that script(1) makes.
local bamlua = arg[1] or "build/bamlua"

local passed, failures = 0, {}

local function check(ok, what)
  if ok then
    passed = passed + 1
  else
    failures[#failures + 1] = what
  end
end

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

--- Run a test that types. A busy machine may not keep up, so one that fails is tried again, more
--- slowly.
local function patiently(test)
  local passed_before, failed_before = passed, #failures
  for _, slower in ipairs { 1, 3, 9 } do
    pace, passed = slower, passed_before
    for i = #failures, failed_before + 1, -1 do failures[i] = nil end
    test()
    if #failures == failed_before then return end
  end
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

local function has(text, part) return text:find(part, 1, true) ~= nil end

local function count(text, part)
  local n, at = 0, 1
  while true do
    local first, last = text:find(part, at, true)
    if not first then return n end
    n, at = n + 1, last + 1
  end
end

local function test_results()
  local got = piped("6 * 7", "_ + 1", "nil", "_", "return 'r'", "_ .. _")
  check(has(got, "\n42\n") and has(got, "\n43\n"), "_ is the last result\n" .. got)
  check(has(got, "> nil\n") and count(got, "\n43\n") == 2, "nil is printed but not kept\n" .. got)
  check(has(got, "\nrr\n"), "return gives a result\n" .. got)
  got = piped("error 'first'", "error(setmetatable({}, {__tostring = error}))",
    "'still ' .. 'here'")
  check(has(got, "stdin:1: first") and has(got, "still here"), "an error ends nothing\n" .. got)
  got = piped("print = nil", "1 + 1", "print = io.write", "'again\\n'")
  check(has(got, "again"), "the loop survives without print\n" .. got)
end

local function test_warnings()
  local got = piped("mistyped", "mistyped", "fresh = 1", "fresh", "rawget(_G, 'raw')",
    "load 'return other'()")
  check(count(got, "undefined global 'mistyped'") == 1, "warns once per name\n" .. got)
  check(not has(got, "global 'fresh'") and not has(got, "global 'raw'"),
    "no warning without reason\n" .. got)
  check(count(got, "undefined global 'other'") == 1, "warns about loaded code\n" .. got)
  got = piped("setmetatable(_G, {__index = function(_, n) return n end})", "magic", "1 + 1")
  check(has(got, "\nmagic\n") and has(got, "\n2\n"), "a metatable of the user's own\n" .. got)
  got = piped("require 'bam.strict'", "1 + 1", "'on'", "nothing")
  check(has(got, "\non\n") and has(got, "undefined global 'nothing'"), "strict globals\n" .. got)
end

local function test_bytecode()
  local got = piped("load(string.dump(function() print 'ran' end), 'x', 'b')")
  check(has(got, "attempt to load a binary chunk"), "bytecode at the prompt\n" .. got)
end

local function test_help()
  local got = piped("type(bam)", "help()", "help('matmul')", "help(bam.matmul)", "help('gradchec')",
    "help(help)", "help(12)", "help('string.rep')", "help(bam)", "help(bam.zeros(1))",
    "help 'backward'",
    "d = bam.models.parallel { layers = 1, width = 4, heads = 1, ffn = 2, vocab = 3 }", "help(d)",
    "help(d.build)", "help(d:build())", "help(bam.mix)", "help(bam.nn.Router)",
    "help 'models.Model:loss'", "help 'x:chunk'", "help(d.build(d).loss)")
  check(has(got, "table\n"), "bam is there\n" .. got)
  check(count(got, "matmul(") >= 2, "help on a C function, by name and by value\n" .. got)
  check(has(got, "Functions of bam:"), "help() is an overview\n" .. got)
  check(has(got, "nothing is called 'gradchec'") and has(got, "bam.gradcheck"),
    "similar names\n" .. got)
  check(has(got, "Prints what is known about a function"), "help on a Lua function\n" .. got)
  check(has(got, "a number\n"), "help on a value\n" .. got)
  check(has(got, "properties:") and has(got, "methods:"), "help on a tensor\n" .. got)
  check(has(got, "a model description\n  build ") and has(got, "Description:build(options?)\n"),
    "help on an object and its methods\n" .. got)
  check(has(got, "a Model\n  count ") and has(got, "Methods of all modules:\n  apply "),
    "help on a module\n" .. got)
  check(has(got, "\n    ffn?: bam.FFNMix\n      top_k?: integer"), "fields of options\n" .. got)
  check(has(got, "gates, experts, record = router(h, batch)")
    and has(got, "bam.nn.Router(options"), "help on a class\n" .. got)
  check(has(got, "bam.models.Model:loss(ids, targets, options?)"),
    "help as it is suggested\n" .. got)
  check(has(got, "\nx:chunk(n, dim?)\n"), "methods of tensors\n" .. got)
  check(not has(got, "stack traceback"), "help never fails\n" .. got)
end

--- Every function that bam and its modules offer has a description.
local function test_help_is_complete()
  local got = piped [[
    for name, module in pairs(package.loaded) do
      local public = name:match "^bam" and name ~= "bam.core" and name ~= "bam.embedded"
      for key, f in next, public and type(module) == "table" and module or {} do
        if type(f) == "function" then print("ASK", name .. "." .. key) help(f) end
      end
    end]]
  check(has(got, "ASK"), "bam offers functions\n" .. got)
  for name in got:gmatch "ASK\t(%S+)\n[^\n]*without a description" do
    check(false, name .. " has no description for help()")
  end
end

local function test_editing()
  local got = typed("6 * 7\n", "for i = 1, 2 do\n", "print('row', i)\n", "end\n", "garbage\3",
    "'ne' .. 'xt'\n")
  check(has(got, "42") and has(got, "row\t2") and has(got, "next"), "typing\n" .. got)
  check(not has(got, "undefined global 'garbage'"), "Ctrl-C clears the line\n" .. got)
end

local function test_interrupt()
  local got = typed("kept = 5\n", "while true do end\n", 0.4, "\3", 0.4, "\3", 0.2, "kept + 1\n")
  check(has(got, "interrupted!") and has(got, "\n6"), "Ctrl-C stops what runs\n" .. got)
  got = typed("c = coroutine.wrap(function() while true do end end)\n", "c()\n", 0.4, "\3", 0.4,
    "3 * 3\n")
  check(has(got, "interrupted!") and has(got, "\n9"), "Ctrl-C stops a coroutine\n" .. got)
  got = typed("while true do pcall(function() while true do end end) end\n", 0.4, "\3", 0.4,
    "\3", 0.4, "4 * 4\n")
  check(has(got, "interrupted!") and has(got, "\n16"), "a second Ctrl-C gets past pcall\n" .. got)
end

--- The tracked coroutine functions are those of Lua in all but the tracking.
local function test_coroutines()
  local got = piped("function body(a) local b = coroutine.yield(a + 1) error('e' .. b) end",
    "co = coroutine.wrap(body)",
    "co(1)", "pcall(co, 'x')", "pcall(co)", "th = coroutine.create(function(...) return ... end)",
    "coroutine.resume(th, 7, 8)", "pcall(coroutine.resume, 1)")
  check(has(got, "> co(1)\n2\n") and has(got, "false\tstdin:1: ex"), "values and errors\n" .. got)
  check(has(got, "cannot resume dead coroutine"), "a dead coroutine\n" .. got)
  check(has(got, "true\t7\t8"), "resume\n" .. got)
  check(has(got, "bad argument #1 to 'coroutine.resume' (thread expected, got number)"),
    "argument errors\n" .. got)
end

local function test_completion()
  local got = typed("string.rev\t('abc')\n", "name = 'x'\n", "nam\t .. 'y'\n", "name:upp\t()\n")
  check(has(got, "cba") and has(got, "\nxy") and has(got, "\nX"),
    "fields, globals, methods\n" .. got)
  got = typed("string.re\t\t\3")
  check(has(got, "rep") and has(got, "reverse"), "several candidates are shown\n" .. got)
  got = typed("t = setmetatable({}, {__index = function() print('CAL' .. 'LED') end})\n",
    "t.a\t\3", "t.b.c\t\3")
  check(not has(got, "CALLED"), "no metamethod is called\n" .. got)
  got = typed("u = setmetatable({}, {__index = {inherited = 'from' .. 'above'}})\n", "u.inh\t\n")
  check(has(got, "fromabove"), "__index tables are followed\n" .. got)
  got = typed("x = bam.full({3, 5}, 7)\n", "x.sha\t[2] + 50\n", "x:tota\t()[3][5] + 60\n")
  check(has(got, "\n55") and has(got, "\n67"), "properties and methods of tensors\n" .. got)
end

local function test_history()
  os.remove(history)
  typed("marker = 20\n", "if true then\nmarker = marker + 1\nend\n", "s = 'a\\nb'\n")
  local file = io.open(history)
  check(file, "a history file is written")
  if not file then return end
  check(file:read "l" == "marker = 20", "statements are written to the file")
  check(file:read "l" == "if true then\\nmarker = marker + 1\\nend", "several lines are one entry")
  check(file:read "l" == "s = 'a\\\\nb'", "backslashes are kept")
  file:close()
  check(output_of("stat -c %a " .. quoted(history)) == "600\n", "the history is private")
  local got = typed("marker = 5\n", "\16\16\16\n", "'is ' .. marker\n")
  check(has(got, "is 6"), "history survives, with all lines of a statement\n" .. got)
end

test_results()
test_warnings()
test_bytecode()
test_coroutines()
test_help()
test_help_is_complete()
if has(output_of ": | timeout 30 script -qec 'echo works' /dev/null 2>&1", "works") then
  patiently(test_editing)
  patiently(test_interrupt)
  patiently(test_completion)
  patiently(test_history)
else
  print "repl: the terminal part is skipped: no script(1), or no pseudo-terminals here"
end
os.execute("rm -rf " .. quoted(directory))
for _, what in ipairs(failures) do print("FAILED " .. what) end
print(("repl: %d passed, %d failed"):format(passed, #failures))
os.exit(#failures == 0)
