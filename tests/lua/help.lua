-- help(): what it finds by name, by value and by word, and how it prints.
-- Usage: build/bamlua tests/lua/help.lua build/bamlua
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local library = require "bam.doc.lua_library"
local show = require "bam.doc.show"
local test = require "tests.lua.support.test"
local bamlua = core.absolute(arg[1] or "build/bamlua")

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- What help(...) prints, and its result.
local function help(...)
  local file = io.tmpfile()
  io.output(file)
  local fine, found = pcall(show, ...)
  io.output(io.stdout)
  if not fine then error(found, 0) end
  file:seek "set"
  local printed = file:read "a"
  file:close()
  return printed, found
end

-- Double a tensor.
-- It may be any.
local function double(x, times) return x * (times or 2) end

local t = {}
t.half = function(x, ...) return x / 2, ... end

--- A documented one.
---@param x tensor what to change
---@return tensor
function t.documented(x) return x end

test("functions of one's own", function()
  local line = debug.getinfo(double, "S").linedefined
  expect.equal(help(double), string.format("double(x, times)\nDouble a tensor. It may be any.\nDefined at %s:%d.\n",
                                           "tests/lua/help.lua", line))
  expect.matches(help(t.half), "^t%.half%(x, %.%.%.%)\nDefined at tests/lua/help.lua:%d+%.\n$")
  expect.matches(help(t.documented), "^t%.documented%(x%)\nA documented one%.\n  x: tensor %- what to change\n"
    .. "  returns tensor\nDefined at tests/lua/help.lua:%d+%.\n$")
  expect.matches(help(load "return function(a) end"()), "^function%(a%)\nDefined at ")
  expect.contains(help { double = double }, "  double               Double a tensor.")
end)

test("Lua's library", function()
  expect.equal(help "string.rep", "string.rep(s, n, sep?)\nn copies, with a separator between them.\n")
  expect.equal(help(string.rep), (help "string.rep"))
  expect.contains(help(table), "  concat ")
  expect.contains(help(print), "print(...)\nWrite values to stdout")
  expect.contains(help "gsub", "string.gsub(s, pattern, by, n?)")
end)

test("every function of Lua's library has its line, and no other", function()
  local listed = {}
  for _, entry in ipairs(library.entries()) do
    local value = _G
    for key in entry.name:gmatch "[^.]+" do value = value[key] end
    expect.equal(type(value), "function", entry.name)
    expect.no(listed[entry.name], entry.name .. " twice")
    listed[entry.name] = true
    expect.yes(#entry.text > 0, entry.name)
  end
  for _, name in ipairs { "coroutine", "debug", "io", "math", "os", "package", "string", "table", "utf8" } do
    for key, value in pairs(_G[name]) do
      if type(value) == "function" then expect.yes(listed[name .. "." .. key], name .. "." .. key) end
    end
  end
  for _, name in ipairs { "assert", "error", "ipairs", "load", "next", "pairs", "pcall", "print", "rawget", "require",
                          "select", "setmetatable", "tonumber", "tostring", "type", "warn", "xpcall" } do
    expect.yes(listed[name], name)
  end
end)

test("names are found wherever they are", function()
  expect.contains(help "AdamW", "bam.optim.AdamW(params, options?)\n")
  expect.contains(help "adamw", "bam.optim.AdamW(params, options?)\n")
  expect.contains(help "Linear", "bam.nn.Linear(inputs, outputs, options?)\n")
  expect.contains(help "freeze", "bam.nn.Module:freeze(which?)\n")
  expect.contains(help "load_state", { "Several have the name 'load_state':\n", "  bam.nn.Module:load_state ",
                                       "  bam.optim.Optimizer:load_state " })
  expect.contains(help "concat", { "bam.concat({ ... }, dim = 1)\n", "See also:\n  table.concat\n" })
  expect.contains(help "x.shape", "x.shape: integer[] - sizes of the dimensions\n")
  expect.contains(help "requires_grad", "x.requires_grad: boolean")
end)

test("classes of what functions take and return", function()
  local phase = help "bam.Phase"
  expect.contains(phase, { "bam.Phase\n", ":directory() ", "The directory of the phase." })
  expect.equal(help "Phase", phase)
  expect.contains(help "bam.TrainOptions", { "lr: number|schedule - learning rate" })
end)

test("methods are shown as they are called", function()
  expect.contains(help "x:sum", "x:sum(dim = none, keepdim = false)\n")
  expect.contains(help "x:neg", "x:neg()\n")
  expect.contains(help "sum", "bam.sum(x, dim = none, keepdim = false)\n")
  expect.contains(help "x:chunk", "x:chunk(n, dim?)\n")
  expect.contains(help "chunk", "x:chunk(n, dim?)\n")
  expect.contains(help(bam.zeros(1).chunk), "x:chunk(n, dim?)\n")
  expect.contains(help(bam.nn.Linear(1, 1).parameters), "bam.nn.Module:parameters()\n")
  local d = bam.models.parallel { layers = 1, width = 4, heads = 1, ffn = 2, vocab = 3 }
  expect.contains(help(d.build), "description:build(options?)\n")
end)

test("what does not exist leads on", function()
  local text, found = help "softmx"
  expect.equal(text, "help: nothing is called 'softmx'; did you mean bam.softmax?\n")
  expect.no(found)
  expect.contains(help "gradchec", { "help: nothing is called 'gradchec'\n", "  bam.gradcheck " })
  expect.contains(help "nats", { "help: nothing is called 'nats'\n", "  bam." }, "found in texts")
  expect.contains(help "cross entropy", { "help: nothing is called 'cross entropy'\n", "  bam.cross_entropy " }, "two words")
  expect.contains(help "numpy", "help: nothing is called 'numpy'; write x:totable()\n")
  expect.contains(help "torch.cat", "help: nothing is called 'torch.cat'; write bam.concat({ x, y }, 1)\n")
  expect.equal(help "q", "help: nothing is called 'q'\n", "a letter is in every text")
  expect.equal(help "qzqzqz", "help: nothing is called 'qzqzqz'\n")
end)

-- Ops say the defaults that they have: a call without an attribute does what one with the shown default does.
test("defaults are true", function()
  local x = bam.tensor { { 3.0, 1.0, 2.0 }, { 0.5, 0.25, 8.0 } }
  expect.contains(help "softmax", "bam.softmax(x, dim = -1)")
  expect.equal(x:softmax(), x:softmax(-1))
  expect.contains(help "topk", "topk(x, k, dim = -1, largest = true)")
  expect.equal(x:topk(2), (x:topk(2, -1, true)))
  expect.contains(help "x:sort", "x:sort(dim = -1, descending = false)")
  expect.equal(x:sort(), (x:sort(-1, false)))
  expect.contains(help "x:var", "x:var(dim = none, keepdim = false, correction = 1)")
  expect.equal(x:var(), x:var(nil, false, 1))
  expect.contains(help "x:roll", "x:roll(shift, dim = 1)")
  expect.equal(x:roll(1), x:roll(1, 1))
  expect.contains(help "x:sum", "dim = none")
  expect.equal(x:sum():item(), 14.75, "without dim all are summed")
  expect.contains(help "x:clamp", "x:clamp(min = none, max = none)")
  expect.equal(x:clamp { min = 1 }, x:clamp(1, nil))
end)

test("values", function()
  expect.equal(help(12), "a number\n")
  expect.equal(help(nil), "a nil\n")
  expect.contains(help(bam.zeros(2, 3)), { "a tensor of shape (2, 3)\n", "properties:\n", "methods:\n" })
  local closed = bam.zeros(1)
  closed:close()
  expect.contains(help(closed), "a closed tensor\n")
  expect.contains(help(), { "bam.nn ", "Functions of bam:", 'help "word" searches' })
  help(12, bam.zeros(1))
end)

local has_terminals = io.popen(": | timeout 30 script -qec 'echo works' /dev/null 2>&1"):read "a":find "works"

-- What a terminal of 10 rows shows.
local function on_terminal(command)
  local pipe = io.popen(string.format(": | timeout 60 script -qec %s /dev/null 2>&1",
                                      quoted("stty rows 10 columns 80; " .. command)))
  local text = pipe:read "a"
  pipe:close()
  return text
end

test("the pager", function()
  if not has_terminals then test.skip "no script(1), or no pseudo-terminals here" end
  local pager = string.format("PAGER=%s %s help ", quoted "sed s/^/paged:/", bamlua)
  expect.contains(on_terminal(pager .. "nn.Attention"), { "paged:bam.nn.Attention", "paged:  options" })
  expect.lacks(on_terminal(pager .. "x:neg"), "paged:", "what fits is printed")
  expect.contains(on_terminal(pager .. "x:neg"), "x:neg()")
  expect.contains(on_terminal(string.format("PAGER= %s help nn.Attention", bamlua)), "bam.nn.Attention(options)")
  expect.contains(on_terminal(string.format("PAGER=/nowhere %s help nn.Attention", bamlua)), "bam.nn.Attention(options)")
  expect.lacks(on_terminal(pager .. "nn.Attention | cat"), "paged:", "not a terminal")
end)
