-- Converts a tokenizer to tokenizer.json, the file of Hugging Face's tokenizers package, and back. It reads files of
-- byte-level BPE and refuses unsupported features by name. Parts: words, a list of byte strings with ids from 0;
-- merges, a flat list of pairs of ids, in order; added, a list of the added tokens, each with its id and flags
-- special, normalized, lstrip and rstrip; whole_words, whether a piece that is a word is kept unmerged; and steps
-- (steps.lua).
local alphabet = require "bam.tokenizer.alphabet"
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"
local steps = require "bam.tokenizer.steps"

local M = {}

-- ---- writing ----

-- The names of the words, by position: special tokens as they are, others in the alphabet.
local function names_of(parts)
  local names = {}
  for _, token in ipairs(parts.added) do names[token.id + 1] = parts.words[token.id + 1] end
  for i, word in ipairs(parts.words) do names[i] = names[i] or alphabet.write(word) end
  return names
end

local function added_tokens(parts)
  local list = json.array {}
  for i, token in ipairs(parts.added) do
    list[i] = { id = token.id, content = parts.words[token.id + 1], single_word = false,
                lstrip = token.lstrip, rstrip = token.rstrip, normalized = token.normalized,
                special = token.special }
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  return list
end

--- Format tokenizer.json. Equal parts give equal texts.
---@param parts table
---@return string
function M.write(parts)
  local vocab, merges, names = {}, json.array {}, names_of(parts)
  for i, name in ipairs(names) do vocab[name] = i - 1 end
  for i = 1, #parts.merges, 2 do
    merges[#merges + 1] = { names[parts.merges[i] + 1], names[parts.merges[i + 1] + 1] }
  end
  local null = json.null
  local model = { type = "BPE", dropout = null, unk_token = null, continuing_subword_prefix = null,
                  end_of_word_suffix = null, fuse_unk = false, byte_fallback = false,
                  ignore_merges = parts.whole_words, vocab = vocab, merges = merges }
  return json.encode {
    version = "1.0", truncation = null, padding = null, normalizer = null, post_processor = null,
    added_tokens = added_tokens(parts), pre_tokenizer = steps.write(parts.steps),
    decoder = { type = "ByteLevel", add_prefix_space = true, trim_offsets = true,
                use_regex = true },
    model = model,
  }
end

-- ---- reading ----

local ARRAY = getmetatable(json.array {})

local function is_array(value) return getmetatable(value) == ARRAY end
local function is_object(value) return type(value) == "table" and not is_array(value) end
local function is_null(value) return value == nil or value == json.null end
local function is_id(value) return math.type(value) == "integer" and value >= 0 end

-- Describe a value for messages, with its type field if it is an object of the file.
local function show(value)
  if is_object(value) and type(value.type) == "string" then return value.type end
  return check.describe(value)
end

local function fail(label, format, ...)
  check.fail("%s: %s", label, string.format(format, ...))
end

-- Check an object: every field must have a test and pass it.
local function check_fields(label, where, object, tests)
  if not is_object(object) then
    fail(label, "%s: expected an object, got %s", where, show(object))
  end
  for _, name in ipairs(check.sorted_names(object)) do
    local rule = tests[name]
    if not rule then fail(label, "%s has a field `%s`, which bamlua does not know", where, name) end
    if not rule[1](object[name]) then
      fail(label, "%s: `%s` is %s; bamlua supports %s", where, name, show(object[name]), rule[2])
    end
  end
end

local function anything() return true end
local function is_boolean(value) return type(value) == "boolean" end
local function is_flag(value) return is_null(value) or is_boolean(value) end
local function is_off(value) return is_null(value) or value == false end
local function is_empty(value) return is_null(value) or value == "" end

-- Post-processors that change offsets, which bamlua does not compute, or add special tokens around a text, which
-- `encode` never does: it gives the ids of add_special_tokens = False.
local ADDS_AROUND = { ByteLevel = true, TemplateProcessing = true, RobertaProcessing = true, BertProcessing = true }

local function adds_around(value)
  if is_null(value) then return true end
  if not is_object(value) then return false end
  if value.type ~= "Sequence" then return ADDS_AROUND[value.type] == true end
  for _, processor in ipairs(is_array(value.processors) and value.processors or { false }) do
    if not is_object(processor) or not ADDS_AROUND[processor.type] then return false end
  end
  return true
end

local FILE = {
  version = { function(value) return value == "1.0" end, "version 1.0" },
  truncation = { is_null, "null: no truncation" },
  padding = { is_null, "null: no padding" },
  normalizer = { is_null, "null: no normalization" },
  post_processor = { adds_around, "those that add special tokens around a text" },
  decoder = { function(value) return is_object(value) and value.type == "ByteLevel" end,
              "ByteLevel" },
  added_tokens = { function(value) return is_null(value) or is_array(value) end, "a list" },
  pre_tokenizer = { is_object, "ByteLevel, or a Sequence that ends with it" },
  model = { is_object, "BPE" },
}

local MODEL = {
  type = { function(value) return value == "BPE" end, '"BPE"' },
  dropout = { function(value) return is_null(value) or value == 0 end, "null" },
  unk_token = { is_null, "null: every byte is a word" },
  continuing_subword_prefix = { is_empty, "null" },
  end_of_word_suffix = { is_empty, "null" },
  fuse_unk = { anything },
  byte_fallback = { is_off, "false: every byte is a word" },
  ignore_merges = { is_flag, "true or false" },
  vocab = { is_object, "an object of ids" },
  merges = { is_array, "a list" },
}

local ADDED = {
  id = { is_id, "an id from 0 on" },
  content = { function(value) return type(value) == "string" and value ~= "" end,
              "a text that is not empty" },
  single_word = { is_off, "false" },
  lstrip = { is_flag, "true or false" }, rstrip = { is_flag, "true or false" },
  normalized = { is_flag, "true or false" },
  special = { is_boolean, "true or false" },
}

-- The ids of added tokens by text. Fills parts.words and parts.added.
local function read_added(label, list, parts)
  local ids = {}
  for i, token in ipairs(is_null(list) and {} or list) do
    local where = string.format("added token %d", i)
    check_fields(label, where, token, ADDED)
    if not token.id or not token.content then fail(label, "%s has no id or no content", where) end
    if ids[token.content] or parts.words[token.id + 1] then
      fail(label, '%s: "%s" with the id %d occurs twice', where, token.content, token.id)
    end
    ids[token.content], parts.words[token.id + 1] = token.id, token.content
    parts.added[i] = { id = token.id, special = token.special, lstrip = token.lstrip == true,
                       rstrip = token.rstrip == true, normalized = token.normalized == true }
  end
  return ids
end

-- Store a word of the vocabulary in the list. Returns nil, or what is wrong with it.
local function read_word(words, name, id, added)
  if not is_id(id) then return string.format("has the id %s", show(id)) end
  if added[name] then
    if added[name] == id then return nil end
    return string.format("has the id %d, but %d as an added token", id, added[name])
  end
  local word = alphabet.read(name)
  if not word or word == "" then return "is not written in ByteLevel's alphabet" end
  words[id + 1] = words[id + 1] or word
end

-- Every id from 0 on must occur exactly once.
local function read_vocab(label, vocab, added, words)
  local count, wrong, problem = 0, nil, nil
  for name, id in pairs(vocab) do -- pairs has no fixed order: report the smallest faulty name
    local found = read_word(words, name, id, added)
    if found and not (wrong and wrong < name) then wrong, problem = name, found end
    count = count + 1
  end
  if wrong then fail(label, 'vocab: the word "%s" %s', wrong, problem) end
  for name in pairs(added) do
    if not vocab[name] then count = count + 1 end
  end
  for i = 1, count do
    if not words[i] then
      fail(label, "vocab: there are %d words, but none has the id %d; each needs an id of its own, "
           .. "from 0 on", count, i - 1)
    end
  end
end

local function read_merge(label, i, merge, id_of)
  local left, right
  if type(merge) == "string" then
    left, right = merge:match "^([^ ]+) ([^ ]+)$"
  elseif is_array(merge) and #merge == 2 then
    left, right = merge[1], merge[2]
  end
  if type(left) ~= "string" or type(right) ~= "string" then
    fail(label, "merge %d is not a pair of words", i)
  end
  for _, name in ipairs { left, right } do
    if not id_of(name) then fail(label, 'merge %d: "%s" is not in the vocabulary', i, name) end
  end
  return id_of(left), id_of(right)
end

local function read_merges(label, list, vocab, added)
  local merges = {}
  local function id_of(name) return vocab[name] or added[name] end
  for i, merge in ipairs(list) do
    local left, right = read_merge(label, i, merge, id_of)
    merges[2 * i - 1], merges[2 * i] = left, right
  end
  return merges
end

local function check_present(label, where, object, names)
  for _, name in ipairs(names) do
    if object[name] == nil then fail(label, "%s has no field `%s`", where, name) end
  end
end

--- Parse the text of a tokenizer.json into parts.
---@param text string
---@param label string the file, for messages
---@return table
function M.read(text, label)
  local fine, file = core.try(json.decode, text)
  if not fine then fail(label, "%s", (file:gsub("^.-:%d+: ", ""))) end
  check_fields(label, "the file", file, FILE)
  check_present(label, "the file", file, { "decoder", "model", "pre_tokenizer" })
  local model = file.model
  check_fields(label, "model", model, MODEL)
  check_present(label, "model", model, { "merges", "vocab" })
  local parts = { words = {}, added = {}, whole_words = model.ignore_merges == true,
                  steps = steps.read(file.pre_tokenizer, label) }
  local added = read_added(label, file.added_tokens, parts)
  read_vocab(label, model.vocab, added, parts.words)
  parts.merges = read_merges(label, model.merges, model.vocab, added)
  return parts
end

return M
