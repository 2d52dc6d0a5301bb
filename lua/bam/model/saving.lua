-- Writing checkpoint directories, which appear as a whole or not at all: model:save, and the checkpoints of phases.
local atomic_dir = require "bam.util.atomic_dir"
local check = require "bam.util.check"
local codec = require "bam.model.codec"
local companions = require "bam.model.companions"
local core = require "bam.core"
local description = require "bam.model.description"
local families = require "bam.model.families.registry"
local fused = require "bam.model.families.fused"
local Model = require "bam.model.model"
local params = require "bam.model.params"
local saved_tensors = require "bam.model.saved_tensors"
local weight_files = require "bam.model.weight_files"

local M = {}

local FLOATS = saved_tensors.FLOATS
local LARGEST = { f16 = 65504, bf16 = 0x1.fep+127, f32 = 0x1.fffffep+127 }

local function config() return require "bam.model.config" end -- loaded late
local function python() return require "bam.model.python" end

local function within(directory, name) return string.format("%s/%s", directory, name) end

-- The bytes of a tensor's entries in a file of weights in `dtype`.
local function bytes_of(entries, dtype)
  local bytes = 0
  for _, entry in ipairs(entries) do
    bytes = bytes + params.size(entry) * (saved_tensors.WHOLE[entry.dtype] or FLOATS[dtype])
  end
  return bytes
end

-- A weight that a dtype cannot hold would become an infinity, and the model useless.
local function converted(name, x, dtype)
  local ops, largest = core.ops, LARGEST[dtype]
  if x.dtype ~= dtype and largest and FLOATS[x.dtype] > 2 then
    local size = core.scope(function()
      local finite = ops.isfinite(x)
      return ops.max(ops.where(finite, ops.abs(x), 0)):item()
    end)
    if size > largest then
      check.fail("save: `%s` holds a weight of size %g, and %s ends at %g; save it as %s", name,
                 size, dtype, largest, dtype == "f16" and '"bf16" or "f32"' or '"f64"')
    end
  end
  return ops.to(x, dtype)
end

-- The tensors of a model's files, with the names that its family gives them: { name, entries }.
local function named_tensors(model, family)
  local function name_of(entry) return families.name_of(family, entry) end
  return fused.group(family, saved_tensors.of(model), model.description, name_of)
end

local function values_of(model, it, o)
  local parts = {}
  for i, entry in ipairs(it.entries) do
    local x = families.to_stored(o.family, entry, params.read(entry, model))
    parts[i] = entry.dtype and core.ops.to(x, entry.dtype) or converted(it.name, x, o.dtype)
  end
  return fused.join(parts)
end

local function write_shard(model, path, named, o)
  core.scope(function()
    local tensors = {}
    for _, it in ipairs(named) do tensors[it.name] = values_of(model, it, o) end
    core.save(path, tensors, { format = "pt" })
  end)
end

local function write_weights(model, directory, o)
  local function bytes(it) return bytes_of(it.entries, o.dtype) end
  local function write(path, named) write_shard(model, path, named, o) end
  local shards = weight_files.divide(named_tensors(model, o.family), o.shard_bytes, bytes)
  if #shards == 1 then return write(within(directory, "model.safetensors"), shards[1]) end
  weight_files.write(directory, "model", shards, bytes, write)
end

local save_spec = { dtype = { "string", optional = true }, shard_bytes = { "size", weight_files.BYTES },
                    as = { "string", optional = true }, inexact = { "boolean", false }, python = { "boolean", false } }

-- The family that a model is saved as, in o.family; what cannot be saved so is refused.
local function choose_family(model, o)
  local inexact
  if o.python then
    if o.as and o.as ~= "bam" then
      check.fail('save: option python: the Python code is for "bam"; "%s" is computed by transformers itself', o.as)
    end
    python().check(model.description)
    o.as = "bam"
  end
  o.family, inexact = require("bam.model.families.choice").family_of(model, o.as, o.inexact)
  if inexact then require("bam.model.inexact").report(model, o.family) end
end

--- Write the files of a live model into a directory that is there.
---@param model table
---@param directory string
---@param options? { dtype?: string, shard_bytes?: integer, as?: string, inexact?: boolean, python?: boolean }
function M.write(model, directory, options)
  local o = check.options("save", options, save_spec)
  o.dtype = o.dtype or model.embed.weight.dtype
  if not FLOATS[o.dtype] then
    check.fail('save: option dtype: expected "f32", "f64", "bf16" or "f16", got %s',
               check.describe(o.dtype))
  end
  choose_family(model, o)
  model.tokenizer_json = codec.json(model)
  write_weights(model, directory, o)
  core.write_file(within(directory, "config.json"), config().encode(model, o.dtype, o))
  if o.python then python().write(directory) end
  if model.tokenizer_json then
    core.write_file(within(directory, "tokenizer.json"), model.tokenizer_json)
  end
  companions.write(model, directory)
end

--- Save the model as a checkpoint directory: config.json, model.safetensors (in shards with an index if larger than
--- `shard_bytes`), tokenizer.json if the model has one, and what other programs need: tokenizer_config.json,
--- generation_config.json and the chat template it came with. The directory appears atomically. A dense model of the
--- paper's blocks is saved as CohereForCausalLM, one that was loaded as a Llama as LlamaForCausalLM, and so on; others
--- have model_type "bam". `as` names another family, such as "llama" or "mixtral", which must be able to hold the model
--- exactly; with `inexact` the gates of its experts may be renormalized there, and by how much logits then differ is
--- printed. `python` adds the Python code by which transformers opens a model of type "bam" (trust_remote_code=True). A
--- weight beyond the range of the dtype is an error.
---@param directory string
---@param options? { dtype?: "f32"|"f64"|"bf16"|"f16", shard_bytes?: integer, as?: string, inexact?: boolean, python?:
--- boolean } the model's dtype and 4 GiB by default
function Model:save(directory, options)
  description.check_model("save", self)
  check.value("save: directory", directory, "string")
  atomic_dir.write(directory, function(place) M.write(self, place, options) end)
end

return M
