-- What checkpoints say to other programs, and what checkpoints of other programs may hold: token ids,
-- tokenizer_config.json, generation_config.json, files that a model came with, copies of tied weights.
local bam = require "bam"
local core = require "bam.core"
local json = require "bam.util.json"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local base = os.tmpname()
os.remove(base)
core.make_directory(base)
local function at(name) return string.format("%s/%s", base, name) end
local function read(name) return core.read_file(at(name)) end

local function same_weights(a, b)
  local x, y = a:state(), b:state()
  for name, tensor in pairs(x) do expect.equal(tensor, y[name], name) end
end

local END = "<|endoftext|>"
local words = bam.tokenizer.train { texts = { "to be or not to be" }, vocab = 258 }
local special = bam.tokenizer.train { texts = { "to be or not to be" }, vocab = 262,
                                      special = { "<pad>", "<bos>", "<stop>" } }

local function dense(options)
  local o = { layers = 1, width = 16, heads = 2, ffn = 32, vocab = 262, context = 24 }
  for name, value in pairs(options or {}) do o[name] = value end
  return bam.models.parallel(o):build { seed = 1 }
end

local model = dense()

local config, id, generation, tokens
test("what is written", function()
  model:save(at "bare")
  config = json.decode(read "bare/config.json")
  expect.same(config.eos_token_id, json.null)
  expect.same(config.bos_token_id, json.null)
  expect.equal(table.concat(core.list_directory(at "bare"), " "), "config.json model.safetensors")

  model.tokenizer_json = words:json()
  model:save(at "words")
  id = words:id(END)
  config = json.decode(read "words/config.json")
  expect.equal(config.eos_token_id, id)
  expect.equal(config.bos_token_id, id)
  expect.same(config.pad_token_id, json.null)
  generation = json.decode(read "words/generation_config.json")
  expect.equal(generation.eos_token_id, id)
  expect.equal(generation.pad_token_id, id)
  expect.equal(generation.bos_token_id, id)
  tokens = json.decode(read "words/tokenizer_config.json")
  expect.equal(tokens.tokenizer_class, "PreTrainedTokenizerFast")
  expect.equal(tokens.model_max_length, 24)
  expect.equal(tokens.eos_token, END)
  expect.equal(tokens.bos_token, END)
  expect.equal(tokens.pad_token, END)
  local again = bam.load(at "words")
  again:save(at "again")
  for _, name in ipairs(core.list_directory(at "words")) do
    expect.equal(read("words/" .. name), read("again/" .. name), name)
  end
end)

test("without an end of text no token is made up; nor is one beyond the model's vocabulary", function()
  model.tokenizer_json = special:json()
  model:save(at "special")
  config, tokens = json.decode(read "special/config.json"), json.decode(read "special/tokenizer_config.json")
  expect.same(config.eos_token_id, json.null)
  expect.equal(tokens.eos_token, nil)
  expect.equal(tokens.bos_token, nil)
  expect.equal(tokens.tokenizer_class, "PreTrainedTokenizerFast")
  expect.no(core.file_info(at "special/generation_config.json"))
  local late = json.decode(words:json())
  late.added_tokens = json.array { { id = 300, content = END, special = true } }
  model.tokenizer_json = json.encode(late)
  model:save(at "late")
  expect.same(json.decode(read "late/config.json").eos_token_id, json.null)
end)

-- ---- what a model came with stays ----

--- Change config.json of a directory.
local function edit(name, change)
  local path = name .. "/config.json"
  local value = json.decode(read(path))
  change(value)
  core.write_file(at(path), json.encode(value))
end

local texts
test("files beside the weights are kept", function()
  model.tokenizer_json = special:json()
  model:save(at "own")
  edit("own", function(c) c.pad_token_id, c.bos_token_id, c.eos_token_id = 0, 1, json.array { 2, 1 } end)
  texts = {
    ["tokenizer_config.json"] = '{"chat_template":"{{ x }}","model_max_length":1000000000000000019884624838656}',
    ["generation_config.json"] = '{ "eos_token_id": [2, 1], "temperature": 0.6 }',
    ["special_tokens_map.json"] = '{"eos_token": "<stop>"}', ["chat_template.jinja"] = "{% for m in messages %}\n",
  }
  for name, text in pairs(texts) do core.write_file(at("own/" .. name), text) end
  core.write_file(at "own/notes.md", "not of the model")
  model = bam.load(at "own")
  model:save(at "kept")
  model:save(at "kept") -- over what is there
  for name, text in pairs(texts) do expect.equal(read("kept/" .. name), text, name) end
  expect.no(core.file_info(at "kept/notes.md"))
  config = json.decode(read "kept/config.json")
  expect.equal(config.pad_token_id, 0)
  expect.equal(config.bos_token_id, 1)
  expect.equal(config.eos_token_id[2], 1)
  local mixed = bam.mix { experts = { at "own", model } }:build()
  mixed:save(at "mixed")
  for name, text in pairs(texts) do expect.equal(read("mixed/" .. name), text, name) end
  expect.equal(json.decode(read "mixed/config.json").eos_token_id[1], 2)
end)

test("ids without such files: their tokens are named", function()
  for name in pairs(texts) do os.remove(at("own/" .. name)) end
  os.remove(at "own/notes.md")
  bam.load(at "own"):save(at "own")
  tokens, generation = json.decode(read "own/tokenizer_config.json"), json.decode(read "own/generation_config.json")
  expect.equal(tokens.eos_token, "<stop>")
  expect.equal(tokens.bos_token, "<bos>")
  expect.equal(tokens.pad_token, "<pad>")
  expect.equal(generation.eos_token_id[1], 2)
  expect.equal(generation.pad_token_id, 0)
end)

test("weights that a dtype cannot hold", function()
  local large = dense()
  local w = large.layers[1].ffn.down.weight
  bam.no_grad(function() w[{ 2, 3 }] = -65504 end)
  large:save(at "f16", { dtype = "f16" })
  expect.equal(bam.load(at "f16").layers[1].ffn.down.weight[{ 2, 3 }]:item(), -65504)
  for _, value in ipairs { 65505, -70000, 1e30 } do
    bam.no_grad(function() w[{ 2, 3 }] = value end)
    expect.raises("save: `model.layers.0.mlp.down_proj.weight` holds a weight of size", large.save, large,
                  at "f16", { dtype = "f16" })
    expect.raises('and f16 ends at 65504; save it as "bf16" or "f32"', large.save, large, at "new",
                  { dtype = "f16" })
  end
  expect.no(core.file_info(at "new"))
  expect.equal(bam.load(at "f16").layers[1].ffn.down.weight[{ 2, 3 }]:item(), -65504, "the old one is gone")
  large:save(at "bf16", { dtype = "bf16" })
  bam.no_grad(function() w[{ 2, 3 }] = 0x1.fffffep+127 end)
  expect.raises("and bf16 ends at 3.38953e+38", large.save, large, at "new", { dtype = "bf16" })
  bam.no_grad(function() w[{ 2, 3 }] = math.huge end) -- is no less a number in f16
  large:save(at "f16", { dtype = "f16" })
end)

-- ---- what a checkpoint may hold beside its model ----

--- Save a model with further tensors.
local function save_with(m, name, more)
  m:save(at(name))
  local tensors = bam.load(at(name .. "/model.safetensors"))
  for key, value in pairs(more(tensors)) do tensors[key] = value end
  bam.save(at(name .. "/model.safetensors"), tensors)
end

test("a tied head may be stored twice, if both are equal", function()
  local tied = dense { tied = true }
  save_with(tied, "tied", function(t) return { ["lm_head.weight"] = t["model.embed_tokens.weight"] } end)
  same_weights(bam.load(at "tied"), tied)
  same_weights(bam.mix { experts = { at "tied", tied } }:build(), bam.mix { experts = { tied, tied } }:build())
  local function changed(t)
    local head = t["model.embed_tokens.weight"]:clone()
    head[{ 262, 16 }] = head[{ 262, 16 }]:item() + 1
    return { ["lm_head.weight"] = head }
  end
  save_with(tied, "tied", changed)
  expect.raises("`lm_head.weight` differs from `model.embed_tokens.weight`, and its config.json says that they "
                .. "are one (tie_word_embeddings); set that to false", bam.load, at "tied")
  save_with(tied, "tied", function() return { ["lm_head.weight"] = bam.zeros(3, 16) } end)
  expect.raises("`lm_head.weight` differs", bam.load, at "tied")

  local function frequencies(of, dtype)
    return function()
      return { ["model.layers.0.self_attn.rotary_emb.inv_freq"] = bam.tensor(of):to(dtype or "f32") }
    end
  end
  local right = {}
  for i = 1, 4 do right[i] = 10000 ^ (-2 * (i - 1) / 8) end
  for _, dtype in ipairs { "f32", "bf16" } do
    save_with(model, "buffers", frequencies(right, dtype))
    same_weights(bam.load(at "buffers"), model)
  end
  for _, wrong in ipairs { { 1, 0.2, 0.04, 0.008 }, { 1, 0.1, 0.01 }, { { 1, 0.1, 0.01, 0.001 } },
                           { 1, 0.1, 0.01, 0 / 0 } } do
    save_with(model, "buffers", frequencies(wrong))
    expect.raises("inv_freq` is not what its config.json says: 4 rotary frequencies of base 10000; correct "
                  .. "rope_theta", bam.load, at "buffers")
  end
  save_with(model, "buffers", function() return { ["model.inv_freq"] = bam.tensor(right) } end)
  expect.raises("has no place for, such as `model.inv_freq`", bam.load, at "buffers")
end)

os.execute(("rm -rf '%s'"):format(base))
