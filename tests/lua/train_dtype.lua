-- bam.train's option dtype and the flag --dtype on a machine without a GPU: what they are part of, and what refuses
-- them. tests/gpu/recipe.lua trains in bf16, recipe_fp8.lua in fp8.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local small = require "tests.lua.support.small_run"
local test = require "tests.lua.support.test"

local directory = small.directory()
local cleanup <close> = setmetatable({}, { __close = function() small.remove(directory) end })

local function phases(out)
  local names = {}
  for _, path in ipairs(core.glob(string.format("%s/%s/*-????????", directory, out))) do
    names[#names + 1] = path:match "[^/]*$"
  end
  return table.concat(names, " ")
end

test("f32 is the default, and in no fingerprint", function()
  local output, fine = small.run(directory, "--only seed --out plain")
  expect.yes(fine, output)
  output, fine = small.run(directory, "--only seed --out plain --dtype f32")
  expect.yes(fine, output)
  expect.lacks(output, "step 3 of 10")
  expect.matches(phases "plain", "^seed%-%x+$")
end)

test("a CPU refuses bf16 by name, and plans it", function()
  local output, fine = small.run(directory, "--only seed --out none --dtype bf16 --device cpu")
  expect.equal(fine, false)
  expect.contains(output, "train: phase seed is to be computed in bf16, and cpu does not compute in it")
  expect.contains(output, "--dtype f32")
  expect.equal(phases "none", "")
  output, fine = small.run(directory, "--plan --dtype bf16")
  expect.yes(fine, output)
  expect.contains(output, "mixed")
end)

test("a CPU refuses fp8 by name, and plans it with the products that stay in bf16", function()
  local output, fine = small.run(directory, "--only seed --out none --dtype fp8 --device cpu")
  expect.equal(fine, false)
  expect.contains(output, "phase seed is to be computed in fp8, and cpu does not compute in it: take a GPU of compute "
                  .. "capability 8.9 or newer")
  expect.equal(phases "none", "")
  output, fine = small.run(directory, "--plan --dtype fp8")
  expect.yes(fine, output)
  local _, notes = output:gsub("in bf16", "")
  expect.equal(notes, 1)
  expect.matches(output, "mixed [^\n]*\n  in bf16, at 64 tokens: routed experts\n")
  output = small.run(directory, "--plan --dtype fp8 --set model.ffn=20 --set context=15")
  expect.contains(output, "in bf16, at 60 tokens: queries, keys and values [48, 16]; attention's output [16, 16]; "
                  .. "gate and up [40, 16]; down [16, 20]\n")
end)

test("other dtypes are refused", function()
  local output, fine = small.run(directory, "--plan --dtype bf61")
  expect.equal(fine, false)
  expect.contains(output, 'option dtype: expected "f32", "bf16" or "fp8", got the string "bf61"')
  output, fine = small.run(directory, "--plan --dtype f64")
  expect.equal(fine, false)
  expect.contains(output, 'got the string "f64"')
end)

test("a loop of one's own is told what to write", function()
  local path = directory .. "/own.lua"
  core.write_file(path, [[
    local bam = require "bam"
    local d = bam.models.parallel { layers = 1, width = 16, heads = 2, ffn = 16, vocab = 280 }
    bam.plan { name = "mine", model = d, batch = 2, context = 16, steps = 1 }]])
  for dtype, call in pairs { bf16 = 'model:to "bf16", before', fp8 = 'model:to "bf16":fp8(), before' } do
    local pipe = io.popen(string.format("'%s' %s --dtype %s 2>&1", arg[1], path, dtype))
    local output = pipe:read "a"
    expect.equal(pipe:close(), nil)
    expect.contains(output, call)
  end
end)
