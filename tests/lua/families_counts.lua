-- Numbers of parameters of public models, from their sizes, and of mixtures of them: nothing is allocated.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

-- Sizes from the config.json of public models. The numbers of parameters are those in the metadata of their safetensors
-- and GGUF files on Hugging Face; transformers counts the same on its meta device (tests/golden/check_families.py).
local function fields(model_type, layers, width, heads, kv_heads, hidden, vocab, more)
  local config = { model_type = model_type, num_hidden_layers = layers, hidden_size = width, num_attention_heads = heads,
                   num_key_value_heads = kv_heads, intermediate_size = hidden, vocab_size = vocab, tie_word_embeddings = false }
  for name, value in pairs(more or {}) do config[name] = value end
  return config
end

local TIED = { tie_word_embeddings = true }

local PUBLIC = {
  { "Command R", 34980831232, fields("cohere", 40, 8192, 64, 64, 22528, 256000, TIED) },
  { "Command R+", 103810674688, fields("cohere", 64, 12288, 96, 8, 33792, 256000,
                                       { tie_word_embeddings = true, use_qk_norm = true }) },
  { "Command R7B", 8028033024, fields("cohere2", 32, 4096, 32, 8, 14336, 256000,
                                      { tie_word_embeddings = true, sliding_window = 4096 }) },
  { "GLM-4 9B", 9399951360, fields("glm", 40, 4096, 32, 2, 13696, 151552) },
  { "Llama 3.1 8B", 8030261248, fields("llama", 32, 4096, 32, 8, 14336, 128256) },
  { "Llama 3.2 1B", 1235814400, fields("llama", 16, 2048, 32, 8, 8192, 128256, TIED) },
  { "Mistral 7B", 7241732096, fields("mistral", 32, 4096, 32, 8, 14336, 32000) },
  { "OLMo 1B", 1176764416, fields("olmo", 16, 2048, 16, 16, 8192, 50304, TIED) },
  { "OLMo 2 7B", 7298617344, fields("olmo2", 32, 4096, 32, 32, 11008, 100352) },
  { "Phi-3 mini", 3821079552, fields("phi3", 32, 3072, 32, 32, 8192, 32064) },
  { "Phi-4", 14659507200, fields("phi3", 40, 5120, 40, 10, 17920, 100352) },
  { "Phi-4 mini, but for longrope", 3836021760, fields("phi3", 32, 3072, 24, 8, 8192, 200064,
                                       { tie_word_embeddings = true, partial_rotary_factor = 0.75 }) },
  { "Qwen2.5 0.5B", 494032768, fields("qwen2", 24, 896, 14, 2, 4864, 151936, TIED) },
  { "Qwen2.5 7B", 7615616512, fields("qwen2", 28, 3584, 28, 4, 18944, 152064) },
  { "Qwen3 8B", 8190735360, fields("qwen3", 36, 4096, 32, 8, 12288, 151936, { head_dim = 128 }) },
  { "Mixtral 8x7B", 46702792704, fields("mixtral", 32, 4096, 32, 8, 14336, 32000,
                                        { num_local_experts = 8, num_experts_per_tok = 2 }) },
  { "Qwen3 30B A3B", 30532122624, fields("qwen3_moe", 48, 2048, 32, 4, 6144, 151936,
     { head_dim = 128, num_experts = 128, num_experts_per_tok = 8, moe_intermediate_size = 768 }) },
  { "OLMoE 1B 7B", 6919161856, fields("olmoe", 16, 2048, 16, 16, 1024, 50304,
                                      { num_experts = 64, num_experts_per_tok = 8 }) },
  -- no public model of the family is without shared experts: transformers' defaults
  { "Cohere 2 MoE", 190004928512, fields("cohere2_moe", 40, 8192, 64, 64, 22528, 256000,
     { tie_word_embeddings = true, num_experts = 8, num_experts_per_tok = 2, sliding_window = 4096 }) },
}

test("sizes of public models", function()
  local config = require "bam.model.config"
  collectgarbage()
  local before = bam.memory().live
  for _, case in ipairs(PUBLIC) do
    expect.equal((config.decode(case[3], case[1]):count()), case[2], case[1])
  end
  expect.compare(bam.memory().live, "<=", before)
end)

-- Mixtures of models of the sizes of public ones, from descriptions: nothing is allocated.
test("mixtures are planned at public sizes", function()
  collectgarbage()
  local before = bam.memory().live
  local function sized(blocks, layers, width, heads, kv_heads, ffn, vocab, more)
    local o = { layers = layers, width = width, heads = heads, kv_heads = kv_heads, ffn = ffn, vocab = vocab }
    for name, value in pairs(more or {}) do o[name] = value end
    local d = bam.models[blocks](o)
    return { d, d, d, d, d, d, d, d }
  end
  local mistral = sized("sequential", 32, 4096, 32, 8, 14336, 32000, { norm = "rms" })
  local btx = bam.mix { experts = mistral, attention = { experts = "mean" }, ffn = { top_k = 2, renormalize = true } }
  expect.equal((btx:count()), 46702792704) -- as Mixtral 8x7B: eight FFNs of Mistral 7B, one attention, and routers
  local attention, queries = 32 * 4096 * (2 * 4096 + 2 * 1024), 32 * 4096 * 2 * 4096
  local routers = 32 * 8 * 4096
  local own = bam.mix { experts = mistral, attention = { kv = "own" }, ffn = { top_k = 2, renormalize = true } }
  expect.equal((own:count()), 46702792704 + 7 * attention + routers)
  local shared = bam.mix { experts = mistral, attention = { kv = "shared" }, ffn = { top_k = 2, renormalize = true } }
  expect.equal((shared:count()), 46702792704 + 7 * queries + routers)
  local command = sized("parallel", 40, 8192, 64, 64, 22528, 256000, { tied = true })
  local parallel_btx = bam.mix { experts = command, attention = { experts = "mean" }, ffn = { top_k = 2 } }
  expect.equal((parallel_btx:count()), 190004928512)
  expect.compare(bam.memory().live, "<=", before)
end)
