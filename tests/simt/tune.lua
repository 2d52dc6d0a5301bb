-- --tune over the shim: the algorithms of a run are measured, kept in a file and in checkpoints, and used again, so that
-- runs repeat and resume to the bit although what is fastest differs from time to time.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local small = dofile "tests/lua/support/small_run.lua"
local test = require "tests.lua.support.test"

-- The first phase of the small recipe, which can be stopped after some steps, or meddle with the setting.
local recipe = small.RECIPE:gsub("local law = train.*$", ""):gsub("local function train%(phase%)", [[
local left = tonumber(os.getenv "BAMLUA_STOP") or math.huge
local function on_step()
  left = left - 1
  if left < 0 then os.exit(7) end
  local meddle = os.getenv "BAMLUA_MEDDLE"
  if meddle then bam.tune(meddle) end
end
%0
  phase.on_step = on_step]])
local directory = small.directory(recipe)
local program = core.absolute(arg[1])

-- What is fastest: sums in order, or in two parts, whose bits differ; the last one has no repeatable bits.
local IN_ORDER, SPLIT = "5 8:split 1:wild", "8 5:split 1:wild"

local function run(offers, flags, settings)
  return small.run(directory, "--device cuda " .. flags,
                   string.format("export BAMLUA_SIMT=1 BAMLUA_SIMT_ALGORITHMS='%s' %s;", offers, settings or ""))
end

local function fine(...)
  local output, ok = run(...)
  expect.yes(ok, output)
  return output
end

local function stopped(offers, flags, steps)
  local output, ok = run(offers, flags, "BAMLUA_STOP=" .. steps)
  expect.no(ok, output)
  expect.lacks(output, "bamlua:") -- no error
end

local function digest(out)
  local place = small.phase(directory, "seed", out)
  return core.hash_file(place .. "/step-00000010/model.safetensors")
end

local function state(out) return bam.json.read(small.phase(directory, "seed", out) .. "/step-00000010/training.json") end

fine(IN_ORDER, "--out plain")
fine(SPLIT, "--out tuned --tune table.json")
local TABLE = directory .. "/table.json"
local kept = core.read_file(TABLE)

test("without --tune the first proposal is taken, whatever is faster", function()
  fine(SPLIT, "--out plain2")
  expect.equal(digest "plain2", digest "plain")
  expect.equal(state("plain").algorithms, nil)
  expect.equal(state("plain").machine.algorithms, "proposed")
  expect.equal(state("plain").machine.products, "cuBLASLt 13.1.0")
end)

test("with --tune the fastest is, which the checkpoint records", function()
  expect.different(digest "tuned", digest "plain")
  expect.equal(state("tuned").machine.algorithms, "measured")
  local list = state("tuned").algorithms
  expect.compare(#list, ">", 10)
  for _, x in ipairs(list) do
    expect.equal({ x.rank, x.ms, x.first_ms }, { 2, 5.0, 8.0 }, x.product)
    expect.no(x.product:find "%[256, 256%]", "the product that the progress display measures")
  end
end)

test("the file makes another run the same, though other algorithms are faster now", function()
  fine(IN_ORDER, "--out again --tune table.json")
  expect.equal(digest "again", digest "tuned")
  expect.equal(core.read_file(TABLE), kept)
end)

test("without the file it is measured anew", function()
  fine(IN_ORDER, "--out other --tune other.json")
  expect.equal(digest "other", digest "plain") -- whose first is the fastest
end)

test("a run that is stopped and resumed takes what it has recorded", function()
  stopped(SPLIT, "--out parts --tune parts.json", 4)
  os.remove(directory .. "/parts.json")
  stopped(IN_ORDER, "--out parts --tune parts.json", 3)
  local output = fine(IN_ORDER, "--out parts") -- and without --tune
  expect.equal(digest "parts", digest "tuned")
  expect.contains(output, "made with algorithms measured, and it continues with proposed")
  expect.equal(state("parts").machine.algorithms, "proposed")
  -- the second run has put what was recorded into its file
  local table = bam.json.read(directory .. "/parts.json")
  for _, list in pairs(table.machines) do
    for _, x in ipairs(list) do expect.equal(x.rank, 2, x.product) end
  end
end)

test("a run that is stopped before its first checkpoint takes what the file has", function()
  stopped(SPLIT, "--out early --tune early.json", 1)
  expect.equal(#core.glob(small.phase(directory, "seed", "early") .. "/step-*"), 0)
  fine(IN_ORDER, "--out early --tune early.json")
  expect.equal(digest "early", digest "tuned")
end)

test("the record is worth more than the file, and what differs is said", function()
  stopped(SPLIT, "--out both --tune both.json", 4)
  os.remove(directory .. "/both.json")
  fine(IN_ORDER, "--out unused --tune both.json")
  local output = fine(IN_ORDER, "--out both --tune both.json")
  expect.matches(output, "both.json has other algorithms of %d+ products than this run has used so far; it keeps its own")
  expect.lacks(output, "another process")
  expect.equal(digest "both", digest "tuned")
end)

test("another library or kind of device: nothing is taken over, and that is said", function()
  stopped(SPLIT, "--out moved --tune moved.json", 4)
  local output = run(IN_ORDER, "--out moved --tune moved.json", "BAMLUA_SIMT_NAME=other BAMLUA_STOP=3")
  expect.contains(output, "made with device SIMT shim, compute capability 9.0, 4 multiprocessors, and it continues with "
                          .. "other, compute capability 9.0")
  output = fine(IN_ORDER, "--out moved --tune moved.json", "BAMLUA_SIMT_BLAS_VERSION=130205")
  expect.contains(output, "made with products cuBLASLt 13.1.0, and it continues with cuBLASLt 13.2.5")
  expect.lacks(output, "has other algorithms")
  for _, x in ipairs(state("moved").algorithms) do expect.equal(x.rank, 1, x.product) end
  local machines = {}
  for name, list in pairs(bam.json.read(directory .. "/moved.json").machines) do
    machines[#machines + 1] = string.format("%s, %s %d", name:match "^[^,]+", name:match "cuBLASLt.*", list[1].rank)
  end
  table.sort(machines)
  expect.equal(machines, { "SIMT shim, cuBLASLt 13.1.0 2", "SIMT shim, cuBLASLt 13.2.5 1", "other, cuBLASLt 13.1.0 1" })
end)

test("--audit trains the last steps again with the recorded algorithms", function()
  local output = fine(IN_ORDER, "--out tuned --audit")
  expect.contains(output, "trained again, give the same bits")
  output = fine(IN_ORDER, "--out tuned --audit", "BAMLUA_SIMT_BLAS_VERSION=130205")
  expect.contains(output, "no step was trained again, because bits may differ here: it was trained with products "
                          .. "cuBLASLt 13.1.0, and this is cuBLASLt 13.2.5")
end)

test("a record that was changed is found by the audit", function()
  local path = small.phase(directory, "seed", "again") .. "/step-00000010/training.json"
  local text = core.read_file(path)
  core.write_file(path, (text:gsub('"rank": 2', '"rank": 1', 1)))
  local output, ok = run(IN_ORDER, "--out again --audit")
  expect.no(ok, output)
  expect.contains(output, "training.json is damaged: its digest does not match the manifest")
  core.write_file(path, text)
end)

test("a damaged file is reported and left alone", function()
  local path = directory .. "/damaged.json"
  for _, text in ipairs { (kept:gsub('"rank": 2', '"rank": 1', 1)), kept:sub(1, 100), "{}" } do
    core.write_file(path, text)
    local output, ok = run(SPLIT, "--out damaged --tune damaged.json")
    expect.no(ok, output)
    expect.matches(output, "%-%-tune: .*damaged.json [%w ]+:? ?.*; restore it, or delete it to measure again")
    expect.equal(core.read_file(path), text)
    expect.equal(#core.glob(directory .. "/damaged/seed-*/step-*"), 0)
  end
end)

test("--tune is refused where there is nothing to choose", function()
  local output, ok = small.run(directory, "--device cpu --out cpu --tune table.json")
  expect.no(ok, output)
  expect.contains(output, "--tune: products on cpu have one implementation, so there is nothing to measure; take a GPU, "
                          .. "--device cuda")
end)

test("a callback must not change it", function()
  local output, ok = run(SPLIT, "--out meddled --tune table.json", "BAMLUA_MEDDLE=table.json")
  expect.no(ok, output)
  expect.contains(output, "changed bam.tune")
end)

-- A script without bam.train, in a process of its own.
local function script(text)
  local path = directory .. "/script.lua"
  core.write_file(path, "local bam, core = require 'bam', require 'bam.core'\n" .. text)
  local pipe = io.popen(string.format("cd '%s' && BAMLUA_SIMT=1 BAMLUA_SIMT_ALGORITHMS='%s' '%s' script.lua 2>&1",
                                      directory, SPLIT, program))
  local output = pipe:read "a"
  expect.yes(pipe:close(), output)
  return output
end

test("bam.tune in a script, and two processes with one file", function()
  local output = script [[
    bam.device "cuda"
    assert(bam.tune() == nil)
    bam.tune "script.json"
    local a, b = bam.randn(9, 300), bam.randn(300, 8)
    bam.matmul(a, b)
    assert(core.product_algorithms()[1].rank == 2)
    assert(bam.tune():find "script.json$")
    -- another process, which was faster to write another choice for the next product
    local algorithm_table = require "bam.train.algorithm_table"
    local path, kept = bam.tune(), core.product_algorithms()[1]
    local machine = next(bam.json.read(path).machines)
    bam.matmul(a, bam.randn(300, 7))
    local other = core.product_algorithms()[2]
    other.algorithm = kept.algorithm
    assert(algorithm_table.add(path, machine, { other }) == 0)
    bam.tune()
    assert(#algorithm_table.read(path, machine) == 2)
    assert(algorithm_table.by_product(algorithm_table.read(path, machine))[other.product].algorithm == kept.algorithm)
    -- a call that fails changes nothing
    core.write_file("broken.json", "{")
    for _, bad in ipairs { "broken.json", true, 1 } do
      assert(not pcall(bam.tune, bad) and bam.tune() == path and #core.product_algorithms() == 2)
    end
    bam.tune(false)
    bam.matmul(a, b)
    assert(bam.tune() == nil and #core.product_algorithms() == 0)
    bam.tune "script.json"
    bam.matmul(a, b)
    assert(#core.product_algorithms() == 2)
    -- a phase keeps its record of products that have not come again
    local tuning = require "bam.train.tuning"
    kept.product = "of another size"
    local leave = tuning.enter { machine = require("bam.train.machine").identity(), algorithms = { kept } }
    assert(#core.product_algorithms() == 3 and #tuning.record() == 1 and tuning.record()[1].product == kept.product)
    leave()
    assert(tuning.record() == nil)
    print "kept"]]
  expect.contains(output, "\nkept\n")
  expect.matches(output, "^warning: .*script.json: another process has measured other algorithms of 1 products meanwhile")
end)

small.remove(directory)
