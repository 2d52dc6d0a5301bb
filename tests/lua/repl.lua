-- The interactive session without a terminal: what it prints, warns about and survives. repl_terminal.lua types into one.
-- Usage: build/bamlua tests/lua/repl.lua build/bamlua
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

--- What a session prints, errors included, when these lines are its stdin.
local function piped(...)
  local input = table.concat({ ... }, "\n") .. "\n"
  return output_of(("printf %%s %s | %s -i 2>&1"):format(quoted(input), quoted(bamlua)))
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

test("an error shows its line and the shapes in it", function()
  local got = piped("a, b = bam.ones(2, 3), bam.ones(2)", "a + b", "function f() return a + b end", "f()", "do", "local c = a",
                    "print(c + b)", "end")
  expect.contains(got, "\n  1 | a + b\n      a is f32 (2, 3), b is f32 (2)\n", "an expression")
  expect.contains(got, "\n  3 | print(c + b)\n      c is f32 (2, 3), b is f32 (2)\n", "a block")
  expect.contains(got, "\n  1 | function f() return a + b end\n      a is f32 (2, 3), b is f32 (2)\n", "a function of an earlier "
                  .. "input")
  got = piped("do", "  local k = 1", "  function g(x)", "    return x + k + bam.ones(5)", "  end", "end", "function h() end",
              "t = { f = function(x) return g(x) * 2 end }", "t.f(bam.ones(2))")
  expect.contains(got, "\n  4 | return x + k + bam.ones(5)\n      x is f32 (2)\n", "the line of a block")
end)

test("an error names what is nil in its line", function()
  local got = piped("x = bam.ones(3); self = { weight = bam.ones(2, 3, { requires_grad = true }) }",
                    "x:matmul(self.wieght)", "x + self.scale", "x + self.weight.grad", "function f(a) local b; return a * b end",
                    "f(x)", "x:sum(dim)", "bam.zeros(self.n, 2)")
  expect.contains(got, { "x is f32 (3), self.wieght is nil (self.weight is there)\n", "x is f32 (3), self.scale is nil\n",
                         "x is f32 (3), self.weight.grad is nil\n", "a is f32 (3), b is nil\n", "x is f32 (3), dim is nil\n",
                         "self.n is nil\n" })
  expect.contains(piped("t = { weight = 1 }", "t.wieght.x"), "(field 'wieght')\n  1 | t.wieght.x\n      t.wieght is nil (t.weight "
                  .. "is there)\n")
  expect.lacks(piped("t = { weight = 1 }", "t.other.x"), "t.other is nil", "which Lua has said")
  expect.lacks(piped("x = bam.ones(3)", "x + bam.ones(2)"), " is nil", "unless the message is about nil")
end)

test("what a function has printed is not printed again", function()
  local got = piped("shown = require 'bam.eval.table'.note_shown", "function f() t = { 7 }; print 'once'; shown(t); return t end",
                    "f()", "t")
  expect.contains(got, "\nonce\n(the result is shown above)\n")
  expect.contains(got, "\n{ 7 }\n", "asked for again")
end)

test("an expression after a semicolon prints", function()
  expect.contains(piped("x = 5; x + 1"), "\n6\n")
  expect.contains(piped("x = 5; x = 6; x, 7"), "\n6\t7\n")
  expect.contains(piped("s = ';'; #s"), "\n1\n")
end)

test("commands of IPython lead to what there is", function()
  local got = piped("n = 0", "%timeit n = n + 1", "n > 1", "%timeit", "%run a.lua", "%foo")
  expect.matches(got, "\ntime: [%d.]+ [mun]?s, the mean of %d+ runs\n")
  expect.contains(got, { "\ntrue\n", "%timeit: an expression or a statement is missing; write %timeit f(x)",
                         '%run: there is no such command; write dofile "script.lua"',
                         "%foo: there is no such command; there are %time, %timeit, !command, ?name and exit" })
end)

test("an error in a call that is all of the input has its line", function()
  expect.contains(piped("bam.matmul(bam.ones(2, 3), bam.ones(2, 3))"), "\nstdin:1: matmul: inner sizes differ")
  expect.contains(piped("print(1)", "bam.zeros(\n-1\n)"), "stdin:1: zeros: size 1 is negative")
  expect.contains(piped("select(2, 1, 2, 3)"), "\n2\t3\n", "all results are printed")
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
  expect.contains(got, "description:build(options?)\n", "help on an object and its methods")
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

test("tables are shown: bounded, sorted, cycles marked", function()
  local got = piped("t = { 1, 'two', { 3 } }", "t.me = t", "t", "{}", "{ b = 1, a = 2, [true] = 3, ['a b'] = 4, [2.5] = 5 }")
  expect.contains(got, "{ 1, \"two\", { 3 }, me = <table within itself> }", "a cycle")
  expect.contains(got, "\n{}\n", "an empty table")
  expect.contains(got, "{ [2.5] = 5, a = 2, [\"a b\"] = 4, b = 1, [true] = 3 }", "keys in order")
  got = piped("{ { { { { { { 1 } } } } } } }", "long = {}", "for i = 1, 1e5 do long[i] = i end", "long", "('x'):rep(300)",
              "{ ('y'):rep(300) }")
  expect.contains(got, "{ { { { { { {...} } } } } }", "depth")
  expect.contains(got, "199, 200, ... 99800 more", "length")
  expect.contains(got, ("x"):rep(300), "a string that is the result is whole")
  expect.contains(got, ("y"):rep(200) .. '"... (300 bytes)', "a string in a table is cut")
  got = piped("{ bam.zeros(2, 2), print, bam }", "bam.zeros(2, 3).shape", "bam.devices()", "bam.memory()", "string",
              "bam.options { scale = 'demo', width = 3 }", "setmetatable({}, { __tostring = function() return 'mine' end })",
              "{ setmetatable({}, { __tostring = error }) }", "setmetatable({}, { __pairs = error })")
  expect.contains(got, "<tensor f32 (2, 2) on cpu ...>", "objects in tables")
  expect.contains(got, { "<function>", "<module bam>" }, "functions and modules")
  expect.contains(got, "{ 2, 3 }", "the shape of a tensor")
  expect.contains(got, "name = \"cpu\"", "devices")
  expect.contains(got, "  live = ", "memory")
  expect.contains(got, "module string; help(string) explains it", "a module")
  expect.contains(got, "  width = 3", "what is read through __pairs")
  expect.contains(got, "\nmine\n", "__tostring wins")
  expect.contains(got, "its __tostring failed", "a failing __tostring")
  expect.contains(got, "<table that cannot be read", "a failing __pairs")
end)

test("small tensors in a table show their values", function()
  local got = piped("{ bam.tensor(0.5), bam.tensor { 1, 2 }, bam.zeros(9, 9) }")
  expect.contains(got, { "<tensor f32 () on cpu: 0.5000>", "<tensor i64 (2) on cpu: [1 2]>", "<tensor f32 (9, 9) on cpu ...>" })
end)

test("an expression of several lines prints", function()
  local got = piped("math.max(1,", "2,", "40 + 2)", "{", "a = 5", "}", "1 +", "", "6")
  expect.contains(got, "\n42\n", "a call")
  expect.contains(got, "{ a = 5 }", "a table")
  expect.contains(got, "\n7\n", "an operator")
  got = piped("for i = 1, 2 do", "print('row', i)", "end", "x = = 2", "if true then")
  expect.contains(got, "row\t2", "statements")
  expect.contains(got, "unexpected symbol near '='", "a wrong line")
  expect.contains(got, "'end' expected near <eof>", "the input ends too early")
end)

test("locals of an earlier input are pointed out", function()
  local got = piped("local x, y <const> = 1, 2", "x", "x", "y", "local function f() local inner end", "f", "inner", "local x",
                    "x")
  expect.equal(count(got, "note: 'x' was a local of an earlier input"), 2, "again after another declaration")
  expect.contains(got, { "note: 'y' was a local", "note: 'f' was a local" }, "all names")
  expect.contains(got, "write x = ... without `local` to keep it", "what to do")
  expect.contains(got, "warning: undefined global 'inner'", "locals inside functions do not count")
end)

test("commands that are not Lua", function()
  local got = piped("?bam.softmax", "bam.matmul?", "x = bam.ones(2)", "x:chunk?", "x?", "?", "help", "?nothing", "'concat'?")
  expect.contains(got, { "bam.softmax(x, dim = -1)", "bam.matmul(", "x:chunk(n, dim?)" }, "functions and methods")
  expect.contains(got, "a tensor of shape (2)", "a variable")
  expect.equal(count(got, "Functions of bam:"), 2, "the overview")
  expect.contains(got, "nothing is called 'nothing'", "an unknown name")
  expect.contains(got, "concat", "a search")
  got = piped("%time 6 * 7", "%time y = 5", "y + 1", "%time (", "1)", "%time", "%nothing", "%time error 'inside'")
  expect.matches(got, "time: [%d.]+ [mun]?s\n42\n")
  expect.contains(got, "\n6\n", "statements too")
  expect.contains(got, "%time: an expression or a statement is missing", "nothing to time")
  expect.contains(got, "%nothing: there is no such command", "an unknown command")
  expect.contains(got, "stdin:1: inside", "an error")
  got = piped("!echo from the shell", "! exit 3", "!", "!kill -TERM $$")
  expect.contains(got, { "\nfrom the shell\n", "exit code 3", "!: a command of the shell is missing" })
  expect.contains(got, "ended by signal 15")
end)

test("exit and quit end the session, unless they are variables", function()
  for _, word in ipairs { "exit", "quit", "exit()", " quit ( ) " } do
    local got = piped(word, "'not ' .. 'reached'")
    expect.lacks(got, "not reached", word)
  end
  local got = piped("exit = 5", "exit", "quit = function() return 'mine' end", "quit()", "'still ' .. 'here'")
  expect.contains(got, { "\n5\n", "\nmine\n", "still here" })
end)
