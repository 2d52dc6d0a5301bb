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

-- A model whose norms are not all 1, and its biases not all 0.
local function model_of(d, seed)
  local model = d:build { seed = seed or 3 }
  core.with_grad(false, function()
    for _, p in ipairs(model:parameters()) do
      if p.tensor.ndim == 1 then p.tensor:add_(bam.randn(p.tensor.shape) * 0.2) end
    end
  end)
  return model:eval()
end

local function described(blocks, more)
  local o = { layers = 2, width = 24, heads = 4, kv_heads = 2, ffn = 20, vocab = 31, norm = "rms", std = 0.3, eps = 1e-6 }
  for name, value in pairs(more or {}) do o[name] = value end
  return bam.models[blocks](o)
end

local function sequential(more) return described("sequential", more) end
local function parallel(more) return described("parallel", more) end
local function post_norm(more) return described("post_norm", more) end

-- Saved as a family's, loaded again, and computed from the files.
local function round_trip(family, model, name)
  local directory = at(name or family)
  bam.save(directory, model, { as = family })
  expect.equal(config_of(directory).model_type, family)
  local logits, back = model(ids), bam.load(directory)
  expect.equal(back.description.family, family)
  expect.yes(bam.all(back(ids):eq(logits)):item(), family .. ": other bits after loading")
  local exact = bam.load(directory, { dtype = "f64" })(ids)
  expect.compare(largest(hugging_face.logits(hugging_face.open(directory), ids), exact), "<", 1e-11, family)
  expect.compare(largest(exact, logits), "<", 1e-4, family)
  bam.save(directory .. "-shards", back, { shard_bytes = 3000 })
  expect.yes(bam.all(bam.load(directory .. "-shards")(ids):eq(logits)):item(), family .. ": other bits from shards")
  bam.save(directory .. "-again", back)
  for _, file in ipairs { "config.json", "model.safetensors" } do
    expect.equal(core.hash_file(directory .. "-again/" .. file), core.hash_file(directory .. "/" .. file), file)
  end
  return directory, back
end

local LLAMA3 = { scaling = "llama3", factor = 8, low = 1, high = 4, context = 40 }

local YARN = { scaling = "yarn", factor = 4, context = 24 }

local CASES = {
  cohere2 = { parallel { norm = "layer", window = { 4, 0 }, rope_layers = "windowed", tied = true, logit_scale = 0.25 },
              parallel { norm = "layer", window = 5, rope_layers = "windowed", qkv_bias = true, out_bias = true } },
  glm = { sequential { head_width = 8, rope_width = 4, qkv_bias = true, kv_heads = 1 },
          sequential { activation = "gelu_tanh" } },
  llama = { sequential(), sequential { rope = YARN, activation = "gelu" }, sequential { activation = "gelu_tanh" },
            sequential { head_width = 10, tied = true, rope_base = 500, rope = LLAMA3 },
            sequential { rope = { scaling = "linear", factor = 4 }, qkv_bias = true, out_bias = true } },
  mistral = { sequential { head_width = 8 }, sequential { window = 4 } },
  olmo = { sequential { norm = "layer", norm_weight = false, eps = 1e-5 },
           sequential { norm = "layer", norm_weight = false, eps = 1e-5, qkv_bias = true, out_bias = true } },
  olmo2 = { post_norm { qk_norm = "width" } },
  phi3 = { sequential(), sequential { rope_width = 4, window = 5, tied = true, heads = 3, kv_heads = 1 } },
  qwen2 = { sequential { qkv_bias = true }, sequential { qkv_bias = true, window = { 0, 3 }, tied = true } },
  qwen3 = { sequential { qk_norm = "head", head_width = 10 } },
}

local FAMILIES = {}
for family in pairs(CASES) do table.insert(FAMILIES, family) end
table.sort(FAMILIES)

for _, family in ipairs(FAMILIES) do
  local cases = CASES[family]
  test(family, function()
    for i, case in ipairs(cases) do round_trip(family, model_of(case), string.format("%s-%d", family, i)) end
  end)
end

test("cohere", function()
  for i, more in ipairs { { qk_norm = "layer" }, { qkv_bias = true, out_bias = true, activation = "gelu_tanh" },
                          { qk_norm = "layer", qkv_bias = true, out_bias = true, head_width = 10, tied = true } } do
    more.norm = "layer"
    local directory, model = at(string.format("cohere-%d", i)), model_of(parallel(more))
    bam.save(directory, model, { as = "cohere" })
    local config = config_of(directory)
    expect.equal({ config.model_type, config.use_qk_norm, config.attention_bias },
                 { "cohere", more.qk_norm ~= nil, more.qkv_bias or false })
    local back = bam.load(directory)
    expect.yes(bam.all(back(ids):eq(model(ids))):item())
    local exact = bam.load(directory, { dtype = "f64" })(ids)
    expect.compare(largest(hugging_face.logits(hugging_face.open(directory), ids), exact), "<", 1e-11)
    bam.save(directory .. "-again", back)
    expect.equal(core.hash_file(directory .. "-again/model.safetensors"), core.hash_file(directory .. "/model.safetensors"))
  end
  expect.raises('cannot be saved as "cohere"', bam.save, at "no", model_of(parallel { norm = "layer", qkv_bias = true }),
                { as = "cohere" })
end)

-- FFN experts that differ, and routers that choose clearly.
local function mixture_of(dense, options)
  local models = {}
  for i = 1, 3 do models[i] = model_of(dense, i) end
  options.experts, options.attention = models, { experts = "mean" }
  local model = bam.mix(options):build { seed = 4 }:eval()
  core.with_grad(false, function()
    for _, layer in ipairs(model.layers) do layer.ffn.router.weight:mul_(20) end
  end)
  return model
end

local RENORMALIZED, RAW = { top_k = 2, renormalize = true }, { top_k = 1 }

local MIXTURES = {
  { "mixtral", sequential { tied = true }, RENORMALIZED }, { "mixtral", sequential { window = 5 }, RENORMALIZED },
  { "qwen3_moe", sequential { qk_norm = "head" }, RENORMALIZED }, { "qwen3_moe", sequential { qk_norm = "head" }, RAW },
  { "mixtral", sequential { activation = "gelu_tanh", rope = YARN }, RENORMALIZED },
  { "olmoe", sequential { qk_norm = "width", activation = "gelu" }, RAW }, { "olmoe", sequential { qk_norm = "width" }, RENORMALIZED },
  { "cohere2_moe", parallel { norm = "layer", logit_scale = 0.5, context = 32 }, RENORMALIZED },
  { "cohere2_moe", parallel { norm = "rms", window = { 4, 0 }, rope_layers = "windowed" }, RENORMALIZED },
}

test("mixtures of FFN experts go out as those of other families and come back", function()
  for i, case in ipairs(MIXTURES) do
    local name = string.format("mixture-%d", i)
    local _, back = round_trip(case[1], mixture_of(case[2], { ffn = case[3] }), name)
    expect.equal(back.description.ffn.experts, 3)
  end
end)

test("layers with a dense FFN among those with experts", function()
  local config = require "bam.model.config"
  local function described_by(directory, change)
    local fields = config_of(at(directory))
    change(fields)
    return (config.decode(fields, directory))
  end
  local qwen = described_by("mixture-3", function(c) c.mlp_only_layers, c.intermediate_size = { 1 }, 28 end)
  local cohere = described_by("mixture-8", function(c)
    c.mlp_layer_types, c.prefix_dense_intermediate_size = { "dense", "sparse" }, 28
  end)
  for family, d in pairs { qwen3_moe = qwen, cohere2_moe = cohere } do
    local model = model_of(d, 4)
    local _, back = round_trip(family, model, "dense-" .. family)
    expect.equal({ tostring(back.description.dense_ffn), tostring(d:identity().dense_ffn ~= nil) },
                 { family == "qwen3_moe" and "{ 0, 28 }" or "{ 28, 0 }", "true" })
    local total, active = d:count()
    expect.equal(total - active, 3 * 24 * 20) -- one of three experts, in one layer
    local bytes = 0
    for _, p in ipairs(model:parameters()) do bytes = bytes + p.tensor:count() end
    expect.equal(bytes, total)
    bam.save(at("dense-bam-" .. family), model, { as = "bam" })
    expect.yes(bam.all(bam.load(at("dense-bam-" .. family))(ids):eq(model(ids))):item(), "as bam")
    expect.contains(tostring(d), { "dense FFN in 1 of them" })
    expect.raises("option python: the FFN of some layers has no experts", bam.save, at "no", model, { python = true })
    if family == "qwen3_moe" then
      expect.raises("has dense_ffn = nil, and option model { 0, 28 }", bam.extend,
                    { model = model, experts = { model_of(sequential { qk_norm = "head" }) } })
    end
    model:train()
    local opt = bam.optim.AdamW(model, { lr = 1e-2 })
    local before = model:loss(ids, ids)
    before:backward()
    opt:step()
    expect.compare(model:loss(ids, ids):item(), "<", before:item())
  end
end)

-- As transformers has them in memory.
test("experts may be stacked in one tensor", function()
  for i, case in ipairs(MIXTURES) do
    local directory = at(string.format("stacked-%d", i))
    local model = mixture_of(case[2], { ffn = case[3] })
    bam.save(directory, model, { as = case[1] })
    local path = directory .. "/model.safetensors"
    local tensors = bam.load(path)
    for layer = 0, 1 do
      local place = string.format("model.layers.%d.mlp.", layer)
      local old = case[1] == "mixtral" and string.format("model.layers.%d.block_sparse_moe.", layer) or place
      local names = case[1] == "mixtral" and { "w1", "w3", "w2" } or { "gate_proj", "up_proj", "down_proj" }
      local function take(name)
        local x = tensors[old .. name]
        tensors[old .. name] = nil
        return x
      end
      local gate_up, down = {}, {}
      for e = 0, 2 do
        local function part(k) return take(string.format("experts.%d.%s.weight", e, names[k])) end
        gate_up[e + 1], down[e + 1] = bam.concat({ part(1), part(2) }, 1), part(3)
      end
      tensors[place .. "experts.gate_up_proj"] = bam.stack(gate_up, 1)
      tensors[place .. "experts.down_proj"] = bam.stack(down, 1)
      tensors[place .. "gate.weight"] = take "gate.weight"
    end
    bam.save(path, tensors)
    expect.yes(bam.all(bam.load(directory)(ids):eq(model(ids))):item(), case[1])
    local name = "model.layers.1.mlp.experts.down_proj"
    tensors[name] = tensors[name]:narrow(1, 1, 2)
    bam.save(path, tensors)
    expect.raises("`model.layers.1.mlp.experts.down_proj` is (2, 24, 20); by its config.json it must be (24, 20)",
                  bam.load, directory)
  end
end)

test("gates that a family computes in another way are refused, or said to differ", function()
  local model = mixture_of(parallel { norm = "layer" }, { ffn = RAW })
  expect.raises('save: option as: "cohere2_moe" computes this model only almost: there the gates of the chosen experts '
                .. "sum to 1, and here they do not", bam.save, at "raw", model, { as = "cohere2_moe" })
  expect.equal(core.file_info(at "raw"), nil)
  local before, printed, original = model(ids), {}, print
  _G.print = function(text) printed[#printed + 1] = text end
  local fine, why = pcall(bam.save, at "raw", model, { as = "cohere2_moe", inexact = true })
  _G.print = original
  expect.yes(fine, why)
  local most = tonumber(printed[1]:match "logits differ by at most ([%d.e+-]+)")
  expect.compare(most, ">", 1e-3)
  expect.yes(bam.all(model(ids):eq(before)):item(), "the model is as it was")
  local back = bam.load(at "raw")
  expect.equal(back.description.ffn.renormalise, true)
  expect.compare(largest(back(ids), before), ">", 1e-3)
  local attending = bam.mix { experts = { model_of(sequential(), 1), model_of(sequential(), 2) }, ffn = RENORMALIZED }
  expect.raises('cannot be saved as "mixtral": its attention has experts', bam.save, at "no", attending:build(),
                { as = "mixtral" })
end)

-- Equal experts are one expert: whatever the gates are, as long as they sum to 1.
test("attention experts on the blocks of every family", function()
  for _, family in ipairs(FAMILIES) do
    local cases = CASES[family]
    for i, case in ipairs(cases) do
      local model = model_of(case)
      for _, kv in ipairs { "own", "shared" } do
        local mixture = bam.mix { experts = { model, model, model }, attention = { kv = kv },
                                  ffn = { top_k = 2, renormalize = true } }
        local mixed = mixture:build { dtype = "f64" }:eval()
        local what = string.format("%s %d, %s", family, i, kv)
        expect.compare(largest(mixed(ids), model(ids)), "<", 1e-4, what)
        local directory = at(string.format("experts-%s-%d-%s", family, i, kv))
        bam.save(directory, mixed)
        expect.equal(config_of(directory).model_type, "bam")
        expect.yes(bam.all(bam.load(directory)(ids):eq(mixed(ids))):item(), what .. ": other bits after loading")
      end
    end
  end
end)

-- Experts that differ: a gate of 1 chooses one, so that each is where its number says.
test("experts keep their own biases and norms", function()
  for _, family in ipairs(FAMILIES) do
    local cases = CASES[family]
    local models = {}
    for i = 1, 3 do models[i] = model_of(cases[1], i) end
    for chosen = 1, 3 do
      local function Router(o)
        return function(h)
          local gates = bam.zeros(h:size(1), h:size(2), 3, { dtype = h.dtype })
          gates:select(3, chosen):fill_(1)
          return gates
        end, o
      end
      local own = bam.mix { experts = models, attention = { router = Router }, ffn = { router = Router },
                            merge = function(tensors) return tensors[chosen] end }
      expect.compare(largest(own:build { dtype = "f64" }:eval()(ids), models[chosen](ids)), "<", 1e-4, family)
    end
  end
end)

test("mixtures of every family are trained, and frozen by part", function()
  for _, family in ipairs(FAMILIES) do
    local cases = CASES[family]
    local model = model_of(cases[#cases])
    local d = bam.mix { experts = { model, model }, attention = { kv = "shared" }, freeze = { experts = true } }
    local mixed = d:build { dtype = "f64", seed = 2 }
    mixed:set_step(1, 2)
    local loss = mixed:loss(ids, ids)
    loss:backward()
    local frozen, trained = 0, 0
    for _, p in ipairs(mixed:parameters()) do
      if p.tensor.requires_grad then
        trained = trained + 1
        expect.yes(p.tensor.grad, family .. ": no gradient for " .. p.name)
      else
        frozen = frozen + 1
        local mine = p.name:find "attention%.queries" or p.name:find "attention%.out" or p.name:find "attention%.q_"
          or p.name:find "ffn%.gate_up" or p.name:find "ffn%.down"
        expect.yes(mine, family .. ": frozen " .. p.name)
      end
    end
    expect.yes(frozen > 0 and trained > 0)
  end
end)

test("the factor of the balance loss is kept", function()
  local model = mixture_of(sequential(), { ffn = RENORMALIZED, load_balance = 0.03 })
  bam.save(at "balance", model, { as = "mixtral" })
  -- transformers' loss is a mean over 2 layers, and counts both experts of a token
  expect.equal(config_of(at "balance").router_aux_loss_coef, 0.03)
  expect.equal(bam.load(at "balance").load_balance, 0.03)
  local narrow = mixture_of(sequential { layers = 3 }, { ffn = RENORMALIZED, load_balance = 0.03 })
  bam.save(at "narrow", narrow, { as = "mixtral" })
  expect.equal(config_of(at "narrow").router_aux_loss_coef, 0.045)
end)

test("upcycled, and with an expert more", function()
  for _, family in ipairs(FAMILIES) do
    local model = model_of(CASES[family][#CASES[family]])
    local upcycled = bam.upcycle { model = model, experts = 3, ffn = RENORMALIZED }:build():eval()
    expect.compare(largest(upcycled(ids), model(ids)), "<", 1e-4, family)
    for _, kv in ipairs { "own", "shared" } do
      local mixed = bam.mix { experts = { model, model }, attention = { kv = kv }, ffn = RENORMALIZED }:build()
      local extended = bam.extend { model = mixed, experts = { model } }:build():eval()
      expect.equal(extended.description.attention.experts, 3)
      expect.compare(largest(extended(ids), model(ids)), "<", 1e-4, family)
    end
  end
end)

test("a window costs fewer FLOPs", function()
  local whole, near = sequential():flops(64), sequential { window = { 8, 0 } }:flops(64)
  -- 6 FLOPs per pair of a token and 2 keys that it sees, per element of its 4 heads of 6
  expect.equal(whole.training - near.training, 6 * (64 - (16 - 1)) * 24)
  expect.equal(sequential { window = 64 }:flops(64), whole)
end)

test("files of tokenizers that bam does not read are kept", function()
  local directory = at "tokenizer"
  bam.save(directory, model_of(sequential()), { as = "llama" })
  for _, name in ipairs { "tokenizer.model", "vocab.json", "merges.txt" } do
    core.write_file(directory .. "/" .. name, "\0\xff" .. name)
  end
  bam.save(directory .. "-again", bam.load(directory))
  for _, name in ipairs { "tokenizer.model", "vocab.json", "merges.txt" } do
    expect.equal(core.read_file(directory .. "-again/" .. name), "\0\xff" .. name)
  end
end)

test("biases of 0 change nothing", function()
  local o = { width = 12, heads = 4, kv_heads = 2, head_width = 4, experts = 3, kv = "shared", window = 5, std = 0.3, dtype = "f64",
              rope_scaling = LLAMA3 }
  local plain = bam.nn.MixtureOfAttention(o)
  local x = bam.randn(2, 9, 12, { dtype = "f64" })
  local documents = bam.randint(0, 1, 2, 9)
  o.qkv_bias, o.out_bias = true, true
  local biased = bam.nn.MixtureOfAttention(o)
  biased:load_state(plain:state(), { strict = false })
  expect.compare(largest(plain(x, { documents = documents }), biased(x, { documents = documents })), "<", 1e-12)
end)

test("transformers' code is written on request", function()
  local model = mixture_of(sequential(), { ffn = RAW })
  bam.save(at "python", model, { python = true })
  local lines = 0
  for _, file in ipairs { "modeling_bam.py", "configuration_bam.py" } do
    for _ in core.read_file(at "python" .. "/" .. file):gmatch "\n" do lines = lines + 1 end
  end
  expect.compare(lines, "<=", 250)
  expect.compare(lines, ">", 100)
  expect.equal(config_of(at "python").auto_map.AutoModelForCausalLM, "modeling_bam.BamForCausalLM")
  expect.yes(bam.all(bam.load(at "python")(ids):eq(model(ids))):item())
  bam.save(at "plain", model)
  expect.equal(config_of(at "plain").auto_map, nil)
  expect.equal(core.file_info(at "plain" .. "/modeling_bam.py"), nil)
  bam.save(at "dense", model_of(parallel { norm = "layer" }), { python = true })
  expect.equal(config_of(at "dense").model_type, "bam")
  expect.raises('save: option python: the Python code is for "bam"; "mixtral" is computed by transformers itself',
                bam.save, at "no", model, { python = true, as = "mixtral" })
  local own = bam.mix { experts = { model_of(sequential(), 1), model_of(sequential(), 2) }, ffn = { router = function()
    return function(h) return bam.ones(h:size(1), h:size(2), 2, { dtype = h.dtype }) end
  end } }
  expect.raises("save: option python: its ffn has routers written in Lua, and transformers cannot compute them",
                bam.save, at "no", own:build(), { python = true })
end)

test("what descriptions refuse", function()
  expect.raises('models.sequential: option window: expected a window for each of the 2 layers, got 1', sequential,
                { window = { 3 } })
  expect.raises("option window[2]: expected an integer of at least 0, got -1", sequential, { window = { 3, -1 } })
  expect.raises('option qk_norm: expected "head", "width" or "layer", got the string "all"', sequential, { qk_norm = "all" })
  expect.raises('option rope: scaling: expected "linear", "llama3" or "yarn", got the string "longrope"', sequential,
                { rope = { scaling = "longrope" } })
  expect.raises("option rope: option `context` is missing", sequential, { rope = { scaling = "yarn", factor = 2 } })
  expect.raises('option activation: expected "silu", "gelu" or "gelu_tanh", got the string "relu"', sequential,
                { activation = "relu" })
  expect.raises("option rope_width: expected an even number of a head's 6 elements, got 3", sequential, { rope_width = 3 })
  expect.raises("option rope_width: expected an even number of a head's 6 elements, got 8", sequential, { rope_width = 8 })
  expect.raises("option rope_width: with yarn heads are rotated as a whole", sequential, { rope_width = 4, rope = YARN })
  local class = bam.nn.module "Own"
  expect.raises("option activation: the FFN is of a class of your own", sequential, { activation = "gelu", ffn = class })
  expect.raises("option rope_width: attention is of a class of your own", sequential, { rope_width = 4, attention = class })
  local attention = { width = 12, heads = 2, rope_width = 8 }
  expect.raises("nn.MixtureOfAttention: option rope_width: expected an even number of a head's 6 elements, got 8",
                bam.nn.MixtureOfAttention, attention)
  attention.rope_width, attention.rope_scaling = 4, YARN
  expect.raises("option rope_width: with yarn heads are rotated as a whole", bam.nn.MixtureOfAttention, attention)
  expect.raises('nn.SwiGLU: option activation: expected "silu", "gelu" or "gelu_tanh", got "tanh"', bam.nn.SwiGLU,
                { width = 4, hidden = 4, activation = "tanh" })
  expect.raises('nn.RoutedFFN: option activation: expected "silu"', bam.nn.RoutedFFN,
                { width = 4, hidden = 4, experts = 2, activation = "relu" })
  expect.equal({ sequential { rope_width = 6, activation = "silu", norm_weight = true }.rope_width }, {})
  expect.raises("low is 4 and high 4; low must be the smaller one", sequential,
                { rope = { scaling = "llama3", factor = 8, low = 4, high = 4, context = 64 } })
  expect.equal(tostring(sequential { window = { 4, 4 } }.window), "4")
  expect.equal(tostring(sequential { window = { 4, 0 } }.window), "{ 4, 0 }")
  expect.equal(sequential { window = { 0, 0 } }.window, nil)
  expect.contains(tostring(sequential { window = { 4, 0 }, qkv_bias = true, qk_norm = "head" }),
                  { "window 4 in 1 of 2 layers, qkv_bias, qk_norm head" })
  expect.contains(tostring(sequential { window = 6 }), { ", window 6;" })
end)

test("only what is not the default is in the identity", function()
  local plain = sequential():identity()
  expect.equal({ plain.window, plain.rope, plain.qkv_bias, plain.qk_norm, plain.family, plain.activation, plain.rope_width,
                 plain.norm_weight }, {})
  local rich = sequential { window = { 4, 0 }, rope = LLAMA3, qkv_bias = true }:identity()
  expect.equal(rich.window, { 4, 0 })
  expect.equal(rich.rope.factor, 8)
  expect.equal(rich.qkv_bias, true)
end)

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
  expect.raises('save: option as: this model cannot be saved as "llama": its block is parallel, which would be read as '
                .. "sequential", bam.save, at "no", model, { as = "llama" })
  expect.raises('save: option as: "lama" is not a known family', bam.save, at "no", model, { as = "lama" })
  expect.raises('save: option as: this model cannot be saved as "cohere"', bam.save, at "no", model_of(sequential()),
                { as = "cohere" })
  expect.equal(core.file_info(at "no"), nil)
end)
