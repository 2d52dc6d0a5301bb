--- bam.corpus makes text to train on out of files: bam.corpus({ law = "law/*.jsonl.zst", code = {
--- files = "code/*.jsonl", heldout = "code/last.jsonl", field = "content" } }, { vocab = 4096 }).
--- Files are .txt, where a line <|endoftext|> stands between documents, or .jsonl with a document
--- in a field of each line; either may be compressed, .gz or .zst. What they become is kept in a
--- cache.
local check = require "bam.check"
local debian = require "bam.corpus.debian"
local domains = require "bam.corpus.domains"
local place = require "bam.corpus.place"
local text = require "bam.corpus.text"

local M = {}

local DEBIAN = { "code", "general", "law", "math" }

local spec = {
  vocab = { "size", optional = true }, tokenizer = { "string", optional = true },
  heldout = { "fraction", 0.02 }, field = { "string", "text" },
  pattern = { "any", optional = true }, cache = { "string", optional = true },
}

local function read_settings(options)
  local o = check.options("corpus", options, spec)
  if o.heldout == 0 then
    check.fail "corpus: option heldout: expected a share above 0 and below 1, got 0"
  end
  if not o.vocab and not o.tokenizer then
    check.fail("corpus: option `vocab` is missing: the number of tokens of the tokenizer to train; "
               .. "or give `tokenizer`, the path of one")
  end
  if o.tokenizer and o.pattern then
    check.fail "corpus: options pattern and tokenizer exclude each other: a tokenizer has its own"
  end
  if o.tokenizer then o.tokenizer = place.below(place.recipe(), o.tokenizer) end
  return o
end

--- The files of some domains as text to train on. Nothing is read yet. Paths are relative to the
--- script; a domain is a path, a list of paths, or a table { files, heldout?, field? }, where paths
--- may be patterns such as "law/*.txt".
---@class bam.CorpusOptions
---@field vocab? integer tokens of the tokenizer, which is trained on this text
---@field tokenizer? string path of a tokenizer.json to use instead
---@field heldout? number share of the documents that training never sees, 0.02 by default
---@field field? string of jsonl files, "text" by default
---@field pattern? string|table how the tokenizer cuts text first, see tokenizer.train
---@field cache? string directory, instead of $BAMLUA_CACHE or ~/.cache/bamlua
---@param given table<string, string|string[]|table>
---@param options bam.CorpusOptions
---@return bam.Text
local function corpus(self, given, options) -- self is this module
  local settings = read_settings(options)
  local read = domains.read(given, settings.field)
  return text.new(check.sorted_names(read), function() return domains.locate(read) end, settings)
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
      located[name] = { train = { files.train }, heldout = { files.heldout }, field = "text" }
    end
    return located
  end
  return text.new(DEBIAN, locate, settings)
end

check.guard(M, "bam.corpus")
getmetatable(M).__call = corpus
return M
