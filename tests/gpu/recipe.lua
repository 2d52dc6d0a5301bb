-- A small recipe on "cuda": its losses are those of the CPU, it is the same twice, and a run that was interrupted ends
-- with the same bits, with graphs and without. In bf16 its losses are within 1 % of those in f32, and it resumes to the
-- bit, too; recipe_fp8.lua trains it in fp8. Run by tests/gpu/window.sh on a GPU, and over the shim of tests/simt.
local core = require "bam.core"
local small = dofile "tests/lua/support/small_run.lua"

local TOLERANCE = 2e-3 -- of a loss, after steps that amplify what f32 sums in another order

-- Digests of what the optimizers of finished phases keep: the low halves of masters among it.
local function states(directory, out)
  local digests = {}
  for _, phase in ipairs { "seed", "experts/law", "mixed" } do
    local file = core.glob(string.format("%s/step-*10/training.safetensors", small.phase(directory, phase, out)))[1]
    digests[phase] = core.hash_file(file)
  end
  return digests
end

local function run(directory, flags, before)
  local output, fine = small.run(directory, flags, before)
  assert(fine, output)
  return output
end

-- The losses of all phases in two directories differ by at most tolerance(loss).
local function compare(directory, one, other, tolerance)
  for _, phase in ipairs { "seed", "experts/law", "mixed" } do
    local here, there = small.losses(directory, phase, one), small.losses(directory, phase, other)
    assert(#here == 10 and #there == 10, phase)
    for step = 1, #here do
      assert(math.abs(here[step] - there[step]) <= tolerance(here[step]),
             string.format("%s, step %d: %.6f in %s, %.6f in %s", phase, step, here[step], one, there[step], other))
    end
  end
end

local directory = small.directory()
run(directory, "--device cpu --out cpu")
run(directory, "--device cuda --out cuda")
compare(directory, "cpu", "cuda", function() return TOLERANCE end)

run(directory, "--device cuda --out twice", "export BAMLUA_GRAPHS=0;") -- and without graphs
small.assert_same(small.digests(directory, "cuda"), small.digests(directory, "twice"))

-- Stopped amid each phase: what remains is done by another process.
core.write_file(string.format("%s/recipe.lua", directory), small.STOPPING)

-- The same run, stopped and resumed after each given number of steps, with graphs and without in turns; the last piece
-- goes to the end.
local function run_in_parts(flags, pieces)
  for i, steps in ipairs(pieces) do
    small.run_and_stop(directory, flags, steps, string.format("BAMLUA_GRAPHS=%d", i % 2))
  end
  local output = run(directory, flags)
  assert(not output:find("seed  step", 1, true), output)
end

run_in_parts("--device cuda --out parts", { 4, 5, 7, 3 })
small.assert_same(small.digests(directory, "cuda"), small.digests(directory, "parts"))

-- With the fastest algorithms of products: measured once, the same twice, resumed and audited.
run(directory, "--device cuda --out tuned --tune algorithms.json")
compare(directory, "cpu", "tuned", function() return TOLERANCE end)
run_in_parts("--device cuda --out tuned_parts --tune algorithms.json", { 8, 9 })
small.assert_same(small.digests(directory, "tuned"), small.digests(directory, "tuned_parts"))

-- In bf16: other phases, whose optimizers keep the rest of the masters.
local flags = "--device cuda --dtype bf16 --out %s"
run(directory, flags:format "bf16")
compare(directory, "cuda", "bf16", function(loss) return 0.01 * loss end)
run_in_parts(flags:format "parts16", { 4, 8, 7 })
small.assert_same(small.digests(directory, "bf16"), small.digests(directory, "parts16"))
small.assert_same(states(directory, "bf16"), states(directory, "parts16"))
for _, out in ipairs { "--out cuda", "--out tuned", "--out bf16 --dtype bf16" } do -- their last steps again
  local _, times = run(directory, "--audit --device cuda " .. out):gsub("trained again, give the same bits", "")
  assert(times == 3, out)
end

local output, fine = small.run(directory, "--device cpu --dtype bf16 --out refused")
assert(not fine and output:find("cpu does not compute in it: take a GPU, --device cuda", 1, true), output)
small.remove(directory)
