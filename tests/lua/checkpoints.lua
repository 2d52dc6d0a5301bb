-- Checkpoint directories as a script meets them: paths, what is saved over what, precision, phases
-- that load when they are asked; and hostile ones: whatever config.json and the index say, loading
-- gives a model or an error, soon, and leaves nothing behind.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local DIR = os.tmpname()
os.remove(DIR)
local cleanup <close> = setmetatable({}, { __close = function()
  os.execute(string.format("rm -rf '%s'", DIR))
end })
local function within(name) return string.format("%s/%s", DIR, name) end

assert(os.execute(string.format("mkdir '%s'", DIR)))

local SMALL = bam.models.parallel {
  layers = 2, width = 8, heads = 2, kv_heads = 1, ffn = 6, vocab = 11, std = 0.3,
}
local ids = bam.randint(0, 10, 2, 5)
local first, second = SMALL:build { seed = 1 }, SMALL:build { seed = 2 }
local mixed = bam.mix { experts = { first, second }, attention = { routing = 1 } }:build()
local function loss(model) return model:loss(ids, ids):item() end

test("paths, and saving over what is there", function()
  local relative = DIR:match "[^/]+$" -- beside the directory the test was started in
  for _, path in ipairs { within "a", within "a/", within "deep/down//b", relative } do
    first:save(path)
    first:save(path)
    expect.equal(loss(bam.load(path)), loss(first), path)
    expect.equal(loss(bam.load(path .. "/")), loss(first), path)
  end
  os.execute(string.format("rm -r '%s'", relative))
  core.make_directory(within "empty")
  first:save(within "empty")
  core.make_directory(within "others")
  core.write_file(within "others/notes.txt", "mine")
  local ok, message = pcall(first.save, first, within "others")
  expect.no(ok, message)
  expect.contains(message, "nothing was changed")
  expect.equal(table.concat(core.list_directory(within "others"), " "), "notes.txt",
               "a directory of something else")
  for _, name in ipairs(core.list_directory(DIR)) do
    expect.lacks(name, ".tmp-", "a failed save left its files")
  end
end)

test("precision", function()
  local model = SMALL:build { seed = 1, dtype = "f64" }
  local converted = SMALL:build { seed = 1 }:to "f64"
  expect.equal(converted:loss(ids, ids).dtype, "f64", "dtype of the loss")
  for name, m in pairs { built = model, converted = converted } do
    m:save(within(name))
    local loaded = bam.load(within(name))
    expect.equal(loaded.embed.weight.dtype, "f64", "f64 comes back as f64")
    expect.equal(loss(loaded), loss(m), name)
    expect.equal(bam.load(within(name), { dtype = "f32" }).embed.weight.dtype, "f32", "unless told")
  end
end)

test("what loading leaves behind: nothing", function()
  mixed:save(within "mixed")
  local before = core.random_state()
  local model = bam.load(within "mixed")
  expect.equal(core.random_state()[2], before[2], "loading draws random numbers")
  expect.equal(loss(model), loss(mixed), "and gives the same routers")
  -- its description can be built anew: with random weights, not with none
  local again = model.description:build { seed = 3 }
  expect.compare(again.layers[1].ffn.down:abs():max():item(), ">", 0, "a model without weights")
end)

test("phases load when a mixture is built, and are let go afterwards", function()
  second:save(within "phase")
  local phase, loads = { description = SMALL }, 0
  function phase.load()
    loads = loads + 1
    phase.last = phase.kept or bam.load(within "phase")
    return phase.last
  end
  local d = bam.mix { experts = { first, phase } }
  expect.equal(loads, 0, "loads before it is built")
  local want = loss(bam.mix { experts = { first, second } }:build())
  expect.equal(loss(d:build()), want, "experts of a phase")
  expect.equal(loads, 1, "loads")
  expect.yes(d:report { data = { text = ids } }.losses.text)
  expect.equal(loss(phase.last), loss(second), "the phase's model still lives")
  local weak = setmetatable({ phase.last }, { __mode = "v" })
  phase.last = nil
  collectgarbage()
  collectgarbage()
  expect.equal(weak[1], nil, "the description keeps its model")
  phase.kept = SMALL:build { seed = 2 }
  phase.kept.tokenizer_json = "{}" -- found only when it is loaded
  local ok, message = pcall(d.build, d)
  expect.no(ok, message)
  expect.contains(message, "expert 2's model and expert 1 have different tokenizers")
  expect.equal(bam.mix { experts = { phase, phase } }:build().tokenizer_json, "{}", "the tokenizer of a phase")
end)

-- ---- hostile directories ----

local VALUES = {
  0, -1, 1, 2, 3, 64, 1.5, 1e308, 1e-300, 2147483647, math.maxinteger, math.mininteger, true, false,
  bam.json.null, "", "own", "shared", "soft", "bam", "cohere", "x y", "../a",
  bam.json.array {}, {}, { 1 }, { bam.json.null }, { "ffn" }, { "attention" }, { { "attention" } },
  { rope_type = bam.json.null }, { rope_type = "default", rope_theta = -1 }, { rope_type = 3 },
}
local ROUTERS = { attention = bam.nn.Router, ffn = bam.nn.Router }

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- `count` times, change up to 3 fields of `pick(the JSON in the file)`, and load.
local function mutate(directory, name, count, pick)
  local path = string.format("%s/%s", directory, name)
  local text, names, models = core.read_file(path), {}, 0
  for key in pairs(pick(bam.json.decode(text))) do names[#names + 1] = key end
  table.sort(names)
  for i = 1, count do
    local value = bam.json.decode(text)
    for _ = 1, math.random(3) do
      pick(value)[names[math.random(#names)]] = VALUES[math.random(#VALUES)]
    end
    local changed = bam.json.encode(value)
    write(path, changed)
    local state, start = core.random_state()[2], core.clock()
    local ok, result = pcall(bam.load, directory, i % 2 == 0 and { routers = ROUTERS } or nil)
    models = models + (ok and 1 or 0)
    expect.yes(ok or type(result) == "string" and result:find(directory, 1, true), changed)
    expect.compare(core.clock() - start, "<", 2, changed)
    expect.equal(core.random_state()[2], state, changed)
    expect.yes(core.is_recording(), changed)
    result = nil
  end
  write(path, text)
  expect.compare(models, "<", count)
  expect.yes(bam.load(directory))
  return models
end

test("a damaged config.json or index gives a model or an error", function()
  math.randomseed(1)
  first:save(within "dense")
  mixed:save(within "shards", { shard_bytes = 2000 })
  collectgarbage()
  collectgarbage()
  local before = core.memory()
  local function all(config) return config end
  local models = mutate(within "dense", "config.json", 700, all)
    + mutate(within "mixed", "config.json", 1500, all)
  expect.compare(models, ">", 100, "hardly anything loads: the test tests little")
  local function map_of(index) return index.weight_map end
  expect.equal(mutate(within "shards", "model.safetensors.index.json", 300, map_of), 0, "models of a damaged index")
  collectgarbage()
  collectgarbage()
  expect.equal(core.memory().live, before.live, "tensors left behind")
  expect.compare(core.memory().peak, "<", 1e8, "a damaged config.json took much memory")
end)

