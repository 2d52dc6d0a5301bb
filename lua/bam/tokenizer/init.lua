--- Byte-level BPE. Encoding and decoding restores any bytes exactly (unless the rules of a tokenizer.json remove
--- text, or its added tokens strip white space). A tokenizer is trained on texts, or loaded from a tokenizer.json
--- of Hugging Face's tokenizers package, which it also writes. Ids count from 0. Special tokens in a text are
--- recognized only on request, so that text cannot forge them.
local alphabet = require "bam.tokenizer.alphabet"
local check = require "bam.util.check"
local core = require "bam.core"
local step_list = require "bam.tokenizer.steps"

local M = {}

--- A byte-level BPE tokenizer.
---@class tokenizer
---@field vocab integer number of tokens
---@field special string[] special tokens
local Tokenizer = {}
local metatable = { __name = "tokenizer", __index = Tokenizer }

-- The fields of core.bpe or core.bpe_trainer: how the steps split text, and `fields`.
local function with_patterns(steps, label, fields)
  for name, value in pairs(step_list.patterns(steps, label)) do fields[name] = value end
  fields.label = label
  return fields
end

-- Create a tokenizer from its parts (file.lua).
local function new(parts, label)
  local bpe = core.bpe(with_patterns(parts.steps, label, {
    words = parts.words, merges = parts.merges, added = parts.added,
    whole_words = parts.whole_words }))
  local special = {}
  for _, token in ipairs(parts.added) do
    if token.special then special[#special + 1] = parts.words[token.id + 1] end
  end
  return setmetatable({ vocab = #parts.words, special = special, bpe = bpe, parts = parts },
                      metatable)
end

function metatable:__tostring()
  local count = #self.special
  return string.format("tokenizer of %s words, %s", check.thousands(self.vocab),
                       count == 1 and string.format("1 of them special: %s", self.special[1])
                       or string.format("%d of them special", count))
end

local function check_self(what, self)
  if getmetatable(self) ~= metatable then
    check.fail("tokenizer: expected a tokenizer, got %s; call methods with a colon: t:%s()",
               check.describe(self), what)
  end
end

-- ---- methods ----

--- The token ids of a text, without the special tokens that other programs add around it.
---@param text string any bytes
---@param options? { special?: boolean } special = true recognizes special tokens in the text
---@return integer[] ids from 0
function Tokenizer:encode(text, options)
  check_self("encode", self)
  local o = check.options("tokenizer: encode", options, { special = { "boolean", false } })
  return self.bpe:encode(check.value("tokenizer: encode: text", text, "string"), o.special)
end

--- Append the token ids of a text to a token buffer, without making a table of them.
---@param text string any bytes
---@param buffer userdata result of core.token_buffer()
---@param options? { special?: boolean } as for encode
---@return integer count number of tokens of the text
function Tokenizer:append(text, buffer, options)
  check_self("append", self)
  local o = check.options("tokenizer: append", options, { special = { "boolean", false } })
  return self.bpe:append(check.value("tokenizer: append: text", text, "string"), buffer, o.special)
end

--- The number of tokens of a text.
---@param text string any bytes
---@param options? { special?: boolean } as for encode
---@return integer
function Tokenizer:count(text, options)
  check_self("count", self)
  return self:append(text, core.token_buffer(), options)
end

--- The bytes of token ids. Decoding encoded text restores it.
---@param ids integer[]|tensor
---@return string
function Tokenizer:decode(ids)
  check_self("decode", self)
  return self.bpe:decode(ids)
end

--- The pieces that a text is split into before merging, without regard to added tokens.
---@param text string any bytes
---@return string[]
function Tokenizer:pieces(text)
  check_self("pieces", self)
  return self.bpe:cut(check.value("tokenizer: pieces: text", text, "string"))
end

--- The id of a token, special or not, or nil.
---@param text string bytes of the token
---@return integer?
function Tokenizer:id(text)
  check_self("id", self)
  return self.bpe:find(check.value("tokenizer: id: text", text, "string"))
end

--- The bytes of a token, or nil.
---@param id integer from 0
---@return string?
function Tokenizer:token(id)
  check_self("token", self)
  return self.parts.words[check.value("tokenizer: token: id", id, "integer") + 1]
end

--- The tokenizer as the text of a tokenizer.json. Equal tokenizers give equal texts.
---@return string
function Tokenizer:json()
  check_self("json", self)
  return require("bam.tokenizer.file").write(self.parts)
end

--- Write a tokenizer.json.
---@param path string
function Tokenizer:save(path)
  check_self("save", self)
  core.write_file(path, self:json())
end

-- ---- training ----

local function check_special(list)
  for i = 1, #list do
    local what = string.format("tokenizer.train: special token %d", i)
    local text = check.value(what, list[i], "string")
    if not utf8.len(text) or text:find("\0", 1, true) then
      check.fail("%s: it is not UTF-8, or holds a zero byte; tokenizer.json cannot hold that", what)
    end
  end
end

-- A special token is written literally; no other word may have the same written form.
local function check_names(special, bpe)
  for _, text in ipairs(special) do
    local word = alphabet.read(text)
    if word and word ~= text and bpe:find(word) then
      check.fail("tokenizer.train: the special token %s is how tokenizer.json writes another "
                 .. "word; choose another name", text)
    end
  end
end

-- Convert a list of texts to an iterator.
local function reader(texts)
  if check.is_callable(texts) then return texts end
  if type(texts) ~= "table" then
    check.fail("tokenizer.train: option texts: expected a list of texts or a function, got %s",
               check.describe(texts))
  end
  local i, n = 0, check.list("tokenizer.train: option texts", texts)
  return function()
    i = i + 1
    return i <= n and texts[i] or nil
  end
end

local function add_texts(trainer, texts)
  local count = 0
  for text in reader(texts) do
    count = count + 1
    trainer:add(check.value(string.format("tokenizer.train: text %d", count), text, "string"))
  end
end

---@class bam.tokenizer.TrainOptions
---@field texts string[]|function texts, or a function that returns the next one, nil at the end
---@field vocab? integer vocabulary, 2048 by default
---@field special? string[] special tokens, { "<|endoftext|>" } by default
---@field pattern? string regular expression (Oniguruma, as in tokenizer.json) that splits text; GPT-2's by default

--- Train a tokenizer. The vocabulary starts with the special tokens and all bytes; the most frequent pairs within
--- pieces of text are added. The result depends on the texts, not on their order or the number of threads. A text
--- with too few pairs is an error.
---@param options bam.tokenizer.TrainOptions
---@return tokenizer
function M.train(options)
  local o = check.options("tokenizer.train", options, {
    texts = { "any" }, vocab = { "extent", 2048 }, special = { "list", { "<|endoftext|>" } },
    pattern = { "string", optional = true } })
  check_special(o.special)
  local parts = { steps = { o.pattern and step_list.split(o.pattern) or { type = "GPT2" } },
                  added = {}, whole_words = false }
  local trainer = core.bpe_trainer(with_patterns(parts.steps, "tokenizer.train",
                                                 { special = o.special }))
  add_texts(trainer, o.texts)
  parts.words, parts.merges = trainer:train(o.vocab)
  for i = 1, #o.special do
    parts.added[i] = { id = i - 1, special = true, normalized = false, lstrip = false,
                       rstrip = false }
  end
  local result = new(parts, "tokenizer.train")
  check_names(o.special, result.bpe)
  return result
end

-- ---- reading ----

--- Parse a tokenizer.json. What is not supported, such as normalizers, is an error that names it.
---@param text string
---@param label? string name for error messages
---@return tokenizer
function M.parse(text, label)
  label = check.value("tokenizer.parse: label", label or "tokenizer.json", "string")
  text = check.value("tokenizer.parse: text", text, "string")
  return new(require("bam.tokenizer.file").read(text, label), label)
end

--- Load a tokenizer.json.
---@param path string
---@return tokenizer
function M.load(path) return M.parse(core.read_file(path), path) end

--- Is `x` a tokenizer?
---@param x any
---@return boolean
function M.is(x) return getmetatable(x) == metatable end

setmetatable(Tokenizer, { __index = function(_, name)
  local text = type(name) == "string" and require("bam.util.hints").known("tokenizer", name)
  if text then check.fail("a tokenizer has no `%s`; %s", name, text) end
end })

return check.guard(M, "bam.tokenizer")
