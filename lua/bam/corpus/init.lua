--- bam.corpus makes text to train on out of files: bam.corpus({ law = "law/*.jsonl.zst", code = {
--- files = "code/*.jsonl", heldout = "code/last.jsonl", field = "content" } }, { vocab = 4096 }).
--- Files are plain text, where a line <|endoftext|> stands between documents, or JSON lines (.jsonl,
--- .ndjson, or .json that holds an object on each line) with a document in a field; either may be
--- compressed, .gz or .zst. What they become is kept in a cache.
local check = require "bam.check"
local debian = require "bam.corpus.debian"
local domains = require "bam.corpus.domains"
local place = require "bam.corpus.place"
local text = require "bam.corpus.text"

local M = {}

local DEBIAN = { "code", "general", "law", "math" }

local spec = {
  vocab = { "size", optional = true }, tokenizer = { "any", optional = true },
  heldout = { "fraction", 0.02 }, field = { "string", "text" },
  format = { "string", optional = true }, skip_bad = { "boolean", false },
  pattern = { "any", optional = true }, cache = { "string", optional = true },
}

local tokenizer_spec = {
  vocab = { "size", optional = true }, from = { "list", optional = true },
  pattern = { "any", optional = true },
}

-- The domains that a tokenizer is trained on, sorted, each once; nil: all of them.
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

-- Option tokenizer as a table: a tokenizer to be trained. What it says moves into `o`.
local function read_training(o, names)
  local t = check.options("corpus: option tokenizer", o.tokenizer, tokenizer_spec)
  for _, name in ipairs { "vocab", "pattern" } do
    if o[name] ~= nil and t[name] ~= nil then
      check.fail("corpus: option %s is given twice; leave it to option tokenizer", name)
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
    check.fail "corpus: options pattern and tokenizer exclude each other: a tokenizer has its own"
  end
  o.tokenizer = place.below(place.recipe(), o.tokenizer)
end

-- Checked options with what they leave open decided; `names` are the domains.
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
    check.fail("corpus: option `vocab` is missing: the number of tokens of the tokenizer to train; "
               .. "or give `tokenizer`, the path of one")
  end
  return o
end

--- The files of some domains as text to train on. Nothing is read yet. Paths are relative to the
--- script; a domain is a path, a list of paths, or a table { files, heldout?, field?, format?,
--- skip_bad? }, where paths may be patterns such as "law/*.txt".
---@class bam.CorpusOptions
---@field vocab? integer tokens of the tokenizer, which is trained on this text
---@field tokenizer? string|table path of a tokenizer.json to use instead; or { vocab, from, pattern
--- }: it is trained on the domains listed in `from`, all by default, so that others can be added
--- without changing it
---@field heldout? number share of the documents that training never sees, 0.02 by default
---@field field? string of JSON lines, "text" by default; one within another is "doc.text"
---@field format? "jsonl"|"text" of files whose name and contents do not tell, or tell wrongly
---@field skip_bad? boolean skip and count lines of JSON that hold no document, instead of stopping
---@field pattern? string|table how the tokenizer cuts text first, see tokenizer.train
---@field cache? string directory, instead of $BAMLUA_CACHE or ~/.cache/bamlua
---@param given table<string, string|string[]|table>
---@param options bam.CorpusOptions
---@return bam.Text
local function corpus(_, given, options) -- called as the module itself
  local o = check.options("corpus", options, spec)
  local read = domains.read(given, o)
  local names = check.sorted_names(read)
  local settings = read_settings(o, names)
  return text.new(names, function() return domains.locate(read) end, settings)
end

local debian_spec = { vocab = { "size", 2048 }, cache = { "string", optional = true } }

--- The text of packages of Debian in four domains: general, law, math and code, the same on every
--- machine. Nothing is read yet.
---@class bam.DebianOptions
---@field vocab? integer tokens of the tokenizer, 2048 by default
---@field cache? string directory, instead of $BAMLUA_CACHE or ~/.cache/bamlua
---@param options? bam.DebianOptions
---@return bam.Text
function M.debian(options)
  local settings = check.options("corpus.debian", options, debian_spec)
  local function locate(cache)
    local located = {}
    local function report(line) place.report("%s", line) end
    for name, files in pairs(debian.prepare(cache, report).domains) do
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
