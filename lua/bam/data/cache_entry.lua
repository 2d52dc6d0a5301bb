-- A corpus in the cache: a directory with a tokenizer, shards, and a manifest of the sizes and digests of all other
-- files. Its name is a hash of everything that its contents depend on. It appears atomically (see build.lua).
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"
local shards = require "bam.data.shards"
local tokenizer = require "bam.tokenizer"

local M = {}

local FORMAT = 2 -- raise it when the same text and settings give different tokens or files
local MANIFEST, TOKENIZER = "manifest.json", "tokenizer.json"

M.TOKENIZER = TOKENIZER

local function within(directory, name) return string.format("%s/%s", directory, name) end

-- ---- key ----

-- Identify files by their contents and by the format that their names imply: "HASH.jsonl.gz".
local function contents_of(paths, hashes)
  local list = json.array {}
  for i, path in ipairs(paths) do
    list[i] = string.format("%s.%s%s", hashes[path], core.text_name(path))
  end
  return list
end

--- Compute the key of a corpus.
---@param located table domains with their files, see domains.locate
---@param settings table vocab?, heldout, pattern?, from? (domains), tokenizer? (a path)
---@param hashes table<string, string> hash of every file, by path
---@return string key hexadecimal digits
function M.key(located, settings, hashes)
  local domains = {}
  for name, domain in pairs(located) do
    local how = domain.how
    domains[name] = { train = contents_of(domain.train, hashes), field = how.field,
                      format = how.format, skip_bad = how.skip_bad or nil,
                      heldout = domain.heldout and contents_of(domain.heldout, hashes) }
  end
  local all = { format = FORMAT, domains = domains, heldout = settings.heldout,
                vocab = settings.vocab, pattern = settings.pattern, from = settings.from,
                separator = settings.separator, -- nil by default
                tokenizer = settings.tokenizer and hashes[settings.tokenizer] }
  return core.hash(json.encode(all))
end

-- ---- opening ----

--- Write the manifest of an entry, after all of its other files.
---@param directory string
---@param domains table<string, { train: table, heldout: table }> records from the shard writers
function M.seal(directory, domains)
  local contents = { domains = domains, tokenizer = core.hash_file(within(directory, TOKENIZER)) }
  local manifest = { contents = contents, digest = core.hash(json.encode(contents)) }
  core.write_file(within(directory, MANIFEST), json.encode(manifest, { indent = 1 }))
end

-- Read an entry's manifest. Returns nil and the reason if it is damaged.
local function read_manifest(directory)
  local manifest = json.read(within(directory, MANIFEST))
  if not manifest or type(manifest.contents) ~= "table" then
    return nil, string.format("%s cannot be read", MANIFEST)
  end
  if core.hash(json.encode(manifest.contents)) ~= manifest.digest then
    return nil, string.format("%s was changed", MANIFEST)
  end
  return manifest
end

local function fault_in(directory, manifest, thorough)
  local path = within(directory, TOKENIZER)
  if not core.file_info(path) or core.hash_file(path) ~= manifest.contents.tokenizer then
    return string.format("%s is missing or was changed", TOKENIZER)
  end
  for _, name in ipairs(check.sorted_names(manifest.contents.domains)) do
    local domain = manifest.contents.domains[name]
    local fault = shards.fault(directory, domain.train, thorough)
      or shards.fault(directory, domain.heldout, thorough)
    if fault then return fault end
  end
end

-- Join the digests of a part's shards, in order.
local function shard_digests(part)
  local digests = {}
  for i, shard in ipairs(part.shards) do digests[i] = shard.digest end
  return table.concat(digests, " ")
end

--- Hash the tokens of one part of a domain.
---@param part table `train` or `heldout` of a domain of an open corpus
---@return string hex
function M.part_hash(part) return core.hash(shard_digests(part)) end

--- Hash all tokens of a domain, held-out tokens included: they select a phase's best checkpoint.
---@param domain table of an open corpus
---@return string hex
function M.domain_hash(domain)
  return core.hash(string.format("%s/%s", shard_digests(domain.train),
                                 shard_digests(domain.heldout)))
end

--- Verify an entry by reading every byte. Returns nil if it is intact.
---@param directory string
---@return string? fault
function M.verify(directory)
  local manifest, fault = read_manifest(directory)
  return fault or fault_in(directory, manifest, true)
end

--- Open the corpus in a directory. Returns nil if there is none or it is damaged.
---@param directory string
---@return table? corpus tokenizer, digest and domains. Each domain has the records (see shards.lua) `train` and
--- `heldout`, their open `shards`, and the number of bad records that were `skipped`
---@return string? fault if the entry is damaged
function M.open(directory)
  if not core.is_directory(directory) then return nil end
  local manifest, fault = read_manifest(directory)
  fault = fault or fault_in(directory, manifest)
  if fault then return nil, fault end
  local corpus = { directory = directory, digest = manifest.digest, domains = {},
                   tokenizer = tokenizer.load(within(directory, TOKENIZER)),
                   tokenizer_digest = manifest.contents.tokenizer }
  for name, domain in pairs(manifest.contents.domains) do
    corpus.domains[name] = { train = domain.train, heldout = domain.heldout,
                             skipped = domain.skipped or 0, shards = {
      train = shards.open(directory, domain.train),
      heldout = shards.open(directory, domain.heldout),
    } }
  end
  return corpus
end

return M
