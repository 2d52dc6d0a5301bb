-- The text of a recipe: its domains, their tokenizer and their tokens. It is prepared lazily: the first use loads
-- everything from the cache, or prepares it.
local check = require "bam.util.check"
local core = require "bam.core"
local cache_entry = require "bam.data.cache_entry"
local file_hashes = require "bam.data.file_hashes"
local paths = require "bam.data.paths"
local reading = require "bam.data.reading"
local atomic_dir = require "bam.util.atomic_dir"
local tokenizer = require "bam.tokenizer"

local M = {}

--- The text of a recipe by domain, with its tokenizer. Methods and properties prepare the text when they need it:
--- files are hashed, the tokenizer is trained, tokens are cached.
---@class bam.Text
---@field domains string[] names, sorted
---@field vocab integer
---@field tokenizer tokenizer
---@field heldout bam.Heldout
local Text = {}
local metatable = { __name = "bam.text", __methods = Text }

-- Properties that are computed on access.
local properties = {}

metatable.__properties = { "domains", "vocab", "tokenizer", "heldout" }

function metatable:__index(name)
  if Text[name] then return Text[name] end
  if properties[name] then return properties[name](self) end
  if type(name) == "string" then
    local names = check.sorted_names(Text)
    table.move(metatable.__properties, 1, #metatable.__properties, #names + 1, names)
    check.fail("a text has no `%s`%s", name, require("bam.util.hints").hint("text", name, names))
  end
end

--- Create a text.
---@param names string[] names of its domains, sorted
---@param locate fun(cache: string): table returns the files of the domains, see domains.locate
---@param settings table vocab?, tokenizer? (a path), heldout, pattern?, cache?; checked
---@return bam.Text
function M.new(names, locate, settings)
  local self = { domains = names, locate = locate, settings = settings, corpus = false }
  self.heldout = require("bam.data.heldout").new(self)
  return setmetatable(self, metatable)
end

-- ---- preparing ----

-- Load and check the tokenizer that the recipe names; nil if one is to be trained.
local function given_tokenizer(self)
  local path, vocab = self.settings.tokenizer, self.settings.vocab
  if not path then return nil end
  local words = tokenizer.load(path)
  if vocab and words.vocab ~= vocab then
    check.fail("corpus: the tokenizer %s has a vocabulary of %d tokens, but option vocab is "
               .. "%d", path, words.vocab, vocab)
  end
  if not words:id(self:separator()) then
    check.fail("corpus: the tokenizer %s has no token %s, which separates documents; name one of its tokens with "
               .. "option separator; its special ones are %s", path, self:separator(),
               table.concat(words.special, " "))
  end
  return words
end

local function all_files(located, settings)
  local files = { settings.tokenizer }
  for _, name in ipairs(check.sorted_names(located)) do
    for _, list in ipairs { located[name].train, located[name].heldout } do
      table.move(list, 1, #list, #files + 1, files)
    end
  end
  return files
end

-- Open the entry or build it. One process builds it while others wait.
local function open_or_make(self, directory, located)
  local corpus = cache_entry.open(directory)
  if corpus then return corpus end
  return paths.locked(string.format("%s.lock", directory), function()
    local made, fault = cache_entry.open(directory)
    if made then return made end
    local aside
    if fault then
      paths.report("%s is damaged (%s); making it again", directory, fault)
      aside = core.set_aside(directory)
    end
    local texts, own = directory:match "^(.*)/(.-)$"
    atomic_dir.sweep(texts, function(name) return name == own end)
    require("bam.data.build").make(directory, located, self.settings, given_tokenizer(self))
    if aside then core.remove_directory(aside) end
    made, fault = cache_entry.open(directory)
    return made or check.fail("corpus: %s was damaged while it was made: %s", directory, fault)
  end)
end

--- Prepare the text now: hash new files, then open the cached tokens or create them. Later calls do nothing.
---@return table corpus
function Text:prepare()
  if self.corpus then return self.corpus end
  local cache = paths.cache(self.settings.cache)
  local located = self.locate(cache)
  local known = file_hashes.of(all_files(located, self.settings), cache)
  local texts = string.format("%s/text", cache)
  core.make_directory(texts)
  core.remove_staged(texts)
  local directory = string.format("%s/%s", texts, cache_entry.key(located, self.settings, known))
  self.corpus = open_or_make(self, directory, located)
  return self.corpus
end

--- The token before every document, as text: option separator, or <|endoftext|>.
---@return string
function Text:separator() return self.settings.separator or reading.SEPARATOR end

--- A hash of all tokens and the tokenizer.
---@return string digits 32 hexadecimal digits
function Text:digest() return self:prepare().digest end

--- Read everything that is cached and raise an error if it was modified. Opening a text checks only small files.
function Text:verify()
  local directory = self:prepare().directory
  local fault = cache_entry.verify(directory)
  if fault then check.fail("corpus: %s is damaged: %s; delete it", directory, fault) end
end

--- Training data: in every step each domain gets a share of the rows in proportion to its weight. Windows of `context`
--- tokens are drawn from a domain in random order, each once per epoch. A row may contain several documents; masks
--- separate them.
---
---   local data = text:sample { law = 0.9, general = 0.1 }
---@param weights table<string, number|function|schedule> by domain; at least one is positive in each step
---@return bam.Source
function Text:sample(weights) return require("bam.data.data_stream").new(self, weights) end

-- ---- properties and printing ----

-- The tokenizer of this text. Prepares the text.
function properties:tokenizer() return self:prepare().tokenizer end

-- Option vocab, or the vocabulary of the tokenizer file.
function properties:vocab() return self.settings.vocab or given_tokenizer(self).vocab end

local function line(name, record)
  return string.format("%s: %s, %s, %s", name, check.count(record.bytes, "byte"),
                       check.count(record.documents, "document"), check.count(record.tokens, "token"))
end

--- The domains and their sizes, as text.
---@return string
function Text:describe()
  local corpus, lines = self:prepare(), {}
  for _, name in ipairs(self.domains) do
    lines[#lines + 1] = line(name, corpus.domains[name].train)
    lines[#lines + 1] = line("  held out", corpus.domains[name].heldout)
    local skipped = corpus.domains[name].skipped
    if skipped > 0 then
      lines[#lines + 1] = string.format("  skipped: %s bad records", check.thousands(skipped))
    end
  end
  return table.concat(lines, "\n")
end

function metatable:__tostring()
  if self.corpus then return self:describe() end
  return string.format("text of %s, to be prepared", table.concat(self.domains, ", "))
end

return M
