-- Checkpoint directories as a script meets them: paths, what is saved over what, precision, phases
-- that load when they are asked; and hostile ones: whatever config.json and the index say, loading
-- gives a model or an error, soon, and leaves nothing behind.
local bam = require "bam"
local core = require "bam.core"

local DIR = os.tmpname()
os.remove(DIR)
assert(os.execute(string.format("mkdir '%s'", DIR)))
local cleanup <close> = setmetatable({}, { __close = function()
  os.execute(string.format("rm -rf '%s'", DIR))
end })
local function within(name) return string.format("%s/%s", DIR, name) end

local function equal(what, got, want)
  assert(got == want, string.format("%s: %s, not %s", what, tostring(got), tostring(want)))
end

local SMALL = bam.models.parallel {
  layers = 2, width = 8, heads = 2, kv_heads = 1, ffn = 6, vocab = 11, std = 0.3,
}
local ids = bam.randint(0, 10, 2, 5)
local first, second = SMALL:build { seed = 1 }, SMALL:build { seed = 2 }
local mixed = bam.mix { experts = { first, second }, attention = { routing = 1 } }:build()
local function loss(model) return model:loss(ids, ids):item() end

-- ---- paths, and saving over what is there ----

do
  local relative = DIR:match "[^/]+$" -- beside the directory the test was started in
  for _, path in ipairs { within "a", within "a/", within "deep/down//b", relative } do
    first:save(path)
    first:save(path)
    equal(path, loss(bam.load(path)), loss(first))
    equal(path, loss(bam.load(path .. "/")), loss(first))
  end
  os.execute(string.format("rm -r '%s'", relative))
  core.make_directory(within "empty")
  first:save(within "empty")
  core.make_directory(within "others")
  core.write_file(within "others/notes.txt", "mine")
  local ok, message = pcall(first.save, first, within "others")
  assert(not ok and message:find("nothing is lost", 1, true), message)
  equal("a directory of something else", table.concat(core.list_directory(within "others"), " "),
        "notes.txt")
  for _, name in ipairs(core.list_directory(DIR)) do
    assert(not name:find(".tmp-", 1, true), "a failed save left its files")
  end
end

-- ---- precision ----

do
  local model = SMALL:build { seed = 1, dtype = "f64" }
  local converted = SMALL:build { seed = 1 }:to "f64"
  equal("dtype of the loss", converted:loss(ids, ids).dtype, "f64")
  for name, m in pairs { built = model, converted = converted } do
    m:save(within(name))
    local loaded = bam.load(within(name))
    equal("f64 comes back as f64", loaded.embed.weight.dtype, "f64")
    equal(name, loss(loaded), loss(m))
    equal("unless told", bam.load(within(name), { dtype = "f32" }).embed.weight.dtype, "f32")
  end
end

-- ---- what loading leaves behind: nothing ----

do
  mixed:save(within "mixed")
  local before = core.random_state()
  local model = bam.load(within "mixed")
  equal("loading draws random numbers", core.random_state()[2], before[2])
  equal("and gives the same routers", loss(model), loss(mixed))
  -- its description can be built anew: with random weights, not with none
  local again = model.description:build { seed = 3 }
  assert(again.layers[1].ffn.down:abs():max():item() > 0, "a model without weights")
end

-- ---- phases load when a mixture is built, and are let go afterwards ----

do
  second:save(within "phase")
  local phase, loads = { description = SMALL }, 0
  function phase.load()
    loads = loads + 1
    phase.last = phase.kept or bam.load(within "phase")
    return phase.last
  end
  local d = bam.mix { experts = { first, phase } }
  equal("loads before it is built", loads, 0)
  local want = loss(bam.mix { experts = { first, second } }:build())
  equal("experts of a phase", loss(d:build()), want)
  equal("loads", loads, 1)
  assert(d:report { data = { text = ids } }.losses.text)
  equal("the phase's model still lives", loss(phase.last), loss(second))
  local weak = setmetatable({ phase.last }, { __mode = "v" })
  phase.last = nil
  collectgarbage()
  collectgarbage()
  equal("the description keeps its model", weak[1], nil)
  phase.kept = SMALL:build { seed = 2 }
  phase.kept.tokenizer_json = "{}" -- found only when it is loaded
  local ok, message = pcall(d.build, d)
  assert(not ok and message:find("expert 2's model has another tokenizer than expert 1", 1, true),
         message)
  equal("the tokenizer of a phase",
        bam.mix { experts = { phase, phase } }:build().tokenizer_json, "{}")
end

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
    assert(ok or type(result) == "string" and result:find(directory, 1, true), changed)
    assert(core.clock() - start < 2, changed)
    assert(core.random_state()[2] == state and core.is_recording(), changed)
    result = nil
  end
  write(path, text)
  assert(models < count and bam.load(directory))
  return models
end

do
  math.randomseed(1)
  first:save(within "dense")
  mixed:save(within "shards", { shard_bytes = 2000 })
  collectgarbage()
  collectgarbage()
  local before = core.memory()
  local function all(config) return config end
  local models = mutate(within "dense", "config.json", 700, all)
    + mutate(within "mixed", "config.json", 1500, all)
  assert(models > 100, "hardly anything loads: the test tests little")
  equal("models of a damaged index", 0, mutate(within "shards", "model.safetensors.index.json", 300,
                                               function(index) return index.weight_map end))
  collectgarbage()
  collectgarbage()
  equal("tensors left behind", core.memory().live, before.live)
  assert(core.memory().peak < 1e8, "a damaged config.json took much memory")
end

print "checkpoints: ok"
