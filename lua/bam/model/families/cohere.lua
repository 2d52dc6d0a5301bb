-- CohereForCausalLM, whose names of tensors and order of rows are ours: parallel blocks of one LayerNorm.
local check_heads = require "bam.nn.heads"
local json = require "bam.util.json"
local parts = require "bam.model.parts"
local rope = require "bam.model.families.rope"

local M = {}

--- What a config.json says of a model of Cohere's blocks, and of every mixture of ours.
---@param d table description
---@param dtype string "float32"
---@param token_ids table
---@return table config
function M.write(d, dtype, token_ids)
  local ids = token_ids or {}
  return {
    vocab_size = d.vocab, hidden_size = d.width, intermediate_size = parts.hidden(d),
    num_hidden_layers = d.layers, num_attention_heads = d.heads, num_key_value_heads = d.kv_heads,
    head_dim = d.head_width, layer_norm_eps = d.eps, logit_scale = d.logit_scale + 0.0,
    tie_word_embeddings = d.tied, max_position_embeddings = d.context,
    rope_theta = d.rope_base + 0.0,
    rope_parameters = rope.parameters(d),
    hidden_act = "silu", attention_bias = false, attention_dropout = 0.0, use_qk_norm = false,
    initializer_range = d.std, use_cache = true, torch_dtype = dtype, dtype = dtype,
    pad_token_id = ids.pad or json.null, bos_token_id = ids.bos or json.null,
    eos_token_id = ids.eos or json.null,
  }
end

local function check_computable(f)
  for _, name in ipairs { "use_qk_norm", "attention_bias" } do
    if f.get(name, "boolean", false) then f.refuse(name, true) end
  end
  local act, dropout = f.get("hidden_act", "string", "silu"), f.get("attention_dropout", "rate", 0)
  if act ~= "silu" then f.refuse("hidden_act", act) end
  if dropout ~= 0 then f.refuse("attention_dropout", dropout) end
end

--- Read the fields of Cohere's models.
---@param f families.Fields
---@return table d fields of a description
function M.read(f)
  local get = f.get
  check_computable(f)
  local d = {
    layers = get("num_hidden_layers", "few"), width = get("hidden_size", "extent"),
    heads = get("num_attention_heads", "extent"),
    kv_heads = get("num_key_value_heads", "extent", false) or nil,
    head_width = get("head_dim", "extent", false) or nil,
    vocab = get("vocab_size", "extent"), tied = get("tie_word_embeddings", "boolean", true),
    eps = get("layer_norm_eps", "positive", 1e-5),
    logit_scale = get("logit_scale", "positive", 0.0625),
    context = get("max_position_embeddings", "size", 8192),
    ffn = { experts = 1, hidden = get("intermediate_size", "extent"), top_k = 1 },
    attention = { experts = 1, kv = "own", routing = "soft" },
    std = get("initializer_range", "rate", 0.02), load_balance = 0, z_loss = 0, aux_tokens = 0,
  }
  d.rope_base, d.rope = rope.read(f, 10000)
  d.kv_heads, d.head_width = check_heads(f.label, d, true)
  return d
end

return M
