-- A small recipe in fp8 on "cuda": the losses of all phases are within 2 % of those in bf16, and a run that was
-- interrupted ends with the same bits, as does an audit. Run by tests/gpu/window.sh on a GPU, and over the shim of tests/simt.
local core = require "bam.core"
local small = dofile "tests/lua/support/small_run.lua"

local FLAGS = "--device cuda --dtype %s --out %s"

local directory = small.directory(small.STOPPING)

local function run(dtype, out, more)
  local output, fine = small.run(directory, string.format(FLAGS, dtype, out) .. (more or ""))
  assert(fine, output)
  return output
end

run("bf16", "bf16")
run("fp8", "fp8")
for _, phase in ipairs { "seed", "experts/law", "mixed" } do
  local narrow, losses = small.losses(directory, phase, "bf16"), small.losses(directory, phase, "fp8")
  assert(#narrow == 10 and #losses == 10, phase)
  for step = 1, 10 do
    assert(math.abs(losses[step] / narrow[step] - 1) < 0.02,
           string.format("%s, step %d: %.6f in fp8, %.6f in bf16", phase, step, losses[step], narrow[step]))
  end
end

-- Scales are found anew in each step: no phase has more to resume than the first one.
small.run_and_stop(directory, string.format(FLAGS, "fp8", "parts") .. " --only seed", 4)
run("fp8", "parts", " --only seed")
local function seed(out) return small.digest(directory, "seed", out) end
assert(seed "fp8" == seed "parts" and seed "fp8" ~= seed "bf16")
local audit = run("fp8", "parts", " --only seed --audit")
assert(audit:find("trained again, give the same bits", 1, true), audit)

local output, fine = small.run(directory, string.format(FLAGS, "fp8", "refused") .. " --device cpu")
assert(not fine and output:find("cpu does not compute in it: take a GPU of compute capability 8.9", 1, true), output)
assert(#core.glob(directory .. "/refused/*") == 0)
small.remove(directory)
