-- A small recipe on "cuda": its losses are those of the CPU, it is the same twice, and a run that
-- was interrupted ends with the same bits. Run by tests/gpu/check.sh on a GPU, and over the shim of
-- tests/simt.
local core = require "bam.core"
local json = require "bam.util.json"
local small = dofile "tests/lua/support/small_run.lua"

local TOLERANCE = 2e-3 -- of a loss, after steps that amplify what f32 sums in another order

-- The losses of the steps of a phase, as metrics.jsonl has them.
local function losses(directory, phase, out)
  local list = {}
  local path = string.format("%s/metrics.jsonl", small.phase(directory, phase, out))
  for line in core.read_file(path):gmatch "[^\n]+" do
    local record = json.decode(line)
    if record.loss then list[#list + 1] = record.loss end
  end
  return list
end

local function run(directory, flags)
  local output, fine = small.run(directory, flags)
  assert(fine, output)
  return output
end

local directory = small.directory()
run(directory, "--device cpu --out cpu")
run(directory, "--device cuda --out cuda")
for _, phase in ipairs { "seed", "experts/law", "mixed" } do
  local here, there = losses(directory, phase, "cpu"), losses(directory, phase, "cuda")
  assert(#here == 10 and #there == 10, phase)
  for step = 1, #here do
    local difference = math.abs(here[step] - there[step])
    assert(difference <= TOLERANCE, string.format("%s, step %d: %.6f on the CPU, %.6f on cuda",
                                                  phase, step, here[step], there[step]))
  end
end

run(directory, "--device cuda --out twice")
small.assert_same(small.digests(directory, "cuda"), small.digests(directory, "twice"))

-- Stopped amid each phase: what remains is done by another process.
local recipe = small.RECIPE:gsub("local function train%(phase%)", [[
local left = tonumber(os.getenv "BAMLUA_STOP") or math.huge
local function on_step()
  left = left - 1
  if left < 0 then os.exit(7) end
end
%0
  phase.on_step = on_step]])
core.write_file(string.format("%s/recipe.lua", directory), recipe)
for _, steps in ipairs { 4, 5, 7, 3 } do
  local output, fine = small.run(directory, "--device cuda --out parts",
                                 string.format("export BAMLUA_STOP=%d;", steps))
  assert(not fine and output:find "step %d+ of 10", output)
end
local output = run(directory, "--device cuda --out parts")
assert(not output:find("seed  step", 1, true), output)
small.assert_same(small.digests(directory, "cuda"), small.digests(directory, "parts"))
small.remove(directory)
