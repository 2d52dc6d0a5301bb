-- config.json of a checkpoint, from a description and back. A dense model of the paper's blocks has the fields of
-- Hugging Face's CohereConfig; one that came as another family keeps that family's; everything else has model_type
-- "bam" and fields of its own. What we do not compute is refused by name.
local check = require "bam.util.check"
local cohere = require "bam.model.families.cohere"
local companions = require "bam.model.companions"
local core = require "bam.core"
local decoder = require "bam.model.families.decoder"
local description = require "bam.model.description"
local families = require "bam.model.families.registry"
local fields = require "bam.model.families.fields"
local json = require "bam.util.json"
local mixture = require "bam.model.families.mixture"
local python = require "bam.model.python"

local M = {}

local DTYPES = { f32 = "float32", f64 = "float64", bf16 = "bfloat16", f16 = "float16" }

local function token_ids(get)
  return { pad = get("pad_token_id", "count", false), bos = get("bos_token_id", "count", false),
           eos = get("eos_token_id", "any", false) }
end

-- ---- which family ----

-- Can it be saved as a model of Cohere's? Such a one has the paper's blocks, and no experts.
local function is_cohere(d)
  for _, name in ipairs { "block", "norm", "window", "rope_layers", "qkv_bias", "out_bias", "qk_norm" } do
    if d[name] then return false end
  end
  return not (description.is_mixture(d) or d.attention.class or d.ffn.class)
end

-- A description by the fields that a family's config.json has for it.
local function as_family(d, family, ids)
  local config = decoder.write(d, family, ids)
  family.write(config, d)
  config.model_type, config.architectures = family.name, { family.class }
  return config
end

local function read_family(f, family)
  local d = decoder.read(f, family)
  family.read(f, d)
  d.family = family.name
  return d
end

local ROUTING = { "experts", "hidden", "top_k", "renormalise", "temperature", "class", "router" }
local NONE = { renormalise = false, temperature = 1 } -- what a part leaves out

-- The first setting in which a description differs from what a family makes of it, as text.
local function difference(d, back, but)
  local function compare(name, a, b)
    if tostring(a) ~= tostring(b) and not (type(a) == "number" and a == b) then
      return string.format("its %s is %s, which would be read as %s", name, tostring(a), tostring(b))
    end
  end
  for _, name in ipairs(description.SETTINGS) do
    local found = compare(name, d[name], back[name])
    if found then return found end
  end
  if d.attention.experts > 1 or d.attention.class then return "its attention has experts, or is of a class of yours" end
  for _, name in ipairs(ROUTING) do
    local a, b = d.ffn[name], back.ffn[name]
    if a == nil then a = NONE[name] end
    if b == nil then b = NONE[name] end
    local found = name ~= but and compare(string.format("ffn.%s", name), a, b)
    if found then return found end
  end
end

--- Why a description cannot be saved as a family's model, as text; nil if it can. The proof that it can is that what is
--- written reads as the same description.
---@param d table description
---@param family table
---@param but? string a setting of the FFN that may differ
---@return string?
function M.unfit(d, family, but)
  local fine, why = core.try(function()
    local config = json.decode(json.encode(as_family(d, family, {})))
    return difference(d, description.new(read_family(fields.new(config, family.name), family)), but)
  end)
  if fine then return why end
  return (why:gsub("^.-:%d+: ", ""))
end

-- ---- writing ----

-- The description of a live model as it computes now: with numbers in place of schedules.
local function settled(model)
  local d, now = model.description, model.reached.ffn
  if not description.is_mixture(d) then return d end
  return description.derive(d, { ffn = { top_k = now.top_k, temperature = now.temperature, jitter = now.jitter },
                                 load_balance = model.load_balance, z_loss = model.z_loss })
end

local GATES = "renormalise" -- the setting of the FFN in which a model may differ from a family that it is saved as

-- Refuse to save as a family what it cannot hold; returns whether it is told to save it inexactly.
local function check_fit(d, family, inexact)
  local why = M.unfit(d, family)
  if not why then return false end
  if M.unfit(d, family, GATES) then
    check.fail('save: option as: this model cannot be saved as "%s": %s', family.name, why)
  elseif not inexact then
    check.fail('save: option as: "%s" computes this model only almost: there the gates of the chosen experts sum to 1, '
               .. 'and here they do not. Train it with renormalize = true, save it as "bam", or give inexact = true, '
               .. "which says by how much logits differ", family.name)
  end
  return true
end

--- The family in which a live model is saved: the one asked for, the one that it came as if it still is such a model;
--- nil for "cohere" and "bam".
---@param model table
---@param as? string
---@param inexact? boolean may gates differ?
---@return table? family
---@return boolean? inexact gates differ
function M.family_of(model, as, inexact)
  local d = settled(model)
  if as == "cohere" and not is_cohere(d) then
    check.fail('save: option as: this is no model of "cohere": it has other blocks, or experts')
  end
  if as == "cohere" or as == "bam" then return nil end
  if as then
    local family = families.find("save: option as", as)
    return family, check_fit(d, family, inexact)
  end
  local family = families.of(d)
  return family and not M.unfit(d, family) and family or nil
end

local function ours(model, dtype, o)
  local d = model.description
  local config = cohere.write(d, DTYPES[dtype], companions.token_ids(model))
  local mixed = o.as == "bam" or o.python or not is_cohere(d)
  if mixed then mixture.write(config, model) end
  if o.python then config.auto_map = python.AUTO_MAP end
  config.model_type = mixed and "bam" or "cohere"
  config.architectures = { mixed and "BamForCausalLM" or "CohereForCausalLM" }
  return config
end

--- The text of config.json for a live model saved in `dtype`.
---@param model table
---@param dtype string
---@param o { family?: table, as?: string, python?: boolean } the family that M.family_of gives, and options
---@return string
function M.encode(model, dtype, o)
  if not o.family then return json.encode(ours(model, dtype, o), { indent = 2 }) end
  local config = as_family(settled(model), o.family, companions.token_ids(model))
  config.torch_dtype, config.dtype = DTYPES[dtype], DTYPES[dtype]
  return json.encode(config, { indent = 2 })
end

-- ---- reading ----

-- Refuse what makes of a directory something else than its model_type says.
local function check_foreign(f, name)
  local quantized, code = f.get("quantization_config", "any", false), f.get("auto_map", "any", false)
  if quantized then
    f.refuse("quantization_config", quantized, "it reads weights of f32, bf16, f16 and f64; load the model that this "
             .. "one was made of")
  end
  if code and not (name == "bam" and python.is_own(code)) then
    f.refuse("auto_map", code, "it names Python code in the directory, which may compute anything; remove the field if "
             .. "transformers' own class computes the same")
  end
end

--- The description in a config.json.
---@param config table what the JSON says
---@param label string its path, for messages
---@param own? { routers?: table, layers?: table } what makes routers and layers written in Lua, by part
---@return table description
---@return table token_ids
function M.decode(config, label, own)
  local f = fields.new(config, label)
  local name = f.get("model_type", "string")
  local family = families.get(name)
  if not family and name ~= "cohere" and name ~= "bam" then
    check.fail('%s: `model_type` is "%s", a family that bamlua does not know; it knows bam, cohere, %s', label, name,
               table.concat(families.NAMES, ", "))
  end
  check_foreign(f, name)
  local d = family and read_family(f, family) or cohere.read(f)
  if name == "bam" then mixture.read(f, d, own or {}) end
  return description.new(d), token_ids(f.get)
end

return M
