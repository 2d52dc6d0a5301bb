-- Reading checkpoint directories: config.json, model.safetensors or shards with an index, and perhaps
-- tokenizer.json and its companions. Tensors bear Hugging Face's names (bam.model.params). saving.lua writes them.
local check = require "bam.util.check"
local codec = require "bam.model.codec"
local companions = require "bam.model.companions"
local saved_tensors = require "bam.model.saved_tensors"
local core = require "bam.core"
local families = require "bam.model.families.registry"
local description = require "bam.model.description"
local Model = require "bam.model.model"
local params = require "bam.model.params"
local parts = require "bam.model.parts"
local routing = require "bam.nn.moe.routing"
local weight_directory = require "bam.model.weight_directory"
local weight_files = require "bam.model.weight_files"

local M = {}

local function config() return require "bam.model.config" end -- loaded late

local function within(directory, name) return string.format("%s/%s", directory, name) end

-- The names of the files in a directory, as a set.
local function files_in(directory)
  local present = {}
  for _, name in ipairs(core.list_directory(directory)) do present[name] = true end
  return present
end

-- The name of an entry in a checkpoint, and its stored tensor.
local function stored(source, entry)
  local name = families.name_of(source.family, entry)
  if source.tensors[name] or not source.family then return name, source.tensors[name] end
  if source.family.fused then
    local fused = require "bam.model.families.fused"
    local whole, part = fused.find(source.family, entry, source.tensors, source.description)
    if whole then return whole, part end
  end
  local other, tensor = require("bam.model.families.stacked").find(entry, source.tensors,
                                                                      source.description.ffn.experts)
  return tensor and other or name, tensor
end

local function check_tensor(source, entry)
  local label, name, tensor = source.label, stored(source, entry)
  if not tensor then
    check.fail("%s: `%s` is missing%s", label, name, entry.kind == "head"
               and "; if the head is the embedding, set tie_word_embeddings to true in its config.json" or "")
  end
  local got, want = check.shape(tensor.stored or tensor.shape), check.shape(tensor.whole or entry.shape)
  if got ~= want then
    check.fail("%s: `%s` is %s; by its config.json it must be %s", label, name, got, want)
  end
  if entry.dtype and entry.dtype ~= tensor.dtype then
    check.fail("%s: `%s` is of dtype %s; it must be %s", label, name, tensor.dtype, entry.dtype)
  elseif not entry.dtype and not saved_tensors.FLOATS[tensor.dtype] then
    check.fail("%s: `%s` is of dtype %s, not of floating point", label, name, tensor.dtype)
  end
end

-- Tensors that the architecture has no place for would be silently left out of the model.
local function check_unexpected(source, known)
  local unknown, label, tensors = {}, source.label, source.tensors
  for _, name in ipairs(check.sorted_names(tensors)) do
    if not known[name] and not require("bam.model.redundant").allows(label, source.description, tensors, name) then
      unknown[#unknown + 1] = name
    end
  end
  if unknown[1] then
    check.fail("%s: it holds %d tensors that a model of its config.json has no place for, such as "
               .. "`%s`", label, #unknown, unknown[1])
  end
end

-- Finds the directory of a phase's newest checkpoint, or nil: a function of bam.train.checkpoints.
local newest_of_phase

--- Let `find` say which checkpoint the directory of a phase stands for.
---@param find fun(directory: string): string?
function M.set_newest(find) newest_of_phase = find end

--- The directory of a model: the one given, or the newest checkpoint of the phase in it.
---@param directory string
---@return string
function M.find(directory)
  if core.file_info(within(directory, "config.json")) then return directory end
  return newest_of_phase(directory) or directory
end

--- A checkpoint directory opened: everything but the values is checked.
---@param directory string of a model, or of a phase
---@param own? table as for config.decode
---@return table source { label, directory, description, tensors by name (bam.StoredTensor), files,
--- tokenizer_json, token_ids, companions }
function M.open(directory, own)
  directory = M.find(directory)
  local present, path = files_in(directory), within(directory, "config.json")
  if not present["config.json"] then
    local newest
    for name in pairs(present) do
      if name:find "^step%-%d+$" and (not newest or name > newest) then newest = name end
    end
    if newest then
      check.fail("%s: it is the directory of a phase, none of whose checkpoints is sound; its newest is %s", directory,
                 within(directory, newest))
    end
    check.fail("%s: it holds no config.json, so it is not a model's checkpoint", directory)
  end
  local source = { label = directory, directory = directory }
  source.description, source.token_ids = config().decode(weight_files.read_json(path), path, own)
  source.family = families.of(source.description)
  local files
  source.tensors, files = weight_directory.open(directory, present)
  source.files = files
  table.insert(files, "config.json")
  if present["tokenizer.json"] then
    table.insert(files, "tokenizer.json")
    source.tokenizer_json = core.read_file(within(directory, "tokenizer.json"))
  end
  source.companions = companions.read(directory, present)
  return source
end

local function check_tensors(source, entries)
  for _, entry in ipairs(entries) do check_tensor(source, entry) end
end

--- The values of an entry in an opened checkpoint, in our order.
---@param source table
---@param entry table
---@return tensor
function M.tensor(source, entry)
  local _, tensor = stored(source, entry)
  return families.from_stored(source.family, entry, tensor:read())
end

--- The dtype of an opened checkpoint's weights.
---@param source table
---@return string
function M.dtype(source) return source.tensors["model.embed_tokens.weight"].dtype end

--- Check the tensors of an opened checkpoint against all entries of a model.
---@param source table
---@param entries table[]
function M.check(source, entries)
  check_tensors(source, entries)
  local known = {}
  for _, entry in ipairs(entries) do known[stored(source, entry)] = true end
  check_unexpected(source, known)
end

--- Check the tensors of an opened checkpoint against what its description says of them. Those of routers written in
--- Lua are not known before the model is built.
---@param source table
function M.check_plain(source)
  local d, entries = source.description, saved_tensors.plain(source.description)
  if d.attention.router or d.ffn.router then return check_tensors(source, entries) end
  M.check(source, entries)
end

-- A model to be overwritten: without random weights, and without a trace in bam's generator.
local function blank(d, dtype)
  return description.seeded(0, function() return Model(d, { dtype = dtype, std = 0 }) end)
end

-- Copy what was opened into a model, with its tokenizer.
local function fill(model, source)
  local entries = saved_tensors.of(model)
  M.check(source, entries)
  for _, entry in ipairs(entries) do -- one by one, so that the model is not in memory twice
    core.scope(function() params.write(entry, model, M.tensor(source, entry)) end)
  end
  model.tokenizer_json, model.token_ids = source.tokenizer_json, source.token_ids
  model.companions = source.companions
  for _, layer in ipairs(model.layers) do
    routing.trust(layer.attention)
    routing.trust(layer.ffn)
  end
  return model
end

--- What a description has that was written in Lua, by which bam.load can read its checkpoints.
---@param d table
---@return { routers: table, layers: table }
function M.own_of(d)
  return { routers = { attention = d.attention.router, ffn = d.ffn.router },
           layers = { attention = parts.given(d.attention), ffn = parts.given(d.ffn) } }
end

--- The live model of a description with the weights of a checkpoint: schedules and routers are the
--- description's, which a checkpoint does not hold.
---@param d table description
---@param directory string
---@return table model
function M.restore(d, directory)
  return fill(blank(d, "f32"), M.open(directory, M.own_of(d)))
end

--- A live model of a description with the weights of another live model, which stays as it is.
---@param d table description, of the same tensors
---@param from table model
---@return table model
function M.copy(d, from)
  local model, entries = blank(d, "f32"), {}
  for _, entry in ipairs(saved_tensors.of(from)) do entries[entry.name] = entry end
  for _, entry in ipairs(saved_tensors.of(model)) do
    local source = entries[entry.name]
    if not source then check.fail("the model holds no `%s`, which its description has a place for", entry.name) end
    core.scope(function() params.write(entry, model, params.read(source, from)) end)
  end
  model.tokenizer_json, model.token_ids, model.companions = from.tokenizer_json, from.token_ids, from.companions
  return model
end

local load_spec = { routers = { "table", optional = true }, layers = { "table", optional = true },
                    dtype = { "dtype", optional = true } }
local routers_spec = {
  attention = { "callable", optional = true }, ffn = { "callable", optional = true },
}

local layers_spec = { attention = { "any", optional = true }, ffn = { "any", optional = true } }

--- The live model of a checkpoint directory, in evaluation mode: m:train() before training it. Its field `tokenizer` is
--- that of its tokenizer.json.
---@param directory string
---@param options? bam.LoadOptions
---@return table model
function M.load(directory, options)
  local o = check.options("load", options, load_spec)
  local own = { routers = check.options("load: option routers", o.routers, routers_spec),
                layers = check.options("load: option layers", o.layers, layers_spec) }
  local source = M.open(directory, own)
  local d = source.description
  M.check_plain(source) -- before memory is taken
  local saved = M.dtype(source)
  local model = fill(blank(d, o.dtype or saved == "f64" and "f64" or "f32"), source):eval()
  codec.provide(model)
  return model
end

return M
