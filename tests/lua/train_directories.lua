-- A mixture of models that another program wrote trains without any phase before it, and without a
-- recipe's knowledge of their sizes; and the finished phase loads as a model that samples.
local core = require "bam.core"
local small = require "tests.lua.support.small_run"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local directory
local cleanup <close> = setmetatable({}, { __close = function() small.remove(directory) end })

test("a mixture of foreign models trains and samples", function()
  local RECIPE = [[
local bam = require "bam"
local opt = bam.options { batch = 4, context = 16 }
local text = bam.corpus({ law = "law.txt", general = "general.txt" },
                        { vocab = 280, heldout = 0.3 })
local experts = {}
for i = 1, 4 do experts[i] = string.format("%s/%d", EXPERTS, i) end
local mixed = bam.train {
  name = "mixed", lr = 1e-2, tokens = 30 * 64, data = text:sample { general = 1, law = 1 },
  model = bam.mix { experts = experts, attention = { kv = "own" } } }
local model = mixed:load()
assert(#model:sample("the river ", { tokens = 5, seed = 1 }) > 10)
local result = bam.evaluate(model, text.heldout)
print("from", bam.evaluate(bam.load(experts[1]), text.heldout).average.perplexity)
print("to", result.average.perplexity)
]]

  directory = small.directory((RECIPE:gsub("EXPERTS", string.format("%q",
                                                  core.absolute "tests/golden/experts"))))
  local output, fine = small.run(directory)
  expect.yes(fine, output)
  local from = tonumber(output:match "from%s+(%S+)")
  local to = tonumber(output:match "to%s+(%S+)")
  expect.compare(to, "<", 0.5 * from, output)
end)
