-- Recipes on models of other families: trained, branched, mixed in each way on parallel, sequential and post-norm blocks,
-- killed and resumed to the bit; and a seed that is another family's directory.
package.path = string.format("tests/lua/support/?.lua;%s", package.path)
local bam = require "bam"
local check = require "bam.util.check"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local json = require "bam.util.json"
local small = require "small_run"
local test = require "tests.lua.support.test"

local SIZES = "layers = 2, width = 16, heads = 2, ffn = 16, vocab = opt.vocab"

-- The recipe with another seed, and another mixture's attention and FFN.
local function recipe(model, attention, ffn)
  return (small.RECIPE:gsub("bam%.models%.parallel%(opt%.model%)", function() return model end)
            :gsub('attention = { kv = "shared" },', function() return string.format("attention = %s,", attention) end)
            :gsub("ffn = { top_k = 1, jitter = 0.1 },", function() return string.format("ffn = %s,", ffn) end))
end

local function run(directory, text)
  core.write_file(directory .. "/recipe.lua", text)
  local output, fine = small.run(directory)
  if not fine then error(output, 0) end
  return output
end

local function directory_of(text)
  local directory = small.directory(text)
  return directory, setmetatable({}, { __close = function() small.remove(directory) end })
end

-- Killed in step 5 of each phase in turn, and run again, until it ends.
local function with_kills(text)
  return (text:gsub("phase%.eval_tokens = 64", function(line)
    return string.format([[%s
  phase.on_step = function(record)
    local mark = "killed-" .. phase.name:gsub("/", "-")
    if record.step == 5 and not io.open(mark) then
      io.open(mark, "w"):close()
      os.execute "kill -9 $PPID"
    end
  end]], line)
  end))
end

local ROUTED = "{ top_k = 2, renormalize = true }"

local CASES = {
  { "parallel, own keys and values", string.format("bam.models.parallel { %s, window = { 4, 0 }, rope_layers = "
    .. '"windowed" }', SIZES), '{ kv = "own" }', ROUTED },
  { "sequential, shared keys and values", string.format('bam.models.sequential { %s, norm = "rms", qkv_bias = true }', SIZES),
    '{ kv = "shared" }', ROUTED },
  { "sequential, BTX", string.format('bam.models.sequential { %s, norm = "rms", qk_norm = "head" }', SIZES),
    '{ experts = "mean" }', ROUTED },
  { "sequential, own keys and values", string.format('bam.models.sequential { %s, window = 6, rope_width = 4, '
    .. 'activation = "gelu_tanh", norm_weight = false }', SIZES),
    '{ kv = "own" }', "{ top_k = 1 }" },
  { "parallel, BTX", string.format('bam.models.parallel { %s, qk_norm = "layer", out_bias = true }', SIZES),
    '{ experts = "mean" }', ROUTED },
  { "post-norm, own keys and values", string.format('bam.models.post_norm { %s, norm = "rms", qk_norm = "width" }', SIZES),
    '{ kv = "own", routing = 1 }', "{ top_k = 1 }" },
}

for _, case in ipairs(CASES) do
  test("trained, and resumed to the bit: " .. case[1], function()
    local text = recipe(case[2], case[3], case[4])
    local whole, _ <close> = directory_of(text)
    run(whole, text)
    local killed, _ <close> = directory_of(text)
    core.write_file(killed .. "/recipe.lua", with_kills(text))
    local fine, starts = false, 0
    while not fine and starts < 6 do
      fine = select(2, small.run(killed))
      starts = starts + 1
    end
    expect.compare(starts, ">", 3, "it was killed in every phase")
    expect.equal(small.digests(killed), small.digests(whole))
  end)
end

-- The sizes of Mistral 7B: a mixture of two of them has these parameters, of which one attention and one FFN are active.
test("a recipe at the sizes of a public model is planned", function()
  local sizes = "layers = 32, width = 4096, heads = 32, kv_heads = 8, ffn = 14336, vocab = opt.vocab"
  local text = recipe(string.format('bam.models.sequential { %s, norm = "rms" }', sizes), '{ experts = "mean" }', ROUTED)
    :gsub("vocab = 280", "vocab = 32000")
  local directory, _ <close> = directory_of(text)
  core.write_file(directory .. "/recipe.lua", text)
  local output, fine = small.run(directory, "--plan")
  expect.yes(fine, output)
  local ffn, routers = 32 * 3 * 4096 * 14336, 32 * 2 * 4096
  expect.contains(output, { "7,241,732,096", check.thousands(7241732096 + ffn + routers) })
end)

test("a Llama is a seed and an expert, and stays one until it is mixed", function()
  local text = recipe('"llama"', '{ experts = "mean" }', ROUTED)
  local directory, _ <close> = directory_of(text)
  local d = bam.models.sequential { layers = 1, width = 16, heads = 2, kv_heads = 1, ffn = 16, vocab = 280, norm = "rms" }
  bam.save(directory .. "/llama", d:build { seed = 1 }, { as = "llama" })
  run(directory, text)
  local function last(name)
    local place = small.phase(directory, name)
    return core.glob(place .. "/step-*")[#core.glob(place .. "/step-*")]
  end
  local function type_of(name) return json.decode(core.read_file(last(name) .. "/config.json")).model_type end
  expect.equal({ type_of "seed", type_of "experts/law", type_of "mixed" }, { "llama", "llama", "bam" })
  expect.contains(small.run(directory, "--audit"), "trained again, give the same bits")
  local mixed = bam.load(last "mixed")
  bam.save(directory .. "/mixtral", mixed, { as = "mixtral" })
  local ids = bam.randint(0, 279, 2, 9)
  expect.yes(bam.all(bam.load(directory .. "/mixtral")(ids):eq(mixed(ids))):item())
end)

test("a Mixtral is trained on, and stays one", function()
  local text = [[
local bam = require "bam"
bam.options {}
local text = bam.corpus({ law = "law.txt", general = "general.txt" }, { vocab = 280, heldout = 0.3 })
bam.train { name = "more", model = "mixtral", data = text:sample { law = 1 }, tokens = 640, context = 16, batch = 4,
            lr = 1e-2, save_every = 3, load_balance = 0.02 }
]]
  local directory, _ <close> = directory_of(text)
  local d = bam.models.sequential { layers = 1, width = 16, heads = 2, ffn = 16, vocab = 280, norm = "rms" }
  local mixture = bam.mix { experts = { d:build { seed = 1 }, d:build { seed = 2 } }, attention = { experts = "mean" },
                            ffn = { top_k = 2, renormalize = true } }
  bam.save(directory .. "/mixtral", mixture:build(), { as = "mixtral" })
  run(directory, text)
  local steps = core.glob(small.phase(directory, "more") .. "/step-*")
  local trained = bam.load(steps[#steps])
  expect.equal(trained.description.family, "mixtral")
  expect.yes(not bam.all(trained.layers[1].ffn.router.weight:eq(bam.load(directory .. "/mixtral").layers[1].ffn.router.weight))
    :item(), "the router has learned")
  expect.contains(small.run(directory, "--audit"), "trained again, give the same bits")
end)
