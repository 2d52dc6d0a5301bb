-- Builds the cache entry of a corpus: decides what is held out, trains a tokenizer on the rest, and tokenizes
-- everything. It writes into a staged directory, so that an error, a full disk or a killed process never leaves a
-- partial entry.
local check = require "bam.util.check"
local core = require "bam.core"
local cache_entry = require "bam.data.cache_entry"
local paths = require "bam.data.paths"
local reading = require "bam.data.reading"
local shards = require "bam.data.shards"
local tokenizer = require "bam.tokenizer"
local atomic_dir = require "bam.util.atomic_dir"

local M = {}

local TRAINING_BYTES = 20 * 1000 * 1000 -- at most, of text to train a tokenizer on

-- Raise the error for a domain that has no training text left.
local function fail_without_text(name, domain)
  if domain.heldout then reading.fail_empty(name, domain.train, domain.how) end
  check.fail("corpus: domain %s: all of its text is held out; give a smaller share: "
             .. "heldout = 0.02", name)
end

-- ---- the tokenizer ----

-- Append at most `bytes` of a domain's training text to `texts`. Each file may contribute an equal share of the bytes
-- that earlier files left over.
local function sample_domain(domain, bytes, texts)
  for f, path in ipairs(domain.train) do
    local quota = bytes // (#domain.train - f + 1)
    reading.each_split(path, domain.how, domain.split, function(text, _, held)
      if held then return false end
      local part = text:sub(1, quota)
      quota, bytes = quota - #part, bytes - #part
      if part ~= "" then texts[#texts + 1] = part end
      return quota == 0
    end)
  end
end

-- Iterate over training text of the domains `names`, with an equal number of bytes for each.
local function training_texts(located, names)
  local texts, next_text = {}, 0
  for _, name in ipairs(names) do
    local before = #texts
    sample_domain(located[name], TRAINING_BYTES // #names, texts)
    if #texts == before then fail_without_text(name, located[name]) end
  end
  return function()
    next_text = next_text + 1
    return texts[next_text]
  end
end

-- All domains but those that are held out whole.
local function names_to_train_on(located)
  local names = {}
  for _, name in ipairs(check.sorted_names(located)) do
    if #located[name].train > 0 then names[#names + 1] = name end
  end
  if #names == 0 then
    check.fail "corpus: every domain is held out whole, so there is no text to train a tokenizer on; give `tokenizer`"
  end
  return names
end

local function train_tokenizer(located, settings)
  paths.report("training a tokenizer of %d tokens", settings.vocab)
  local names = settings.from or names_to_train_on(located)
  local texts = training_texts(located, names)
  local ok, result = core.try(tokenizer.train, {
    texts = texts, vocab = settings.vocab, pattern = settings.pattern,
    special = { settings.separator or reading.SEPARATOR },
  })
  if ok then return result end
  return check.fail("corpus of %s: %s", table.concat(names, ", "),
                    (tostring(result):gsub("^[^\n]-:%d+: ", "")))
end

-- ---- tokens ----

local function tokenize_files(files, how, split, train, heldout)
  for _, path in ipairs(files) do
    reading.each_split(path, how, split, function(text, continues, held)
      local writer = held and heldout or train
      writer:append(text, continues)
    end)
  end
end

-- Write the shards of a domain. Returns their records.
local function tokenize(directory, name, domain, words, separator)
  local function writer(part)
    return shards.writer(directory, string.format("%s.%s", name, part), words, nil, separator)
  end
  local train, heldout, skipped = writer "train", writer "heldout", 0
  local how = setmetatable({ on_skip = function(count) skipped = skipped + count end },
                           { __index = domain.how })
  tokenize_files(domain.train, how, domain.split, train, heldout)
  if domain.heldout then tokenize_files(domain.heldout, how, nil, heldout) end
  local record = { train = train:finish(), heldout = heldout:finish() }
  if record.train.tokens == 0 and #domain.train > 0 then fail_without_text(name, domain) end
  if record.heldout.tokens == 0 then reading.fail_empty(name, domain.heldout, how) end
  if skipped > 0 then
    record.skipped = skipped
    paths.report("%s: skipped %s; the first: %s", name, check.count(skipped, "bad record"), how.fault)
  end
  local whole, heldout_bytes = #domain.train == 0, check.count(record.heldout.bytes, "byte")
  if whole then
    paths.report("%s: %s, held out whole", name, heldout_bytes)
  else
    paths.report("%s: %s, %s, %s; held out %s", name, check.count(record.train.bytes, "byte"),
                 check.count(record.train.documents, "document"), check.count(record.train.tokens, "token"),
                 heldout_bytes)
  end
  return record
end

local function fill(directory, located, settings, given)
  for _, name in ipairs(check.sorted_names(located)) do
    local domain = located[name]
    if not domain.heldout then
      domain.split = reading.split(name, domain.train, domain.how, settings.heldout)
    end
  end
  local words = given or train_tokenizer(located, settings)
  words:save(string.format("%s/%s", directory, cache_entry.TOKENIZER))
  local records = {}
  for _, name in ipairs(check.sorted_names(located)) do
    records[name] = tokenize(directory, name, located[name], words, words:id(settings.separator or reading.SEPARATOR))
  end
  cache_entry.seal(directory, records)
end

--- Build the entry of a corpus at `directory`, which must not exist.
---@param directory string
---@param located table domains with their files, see domains.locate; gets the field `split`
---@param settings table as for cache_entry.key
---@param given? table tokenizer to use; by default one is trained
function M.make(directory, located, settings, given)
  atomic_dir.write(directory, function(path) fill(path, located, settings, given) end)
end

return M
