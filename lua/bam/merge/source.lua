-- Where the models of a mixture come from. A source is { label, description, identify }, and
-- where its values are at hand { read, tokenizer_json, token_ids, companions }: read(entry) gives those of an
-- entry. A phase of training has `load` instead, so that its model lives only while it is needed.
-- identify(total) gives what stands for it in the mixture's identity.
local check = require "bam.util.check"
local checkpoint = require "bam.model.checkpoint"
local codec = require "bam.model.codec"
local description = require "bam.model.description"
local settings = require "bam.model.fingerprint.settings"
local params = require "bam.model.params"
local parts = require "bam.model.parts"

local M = {}

local function live_source(model, label)
  return { label = label, description = model.description, tokenizer_json = model.tokenizer_json,
           token_ids = model.token_ids, companions = model.companions,
           read = function(entry) return params.read(entry, model) end,
           identify = function(total) return settings.of_model(model, total) end }
end

local function directory_source(directory, label)
  local source = checkpoint.open(directory)
  checkpoint.check(source, params.list(source.description))
  source.label = string.format("%s (%s)", label, directory)
  source.read = function(entry) return checkpoint.tensor(source, entry) end
  source.identify = function() return settings.of_directory(source.directory, source.files) end
  return source
end

local function phase_source(phase, label)
  local function load()
    local model = phase:load()
    if not description.is_model(model) then
      check.fail("%s: its load() returned %s; expected a live model", label, check.describe(model))
    end
    return live_source(model, string.format("%s's model", label))
  end
  local function identify(total)
    local known = phase.identity
    return type(known) == "string" and { phase = known } or load().identify(total)
  end
  return { label = label, description = phase.description, phase = phase, load = load,
           identify = identify }
end

local function described_source(d, label)
  return { label = label, description = d,
           identify = function(total) return settings.of_description(d, total) end }
end

--- What a mixture reads one model from. `value` is a live model, a checkpoint directory, a
--- description, or a phase of training: a table with `description`, a method `load` that gives the
--- live model, and perhaps a string `identity`, which tells it from others.
---@param what string for messages
---@param value any
---@param label string what it is, for messages: "expert 2"
---@return table source
function M.of(what, value, label)
  if type(value) == "string" then return directory_source(value, label) end
  if description.is_model(value) then return live_source(value, label) end
  if description.is(value) then return described_source(value, label) end
  if type(value) == "table" and description.is(value.description)
    and check.is_callable(value.load) then
    return phase_source(value, label)
  end
  return check.fail("%s: %s is %s; expected a model, a checkpoint directory or a description", what,
                    label, check.describe(value))
end

-- ---- they must be alike ----

local function shapes(source)
  local by_name = {}
  for _, entry in ipairs(params.list(source.description)) do
    by_name[entry.name] = check.shape(entry.shape)
  end
  return by_name
end

-- The first tensor in which the dense models `a` and `b` differ, as text.
local function different_tensor(a, b)
  local mine, theirs = shapes(a), shapes(b)
  for _, entry in ipairs(params.list(b.description)) do
    local name = entry.name
    if not mine[name] then return string.format("%s lacks %s", a.label, name) end
    if mine[name] ~= theirs[name] then
      return string.format("%s is %s, not %s", name, theirs[name], mine[name])
    end
  end
  for _, entry in ipairs(params.list(a.description)) do
    if not theirs[entry.name] then return string.format("%s lacks %s", b.label, entry.name) end
  end
  return "they must agree"
end

local function text_of(part) return part.class and parts.text(part) or "bam's own" end

-- Layers of scripts' classes must be of the same, with the same options.
local function compare_classes(what, first, other)
  for _, which in ipairs { "attention", "ffn" } do
    local a, b = first.description[which], other.description[which]
    if a.class ~= b.class or text_of(a) ~= text_of(b) then
      check.fail("%s: %s has %s %s, and %s %s", what, other.label, which, text_of(b), first.label, text_of(a))
    end
  end
end

local DEFAULT = { block = "parallel", norm = "layer" } -- which descriptions leave out

local function shared(d, name)
  if d[name] == nil then return DEFAULT[name] end
  return d[name]
end

--- Raise an error unless the source is a dense model.
---@param what string for messages
---@param other table source
function M.check_dense(what, other)
  if description.is_mixture(other.description) then
    check.fail("%s: %s is a mixture itself; mix dense models, or add experts to a mixture with bam.extend", what,
               other.label)
  end
end

--- Both must have the same sizes, settings and tokenizer. The number of experts does not count.
---@param what string for messages
---@param first table source
---@param other table source
function M.check_alike(what, first, other)
  local a, b = first.description, other.description
  local function compare(name, x, y)
    if x == y or type(x) == "table" and tostring(x) == tostring(y) then return end
    check.fail("%s: %s has %s = %s, and %s %s: %s", what, other.label, name, tostring(y),
               first.label, tostring(x), different_tensor(first, other))
  end
  for _, name in ipairs(description.SETTINGS) do compare(name, shared(a, name), shared(b, name)) end
  compare("ffn", a.ffn.hidden, b.ffn.hidden)
  compare_classes(what, first, other)
  local known = first.read and other.read
  if known and not codec.same(first.tokenizer_json, other.tokenizer_json) then
    check.fail("%s: %s and %s have different tokenizers (tokenizer.json); train all experts with the same one",
               what, other.label, first.label)
  end
end

-- What a phase has loaded must be what its description says.
local function check_opened(what, source, opened)
  M.check_alike(what, source, opened)
  for _, which in ipairs { "attention", "ffn" } do
    local said, is = source.description[which].experts, opened.description[which].experts
    if said ~= is then
      check.fail("%s: %s has %d %s experts, but its description says %d", what, opened.label, is, which, said)
    end
  end
end

--- The sources with their values at hand. What is loaded lives as long as the list.
---@param what string for messages
---@param sources table[]
---@return table[] opened
function M.open(what, sources)
  local opened = {}
  for i, source in ipairs(sources) do
    if not source.read and not source.load then
      check.fail("%s: %s of the mixture is a description without weights; give a trained model, or "
                 .. "description:build()", what, source.label)
    end
    opened[i] = source.read and source or source.load()
    check_opened(what, source, opened[i])
    M.check_alike(what, opened[1], opened[i])
  end
  return opened
end

return M
