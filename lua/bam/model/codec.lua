-- Text to token ids and back for a live model or an ensemble: by its tokenizer, or by bytes.
local check = require "bam.util.check"
local companions = require "bam.model.companions"
local core = require "bam.core"
local tokenizer = require "bam.tokenizer"

local M = {}

--- The model's tokenizer, parsed from its tokenizer.json if it has only that; or nil.
---@param model table
---@return table?
function M.tokenizer(model)
  if model.tokenizer == nil and model.tokenizer_json then
    model.tokenizer = tokenizer.parse(model.tokenizer_json, "the model's tokenizer.json")
  end
  return model.tokenizer
end

--- Set the field `tokenizer` of a loaded model. A tokenizer.json that is not supported is an error only where it is
--- needed.
---@param model table
function M.provide(model) core.try(M.tokenizer, model) end

--- The tokenizer.json of a model: its own, or that of the tokenizer that a script has set; or nil.
---@param model table
---@return string?
function M.json(model)
  return model.tokenizer_json or tokenizer.is(model.tokenizer) and model.tokenizer:json() or nil
end

--- Are two tokenizer.json the same tokenizer? Other programs lay the file out in another way.
---@param a? string
---@param b? string
---@return boolean
function M.same(a, b)
  if a == b then return true end
  if not (a and b) then return false end
  local function canonical(text) return tokenizer.parse(text, "tokenizer.json"):json() end
  local fine, is_same = core.try(function() return canonical(a) == canonical(b) end)
  return fine and is_same
end

-- ---- ids ----

-- A token per byte; texts may be longer than the Lua stack.
local function bytes_of(_, text)
  local ids = {}
  for i = 1, #text do ids[i] = text:byte(i) end
  return ids
end

local function text_of(_, ids)
  local characters = {}
  for i, id in ipairs(ids) do characters[i] = string.char(id) end
  return table.concat(characters)
end

local function byte_of(_, id) return id < 256 and string.char(id) or nil end

local BYTES = { encode = bytes_of, decode = text_of, token = byte_of }

--- What encodes and decodes: the model's tokenizer, or bytes if it has none and a vocabulary of 256; otherwise nil.
---@param model table
---@param vocab integer
---@return table? codec with methods encode, decode and token, as a tokenizer's
function M.find(model, vocab)
  return M.tokenizer(model) or vocab == 256 and BYTES or nil
end

--- The same; an error if there is nothing.
---@param what string the function, for messages
---@param model table
---@param vocab integer
---@return table codec
function M.of(what, model, vocab)
  return M.find(model, vocab)
    or check.fail("%s: this model has no tokenizer, and its vocabulary of %d is not that of "
                  .. "bytes; give token ids, or set model.tokenizer", what, vocab)
end

-- ---- where a text begins and ends ----

-- What the files of a model, or of the first one of an ensemble, say about its tokens; or the tokenizer that a script
-- has set.
local function ids_of(model)
  local ids = companions.token_ids(rawget(model, "models") and model.models[1] or model)
  if ids.eos or not tokenizer.is(model.tokenizer) then return ids end
  return { bos = ids.bos, eos = model.tokenizer:id(companions.END_OF_TEXT) }
end

--- The tokens that end a text, as a set; empty if the model does not say.
---@param model table
---@return table<integer, true>
function M.ends(model)
  local eos, set = ids_of(model).eos, {}
  for _, id in ipairs(type(eos) == "table" and eos or { eos or nil }) do set[id] = true end
  return set
end

--- The token that a text begins with, which is given and never predicted: that of the start of a text if the model has
--- one, otherwise that of its end; or nil.
---@param model table
---@return integer?
function M.first(model)
  local ids = ids_of(model)
  return ids.bos or type(ids.eos) == "table" and ids.eos[1] or ids.eos or nil
end

return M
