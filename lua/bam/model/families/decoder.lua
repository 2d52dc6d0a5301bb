-- What the config.json of a decoder of any family says: sizes, rotation, windows, biases. A family adds what is its
-- own; see registry.lua.
local activations = require "bam.model.families.activations"
local check_heads = require "bam.nn.heads"
local json = require "bam.util.json"
local parts = require "bam.model.parts"
local rope = require "bam.model.families.rope"

local M = {}

-- Fields that no description has room for: their names and the values that they may have.
local PLAIN = {
  { "attention_dropout", "rate", 0 }, { "mlp_bias", "boolean", false },
  { "use_qk_norm", "boolean", false }, { "attn_logit_softcapping", "rate", 0 },
  { "final_logit_softcapping", "rate", 0 }, { "is_causal", "boolean", true },
}

local function check_plain(f)
  for _, field in ipairs(PLAIN) do
    local value = f.get(field[1], field[2], field[3])
    if value ~= field[3] then f.refuse(field[1], value) end
  end
  local clip = f.get("clip_qkv", "any", false)
  if clip then f.refuse("clip_qkv", clip) end
end

--- Read what all decoders say.
---@param f families.Fields
---@param family table
---@return table d fields of a description
function M.read(f, family)
  check_plain(f)
  local get, defaults = f.get, family.defaults
  local d = {
    layers = get("num_hidden_layers", "few"), width = get("hidden_size", "extent"),
    heads = get("num_attention_heads", "extent"), kv_heads = get("num_key_value_heads", "extent", false) or nil,
    head_width = get("head_dim", "extent", defaults.head_width or false) or nil, vocab = get("vocab_size", "extent"),
    tied = get("tie_word_embeddings", "boolean", defaults.tied), eps = get(family.eps, "positive", defaults.eps),
    logit_scale = 1, context = get("max_position_embeddings", "size", 2048),
    ffn = { experts = 1, hidden = get("intermediate_size", "extent"), top_k = 1 },
    attention = { experts = 1, kv = "own", routing = "soft" },
    std = get("initializer_range", "rate", 0.02), load_balance = 0, z_loss = 0, aux_tokens = 0,
  }
  d.activation = activations.read(f)
  d.kv_heads, d.head_width = check_heads(f.label, d, true)
  d.rope_base, d.rope, d.rope_width =
    rope.read(f, { base = defaults.rope_base, share = defaults.rope_share, partial = family.partial,
                   head_width = d.head_width })
  for name, value in pairs(family.fixed) do d[name] = value end
  return d
end

--- What a config.json says of any decoder.
---@param d table description
---@param family table
---@param ids table token ids
---@return table config
function M.write(d, family, ids)
  return {
    vocab_size = d.vocab, hidden_size = d.width, intermediate_size = parts.hidden(d), num_hidden_layers = d.layers,
    num_attention_heads = d.heads, num_key_value_heads = d.kv_heads, head_dim = d.head_width,
    [family.eps] = d.eps + 0.0, tie_word_embeddings = d.tied, max_position_embeddings = d.context,
    rope_theta = d.rope_base + 0.0,
    rope_parameters = rope.parameters(d), hidden_act = activations.write(d), attention_dropout = 0.0,
    initializer_range = d.std + 0.0,
    use_cache = true, pad_token_id = ids.pad or json.null, bos_token_id = ids.bos or json.null,
    eos_token_id = ids.eos or json.null,
  }
end

--- Refuse a field unless it has the value that the family computes with.
---@param f families.Fields
---@param name string
---@param kind string
---@param value any
function M.only(f, name, kind, value)
  local given = f.get(name, kind, value)
  if given ~= value then f.refuse(name, given, string.format("it may be %s", tostring(value))) end
end

--- Refuse fields that a family must not have, because descriptions would compute without it.
---@param f families.Fields
---@param names string[]
function M.without(f, names)
  for _, name in ipairs(names) do
    local value = f.get(name, "any", false)
    if value then f.refuse(name, value) end
  end
end

return M
