-- The files beside a checkpoint's weights by which other programs know its tokenizer and where
-- generation ends. Those that a model came with are kept as they are; others are written, so that
-- transformers takes the tokenizer that is there and no token beyond the vocabulary.
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"

local M = {}

--- The names of the files that are kept.
M.NAMES = { "added_tokens.json", "chat_template.jinja", "chat_template.json",
            "generation_config.json", "merges.txt", "special_tokens_map.json", "tokenizer.model",
            "tokenizer_config.json", "vocab.json" }

--- The token that separates documents in training, if a tokenizer has it.
M.END_OF_TEXT = "<|endoftext|>"

--- The files of a directory that are kept.
---@param directory string
---@param present table<string, true> the names in it
---@return table<string, string> texts by name
function M.read(directory, present)
  local texts = {}
  for _, name in ipairs(M.NAMES) do
    if present[name] then
      texts[name] = core.read_file(string.format("%s/%s", directory, name))
    end
  end
  return texts
end

-- The added tokens of the tokenizer.json that was asked for last: ids by text and texts by id.
local latest = {}

local function added_tokens(text)
  if latest.text == text then return latest end
  local ids, names = {}, {}
  local ok, file = core.try(json.decode, text)
  local list = ok and type(file) == "table" and file.added_tokens
  for _, token in ipairs(type(list) == "table" and list or {}) do
    if type(token) == "table" and type(token.content) == "string"
      and math.type(token.id) == "integer" then
      ids[token.content], names[token.id] = token.id, token.content
    end
  end
  latest = { text = text, ids = ids, names = names }
  return latest
end

--- The ids that a model's files tell of: its own, or, where it does not say what ends a text, the
--- tokenizer's <|endoftext|>, with which every document began in training.
---@param model table
---@return table ids pad?, bos?, eos?
function M.token_ids(model)
  local ids = model.token_ids or {}
  if ids.eos or not model.tokenizer_json then return ids end
  local id = added_tokens(model.tokenizer_json).ids[M.END_OF_TEXT]
  if not id or id >= model.description.vocab then return ids end
  return { pad = ids.pad, bos = ids.bos or id, eos = id }
end

local function first_of(id) return type(id) == "table" and id[1] or id or nil end

local function generation_config(ids)
  if not ids.eos then return nil end
  return { bos_token_id = ids.bos or nil, eos_token_id = ids.eos,
           pad_token_id = ids.pad or first_of(ids.eos) }
end

local function tokenizer_config(model, ids)
  if not model.tokenizer_json then return nil end
  local names = added_tokens(model.tokenizer_json).names
  local eos = names[first_of(ids.eos)]
  return { tokenizer_class = "PreTrainedTokenizerFast", model_max_length = model.description.context,
           clean_up_tokenization_spaces = false, eos_token = eos, bos_token = names[ids.bos],
           pad_token = names[ids.pad] or eos }
end

--- Write the files of a model into a directory that is there.
---@param model table
---@param directory string
function M.write(model, directory)
  local texts, ids = {}, M.token_ids(model)
  local made = { ["generation_config.json"] = generation_config(ids),
                 ["tokenizer_config.json"] = tokenizer_config(model, ids) }
  for name, value in pairs(made) do texts[name] = json.encode(value, { indent = 2 }) end
  for name, text in pairs(model.companions or {}) do texts[name] = text end
  for _, name in ipairs(check.sorted_names(texts)) do
    core.write_file(string.format("%s/%s", directory, name), texts[name])
  end
end

return M
