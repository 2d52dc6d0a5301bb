-- Models of other families: what a directory of Hugging Face's stands for, computed from its files as transformers
-- does (support/hugging_face.lua), is what bamlua computes from it; saving and loading change no bit.
package.path = string.format("tests/lua/support/?.lua;%s", package.path)
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local hugging_face = require "hugging_face"
local json = require "bam.util.json"
local test = require "tests.lua.support.test"

local SCRATCH = os.tmpname()
os.remove(SCRATCH)
local cleanup <close> = setmetatable({}, { __close = function()
  os.execute(string.format("rm -rf '%s'*", SCRATCH))
end })
local function at(name) return string.format("%s-%s", SCRATCH, name) end

bam.seed(11)
local ids = bam.randint(0, 30, 2, 13)

local function config_of(directory) return json.decode(core.read_file(string.format("%s/config.json", directory))) end

local function largest(a, b) return (a:to "f64" - b:to "f64"):abs():max():item() end

-- A model of sequential blocks whose norms are not all 1.
local function model_of(d)
  local model = d:build { seed = 3 }
  core.with_grad(false, function()
    for _, p in ipairs(model:parameters()) do
      if p.tensor.ndim == 1 then p.tensor:add_(bam.randn(p.tensor.shape) * 0.2) end
    end
  end)
  return model:eval()
end

local function sequential(more)
  local o = { layers = 2, width = 24, heads = 4, kv_heads = 2, ffn = 20, vocab = 31, norm = "rms", std = 0.3, eps = 1e-6 }
  for name, value in pairs(more or {}) do o[name] = value end
  return bam.models.sequential(o)
end

-- Saved as a family's, loaded again, and computed from the files.
local function round_trip(family, model, name)
  local directory = at(name or family)
  bam.save(directory, model, { as = family })
  expect.equal(config_of(directory).model_type, family)
  local logits, back = model(ids), bam.load(directory)
  expect.equal(back.description.family, family)
  expect.yes(bam.all(back(ids):eq(logits)):item(), family .. ": other bits after loading")
  expect.compare(largest(hugging_face.logits(hugging_face.open(directory), ids), logits), "<", 1e-5, family)
  bam.save(directory .. "-again", back)
  for _, file in ipairs { "config.json", "model.safetensors" } do
    expect.equal(core.hash_file(directory .. "-again/" .. file), core.hash_file(directory .. "/" .. file), file)
  end
  return directory, back
end

local CASES = {
  llama = { {}, { head_width = 10, tied = true, rope_base = 500 } },
  mistral = { { head_width = 8 } },
}

for family, cases in pairs(CASES) do
  test(family, function()
    for i, case in ipairs(cases) do round_trip(family, model_of(sequential(case)), string.format("%s-%d", family, i)) end
  end)
end

test("a directory of another family goes where one of Cohere's goes", function()
  local directory, model = round_trip("llama", model_of(sequential()), "everywhere")
  local mixture = bam.mix { experts = { directory, model }, attention = { experts = "mean" } }
  expect.compare(largest(mixture:build():eval():forward(ids), model(ids)), ">", 0, "raw gates")
  local same = bam.mix { experts = { directory, model }, ffn = { top_k = 2, renormalize = true } }
  expect.compare(largest(same:build():eval():forward(ids), model(ids)), "<", 1e-5, "equal experts")
  expect.equal(bam.load(directory, { dtype = "f64" }).description.family, "llama")
end)

test("what a family cannot hold is refused", function()
  local model = model_of(bam.models.parallel { layers = 1, width = 8, heads = 2, ffn = 8, vocab = 9 })
  expect.raises('save: option as: this model cannot be saved as "llama": its block is nil, which would be read as '
                .. "sequential", bam.save, at "no", model, { as = "llama" })
  expect.raises('save: option as: "lama" is none of the families', bam.save, at "no", model, { as = "lama" })
  expect.raises('save: option as: this is no model of "cohere"', bam.save, at "no", model_of(sequential()),
                { as = "cohere" })
  expect.equal(core.file_info(at "no"), nil)
end)
