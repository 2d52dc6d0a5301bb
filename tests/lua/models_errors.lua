-- What is said to mistakes with models, mixtures and their checkpoints: which model, which tensor,
-- what to do. Written by hand: when the program says something else, the program is wrong. Nothing
-- is built before it is said. DIR stands for the directory of the damaged checkpoints.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local SIZES = { layers = 2, width = 24, heads = 4, kv_heads = 2, ffn = 20, vocab = 31 }

local function with(changes)
  local options = {}
  for name, value in pairs(SIZES) do options[name] = value end
  for name, value in pairs(changes) do options[name] = value end
  return bam.models.parallel(options)
end

-- ---- models and checkpoints, sound and damaged ----

local DIR = os.tmpname()
os.remove(DIR)
local cleanup <close> = setmetatable({}, { __close = function()
  os.execute(string.format("rm -rf '%s'", DIR))
end })

local env = setmetatable({ bam = bam, with = with, d = with {} }, { __index = _G })
for i, name in ipairs { "m1", "m2", "nan" } do env[name] = env.d:build { seed = i } end
bam.no_grad(function() env.nan.layers[2].ffn.down.weight[{ 1, 1 }] = 0 / 0 end)
env.mixed = bam.mix { experts = { env.m1, env.m2 } }:build()

-- A checkpoint called `name`, of m1 unless given, changed by `f`.
local function damaged(name, f, model, options)
  local directory = string.format("%s/%s", DIR, name)
  local saved = model or env.m1
  saved:save(directory, options)
  f(directory)
  env[name] = directory
end

local function with_tensor(name, tensor)
  return function(directory)
    local path = string.format("%s/model.safetensors", directory)
    local tensors = bam.load(path)
    tensors[name] = tensor
    bam.save(path, tensors)
  end
end

local function with_config(from, to)
  return function(directory)
    local path = string.format("%s/config.json", directory)
    local text, count = core.read_file(path):gsub(from, to)
    expect.compare(count, ">", 0, from)
    core.write_file(path, text)
  end
end

local function with_file(name, text)
  return function(directory) core.write_file(string.format("%s/%s", directory, name), text) end
end

test("damaged checkpoints", function()
  damaged("good", function() end)
  damaged("missing", with_tensor("model.layers.1.mlp.up_proj.weight", nil))
  damaged("shape", with_tensor("model.layers.1.mlp.up_proj.weight", bam.zeros(3, 4)))
  damaged("extra", with_tensor("model.layers.1.self_attn.q_norm.weight", bam.zeros(3, 4)))
  damaged("ints", with_tensor("model.norm.weight", bam.zeros(24, { dtype = "i64" })))
  damaged("gpt2", with_config('"cohere"', '"gpt2"'))
  damaged("llama", with_config('"cohere"', '"llama"'))
  damaged("qk", with_config('"use_qk_norm": false', '"use_qk_norm": true'))
  damaged("ropes", with_config('"rope_type": "default"', '"rope_type": "longrope"'))
  damaged("many", with_config('"num_hidden_layers": 2', '"num_hidden_layers": 99999999999'))
  damaged("neg", with_config('"num_attention_heads": 4', '"num_attention_heads": -4'))
  damaged("nojson", function(directory) os.remove(string.format("%s/config.json", directory)) end)
  damaged("broken", with_file("config.json", '{"a":'))
  local INDEX = "model.safetensors.index.json"
  damaged("escape", with_file(INDEX, '{"weight_map":{"a":"../../etc/passwd"}}'))
  damaged("number", with_file(INDEX, '{"weight_map":{"a":[5]}}'))
  damaged("unindexed", with_file(INDEX, '{"metadata":{}}'))
  damaged("badindex", with_file(INDEX, '{"weight_map":'))
  damaged("twice", function(directory)
    local more = { ["model.norm.weight"] = bam.ones(24) }
    bam.save(string.format("%s/more.safetensors", directory), more)
    core.write_file(string.format("%s/%s", directory, INDEX),
                    '{"weight_map":{"a":"more.safetensors","b":"model.safetensors"}}')
  end)
  damaged("weightless", function(directory)
    os.remove(string.format("%s/model.safetensors", directory))
  end)
  damaged("shardless", function(directory)
    assert(os.remove(string.format("%s/model-00002-of-00004.safetensors", directory)))
  end, nil, { shard_bytes = 9000 })
  damaged("array", with_file("config.json", "[1]"))
  damaged("scalar", with_file("config.json", " 1 "))
  damaged("scalar_index", with_file("model.safetensors.index.json", '"x"'))
  damaged("odd", with_config('"head_dim": 6', '"head_dim": 3'))
  damaged("groups", with_config('"num_key_value_heads": 2', '"num_key_value_heads": 3'))
  damaged("custom", with_config('"custom_routers": %[', '%0["ffn"]'), env.mixed)
  damaged("owned", with_config('"custom_routers": %[', '%0"attention"'), env.mixed)
  damaged("above", with_config('"ffn_top_k": 1', '"ffn_top_k": 3'), env.mixed)
  -- its routers are written in Lua, so its tensors are known only when it has been built
  damaged("wide", with_config('"intermediate_size": 20', '%000000000'), env.mixed)
end)

-- ---- what is said ----

local CASES = {
  { [[bam.mix { experts = {} }]],
    [[mix: a mixture needs at least 2 experts, got 0; bam.upcycle builds one from a single model]] },
  { [[bam.mix { experts = { m1 } }]],
    [[mix: a mixture needs at least 2 experts, got 1; bam.upcycle builds one from a single model]] },
  { [[bam.mix { experts = { m1, nil, m2 } }]],
    [[mix: option experts: entry 2 of the list is nil; its last is 3]] },
  { [[bam.mix { experts = { m1, 5 } }]],
    [[mix: expert 2 is 5; expected a model, a checkpoint directory or a description]] },
  { [[bam.mix { experts = m1 }]],
    [[mix: option experts: expected a list of models, { a, b, ... }, got a Model]] },
  { [[bam.mix { experts = { bam.ensemble { models = { m1, m2 } }, m1 } }]],
    [[mix: expert 1 is a Ensemble; expected a model, a checkpoint directory or a description]] },
  { [[bam.mix { experts = { m1, { description = d, load = 5 } } }]],
    [[mix: expert 2 is a table; expected a model, a checkpoint directory or a description]] },
  { [[bam.mix { experts = { m1, { description = d, load = function() end } } }:build()]],
    [[expert 2: its load() returned nil; expected a live model]] },
  { [[bam.mix { experts = { m1, { description = d, load = function()]]
      .. [[ return with { ffn = 4 }:build() end } } }:build()]],
    [[build: expert 2's model has ffn = 4, and expert 2 20: ]]
      .. [[model.layers.0.mlp.gate_proj.weight is (4, 24), not (20, 24)]] },
  { [[bam.mix { experts = { m1, mixed } }]],
    [[mix: expert 2 is a mixture itself; mix dense models]] },
  { [[bam.mix { experts = { mixed, m1 } }]],
    [[mix: expert 1 is a mixture itself; mix dense models]] },
  { [[bam.mix { expert = { m1, m2 } }]],
    [[mix: no option `expert`; did you mean `experts`?]] },
  { [[bam.mix { experts = { m1, m2 }, ffn = { top_k = 3 } }]],
    [[mix: option ffn: top_k is 3, and there are 2 experts]] },
  { [[bam.mix { experts = { m1, m2 }, ffn = { topk = 1 } }]],
    [[mix: option ffn: no option `topk`; it is called `top_k`]] },
  { [[bam.mix { experts = { m1, m2 }, attention = { routing = 3 } }]],
    [[mix: option attention: routing is 3, and there are 2 experts]] },
  { [[bam.mix { experts = { m1, m2 }, attention = { routing = "hard" } }]],
    [[mix: option attention: routing (or "soft" or a schedule): expected an integer of at least ]]
      .. [[1, got the string "hard"]] },
  { [[bam.mix { experts = { m1, m2 }, attention = { kv = "none" } }]],
    [[mix: option attention: kv: expected "own" or "shared", got the string "none"]] },
  { [[bam.mix { experts = { m1, m2 }, attention = { experts = "mean", kv = "own" } }]],
    [[mix: option attention: expected { experts = "mean" }, or { kv = "own" or "shared", ]]
      .. [[routing = "soft" or k }]] },
  { [[bam.mix { experts = { m1, m2 }, attention = { experts = "mean", renormalize = true } }]],
    [[mix: option attention: expected { experts = "mean" }, or { kv = "own" or "shared", ]]
      .. [[routing = "soft" or k }]] },
  { [[bam.mix { experts = { m1, m2 }, load_balance = 0 / 0 }]],
    [[mix: option load_balance: expected a number of at least 0, got ]] },
  { [[bam.mix { experts = { m1, m2 }, load_balance = -1 }]],
    [[mix: option load_balance: expected a number of at least 0, got -1]] },
  { [[bam.mix { experts = { m1, m2 }, load_balance = "x" }]],
    [[mix: option load_balance: expected a number or a schedule, got the string "x"]] },
  { [[bam.mix { experts = { m1, with { width = 48 } } }]],
    [[mix: expert 2 has width = 48, and expert 1 24: model.embed_tokens.weight is (31, 48), ]]
      .. [[not (31, 24)]] },
  { [[bam.mix { experts = { m1, with { vocab = 32 } } }]],
    [[mix: expert 2 has vocab = 32, and expert 1 31: model.embed_tokens.weight is (32, 24), ]]
      .. [[not (31, 24)]] },
  { [[bam.mix { experts = { m1, with { layers = 3 } } }]],
    [[mix: expert 2 has layers = 3, and expert 1 2: expert 1 lacks ]]
      .. [[model.layers.2.input_layernorm.weight]] },
  { [[bam.mix { experts = { m1, with { ffn = 21 } } }]],
    [[mix: expert 2 has ffn = 21, and expert 1 20: model.layers.0.mlp.gate_proj.weight is ]]
      .. [[(21, 24), not (20, 24)]] },
  { [[bam.mix { experts = { m1, with { rope_base = 500 } } }]],
    [[mix: expert 2 has rope_base = 500, and expert 1 10000: they must agree]] },
  { [[bam.mix { experts = { m1, with { heads = 2 } } }]],
    [[mix: expert 2 has heads = 2, and expert 1 4: model.layers.0.self_attn.k_proj.weight is ]]
      .. [[(24, 24), not (12, 24)]] },
  { [[bam.mix { experts = { m1, with { tied = true } } }]],
    [[mix: expert 2 has tied = true, and expert 1 false: expert 2 lacks lm_head.weight]] },
  { [[bam.mix { experts = { m1, nan } }:build()]],
    [[build: expert 2: `model.layers.1.mlp.down_proj.weight` holds a NaN or infinity]] },
  { [[bam.mix { experts = { d, d } }:build()]],
    [[build: expert 1 of the mixture is a description without weights; give a trained model, ]]
      .. [[or description:build()]] },
  { [[bam.mix { experts = { m1, missing } }]],
    [[DIR/missing: `model.layers.1.mlp.up_proj.weight` is missing]] },
  { [[bam.mix { experts = { m1, shape } }]],
    [[DIR/shape: `model.layers.1.mlp.up_proj.weight` is (3, 4); by its config.json it must be ]]
      .. [[(20, 24)]] },
  { [[bam.mix { experts = { m1, extra } }]],
    [[DIR/extra: it holds 1 tensors that a model of its config.json has no place for, such as ]]
      .. [[`model.layers.1.self_attn.q_norm.weight`]] },
  { [[bam.mix { experts = { m1, ints } }]],
    [[DIR/ints: `model.norm.weight` is of dtype i64, not of floating point]] },
  { [[bam.mix { experts = { m1, gpt2 } }]],
    string.format([[DIR/gpt2/config.json: `model_type` is "gpt2", a family that bamlua does not know; it knows ]]
                  .. "bam, cohere, %s", table.concat(require("bam.model.families.registry").NAMES, ", ")) },
  { [[bam.mix { experts = { m1, "DIR/nothing" } }]],
    [[list_directory: cannot list "DIR/nothing": No such file or directory; check the name, ]]
      .. [[and the directory that it is relative to]] },
  { [[bam.load(missing)]],
    [[DIR/missing: `model.layers.1.mlp.up_proj.weight` is missing]] },
  { [[bam.load(gpt2)]],
    string.format([[DIR/gpt2/config.json: `model_type` is "gpt2", a family that bamlua does not know; it knows ]]
                  .. "bam, cohere, %s", table.concat(require("bam.model.families.registry").NAMES, ", ")) },
  { [[bam.load(llama)]], [[DIR/llama: `model.layers.0.post_attention_layernorm.weight` is missing]] },
  { [[bam.load(qk)]],
    [[DIR/qk: `model.layers.0.self_attn.q_norm.weight` is missing]] },
  { [[bam.load(ropes)]],
    [[DIR/ropes/config.json: `rope_parameters.rope_type` is the string "longrope", which bamlua ]]
      .. [[does not compute]] },
  { [[bam.load(many)]],
    [[DIR/many/config.json: `num_hidden_layers`: expected an integer from 1 to 4096, got ]]
      .. [[99999999999]] },
  { [[bam.load(neg)]],
    [[DIR/neg/config.json: `num_attention_heads`: expected an integer from 1 to 2147483647, ]]
      .. [[got -4]] },
  { [[bam.load(nojson)]],
    [[DIR/nojson: it holds no config.json, so it is not a model's checkpoint]] },
  { [[bam.load(broken)]],
    [[DIR/broken/config.json: json.decode: malformed JSON at byte 6: expected a value; the ]]
      .. [[text ends there]] },
  { [[bam.load(escape)]],
    [[DIR/escape/model.safetensors.index.json: the string "../../etc/passwd" is not the name ]]
      .. [[of a file beside it]] },
  { [[bam.load(number)]],
    [[DIR/number/model.safetensors.index.json: a json.array is not the name of a file beside it]] },
  { [[bam.load(unindexed)]],
    [[DIR/unindexed/model.safetensors.index.json: it has no table `weight_map`]] },
  { [[bam.load(badindex)]],
    [[DIR/badindex/model.safetensors.index.json: json.decode: malformed JSON at byte 15: expected a value; ]]
      .. [[the text ends there]] },
  { [[bam.load(twice)]],
    [[DIR/twice: `model.norm.weight` is in two of its files]] },
  { [[bam.load(weightless)]],
    [[DIR/weightless: it holds no model.safetensors]] },
  { [[bam.load(shardless)]],
    [[DIR/shardless: model.safetensors.index.json names model-00002-of-00004.safetensors, which is not there; ]]
      .. [[download or copy it again]] },
  { [[bam.load(array)]],
    [[DIR/array/config.json: `model_type` is missing]] },
  { [[bam.load(odd)]],
    [[DIR/odd/config.json: rope rotates pairs, so head_width must be even, got 3]] },
  { [[bam.load(groups)]],
    [[DIR/groups/config.json: kv_heads is 3, which does not divide the 4 heads]] },
  { [[bam.load(custom)]],
    [[DIR/custom/config.json: `custom_routers` may list "attention" and "ffn", not a json.array]] },
  { [[bam.load(owned)]],
    [[DIR/owned/config.json: its attention routers were written in Lua; give bam.load what ]]
      .. [[makes them: { routers = { attention = f } }]] },
  { [[bam.load(above)]],
    [[DIR/above/config.json: `ffn_top_k` is 3, and there are 2 FFN experts]] },
  { [[bam.load(wide, { routers = { ffn = bam.nn.Router } })]],
    [[DIR/wide: `model.layers.0.mlp.experts.0.gate_proj.weight` is (20, 24); by its config.json ]]
      .. [[it must be (2000000000, 24)]] },
  { [[bam.load(good, { routers = { fnn = bam.nn.Router } })]],
    [[load: option routers: no option `fnn`; did you mean `ffn`?]] },
  { [[bam.load(good, { routers = { ffn = 5 } })]],
    [[load: option routers: option ffn: expected a function, got 5]] },
  { [[bam.load(good, { dtyp = "f64" })]],
    [[load: no option `dtyp`; did you mean `dtype`?]] },
  { [[bam.upcycle { model = m1, experts = 1 }]],
    [[upcycle: a mixture needs at least 2 experts, got 1]] },
  { [[bam.upcycle { model = m1 }]],
    [[upcycle: option `experts` is missing: an integer of at least 1]] },
  { [[bam.models.parallel { layers = 2, width = 24, heads = 5, ffn = 3, vocab = 3 }]],
    [[models.parallel: 5 heads do not divide the width 24; give option head_width]] },
  { [[bam.models.parallel { layers = 2, width = 24, heads = 4, kv_head = 2, ffn = 3, vocab = 3 }]],
    [[models.parallel: no option `kv_head`; did you mean `kv_heads`?]] },
  { [[bam.models.parallel { layers = 5000, width = 24, heads = 4, ffn = 3, vocab = 3 }]],
    [[models.parallel: option layers: expected an integer from 1 to 4096, got 5000]] },
  { [[bam.models.paralel {}]],
    [[bam.models has no `paralel`; did you mean `parallel`?]] },
  { [[mixed(bam.zeros(3))]],
    [[model: expected token ids [batch, time], got a tensor of shape (3)]] },
  { [[mixed:loss(bam.zeros(2,3,{dtype="i64"}), bam.zeros(2,4,{dtype="i64"}))]],
    [[loss: expected targets of shape (2, 3), that of the ids, got a tensor of shape (2, 4)]] },
  { [[mixed:loss(bam.full({2,3},99,{dtype="i64"}), bam.zeros(2,3,{dtype="i64"}))]],
    [[embedding: token id 99 (element 1 of `ids`) is outside 0 .. 30]] },
  { [[mixed:loss(bam.zeros(2,3,{dtype="i64"}), bam.zeros(2,3,{dtype="i64"}), {document = 1})]],
    [[loss: no option `document`; did you mean `documents`?]] },
  { [[mixed:loss(bam.zeros(2,3,{dtype="i64"}), bam.zeros(2,3,{dtype="i64"}), {documents = 1})]],
    [[loss: option documents: expected a tensor, got 1]] },
  { [[mixed:log_likelihood(bam.zeros(2,3,{dtype="i64"}), bam.zeros(2,4,{dtype="i64"}))]],
    [[log_likelihood: expected targets of shape (2, 3), that of the ids, got a tensor of shape ]]
      .. [[(2, 4)]] },
  { [[m1:log_likelihood(bam.zeros(2,3,{dtype="i64"}), bam.tensor { { 0, 30, 31 }, { 0, 0, 0 } })]],
    [[log_likelihood: token id 31 (element 3 of `targets`) is outside 0 .. 30]] },
  { [[m1:log_likelihood(bam.zeros(1,3,{dtype="i64"}), bam.tensor { { -100, 0, -1 } })]],
    [[log_likelihood: token id -1 (element 3 of `targets`) is outside 0 .. 30]] },
  { [[mixed.loss(bam.zeros(2,3))]],
    [[loss: expected a model, got a tensor of shape (2, 3); call methods with a colon: ]]
      .. [[model:loss(...)]] },
  { [[mixed.save "somewhere"]],
    [[save: expected a model, got the string "somewhere"; call methods with a colon: ]]
      .. [[model:save(...)]] },
  { [[mixed:sample { 1, 1.5 }]],
    [[sample: token id: expected an integer of at least 0, got 1.5]] },
  { [[mixed:sample("abc")]],
    [[sample: this model has no tokenizer, and its vocabulary of 31 is not that of bytes; ]]
      .. [[give token ids]] },
  { [[mixed:sample("")]],
    [[sample: expected a text or a list of token ids, not empty, got the string ""]] },
  { [[mixed:save("/proc/x")]],
    [[stage_directory: cannot write "/proc/x": No such file or directory; check the name, and ]]
      .. [[the directory that it is relative to]] },
  { [[mixed:save(good, { dtype = "i64" })]],
    [[save: option dtype: expected "f32", "f64", "bf16" or "f16", got the string "i64"]] },
  { [[d.layers = 3]],
    [[layers: a model description cannot be changed; make a new one: bam.models.parallel { ... }, ]]
      .. [[bam.mix { ... }]] },
  { [[d.ffn.hidden = 3]],
    [[hidden: a part of a model description cannot be changed; make a new one: ]] },
  { [[bam.mix { experts = { m1, m2 }, z_loss = function(p) return p end }:identity()]],
    [[identity: z_loss is a schedule, which counts by its values: d:identity(total), the number ]]
      .. [[of steps]] },
  { [[bam.mix { experts = { m1, m2 }, z_loss = function(p) return -p end }:identity(9)]],
    [[identity: z_loss: expected a number of at least 0, got -0.125]] },
  { [[bam.mix { experts = { m1, m2 }, ffn = { router = function() end } }:identity()]],
    [[identity: the function at script:1 counts by its text, which cannot be read: it stands in ]]
      .. [[no file; put it into one]] },
  { [[d.identity()]],
    [[identity: expected a description, got nil; call methods with a colon: d:identity()]] },
  { [[d:build { sed = 1 }]],
    [[build: no option `sed`; did you mean `seed`?]] },
  { [[d.build()]],
    [[build: expected a description, got nil; call methods with a colon: d:build()]] },
  { [[d:flops()]],
    [[flops: context: expected an integer of at least 1, got nil]] },
  { [[d:report()]],
    [[report: this is no mixture of several models, so nothing has drifted]] },
  { [[bam.mix { experts = { m1, m2 } }:report { data = { bam.zeros(2, 3) } }]],
    [[report: name of a data set: expected a string, got 1]] },
  { [[bam.mix { experts = { m1, d } }:report()]],
    [[report: expert 2 of the mixture is a description without weights; give a trained model, ]]
      .. [[or description:build()]] },
  { [[bam.models.Model(5)]],
    [[models.Model: expected a description, got 5]] },
  { [[bam.ensemble { models = {} }]],
    [[ensemble: expected at least one model]] },
  { [[bam.ensemble { models = { m1, d } }]],
    [[ensemble: entry 2 is a model description, not a live model]] },
  { [[bam.ensemble { models = { m1, m2 } }:loss(bam.zeros(2,3,{dtype="i64"}))]],
    [[log_likelihood: expected targets of shape (2, 3), that of the ids, got nil]] },
  { [[bam.ensemble { models = { m1 } }(bam.zeros(2,3), { documents = bam.zeros(2,4) })]],
    [[ensemble: expected documents of shape (2, 3), that of the ids, got a tensor of shape ]]
      .. [[(2, 4)]] },
  { [[bam.ensemble { models = { m1, m2 }, prior = { 1 } }]],
    [[ensemble: 1 numbers as the prior of 2 models]] },
  { [[with { layers = 4, width = 1 << 20, heads = 4, ffn = 1 << 30, vocab = 1 << 30 }:build()]],
    [[out of memory on cpu: asked for 4503599627.4 MB]] },
  { [[bam.models.parallel { layers = 4096, width = 1 << 30, heads = 1 << 30, ffn = 1, vocab = 3, ]]
      .. [[head_width = 1 << 30 }]],
    [[model: these sizes make 2e+31 parameters; at most 1.2e+18]] },
  { [[bam.nn.MixtureOfAttention { width = 6, heads = 2, experts = 2 }]],
    [[nn.MixtureOfAttention: rope rotates pairs, so head_width must be even, got 3]] },
  { [[bam.nn.Router { width = 3, experts = 2, top_k = 3 }]],
    [[nn.Router: top_k is 3, and there are 2 experts]] },
  { [[bam.route(bam.zeros(3,4), 5)]],
    [[route: k is 5; of 4 experts, 1 to all can be chosen]] },
  { [[bam.route(bam.zeros(3,4), 1, { aux_tokens = 2 })]],
    [[route: aux_tokens is 2; it must divide the 3 tokens]] },
}

for name, says in pairs { scalar = "config.json: expected an object, got 1",
                          scalar_index = 'index.json: expected an object, got the string "x"' } do
  CASES[#CASES + 1] = { string.format([[bam.load "DIR/%s"]], name),
    string.format("DIR/%s/%s%s", name, name == "scalar" and "" or "model.safetensors.", says) }
end

test("models whose layers have been replaced by others", function()
  env.other_ffn, env.other_norm = env.d:build { seed = 1 }, env.d:build { seed = 1 }
  env.other_ffn.layers[1].ffn = bam.nn.Linear(24, 24)
  env.other_norm.norm = bam.nn.LayerNorm(23)
  for name, tensor in pairs { other_ffn = "`model.layers.0.mlp.gate_proj.weight` of shape (20, 24)",
                              other_norm = "`model.norm.weight` of shape (24)" } do
    CASES[#CASES + 1] = { string.format([[%s:save "DIR/replaced"]], name),
      string.format("the model holds no %s where its description says: a layer has been replaced; ",
                    tensor) }
  end

  local before, failed = core.memory().live, 0
  for _, case in ipairs(CASES) do
    local expected = string.format("script:1: %s", case[2]):gsub("DIR", (DIR:gsub("%%", "%%%%")))
    local code = case[1]:gsub("DIR", (DIR:gsub("%%", "%%%%")))
    local ok, message = pcall(assert(load(code, "=script", "t", env)))
    message = ok and "no error" or message
    if message:sub(1, #expected) ~= expected then
      failed = failed + 1
      print(string.format("%s\n  says      %s\n  should be %s", code, message, expected))
    end
  end
  collectgarbage()
  collectgarbage()
  expect.compare(core.memory().live, "<=", before, "a mistake has left tensors behind")
  print(string.format("%d messages, %d not as they should be", #CASES, failed))
  expect.equal(failed, 0)
end)
