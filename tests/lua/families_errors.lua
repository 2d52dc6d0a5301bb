-- Directories that say something else than what bamlua computes: each is an error that names the file, the field and what
-- to do, before memory is taken.
package.path = string.format("tests/lua/support/?.lua;%s", package.path)
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local json = require "bam.util.json"
local test = require "tests.lua.support.test"

local SCRATCH = os.tmpname()
os.remove(SCRATCH)
core.make_directory(SCRATCH)
local cleanup <close> = setmetatable({}, { __close = function() os.execute(string.format("rm -rf '%s'", SCRATCH)) end })
local function at(name) return string.format("%s/%s", SCRATCH, name) end

local function described(more)
  local o = { layers = 2, width = 16, heads = 2, ffn = 12, vocab = 31, norm = "rms" }
  for name, value in pairs(more or {}) do o[name] = value end
  return bam.models.sequential(o)
end

local function mixture(more)
  local models = { described(more):build { seed = 1 }, described(more):build { seed = 2 } }
  return bam.mix { experts = models, attention = { experts = "mean" }, ffn = { top_k = 2, renormalize = true } }:build()
end

local function save(family, model) bam.save(at(family), model, { as = family }) end
save("llama", described():build())
save("mistral", described { window = 6 }:build())
save("qwen2", described { qkv_bias = true, window = { 0, 5 } }:build())
save("qwen3", described { qk_norm = "head" }:build())
save("mixtral", mixture())
save("qwen3_moe", mixture { qk_norm = "head" })
save("phi3", described():build())
save("olmoe", mixture { qk_norm = "width" })
local dense = { layers = 2, width = 16, heads = 2, ffn = 12, vocab = 31 }
local parallel = bam.mix { experts = { bam.models.parallel(dense):build(), bam.models.parallel(dense):build() },
                           attention = { experts = "mean" }, ffn = { top_k = 2, renormalize = true } }:build()
save("cohere2_moe", parallel)
save("bam", parallel)

-- A copy of a family's directory with other fields in its config.json, null for json.null.
local number = 0
local function with(family, fields)
  number = number + 1
  local directory = at(string.format("copy-%d", number))
  os.execute(string.format("cp -r '%s' '%s'", at(family), directory))
  local path = directory .. "/config.json"
  local config = json.decode(core.read_file(path))
  for name, value in pairs(fields) do
    if value == "absent" then config[name] = nil else config[name] = value end
  end
  core.write_file(path, json.encode(config))
  return directory
end

local function refused(family, fields, message)
  local directory = with(family, fields)
  collectgarbage()
  local before = bam.memory().live
  expect.raises(message:gsub("DIR", function() return directory end), bam.load, directory)
  expect.compare(bam.memory().live, "<=", before, "memory")
end

local function rope(fields)
  local parameters = { rope_theta = 10000.0 }
  for name, value in pairs(fields) do parameters[name] = value end
  return { rope_parameters = parameters }
end

test("rotation", function()
  for _, kind in ipairs { "dynamic", "longrope", "proportional" } do
    refused("llama", rope { rope_type = kind }, string.format('DIR/config.json: `rope_parameters.rope_type` is the string '
            .. '"%s", which bamlua does not compute; it computes "default", "linear", "llama3" and "yarn"', kind))
  end
  refused("llama", { rope_scaling = { type = "dynamic", factor = 2.0 }, rope_parameters = json.null },
          '`rope_scaling.rope_type` is the string "dynamic"')
  refused("llama", rope { rope_type = "linear" }, "DIR/config.json: rope_parameters: `factor` is missing")
  refused("llama", rope { rope_type = "llama3", factor = 8.0, low_freq_factor = 4.0, high_freq_factor = 4.0,
                          original_max_position_embeddings = 32 },
          "DIR/config.json: rope_parameters: low is 4 and high 4; low must be the smaller one")
  refused("llama", { partial_rotary_factor = 0.5 }, "`partial_rotary_factor` is 0.5")
  refused("llama", rope { rope_type = "default", partial_rotary_factor = 0.5 },
          "`rope_parameters.partial_rotary_factor` is 0.5, which bamlua does not compute; in this family heads are rotated "
          .. "as a whole")
  refused("phi3", rope { rope_type = "default", partial_rotary_factor = 0.4 }, "DIR/config.json: "
          .. "`rope_parameters.partial_rotary_factor` is 0.4, which bamlua does not compute; of a head's 8 elements it must "
          .. "be an even number")
  refused("phi3", rope { rope_type = "default", partial_rotary_factor = 1.5 }, "partial_rotary_factor` is 1.5")
  refused("phi3", rope { rope_type = "linear", factor = 2.0 },
          '`rope_parameters.rope_type` is the string "linear", which bamlua does not compute; in this family it may be "default"')
  local yarn = { rope_type = "yarn", factor = 4.0, original_max_position_embeddings = 64 }
  local function with_yarn(name, value)
    local fields = rope(yarn)
    fields.rope_parameters[name] = value
    return fields
  end
  refused("llama", with_yarn("original_max_position_embeddings", json.null),
          "rope_parameters: `original_max_position_embeddings` is missing")
  refused("llama", { rope_parameters = { full_attention = { rope_type = "default" }, sliding_attention = {} } },
          "which bamlua does not compute; it must hold for all layers, not for each kind of them")
  refused("llama", { rope_scaling = { type = "linear", factor = 2.0 } }, '`rope_scaling` is {"factor":2.0,"type":"linear"}, which '
          .. "bamlua does not compute; `rope_parameters` says something else; remove one of them")
  refused("llama", with_yarn("truncate", false), "`rope_parameters.truncate` is false, which bamlua does not compute")
  refused("llama", with_yarn("rope_theta", 1.0), "`rope_theta` is 1.0, which bamlua does not compute; yarn takes one above 1")
  refused("llama", with_yarn("beta_slow", 40.0), "rope_parameters: low is 40 and high 32; low must be the smaller one")
  refused("bam", { rope_parameters = with_yarn("partial_rotary_factor", 0.5).rope_parameters },
          "`rope_parameters.partial_rotary_factor` is 0.5, which bamlua does not compute; with yarn heads are rotated as a whole")
  expect.equal(bam.load(with("llama", with_yarn("attention_factor", 1.5))).description.rope.attention, 1.5)
end)

test("an old file's scaling is read", function()
  local directory = with("llama", { rope_scaling = { type = "linear", factor = 2.0 }, rope_parameters = json.null })
  expect.equal(tostring(bam.load(directory).description.rope), "{ factor = 2.0, scaling = linear }")
end)

test("windows", function()
  refused("qwen2", { layer_types = { "full_attention" } }, '`layer_types` is ["full_attention"], which bamlua does not compute; '
          .. "it must name 2 layers")
  refused("qwen2", { layer_types = { "full_attention", "chunked_attention" } },
          '`layer_types[2]` is the string "chunked_attention"')
  refused("qwen2", { sliding_window = json.null }, "`sliding_window` must say how many tokens")
  refused("mistral", { sliding_window = -3 }, "DIR/config.json: `sliding_window`: expected an integer of at least 1, got -3")
end)

test("what a family can be told that we do not compute", function()
  refused("llama", { mlp_bias = true }, "DIR/config.json: `mlp_bias` is true, which bamlua does not compute")
  refused("llama", { hidden_act = "relu2" }, 'DIR/config.json: `hidden_act` is the string "relu2", which bamlua does not '
          .. 'compute; it computes "silu", "gelu" and "gelu_pytorch_tanh"')
  refused("bam", { hidden_act = "relu" }, '`hidden_act` is the string "relu"')
  refused("phi3", { resid_pdrop = 0.1 }, "`resid_pdrop` is 0.1")
  refused("llama", { attention_dropout = 0.1 }, "`attention_dropout` is 0.1")
  refused("olmoe", { clip_qkv = 8.0 }, "`clip_qkv` is 8.0")
  refused("qwen3_moe", { decoder_sparse_step = 2 }, "DIR: `model.layers.0.mlp.gate_proj.weight` is missing")
  refused("qwen3_moe", { mlp_only_layers = { 1 } }, "DIR: `model.layers.1.mlp.gate_proj.weight` is missing")
  refused("qwen3_moe", { mlp_only_layers = { 2 } }, "`mlp_only_layers[1]` is 2, which bamlua does not compute; layers are 0 "
          .. "to 1")
  refused("qwen3_moe", { mlp_only_layers = { 0, 1 } }, "`mlp_only_layers` is [0,1], which bamlua does not compute; some "
          .. "layer must have experts")
  refused("cohere2_moe", { expert_selection_fn = "sigmoid" }, '`expert_selection_fn` is the string "sigmoid"')
  refused("cohere2_moe", { num_shared_experts = 1 }, "`num_shared_experts` is 1")
  refused("cohere2_moe", { mlp_layer_types = { "dense", "sparse" } }, "DIR: `model.layers.0.mlp.gate_proj.weight` is missing")
  refused("cohere2_moe", { mlp_layer_types = { "dense", "dense" } }, "some layer must be sparse")
  refused("cohere2_moe", { mlp_layer_types = { "none", "sparse" } }, '`mlp_layer_types[1]` is the string "none", which bamlua '
          .. 'does not compute; it may be "dense" or "sparse"')
  refused("cohere2_moe", { mlp_layer_types = { "dense", "sparse" }, layer_types = { "full_attention", "sliding_attention" },
                           prefix_dense_sliding_window_pattern = 1 }, '`layer_types[1]` is the string "full_attention", which '
          .. "bamlua does not compute; the layer is dense, so its heads rotate")
  refused("cohere2_moe", { mlp_layer_types = { "dense", "sparse" }, layer_types = json.null }, "`layer_types` is missing")
  refused("bam", { dense_ffn = { 12 } }, "`dense_ffn`: expected a width for each of the 2 layers, got 1")
  refused("bam", { dense_ffn = { 12, -1 } }, "`dense_ffn[2]`: expected an integer of at least 0, got -1")
  refused("mixtral", { num_experts_per_tok = 3 }, "`num_experts_per_tok` is 3, and there are 2 experts")
  refused("mixtral", { num_local_experts = "absent" }, "`num_local_experts` is missing")
end)

test("quantized weights and code in the directory", function()
  refused("llama", { quantization_config = { quant_method = "fp8" } }, '`quantization_config` is {"quant_method":"fp8"}, which bamlua does '
          .. "not compute; it reads weights of f32, bf16, f16 and f64; load the model that this one was made of")
  local code = { AutoModelForCausalLM = "modeling_llama.LlamaForCausalLM" }
  refused("llama", { auto_map = code }, "which bamlua does not compute; it names Python code in the directory, which may compute anything")
  refused("bam", { auto_map = code }, '`auto_map` is {"AutoModelForCausalLM":"modeling_llama.LlamaForCausalLM"}')
end)

test("config.json and weights disagree", function()
  refused("llama", { num_key_value_heads = 1 }, "DIR: `model.layers.0.self_attn.k_proj.weight` is (16, 16); by its "
          .. "config.json it must be (8, 16)")
  refused("llama", { num_hidden_layers = 3 }, "DIR: `model.layers.2.input_layernorm.weight` is missing")
  refused("llama", { num_hidden_layers = 1 }, "DIR: it holds 9 tensors that a model of its config.json has no place for")
  refused("llama", { attention_bias = true }, "DIR: `model.layers.0.self_attn.q_proj.bias` is missing")
  refused("qwen2", { model_type = "llama" }, "DIR: it holds 6 tensors that a model of its config.json has no place for, such "
          .. "as `model.layers.0.self_attn.k_proj.bias`")
  refused("mixtral", { num_local_experts = 3 }, "DIR: `model.layers.0.block_sparse_moe.experts.2.w1.weight` is missing")
  refused("llama", { tie_word_embeddings = true }, "DIR: `lm_head.weight` differs from `model.embed_tokens.weight`")
end)

-- A directory whose weights `change` has changed.
local function changed(change, family)
  local directory = with(family or "llama", {})
  change(directory, directory .. "/model.safetensors")
  return directory
end

local function refused_files(message, change, family)
  local directory = changed(change, family)
  collectgarbage()
  local before = bam.memory().live
  expect.raises(message:gsub("DIR", function() return directory end), bam.load, directory)
  expect.compare(bam.memory().live, "<=", before, "memory")
end

-- The tensors that `pattern` matches with another dtype in the file's header, and as many bytes as that needs.
local function retype(path, pattern, dtype, bytes)
  local text = core.read_file(path)
  local size = string.unpack("<I8", text)
  local header, names, parts, offset = json.decode(text:sub(9, 8 + size)), {}, {}, 0
  for name in pairs(header) do if name ~= "__metadata__" then names[#names + 1] = name end end
  table.sort(names)
  for i, name in ipairs(names) do
    local entry = header[name]
    parts[i] = text:sub(9 + size + entry.data_offsets[1], 8 + size + entry.data_offsets[2])
    if name:find(pattern) then entry.dtype, parts[i] = dtype, parts[i]:sub(1, #parts[i] // 4 * bytes) end
    entry.shape, entry.data_offsets = json.array(entry.shape), json.array { offset, offset + #parts[i] }
    offset = offset + #parts[i]
  end
  local encoded = json.encode(header)
  core.write_file(path, string.pack("<I8", #encoded) .. encoded .. table.concat(parts))
end

test("dtypes that are not of floating point, or of 8 bits", function()
  for dtype, bytes in pairs { I8 = 1, F8_E4M3 = 1, F8_E5M2 = 1 } do
    refused_files(string.format('tensor "model.layers.0.self_attn.q_proj.weight": dtype "%s" is not supported; convert it',
                                dtype), function(_, path) retype(path, "0.*q_proj", dtype, bytes) end)
  end
  for dtype, bytes in pairs { U8 = 1, I32 = 4, BOOL = 1 } do
    refused_files(string.format("DIR: `model.layers.0.self_attn.q_proj.weight` is of dtype %s, not of floating point",
                                dtype:lower()), function(_, path) retype(path, "0.*q_proj", dtype, bytes) end)
  end
end)

test("sizes that no model has", function()
  for _, case in ipairs {
    { { head_dim = 7 }, "rope rotates pairs, so head_width must be even, got 7" },
    { { head_dim = 1 << 40 }, "`head_dim`: expected an integer from 1 to 2147483647" },
    { { num_hidden_layers = "2" }, '`num_hidden_layers`: expected an integer from 1 to 4096, got the string "2"' },
    { { num_attention_heads = 0 }, "`num_attention_heads`: expected an integer from 1 to 2147483647, got 0" },
    { { num_key_value_heads = 3 }, "kv_heads is 3, which does not divide the 2 heads" },
    { { vocab_size = 32 }, "`model.embed_tokens.weight` is (31, 16); by its config.json it must be (32, 16)" },
    { { max_position_embeddings = 0 }, "`max_position_embeddings`: expected an integer of at least 1, got 0" },
    { { model_type = "gemma2" }, 'DIR/config.json: `model_type` is "gemma2", a family that bamlua does not know' },
    { { is_causal = false }, "`is_causal` is false, which bamlua does not compute" },
  } do refused("llama", case[1], case[2]) end
end)

test("matrices that hold several", function()
  local name = "model.layers.1.self_attn.qkv_proj.weight"
  local function set(value)
    return function(_, path)
      local tensors = bam.load(path)
      tensors[name] = value
      bam.save(path, tensors)
    end
  end
  refused_files(string.format("DIR: `%s` is missing", name), set(nil), "phi3")
  refused_files(string.format("DIR: `%s` is (32, 16); by its config.json it must be (48, 16)", name), set(bam.zeros(32, 16)),
                "phi3")
  refused_files(string.format("DIR: `%s` is (48, 15); by its config.json it must be (48, 16)", name), set(bam.zeros(48, 15)),
                "phi3")
  refused_files(string.format("DIR: `%s` is of dtype i32, not of floating point", name),
                set(bam.ones(48, 16, { dtype = "i32" })), "phi3")
  refused("phi3", { num_key_value_heads = 1 }, "`model.layers.0.self_attn.qkv_proj.weight` is (48, 16); by its config.json it "
          .. "must be (32, 16)")
end)

test("missing and extra tensors and files", function()
  refused_files("DIR: `lm_head.weight` is missing; if the head is the embedding, set tie_word_embeddings to true",
                function(_, path)
    local tensors = bam.load(path)
    tensors["lm_head.weight"] = nil
    bam.save(path, tensors)
  end)
  refused_files("DIR: `model.norm.weight` is of dtype i32, not of floating point", function(_, path)
    local tensors = bam.load(path)
    tensors["model.norm.weight"] = bam.ones(16, { dtype = "i32" })
    bam.save(path, tensors)
  end)
  refused_files('dtype "F8_E4M3" is not supported', function(_, path)
    local header = '{"lm_head.weight":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}'
    core.write_file(path, string.pack("<I8", #header) .. header .. ("\0"):rep(8))
  end)
  refused_files("DIR: its weights are PyTorch pickles", function(directory, path)
    os.rename(path, directory .. "/pytorch_model.bin")
  end)
  local function shards(directory, path)
    bam.save(directory .. "/model.safetensors.index.json", bam.load(path), { shard_bytes = 4000 })
    os.remove(path)
  end
  local whole = changed(shards)
  expect.equal(bam.load(whole).description.family, "llama")
  refused_files("names model-00002-of-", function(directory, path)
    shards(directory, path)
    os.remove(core.glob(directory .. "/model-00002-of-*.safetensors")[1])
  end)
  refused_files("DIR: it holds model-00099-of-00099.safetensors, which model.safetensors.index.json does not name; remove one",
                function(directory, path)
    shards(directory, path)
    bam.save(directory .. "/model-00099-of-00099.safetensors", { x = bam.zeros(1) })
  end)
  refused_files("DIR: it holds model.safetensors, which model.safetensors.index.json does not name; remove one of them",
                function(directory, path)
    bam.save(directory .. "/model.safetensors.index.json", bam.load(path), { shard_bytes = 4000 })
  end)
  refused_files("DIR: it holds model-00001-of-00002.safetensors, but no model.safetensors.index.json that names it; remove it",
                function(directory) bam.save(directory .. "/model-00001-of-00002.safetensors", { x = bam.zeros(1) }) end)
  refused_files("`lm_head.weight` is in two of its files", function(directory, path)
    shards(directory, path)
    local second = core.glob(directory .. "/model-00002-of-*")[1]
    local tensors = bam.load(second)
    tensors["lm_head.weight"] = bam.zeros(31, 16)
    bam.save(second, tensors)
  end)
  refused_files("is not the name of a file beside it", function(directory, path)
    shards(directory, path)
    local index = directory .. "/model.safetensors.index.json"
    core.write_file(index, (core.read_file(index):gsub("model%-00001", "../model-00001")))
  end)
  refused_files("the file is damaged or truncated", function(_, path)
    core.write_file(path, core.read_file(path):sub(1, -100))
  end)
  refused_files("but no model.safetensors.index.json", function(directory, path)
    shards(directory, path)
    os.remove(directory .. "/model.safetensors.index.json")
  end)
  refused_files("its index says that `extra` is in model-00001-of-", function(directory, path)
    shards(directory, path)
    local index = directory .. "/model.safetensors.index.json"
    core.write_file(index, (core.read_file(index):gsub('"lm_head.weight": "[^"]*"', '%0, "extra": "model-00001-of-'
      .. core.glob(directory .. "/model-00001-of-*")[1]:match "of%-(%d+)" .. '.safetensors"')))
  end)
end)

test("a tokenizer that cannot be read is an error only where text is asked for", function()
  local directory = with("llama", {})
  core.write_file(directory .. "/tokenizer.json", '{"model": {"type": "Unigram", "vocab": []}}')
  local model = bam.load(directory)
  expect.equal(model(bam.randint(0, 30, 1, 5)).shape, { 1, 5, 31 })
  expect.equal(#model:sample({ 1, 2 }, { tokens = 3 }), 5)
  expect.raises("tokenizer.json", model.sample, model, "a text", { tokens = 3 })
  local plain = bam.load(at "llama")
  expect.raises("this model has no tokenizer", plain.sample, plain, "a text", { tokens = 3 })
end)
