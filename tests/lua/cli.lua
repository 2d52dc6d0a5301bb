-- The command line of bamlua against that of lua5.4: the same output, messages and exit codes.
-- Usage: build/bamlua tests/lua/cli.lua build/bamlua lua5.4
-- Each case is a piece of shell in which $L is the interpreter. It runs in a directory of its own
-- with the files below; the path of the interpreter is replaced before comparing.
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local bamlua, reference = arg[1] or "build/bamlua", arg[2] or "lua5.4"

local FILES = {
  ["args.lua"] = "for i = -5, 5 do if arg[i] then print(i, arg[i]) end end print(#arg, ...)",
  ["bad.lua"] = "local x = = 1",
  ["fail.lua"] = "local function f() error 'deep' end\nlocal function g() f() end\ng()",
  ["object.lua"] = "error(setmetatable({}, { __tostring = function() return 'spoken' end }))",
  ["table.lua"] = "error {}",
  ["nil.lua"] = "error()",
  ["shebang.lua"] = "#!/usr/bin/env lua\nprint 'ran'",
  ["mod.lua"] = "print('loading', ...) return { name = 'mod' }",
  ["broken.lua"] = "return (",
  ["false.lua"] = "return false",
  ["sub/inner.lua"] = "return 'inner'",
  ["init.lua"] = "print 'init file'",
  ["close.lua"] = "local t <close> = setmetatable({}, {__close = function() print 'closed' end}) "
    .. "os.exit(7, true)",
  ["gc.lua"] = "setmetatable({}, { __gc = function() print 'collected' end })",
  ["gcerror.lua"] = "setmetatable({}, { __gc = function() error 'in gc' end })",
  ["bom.lua"] = "\xEF\xBB\xBFprint 'bom'",
}

local CASES = {
  -- scripts and their arguments
  "$L args.lua", "$L args.lua a 'b c' ''", "$L -e 'x=1' args.lua -v -x --help", "$L -- args.lua -i",
  "$L -W -e '' args.lua 1", "$L -l mod args.lua", "$L - a b < args.lua", "$L -- - x",
  "$L < args.lua", "$L - < .",
  "$L missing.lua", "$L sub", "$L bad.lua", "$L < bad.lua", "$L fail.lua", "$L shebang.lua",
  "$L bom.lua",
  "$L object.lua", "$L table.lua", "$L nil.lua", "$L < /dev/null", "echo 'print(...)' | $L - q",
  "echo 'io.write(io.read())\nnot Lua' | $L", "$L -e 'arg = nil' args.lua", "$L ''",
  "$L -e 'print(#arg, arg[0] ~= nil, arg[-1])'", "$L -e 'arg[1] = 5' args.lua a b",
  -- options
  "$L -e 'print(1)'", "$L -e'print(2)' -e 'print(3)'", "$L -e 'print(' ", "$L -e 'error(\"no\")'",
  "$L -e", "$L -e -v", "$L -l", "$L -x", "$L -vv", "$L -ix", "$L --x", "$L -Ex", "$L -Wx", "$L -v",
  "$L -v -e 'print(1)'", "$L -v -", "$L -E -v", "$L -e 'x = 1; print(x)' -e 'print(x)' args.lua z",
  "$L -e ''", "$L --", "$L -e 'return 5'", "$L -e 'print(...)' args.lua a",
  "$L -l mod -e 'print(mod.name)'", "$L -lmod", "$L -l g=mod -e 'print(g.name, mod)'",
  "$L -l nowhere", "$L -l g=nowhere", "$L -l broken",
  "$L -l false -e 'print(package.loaded[\"false\"])'",
  "$L -l sub.inner -e 'print(_G[\"sub.inner\"])'", "$L -l i=sub.inner -e 'print(i)'",
  "$L -l =mod", "$L -l mod=", "$L -l fail", "$L -l string -e 'print(string.rep)' | sed 's/0x.*//'",
  -- warnings
  "$L -W -e 'warn(\"a\", \"b\")'", "$L -e 'warn(\"hidden\")'",
  "$L -e 'warn(\"@on\") warn(\"shown\")'",
  "$L -W -e 'warn(\"@off\") warn(\"x\")'", "$L -e 'warn(\"x\")' -W -e 'warn(\"y\")'",
  "$L gcerror.lua", "$L -W gcerror.lua", "$L gc.lua",
  -- the environment
  "LUA_INIT='print(1)' $L -e 'print(2)'", "LUA_INIT='print(1)' $L -E -e 'print(2)'",
  "LUA_INIT='print(1)' LUA_INIT_5_4='print(54)' $L args.lua", "LUA_INIT=@init.lua $L -e ''",
  "LUA_INIT=@missing.lua $L -e ''", "LUA_INIT='error(\"init\")' $L args.lua",
  "LUA_INIT='not lua' $L args.lua", "LUA_INIT_5_4='not lua' $L args.lua",
  "LUA_INIT= $L -e 'print(3)'",
  "LUA_INIT='print(1)' $L -v", "LUA_INIT='arg = 1' $L args.lua",
  "LUA_PATH='x/?.lua;;' $L -e 'print(package.path)'",
  "LUA_PATH_5_4='y/?;' $L -e 'print(package.path)'",
  "LUA_PATH='x/?.lua' $L -E -e 'print(package.path)'",
  "LUA_PATH='sub/?.lua' $L -l inner -e 'print(inner)'",
  "LUA_CPATH='c/?.so' $L -e 'print(package.cpath)'",
  "LUA_CPATH_5_4=';;z/?.so' $L -e 'print(package.cpath)'",
  "LUA_CPATH='c/?.so' $L -e 'require \"nowhere.at.all\"'",
  "$L -e 'print(package.path, package.cpath)'",
  -- exit codes
  "$L -e 'os.exit(3)'", "$L -e 'os.exit(true)'", "$L -e 'os.exit(false)'", "$L close.lua",
  "$L -e 'os.exit(true, true)'", "$L -e 'os.exit(300)'",
  "$L -e 'io.stdout:write(\"x\") os.exit(0, true)'",
  "$L -e 'setmetatable({}, {__gc = print}) os.exit(2)'",
  "$L -e 'io.stderr:write(\"e\\n\") io.stdout:close()'",
  -- loading
  "$L -e 'print(load(\"return 1 +\"))'", "$L -e 'print(load(\"x =\", \"=name\"))'",
  "$L -e 'print(load(\"return 7\", \"n\", \"t\")())'",
  "$L -e 'print(load(\"return x\", \"n\", nil, {x=3})())'",
  "$L -e 'print(load(\"return x\", \"n\", \"bt\", nil))' | sed 's/0x.*//'", "$L -e 'load()'",
  "$L -e 'load({})'", "$L -e 'load(print, 5, {})'",
  "$L -e 'local n = 0 print(load(function() n = n + 1 return ({\"return\", \" 4\"})[n] end)())'",
  "$L -e 'print(load(function() return {} end))'",
  "$L -e 'print(load(function() error(\"r\") end))'",
  "$L -e 'print(loadfile(\"bad.lua\"))'", "$L -e 'print(loadfile(\"missing\"))'",
  "$L -e 'loadfile({})'", "$L -e 'print(load(\"x = 1\", \"n\", \"b\"))'",
  "$L -e 'print(load(function() return nil end, \"n\", \"b\"))'",
  "$L -e 'print(loadfile(\"fail.lua\", \"b\"))'", "$L -e 'print(load(\"x =\", \"n\", \"x\"))'",
  "$L -e 'print(loadfile(\"sub/inner.lua\", \"t\", {})())'",
  "$L -e 'print(dofile(\"sub/inner.lua\"))'",
  "$L -e 'dofile(\"bad.lua\")'", "$L -e 'dofile(\"missing\")'", "$L -e 'dofile(\"fail.lua\")'",
  "$L -e 'print(dofile())' < sub/inner.lua",
  "$L -e 'print(require \"mod\", (require \"mod\").name)' | sed 's/0x.*//'",
  "$L -e 'print(select(2, require \"sub.inner\"))'", "$L -e 'require \"broken\"'",
  "$L -e 'require()'",
  "$L -e 'package.path = 5 print(pcall(require, \"nowhere\"))'",
  "$L -e 'package.path = nil print(pcall(require, \"nowhere\"))'",
  "$L -e 'print(coroutine.wrap(function() return dofile(\"sub/inner.lua\") end)())'",
  "$L -e 'print(pcall(string.rep))'", "$L -e 'print(_VERSION, collectgarbage(\"incremental\"))'",
  "$L -e 'local function f() return f() + 1 end f()' 2>&1 | head -3",
  "$L -e 'error(\"with level 0\", 0)'", "$L -e 'local x = nil + 1'", "$L -e 'undefined.field = 1'",
  -- interactive mode without a terminal
  "printf '1+1\\nx = 5\\nx * 2, nil\\n' | $L -i", "printf '= 3\\n\\n   \\n' | $L -i",
  "$L -i < /dev/null",
  "printf 'for i = 1, 2 do\\nprint(i)\\nend\\n' | $L -i",
  "printf 'x y\\nerror{}\\nerror \"e\"\\n' | $L -i",
  "printf 'f = 1 f()\\nlocal y = 2\\nreturn 8' | $L -i", "printf '_PROMPT = \"a \"\\n1\\n' | $L -i",
  "printf '_PROMPT2 = \"b \"\\nprint(\\n1)\\n' | $L -i",
  "echo 'print(x)' | $L -i -e 'x = 9' args.lua a",
  "echo 10 | $L -e 'print = nil' -i", "echo 10 | $L -e 'print = error' -i",
  "echo 2 | $L -i fail.lua", "echo 2 | $L -i -e 'os.exit(4)'", "printf 'os.exit(6)\\n1\\n' | $L -i",
  "printf '=1,2\\n=\\ns = [[a\\nb]]\\ns\\n' | $L -i", "printf 'print(...)\\n' | $L -i args.lua q",
}

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local function read_file(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function write_file(name, text)
  local file = assert(io.open(name, "wb"))
  assert(file:write(text))
  assert(file:close())
end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  pipe:close()
  return (text:gsub("\n$", ""))
end

local directory = output_of "mktemp -d"
assert(directory ~= "", "mktemp gives no directory")
os.execute("mkdir " .. quoted(directory .. "/sub"))
for name, text in pairs(FILES) do write_file(directory .. "/" .. name, text) end

--- Replaces every occurrence of a plain text.
local function replace(text, plain, by)
  local pattern = plain:gsub("%W", "%%%0")
  return (text:gsub(pattern, (by:gsub("%%", "%%%%"))))
end

--- Runs a case with one interpreter: its exit code and the two outputs, without what must differ.
local function run(interpreter, case)
  local out, err = directory .. "/.out", directory .. "/.err"
  local clean = "unset LUA_INIT LUA_INIT_5_4 LUA_PATH LUA_PATH_5_4 LUA_CPATH LUA_CPATH_5_4; "
  local command = clean .. "cd " .. quoted(directory) .. " && L=" .. quoted(interpreter) .. " && { "
    .. case .. "\n} < /dev/null > .out 2> .err"
  local _, how, code = os.execute(command)
  return { code = how .. " " .. code, out = replace(read_file(out), interpreter, "LUA"),
           err = replace(read_file(err), interpreter, "LUA") }
end

local function absolute(program)
  local path = output_of("command -v " .. quoted(program))
  if path == "" then return nil end
  local folder, name = path:match "^(.*)/([^/]*)$"
  return output_of("cd " .. quoted(folder) .. " && pwd") .. "/" .. name
end

local ours, theirs = absolute(bamlua), absolute(reference)
assert(ours, bamlua .. " is not there: build it first")

test("bytecode is refused by every way to load code", function()
  write_file(directory .. "/byte.lua", string.dump(load "print 'it ran'"))
  local refused = {
    "$L byte.lua", "$L < byte.lua", "$L -l byte", "LUA_INIT=@byte.lua $L -e ''",
    "$L -e 'require \"byte\"'", "$L -e 'dofile \"byte.lua\"'",
    "$L -e 'assert(loadfile \"byte.lua\")()'",
    "$L -e 'assert(loadfile(\"byte.lua\", \"b\"))()'",
    "$L -e 'assert(loadfile(\"byte.lua\", \"bt\"))()'",
    "$L -e 'assert(load(string.dump(function() print \"it ran\" end)))()'",
    "$L -e 'assert(load(string.dump(function() print \"it ran\" end), \"x\", \"b\"))()'",
    "$L -e 'local s = string.dump(print and function() end) local n = 0 "
      .. "assert(load(function() n = n + 1 return s:sub(n, n) end, \"x\", \"bt\"))'",
    "echo 'assert(load(string.dump(load \"print(1)\"), nil, \"b\"))' | $L",
  }
  for _, case in ipairs(refused) do
    local got = run(ours, case)
    expect.equal(got.out, "", case .. ": bytecode must be refused")
    expect.contains(got.err, "attempt to load a binary chunk", case .. ": bytecode must be refused")
  end
end)

test("--help, --version and options of the script", function()
  local help = run(ours, "$L --help")
  expect.equal(help.code, "exit 0", "--help")
  expect.equal(help.err, "", "--help")
  expect.matches(help.out, "^usage: LUA", "--help")
  for _, option in ipairs { "-e stat", "-i ", "-l mod", "-v ", "-E ", "-W ", "--help" } do
    expect.contains(help.out, "\n  " .. option, "--help tells about " .. option)
  end
  local version = run(ours, "$L -e 'print(1)' --version script")
  expect.equal(version.code, "exit 0", "--version")
  expect.matches(version.out, "^bamlua %d+%.%d+%.%d+ %(Lua 5%.4", "--version")
  local script = run(ours, "$L args.lua --help --version")
  expect.matches(script.out, "2\t%-%-help\t%-%-version\n$", "options of the script")
end)

test("modules are embedded in the program", function()
  local got = run(ours, "cd / && $L -e 'assert(require \"bam.util.strict\")' -e 'print(mistyped)'")
  expect.equal(got.code, "exit 1", "bam.util.strict")
  expect.contains(got.err, "undefined global 'mistyped'", "bam.util.strict")
  got = run(ours, "$L -e 'require \"bam.nowhere\"'")
  expect.contains(got.err, "no embedded module 'bam.nowhere'", "unknown module")
end)

test("`arg` may lie about its length", function()
  for _, n in ipairs { "(1 << 31) - 2", "(1 << 32) + 2", "math.maxinteger", "-1" } do
    local set = "arg = setmetatable({}, { __len = function() return %s end })"
    local got = run(ours, ("$L -e '%s' args.lua"):format(set:format(n)))
    expect.equal(got.code, "exit 1", n)
    expect.contains(got.err, "too many arguments to script", n)
  end
end)

test("help() and bam.options without a script", function()
  local got = run(ours, "$L -e 'help \"softmax\"'")
  expect.equal(got.code, "exit 0", "help in -e")
  expect.contains(got.out, "bam.softmax(x, dim = -1)", "help in -e")
  local ask = "local bam = require \"bam\" print(bam.options { a = 5 }.a)"
  for _, case in ipairs { "$L -e '%s'", "$L -E -W -e '%s'", "$L -l bam -e '%s'",
                          "echo '%s' | $L -i", "$L -i -e '%s'" } do
    got = run(ours, case:format(ask))
    expect.equal(got.code, "exit 0", case)
    expect.contains(got.out, "5\n", case)
  end
end)

test("tracebacks show the frames of the script", function()
  write_file(directory .. "/user.lua", "local bam = require 'bam'\nlocal function make()\n"
    .. "  bam.scope(function() bam.models.parallel { layers = 2, widt = 3 } end)\nend\nmake()")
  local got = run(ours, "$L user.lua")
  expect.matches(got.err, "^LUA: user%.lua:3: models%.parallel: no option `widt`; did you mean `width`%?\n")
  expect.contains(got.err, "user.lua:5: in main chunk")
  expect.matches(got.err, "user.lua:3: in %a+ 'make'")
  expect.lacks(got.err, "\tbam/", "frames of bam's own")
  expect.lacks(got.err, "[C]: in function 'bam", "frames of bam's own")
  got = run(ours, "$L -e 'require \"bam.core\".at_end(function() error(\"late\", 0) end)'")
  expect.equal(got.code, "exit 1", "at_end")
  expect.matches(got.err, "^LUA: late\n", "at_end")
  got = run(ours, "$L -e 'require \"bam.core\".at_end(function() error(\"late\", 0) end) x()'")
  expect.lacks(got.err, "late", "at_end after an error")
end)

test("tracebacks show the line that failed and its tensors", function()
  write_file(directory .. "/line.lua", [[
local bam = require "bam"
local M = bam.nn.module "M"
function M:init() self.w = bam.ones(4, 4) end
function M:forward(x, y)
  local closed <close> = y
  return bam.matmul(x, self.w) + y + "x y" -- x:sum(y)
end
local function run(x) print(M()(x, x)) end
run(bam.ones(2, 3))]])
  local got = run(ours, "$L line.lua")
  expect.contains(got.err, "LUA: line.lua:6: matmul: inner sizes differ: (2, 3) x (4, 4)\n"
    .. '  6 | return bam.matmul(x, self.w) + y + "x y" -- x:sum(y)\n'
    .. "      x is f32 (2, 3), self.w is f32 (4, 4)\nstack traceback:\n\tline.lua:6: in ")
  expect.contains(got.err, "\tline.lua:9: in main chunk")
  expect.lacks(got.err, "[C]: in function 'bam")
  got = run(ours, "$L -e 'local bam = require \"bam\"' -e 'error(\"no\")'")
  expect.matches(got.err, "^LUA: %(command line%):1: no\nstack traceback:\n", "a chunk without a file")
  got = run(ours, "$L -e 'bam = require \"bam\" x = bam.ones(2) x:close() load(\"return\\n  x + 1\")()'")
  expect.contains(got.err, "2 | x + 1\n      x is closed\n", "a chunk that was loaded, a global")
  got = run(ours, "$L -e 'bam = require \"bam\" error { x = bam.ones(2) }'")
  expect.contains(got.err, "(error object is a table value)")
end)

test("tracebacks reach into scopes", function()
  write_file(directory .. "/scope.lua", [[
local bam = require "bam"
local function step(x, w) return bam.matmul(x, w) end
local function train()
  bam.scope(function()
    local x, w = bam.ones(2, 3), bam.ones(4, 4)
    bam.no_grad(step, x, w)
  end)
end
print(pcall(train))
train()]])
  local got = run(ours, "$L scope.lua")
  expect.contains(got.out, "false\tscope.lua:2: matmul: inner sizes differ: (2, 3) x (4, 4)\n", "the message alone")
  expect.contains(got.err, { "      x is f32 (2, 3), w is f32 (4, 4)\n", "\tscope.lua:2: in ", "\tscope.lua:6: in ",
                             "\tscope.lua:4: in ", "\tscope.lua:10: in main chunk" })
  expect.lacks(got.err, "scope.lua:9", "an equal error before")
end)

test("bam.debug { traces = true } shows all frames", function()
  write_file(directory .. "/traces.lua", "local bam = require 'bam'\nbam.debug { traces = true }\n"
    .. "local x = bam.ones(2)\nx:squeeze(1)")
  local got = run(ours, "$L traces.lua")
  expect.contains(got.err, { "LUA: traces.lua:4: squeeze: dimension 1 has size 2, not 1", "\tbam/tensor/init.lua:" })
  expect.contains(run(ours, "$L -e 'require \"bam\".debug {}'").err, "debug: nothing to switch; write bam.debug { nan")
  expect.contains(run(ours, "$L -e 'require \"bam\".debug { trace = true }'").err, "did you mean `traces`?")
end)

test("errors without a line of the script have no traceback", function()
  local got = run(ours, "$L docs /dev/null/x")
  expect.equal(got.code, "exit 1")
  expect.lacks(got.err, "stack traceback")
  expect.lacks(run(ours, "$L audit nowhere").err, "stack traceback")
end)

test("a file does not take the place of a closed stream", function()
  local code = "local f = io.open(\"made\", \"w\") print(\"lost\") io.stderr:write \"lost\" "
    .. "f:write \"kept\" f:close() assert(io.open \"made\":read \"a\" == \"kept\")"
  for _, closed in ipairs { ">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-" } do
    local got = run(ours, "$L -e '" .. code .. "' " .. closed)
    expect.equal(got.code, "exit 0", closed)
  end
end)

for _, case in ipairs(CASES) do
  test(case, function()
    if not theirs then test.skip(reference .. " is not installed") end
    expect.equal(run(ours, case), run(theirs, case))
  end)
end

os.execute("rm -rf " .. quoted(directory))
