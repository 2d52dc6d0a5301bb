--- Text to train on, from files. Plain text has lines <|endoftext|> between documents; JSON lines (.jsonl, .ndjson,
--- or .json with an object per line) have a document in a field. Either may be compressed, .gz or .zst. Tokens are
--- cached.
---
---   local text = bam.corpus({ law = "law/*.jsonl.zst",
---                             code = { files = "code/*.jsonl", heldout = "code/last.jsonl", field = "content" } },
---                           { vocab = 4096 })
local check = require "bam.util.check"
local domains = require "bam.data.domains"
local paths = require "bam.data.paths"
local text = require "bam.data.text"

local M = {}

local DEBIAN = { "code", "general", "law", "math" }

local spec = {
  vocab = { "size", optional = true }, tokenizer = { "any", optional = true },
  heldout = { "fraction", 0.02 }, field = { "string", "text" },
  format = { "string", optional = true }, skip_bad = { "boolean", false },
  pattern = { "any", optional = true }, cache = { "string", optional = true },
  separator = { "string", optional = true },
}

local tokenizer_spec = {
  vocab = { "size", optional = true }, from = { "list", optional = true },
  pattern = { "any", optional = true },
}

-- The domains to train a tokenizer on, sorted and without duplicates; nil means all.
local function read_from(from, names)
  if not from then return nil end
  local known, set = {}, {}
  for _, name in ipairs(names) do known[name] = true end
  for _, name in ipairs(from) do
    if not known[name] then
      domains.fail_unknown("corpus: option tokenizer: from", name, names)
    end
    set[name] = true
  end
  if next(set) == nil then
    check.fail "corpus: option tokenizer: from: expected a list of domains, got an empty one"
  end
  return check.sorted_names(set)
end

-- Option tokenizer as a table: train a tokenizer. Moves the fields of the table into `o`.
local function read_training(o, names)
  local t = check.options("corpus: option tokenizer", o.tokenizer, tokenizer_spec)
  for _, name in ipairs { "vocab", "pattern" } do
    if o[name] ~= nil and t[name] ~= nil then
      check.fail("corpus: option %s is given twice; give it in option tokenizer only", name)
    end
    if t[name] ~= nil then o[name] = t[name] end
  end
  o.tokenizer, o.from = nil, read_from(t.from, names)
end

-- Option tokenizer as a path.
local function read_path(o)
  check.value("corpus: option tokenizer (or a table { vocab = ..., from = ... })", o.tokenizer,
              "string")
  if o.pattern then
    check.fail "corpus: options pattern and tokenizer exclude each other: a tokenizer has its own pattern"
  end
  o.tokenizer = paths.below(paths.recipe(), o.tokenizer)
end

-- Check the options and fill in defaults; `names` are the domains.
local function read_settings(o, names)
  if o.heldout == 0 then
    check.fail "corpus: option heldout: expected a share above 0 and below 1, got 0"
  end
  if type(o.tokenizer) == "table" then
    read_training(o, names)
  elseif o.tokenizer ~= nil then
    read_path(o)
  end
  if not o.vocab and not o.tokenizer then
    check.fail("corpus: option `vocab` is missing: give the vocabulary size of the tokenizer to "
               .. "train, or `tokenizer`, the path of a tokenizer.json")
  end
  return o
end

-- The domains without text to train on, as a set.
local function held_out_whole(read)
  local set = {}
  for name, domain in pairs(read) do set[name] = #domain.files == 0 or nil end
  return set
end

--- Text to train on, by domain. A domain is a path, a list of paths, or a table { files?, heldout?, field?, format?,
--- skip_bad? }; a domain that has only `heldout` is held out whole. Paths may be patterns such as "law/*.txt" and are
--- relative to the script. Nothing is read before it is needed.
---@class bam.CorpusOptions
---@field vocab? integer vocabulary of the tokenizer to train on this text
---@field tokenizer? string|table path of a tokenizer.json to use instead; or { vocab, from, pattern }: the
--- tokenizer is trained on the domains listed in `from` (all by default), so that adding other domains does not
--- change it
---@field heldout? number share of the documents that are held out, 0.02 by default
---@field field? string field of JSON lines, "text" by default; "doc.text" is nested
---@field format? "jsonl"|"text" format of files whose name and contents do not agree
---@field skip_bad? boolean count and skip JSON lines without a document instead of stopping; false by default
---@field pattern? string|table how the tokenizer splits text, see tokenizer.train
---@field separator? string the token before every document, <|endoftext|> by default; a tokenizer from elsewhere may
--- have another, such as "<EOS_TOKEN>". In files the line <|endoftext|> separates documents in any case
---@field cache? string cache directory; $BAMLUA_CACHE or ~/.cache/bamlua by default
---@param given table<string, string|string[]|table>
---@param options bam.CorpusOptions
---@return bam.Text
local function corpus(_, given, options) -- called as the module itself
  local o = check.options("corpus", options, spec)
  local read = domains.read(given, o)
  local names = check.sorted_names(read)
  local settings = read_settings(o, names)
  settings.whole = held_out_whole(read)
  return text.new(names, function() return domains.locate(read) end, settings)
end

local debian_spec = { vocab = { "size", 2048 }, cache = { "string", optional = true } }

--- Text from Debian packages in four domains, general, law, math and code, the same on every machine. Nothing is
--- read before it is needed.
---@class bam.DebianOptions
---@field vocab? integer vocabulary of the tokenizer, 2048 by default
---@field cache? string cache directory; $BAMLUA_CACHE or ~/.cache/bamlua by default
---@param options? bam.DebianOptions
---@return bam.Text
function M.debian(options)
  local settings = check.options("corpus.debian", options, debian_spec)
  local function locate(cache)
    local located = {}
    local function report(line) paths.report("%s", line) end
    for name, files in pairs(require("bam.data.debian").prepare(cache, report).domains) do
      located[name] = { train = { files.train }, heldout = { files.heldout },
                        how = { field = "text", format = "text" } }
    end
    return located
  end
  return text.new(DEBIAN, locate, settings)
end

check.guard(M, "bam.corpus")
getmetatable(M).__call = corpus
return M
