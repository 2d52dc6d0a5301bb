-- config.json of a checkpoint, from a description and back. A dense model of the paper's blocks has the fields of
-- Hugging Face's CohereConfig; one that came as another family keeps that family's; everything else has model_type
-- "bam" and fields of its own. What we do not compute is refused by name.
local check = require "bam.util.check"
local choice = require "bam.model.families.choice"
local cohere = require "bam.model.families.cohere"
local companions = require "bam.model.companions"
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

-- ---- writing ----

local function ours(model, dtype, o)
  local d = model.description
  local config = cohere.write(d, DTYPES[dtype], companions.token_ids(model))
  local mixed = o.as == "bam" or o.python or not choice.is_cohere(d)
  if mixed then mixture.write(config, model) end
  if o.python then config.auto_map = python.AUTO_MAP end
  config.model_type = mixed and "bam" or "cohere"
  config.architectures = { mixed and "BamForCausalLM" or "CohereForCausalLM" }
  return config
end

--- The text of config.json for a live model saved in `dtype`.
---@param model table
---@param dtype string
---@param o { family?: table, as?: string, python?: boolean } the family that families.choice gives, and options
---@return string
function M.encode(model, dtype, o)
  if not o.family then return json.encode(ours(model, dtype, o), { indent = 2 }) end
  local config = choice.encode(choice.settled(model), o.family, companions.token_ids(model))
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
  local d = family and choice.decode(f, family) or cohere.read(f, name == "bam")
  if name == "bam" then mixture.read(f, d, own or {}) end
  return description.new(d), token_ids(f.get)
end

return M
