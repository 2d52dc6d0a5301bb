-- config.json of a checkpoint, from a description and back. A dense model has the fields of Hugging
-- Face's CohereConfig; a mixture the same with model_type "bam" and its own. What we do not compute
-- is refused by name.
local blocks = require "bam.model.blocks.registry"
local check = require "bam.util.check"
local check_heads = require "bam.nn.heads"
local companions = require "bam.model.companions"
local core = require "bam.core"
local description = require "bam.model.description"
local json = require "bam.util.json"
local parts = require "bam.model.parts"
local router_options = require "bam.nn.moe.router_options"

local M = {}

local function base(d, dtype, token_ids)
  local ids = token_ids or {}
  return {
    vocab_size = d.vocab, hidden_size = d.width, intermediate_size = parts.hidden(d),
    num_hidden_layers = d.layers, num_attention_heads = d.heads, num_key_value_heads = d.kv_heads,
    head_dim = d.head_width, layer_norm_eps = d.eps, logit_scale = d.logit_scale + 0.0,
    tie_word_embeddings = d.tied, max_position_embeddings = d.context,
    rope_theta = d.rope_base + 0.0,
    rope_parameters = { rope_theta = d.rope_base + 0.0, rope_type = "default" },
    hidden_act = "silu", attention_bias = false, attention_dropout = 0.0, use_qk_norm = false,
    initializer_range = d.std, use_cache = true, torch_dtype = dtype, dtype = dtype,
    pad_token_id = ids.pad or json.null, bos_token_id = ids.bos or json.null,
    eos_token_id = ids.eos or json.null,
  }
end

local DTYPES = { f32 = "float32", f64 = "float64", bf16 = "bfloat16", f16 = "float16" }

-- What the knobs are now: a schedule belongs to a run, not to its checkpoint.
local function add_knobs(config, model)
  local now = model.reached
  config.load_balance, config.z_loss = model.load_balance, model.z_loss
  config.attention_routing, config.ffn_top_k = now.attention.routing, now.ffn.top_k
  for _, which in ipairs { "attention", "ffn" } do
    for _, option in ipairs(router_options.LIST) do
      local value
      if option.scheduled then value = now[which][option.name] else value = model.description[which][option.name] end
      if value == nil and option.always and not option.scheduled then value = option.default end
      config[string.format("%s_%s", which, option.name)] = value
    end
  end
  if next(now.freeze) then config.freeze = now.freeze end
end

-- What is not of the paper; it is left out of models that are.
local function add_layers(config, d)
  config.block, config.norm = d.block and blocks.of(d).name, d.norm
  local own = json.array {}
  for _, which in ipairs { "attention", "ffn" } do
    if d[which].class then table.insert(own, which) end
  end
  if own[1] then config.custom_layers = own end
end

local function add_mixture(config, d, model)
  local a, f = d.attention, d.ffn
  add_knobs(config, model)
  config.attention_experts, config.attention_kv = a.experts, a.kv
  config.ffn_experts = f.experts
  config.aux_tokens = d.aux_tokens
  config.custom_routers = json.array {}
  if a.router then table.insert(config.custom_routers, "attention") end
  if f.router then table.insert(config.custom_routers, "ffn") end
  add_layers(config, d)
end

-- Can it be saved as a model of Cohere's? Such a one has the paper's blocks, and no experts.
local function is_cohere(d)
  return not (description.is_mixture(d) or d.block or d.norm or d.attention.class or d.ffn.class)
end

--- The text of config.json for a live model saved in `dtype`.
---@param model table
---@param dtype string
---@return string
function M.encode(model, dtype)
  local d = model.description
  local config = base(d, DTYPES[dtype], companions.token_ids(model))
  local mixed = not is_cohere(d)
  if mixed then add_mixture(config, d, model) end
  config.model_type = mixed and "bam" or "cohere"
  config.architectures = { mixed and "BamForCausalLM" or "CohereForCausalLM" }
  return json.encode(config, { indent = 2 })
end

-- ---- reading ----

-- A field, null counting as absent; `kind` as in check.value. Without a default it must be there.
local function reader(config, label)
  return function(name, kind, default)
    local value = config[name]
    if value == json.null then value = nil end
    if value == nil then
      if default == nil then check.fail("%s: `%s` is missing", label, name) end
      return default
    end
    return check.value(string.format("%s: `%s`", label, name), value, kind)
  end
end

local function refuse(label, name, value)
  check.fail("%s: `%s` is %s, which bamlua does not compute", label, name, check.describe(value))
end

-- Rotary settings, in the old place or the new; returns the base.
local function read_rope(get, label)
  local scaling = get("rope_scaling", "table", false)
  if scaling then refuse(label, "rope_scaling", scaling) end
  local parameters = get("rope_parameters", "table", false)
  if not parameters then return get("rope_theta", "positive", 10000) end
  local inner = reader(parameters, label .. ": rope_parameters")
  local kind = inner("rope_type", "string", "default")
  if kind ~= "default" then refuse(label, "rope_parameters.rope_type", kind) end
  return inner("rope_theta", "positive", get("rope_theta", "positive", 10000))
end

local function check_computable(get, label)
  for _, name in ipairs { "use_qk_norm", "attention_bias" } do
    if get(name, "boolean", false) then refuse(label, name, true) end
  end
  local act, dropout = get("hidden_act", "string", "silu"), get("attention_dropout", "rate", 0)
  if act ~= "silu" then refuse(label, "hidden_act", act) end
  if dropout ~= 0 then refuse(label, "attention_dropout", dropout) end
end

local function read_base(get, label)
  check_computable(get, label)
  local d = {
    layers = get("num_hidden_layers", "few"), width = get("hidden_size", "extent"),
    heads = get("num_attention_heads", "extent"),
    kv_heads = get("num_key_value_heads", "extent", false) or nil,
    head_width = get("head_dim", "extent", false) or nil,
    vocab = get("vocab_size", "extent"), tied = get("tie_word_embeddings", "boolean", true),
    rope_base = read_rope(get, label), eps = get("layer_norm_eps", "positive", 1e-5),
    logit_scale = get("logit_scale", "positive", 0.0625),
    context = get("max_position_embeddings", "size", 8192),
    ffn = { experts = 1, hidden = get("intermediate_size", "extent"), top_k = 1 },
    attention = { experts = 1, kv = "own", routing = "soft" },
    std = get("initializer_range", "rate", 0.02), load_balance = 0, z_loss = 0, aux_tokens = 0,
  }
  d.kv_heads, d.head_width = check_heads(label, d, true)
  return d
end

-- The layers that the checkpoint says are of a script's class must be given.
local function read_layers(d, get, label, layers)
  for _, which in ipairs(get("custom_layers", "table", {})) do
    if which ~= "attention" and which ~= "ffn" then
      check.fail('%s: `custom_layers` may list "attention" and "ffn", not %s', label, check.describe(which))
    end
    if not layers[which] then
      check.fail("%s: its %s is of a class written in Lua; give it to bam.load: { layers = { %s = MyClass } }, with "
                 .. "its options { class = MyClass, ... }", label, which, which)
    end
    d[which].class, d[which].options =
      parts.read(string.format("load: option layers: %s", which), which, layers[which])
    if which == "ffn" then d.ffn.hidden = nil end
  end
end

local function read_block(d, get, label)
  local name, norm = get("block", "string", "parallel"), get("norm", "string", "layer")
  local block = core.try(blocks.registry.find, blocks.registry, label, name)
  if not block then
    check.fail("%s: its blocks are called %s, which are not defined; define them with bam.models.define first", label,
               name)
  end
  if norm ~= "layer" and norm ~= "rms" then
    check.fail('%s: `norm` is %s; it must be "layer" or "rms"', label, check.describe(norm))
  end
  d.block, d.norm = blocks.field(blocks.registry:find(label, name)), norm == "rms" and norm or nil
end

-- The routers that the checkpoint says were of the user's own must be given.
local function check_custom_routers(get, label, routers)
  for _, which in ipairs(get("custom_routers", "table", {})) do
    if which ~= "attention" and which ~= "ffn" then
      check.fail('%s: `custom_routers` may list "attention" and "ffn", not %s', label,
                 check.describe(which))
    end
    if not routers[which] then
      check.fail("%s: its %s routers were written in Lua; give bam.load what makes them: "
                 .. "{ routers = { %s = f } }", label, which, which)
    end
  end
end

local function read_routing(get, experts, label)
  local routing = get("attention_routing", "any", "soft")
  if routing == "soft" then return routing end
  routing = check.value(string.format("%s: `attention_routing`", label), routing, "few")
  if routing > experts then
    check.fail("%s: `attention_routing` is %d, and there are %d attention experts", label, routing,
               experts)
  end
  return routing
end

-- What is said of freezing; the rest is left to the script.
local function read_freeze(get, label)
  local given, frozen = get("freeze", "table", {}), {}
  local inner = reader(given, string.format("%s: freeze", label))
  for _, name in ipairs { "routers", "experts", "rest" } do
    local flag = inner(name, "boolean", json.null)
    if flag ~= json.null then frozen[name] = flag end
  end
  return next(frozen) and frozen or nil
end

-- Settings of a router; without attention experts there is none.
local function read_router(get, group, which)
  if group.experts == 1 then return end
  for _, option in ipairs(router_options.LIST) do
    local value = get(string.format("%s_%s", which, option.name), option.kind, option.default)
    if option.always or value ~= option.default then group[option.name] = value end
  end
end

local function read_mixture(d, get, label, own)
  local routers = own.routers or {}
  check_custom_routers(get, label, routers)
  local a, f = d.attention, d.ffn
  a.experts, a.kv = get("attention_experts", "few", 1), get("attention_kv", "string", "own")
  if a.kv ~= "own" and a.kv ~= "shared" then
    check.fail('%s: `attention_kv` is %s; it must be "own" or "shared"', label,
               check.describe(a.kv))
  end
  a.routing = read_routing(get, a.experts, label)
  a.router = routers.attention
  f.experts, f.top_k = get("ffn_experts", "few"), get("ffn_top_k", "few", 1)
  f.router = routers.ffn
  if f.top_k > f.experts then
    check.fail("%s: `ffn_top_k` is %d, and there are %d FFN experts", label, f.top_k, f.experts)
  end
  read_router(get, a, "attention")
  read_router(get, f, "ffn")
  read_block(d, get, label)
  read_layers(d, get, label, own.layers or {})
  d.freeze = read_freeze(get, label)
  d.load_balance, d.z_loss = get("load_balance", "rate", 0), get("z_loss", "rate", 0)
  d.aux_tokens = get("aux_tokens", "count", 0)
end

local function token_ids(get)
  return { pad = get("pad_token_id", "count", false), bos = get("bos_token_id", "count", false),
           eos = get("eos_token_id", "any", false) }
end

--- The description in a config.json.
---@param config table what the JSON says
---@param label string its path, for messages
---@param own? { routers?: table, layers?: table } what makes routers and layers written in Lua, by part
---@return table description
---@return table token_ids
function M.decode(config, label, own)
  local get = reader(config, label)
  local model_type = get("model_type", "string")
  if model_type ~= "cohere" and model_type ~= "bam" then
    check.fail('%s: a model of type "%s"; bamlua loads "cohere" (CohereForCausalLM) and its own '
               .. '"bam"', label, model_type)
  end
  local d = read_base(get, label)
  if model_type == "bam" then read_mixture(d, get, label, own or {}) end
  return description.new(d), token_ids(get)
end

return M
