-- `make bits BASE=PROGRAM`: does this program train the same weights, to the bit, as an older one? For refactorings.
--
--     bamlua tests/bits/compare.lua PROGRAM BASE [RECIPE]
--
-- Runs a recipe (tests/lua/support/small_run.lua's unless told) with BASE and with PROGRAM, on one thread, and compares
-- the weights and fingerprints of all phases. Then PROGRAM runs again where BASE has trained: it must find every phase
-- finished. tests/bits/demo.lua is the demo of version 0.1.0; it takes minutes.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local small = require "tests.lua.support.small_run"
local test = require "tests.lua.support.test"

local PROGRAM, BASE, RECIPE = arg[1], arg[2], arg[3]
if not BASE or BASE == "" then
  io.stderr:write "bits: which program is it compared with? make bits BASE=PROGRAM, an older build/bamlua\n"
  os.exit(2)
end

local function directory()
  return small.directory(RECIPE and core.read_file(RECIPE))
end

local function train(place, program)
  local command = string.format("cd '%s' && '%s' recipe.lua --cache cache --threads 1 >>output 2>&1", place,
                                core.absolute(program))
  if not os.execute(command) then
    error(string.format("%s failed:\n%s", program, core.read_file(place .. "/output")), 0)
  end
end

-- Digests of weights by path below `place`: every checkpoint, in directories named after fingerprints.
local function weights(place)
  local digests, count = {}, 0
  for _, pattern in ipairs { "%s/runs/*-????????/step-*/model.safetensors",
                             "%s/runs/*/*-????????/step-*/model.safetensors" } do
    for _, path in ipairs(core.glob(string.format(pattern, place))) do
      digests[path:sub(#place + 2)], count = core.hash_file(path), count + 1
    end
  end
  expect.yes(count > 0, "no weights in " .. place)
  return digests
end

local before, after = directory(), directory()
train(before, BASE)
train(after, PROGRAM)
local reference = weights(before)

test("the same fingerprints and weights", function()
  local now = weights(after)
  for path, digest in pairs(reference) do expect.equal(now[path], digest, path) end
  for path in pairs(now) do expect.yes(reference[path], path) end
end)

test("phases trained by the older program are found", function()
  train(before, PROGRAM)
  local now = weights(before)
  for path in pairs(now) do expect.yes(reference[path], path) end
end)

small.remove(before)
small.remove(after)
