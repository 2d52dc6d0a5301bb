-- CohereForCausalLM, whose names of tensors and order of rows are ours: parallel blocks of one LayerNorm.
local activations = require "bam.model.families.activations"
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
    hidden_act = activations.write(d), attention_bias = d.qkv_bias and d.out_bias or false,
    attention_dropout = 0.0, use_qk_norm = d.qk_norm == "layer",
    initializer_range = d.std, use_cache = true, torch_dtype = dtype, dtype = dtype,
    pad_token_id = ids.pad or json.null, bos_token_id = ids.bos or json.null,
    eos_token_id = ids.eos or json.null,
  }
end

local function check_computable(f)
  local dropout = f.get("attention_dropout", "rate", 0)
  if dropout ~= 0 then f.refuse("attention_dropout", dropout) end
end

--- Read the fields of Cohere's models.
---@param f families.Fields
---@param partial? boolean may only a part of a head rotate? In "bam"
---@return table d fields of a description
function M.read(f, partial)
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
  if get("attention_bias", "boolean", false) then d.qkv_bias, d.out_bias = true, true end
  if get("use_qk_norm", "boolean", false) then d.qk_norm = "layer" end
  d.activation = activations.read(f)
  d.kv_heads, d.head_width = check_heads(f.label, d, true)
  d.rope_base, d.rope, d.rope_width = rope.read(f, { partial = partial, head_width = d.head_width })
  return d
end

return M
