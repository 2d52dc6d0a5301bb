-- Tab at options: keys of nested tables, and the strings that an option takes.
local bam = require "bam"
local complete = require "bam.repl.complete"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

rawset(_G, "bam", bam) -- what the completed texts name
rawset(_G, "x", bam.zeros(2))
rawset(_G, "layer", bam.nn.Linear(2, 2))

local DTYPES = "bf16 bool f16 f32 f64 i32 i64 u8"

local CASES = {
  -- values
  ['bam.train { optimizer = "'] = "adamw lion muon sgd", ['bam.train { optimizer = "mu'] = "muon",
  ['bam.train { optimizer = { "'] = "adamw lion muon sgd",
  ['bam.train { name = "a", continue = "'] = "optimizer run weights", ["bam.train { continue = 'o"] = "optimizer",
  ['bam.mix { attention = { kv = "'] = "own shared", ['bam.mix { attention = { routing = "'] = "soft",
  ['bam.mix { merge = "'] = "average dare slerp task_arithmetic ties", ['bam.models.parallel { norm = "'] = "layer rms",
  ['bam.corpus({}, { format = "'] = "jsonl text",
  ['bam.zeros(2, { dtype = "'] = DTYPES, ['x:to "'] = DTYPES, ['x:to("f'] = "f16 f32 f64",
  ['bam.nn.Linear(2, 3, { dtype = "'] = DTYPES,
  -- keys
  ["bam.train { freeze = { "] = "experts rest routers", ["bam.train { freeze = { routers = true, re"] = "rest",
  ["bam.mix { ffn = { top"] = "top_k", ["bam.mix { attention = { k"] = "kv",
  ['bam.train { optimizer = { "muon", mom'] = "momentum", ['bam.mix { merge = { "ties", '] = "density scale weights",
  ["bam.nn.Linear(2, 3, { bi"] = "bias", ["bam.compare { x, b"] = "base", ["bam.softmax(x, { "] = "dim",
}
for text, want in pairs(CASES) do
  test(text, function() expect.equal(table.concat(complete(text), " "), want) end)
end

test("keys of a table, and what help knows", function()
  rawset(_G, "state", { ["1.weight"] = 1, ["1.bias"] = 2, ["2.weight"] = 3 })
  expect.equal(complete 'print(state["1.', { "1.bias", "1.weight" })
  expect.equal(complete "state['2", { "2.weight" })
  expect.equal(complete 'help "bam.cross', { "bam.cross_entropy" })
  expect.equal(complete 'help("x:chu', { "x:chunk" })
end)

test("domains of a text", function()
  rawset(_G, "text", bam.corpus({ law = "law.txt", code = "code.txt" }, { vocab = 300 }))
  expect.equal(complete "bam.train { data = text:sample { ", { "code", "law" })
  expect.equal(complete "text:sample { code = 1, l", { "law" })
end)

test("devices", function()
  local names = {}
  for i, device in ipairs(core.devices()) do names[i] = device.name end
  table.sort(names)
  for _, text in ipairs { 'bam.device "', 'x:to("f32", "', 'bam.zeros(2, { device = "' } do
    expect.equal(complete(text), names, text)
  end
end)

test("an option of one's own optimizer", function()
  bam.optim.define { name = "Mine", options = { lr = { "rate", 1e-3 }, speed = { "rate", 1 } }, update = function() end }
  expect.equal(complete 'bam.train { optimizer = "mi', { "mine" })
  expect.equal(complete 'bam.train { optimizer = { "mine", sp', { "speed" })
end)

test("other strings are names of files, other tables have names", function()
  expect.equal(complete 'bam.load("tests/lua/repl_opt', { "repl_options.lua" })
  expect.equal(complete 'bam.train { model = "tests/lua/repl_opt', { "repl_options.lua" })
  expect.equal(complete 'bam.train { optimizer = "tests/lua/repl_opt', { "repl_options.lua" }, "no such value")
  expect.equal(complete "bam.mix { experts = { lay", { "layer" })
  expect.equal(complete "bam.train { data = lay", { "layer" })
  expect.equal(complete "unknown { a = { lay", { "layer" })
end)
