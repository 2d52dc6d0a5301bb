-- What a user of Python types: the message says what to write in Lua. Syntax, globals, methods of strings and lists; at
-- the prompt, in scripts, in modules. Written by hand.
-- Usage: build/bamlua tests/lua/python_habits.lua build/bamlua
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local other_syntax = require "bam.util.other_syntax"
local test = require "tests.lua.support.test"

local bamlua = arg[1] or "build/bamlua"

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  pipe:close()
  return text
end

local directory = os.tmpname()
os.remove(directory)
assert(os.execute("mkdir " .. directory))

local function written(name, text)
  local path = string.format("%s/%s", directory, name)
  core.write_file(path, text)
  return path
end

-- What each input of a session prints. All run in one session.
local function session(inputs)
  local lines = {}
  for i, input in ipairs(inputs) do
    lines[#lines + 1] = string.format("print 'case %d'\n%s\nprint 'end %d'", i, input, i)
  end
  local path = written("session.txt", table.concat(lines, "\n") .. "\n")
  local text, results = output_of(string.format("%s -i < %s 2>&1", bamlua, path)), {}
  for i in ipairs(inputs) do results[i] = text:match(string.format("\ncase %d\n(.-)\nend %d\n", i, i)) or text end
  return results
end

local function each_in_session(cases)
  local inputs = {}
  for i, case in ipairs(cases) do inputs[i] = case[1] end
  for i, result in ipairs(session(inputs)) do
    test("at the prompt: " .. cases[i][1], function() expect.contains(result, cases[i][2]) end)
  end
end

-- ---- syntax ----

local SYNTAX = {
  { "x ** 2", "syntax error near '*'; a power is x ^ 2" },
  { "x += 1", "write x = x + 1" }, { "x.y -= a * b", "write x.y = x.y - ..." }, { "i++", "write i = i + 1" },
  { "x != 2", "unequal is ~= in Lua" }, { "a && b", "write a and b" }, { "a || b", "write a or b" },
  { "y = !x", "write not x" },
  { "x[1:2]", "ranges are lists: x[{ { 1, 2 } }]" }, { "x[:, 0]", "ranges are lists: x[{ { 1, 2 } }]" },
  { "x[a:b]", "ranges are lists" }, { "x[0, 1]", "positions in several dimensions are a list: x[{ 1, 2 }]" },
  { "x[..., 0]", "positions in several dimensions are a list" },
  { "import torch", 'write local bam = require "bam"' }, { "import my.lib", 'local my.lib = require "my.lib"' },
  { "from torch import nn", 'write local bam = require "bam"; layers are in bam.nn' },
  { "from x import y", 'write local y = require("x").y' },
  { "def f(x):", "write function f(x) ... end" }, { "lambda x: x + 1", "write function(x) return ... end" },
  { "class M(nn.Module):", 'write local M = bam.nn.module "M"' },
  { "# a comment, don't", "a comment begins with --" }, { "x = 1 # set x", "a comment begins with --" },
  { "[1, 2, 3]", "a list is written { 1, 2, 3 }" }, { "y = [1, 2]", "a list is written { 1, 2, 3 }" },
  { "[x for x in y]", "a loop fills a list" }, { "t = (1, 2)", "a list is written { 1, 2 }" },
  { '{"a": 1}', "a table is written { name = value }" }, { "y = {a: 1}", "a table is written { name = value }" },
  { "x.sum(dim=0)", "options are a table: f(x, { dim = ... })" },
  { 'y = bam.zeros(2, 3, dtype="f64")', "options are a table: f(x, { dtype = ... })" },
  { "for i in range(10):", "write for i = 1, n do ... end" }, { "for i in range(10): print(i)", "write for i = 1, n do" },
  { "for row in rows:", "write for i, row in ipairs(rows) do ... end" },
  { "while True:", "write while true do ... end" }, { "if x is not None:", "write if x ~= nil then ... end" },
  { "if key in t:", "write if t[key] then ... end" }, { "try:", "write local fine, message = pcall(" },
  { "with torch.no_grad():", "write bam.no_grad(function() ... end)" },
  { "with open('f') as f:", "write local file <close> = assert(io.open(path))" },
  { "y = a if b else c", "write condition and a or b" }, { "x is None", "write x == nil" },
  { "x not in y", "write t[key] == nil" }, { "if x = 3 then print(1) end", "equal is == in Lua" },
  { "assert x == 1, 'no'", "write assert(condition, message)" }, { "raise ValueError('x')", "write error(message)" },
  { "del x", "write x = nil" }, { "x @ y", "a product of matrices is bam.matmul(x, y)" },
  { "x = y = 1", "an assignment has no value" }, { '"""doc"""', "a long string is [[ ... ]]" },
  { "1_000", "write 1000, or 1e6" }, { "x: int = 3", "variables have no types" },
  { "'a'.upper()", 'write ("text"):upper(...)' }, { "y = 1 + \\", "a line goes on without a mark" },
}
each_in_session(SYNTAX)

test("Lua's own messages stay as they are where nothing is known", function()
  for _, text in ipairs { "x = = 1", "for i = 1, 2 do end end", "local 3", "f(", "a.b:c = 3", "x = 'open",
                           "local n = count#list", "for _, v in ipairs { 1 } print(v) end", "t = {} a = (b:c(), d)",
                           "if a [1 = b then end", "local t = { a =  b = 1, c = 2 }" } do
    local _, message = load(text, "=s", "t")
    expect.equal(other_syntax.explain(message, text), message, text)
  end
end)

test("a block of Lua that is not finished is no block of Python", function()
  for _, text in ipairs { "for k in pairs(t:items()) do", "if x:find 'a' then", "x = y:", "local s = 'if a:'",
                          "while t:next() do -- while True:" } do
    expect.equal(other_syntax.block(text), nil, text)
  end
end)

-- ---- at run time ----

each_in_session {
  { "x = None", "undefined global 'None'; write nil" }, { "bam.zeros(2, { requires_grad = True })", "write true" },
  { "torch.randn(2)", "undefined global 'torch' (stdin:1); bam takes its place" },
  { "np", "undefined global 'np' (stdin:1); arrays are tensors" }, { "len({})", "the length of x is #x" },
  { "for i in range(3) do end", "write for i = 1, n do" }, { 'print(f"loss {x}")', 'string.format("loss %.3f", loss)' },
  { "# comment", "a comment begins with --" }, { "'a' + 1", "texts are joined by .." },
  { "'%d' % 5", 'write string.format("%d steps", n)' }, { "t = {}; t.append(1)", "write list[#list + 1] = value" },
  { "t = {}; t:append(1)", "write list[#list + 1] = value" }, { "('a b'):split(' ')", 'write for word in text:gmatch "%S+" do' },
  { "for x in { 1, 2 } do end", "write for i, value in ipairs(list) do" },
  { "for x in bam.zeros(2) do end", "write for i, row in pairs(x) do" },
  { "bam.zeros(2).grad:zero_()", "a gradient is nil before loss:backward()" },
  { "list = { 5 }\nlist[0]", "note: lists count from 1, and nothing is at 0; the last entry of t is t[#t]\nnil" },
  { "word = 'abc'\nword[1]", "note: a character of a text is text:sub(1, 1)\nnil" },
  { "v = bam.ones(2)\nv == 1", "note: == asks whether both are the same object; x:eq(y) compares the elements\nfalse" },
  { "v:eq(1):all():item() == true", "== true\ntrue" }, { "1 == v", "x:eq(y) compares the elements" },
  { "v.shape == v.shape", "== v.shape\ntrue" }, { "v[1] ~= v[1]", "x:eq(y) compares the elements\ntrue" },
  { "list[-1]", "nothing is at -1" }, { "('x'):rep(2)", "> ('x'):rep(2)\nxx" },
  { "string.format('%.3f', bam.zeros(1))", "a number of a tensor with one element is x:item()" },
  { "string.format('%d', 1.5)", 'write "%.0f", or math.floor(x)' },
  { "Net = {}; Net()", 'a class that can be called is Net = bam.nn.module "Net"' },
  { "l = 5; l:item()", "it is a number already" }, { "bam.nn.Linear(2, 2).parameters[1]", "it is a method: write x:parameters()" },
  { "self = bam.nn.Linear(2, 2); self.count = (self.count or 0) + 1", "a method of that name is in the way" },
  { "bam.zeros(2).shape()", "it is a list: x.shape[1]" }, { "print('a' .. nil)", "write tostring(x)" },
  { "print('a' .. bam.zeros(1))", "write x:item() of one number" }, { "t = { {} }; t[0].x = 1", "lists count from 1" },
}

-- ---- scripts ----

local function script(text, name)
  return output_of(string.format("%s %s 2>&1", bamlua, written(name or "script.lua", text)))
end

test("in a script", function()
  expect.contains(script "local x = 2\nprint(x ** 2)\n", "script.lua:2: unexpected symbol near '*'; a power is x ^ 2")
  expect.contains(script "for i in range(3):\n  print(i)\n", "write for i = 1, n do ... end")
  expect.contains(script "if x:\n  y = 1\n", "write if x then ... end")
  expect.contains(script "local x = bam.zeros(2)\n", 'write local bam = require "bam"')
  expect.contains(script 'local bam = require "bam"\nprint(True)\n', "script.lua:2: undefined global 'True'; write true")
  expect.contains(script 'require "bam.util.strict"\nprint(len)\n', "undefined global 'len'; the length of x is #x")
end)

test("a comparison that a flag leaves out", function()
  local text = [[
    local bam = require "bam"
    local text = bam.corpus({ law = "law.txt" }, { vocab = 300 })
    local result = bam.compare { "runs/a", on = text.heldout }
    print(result.models)]]
  for _, flags in ipairs { "--plan", "--audit" } do
    local path = written("compared.lua", text)
    expect.contains(output_of(string.format("%s %s %s 2>&1", bamlua, path, flags)),
                    string.format("compared.lua:4: attempt to index a nil value (local 'result'); with %s bam.compare returns "
                                  .. "nil: ask first, if result then ... end", flags:match "%S+"))
  end
end)

test("in a module, and in other chunks", function()
  written("habit.lua", "import torch\n")
  local code = string.format("package.path = '%s/?.lua'", directory)
  expect.contains(output_of(string.format([[%s -e "%s" -e "require 'habit'" 2>&1]], bamlua, code)),
                  "syntax error near 'torch'; write local bam = require")
  expect.contains(output_of(string.format([[%s -e "dofile '%s/habit.lua'" 2>&1]], bamlua, directory)), "write local bam")
  expect.contains(output_of(string.format([[%s -e "x += 1" 2>&1]], bamlua)), "write x = x + 1")
  expect.equal(select(2, load("x += 1", "=s")), "s:1: syntax error near '+'", "load gives Lua's own message")
end)

test("globals that a script watches itself are left to it", function()
  expect.contains(script [[
    setmetatable(_G, { __index = function(_, name) return "mine " .. name end })
    local bam = require "bam"
    print(True)]], "mine True")
  expect.contains(script 'local bam = require "bam"\nTrue = 1\nprint(True, rawget(_G, "None"))\n', "1\tnil")
end)

os.execute("rm -r " .. directory)
