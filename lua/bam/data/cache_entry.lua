-- One corpus in the cache: a directory with its tokenizer, its shards and a manifest, which lists
-- everything else with sizes and digests. The directory is named by a hash of all that its contents
-- depend on, and appears as a whole (see build.lua).
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"
local shards = require "bam.data.shards"
local tokenizer = require "bam.tokenizer"

local M = {}

local FORMAT = 2 -- to be raised when the same text and settings come to give other tokens or files
local MANIFEST, TOKENIZER = "manifest.json", "tokenizer.json"

M.TOKENIZER = TOKENIZER

local function within(directory, name) return string.format("%s/%s", directory, name) end

-- ---- what an entry depends on ----

-- Files by contents and by what the reader makes of their names: "HASH.jsonl.gz".
local function contents_of(paths, hashes)
  local list = json.array {}
  for i, path in ipairs(paths) do
    list[i] = string.format("%s.%s%s", hashes[path], core.text_name(path))
  end
  return list
end

--- The key of a corpus.
---@param located table domains with their files, see domains.locate
---@param settings table vocab?, heldout, pattern?, from? (domains), tokenizer? (a path)
---@param hashes table<string, string> of all files, by path
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
                tokenizer = settings.tokenizer and hashes[settings.tokenizer] }
  return core.hash(json.encode(all))
end

-- ---- opening ----

--- Write the manifest of an entry whose other files are there.
---@param directory string
---@param domains table<string, { train: table, heldout: table }> what the shards' writers gave
function M.seal(directory, domains)
  local contents = { domains = domains, tokenizer = core.hash_file(within(directory, TOKENIZER)) }
  local manifest = { contents = contents, digest = core.hash(json.encode(contents)) }
  core.write_file(within(directory, MANIFEST), json.encode(manifest, { indent = 1 }))
end

-- The manifest of an entry's directory, or nil and what is wrong with it.
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

-- The digests of a part's shards in order, as one text.
local function shard_digests(part)
  local digests = {}
  for i, shard in ipairs(part.shards) do digests[i] = shard.digest end
  return table.concat(digests, " ")
end

--- A hash of the tokens of one part of a domain.
---@param part table `train` or `heldout` of a domain of M.open's corpus
---@return string hex
function M.part_hash(part) return core.hash(shard_digests(part)) end

--- A hash of all tokens of a domain. What is held out counts: a phase's best checkpoint is chosen
--- by it.
---@param domain table of M.open's corpus
---@return string hex
function M.domain_hash(domain)
  return core.hash(string.format("%s/%s", shard_digests(domain.train),
                                 shard_digests(domain.heldout)))
end

--- What is wrong with an entry, every byte of it being read; nil when nothing is.
---@param directory string
---@return string? fault
function M.verify(directory)
  local manifest, fault = read_manifest(directory)
  return fault or fault_in(directory, manifest, true)
end

--- The corpus in a directory, or nil when there is none or it is damaged.
---@param directory string
---@return table? corpus tokenizer; digest; domains: for each the records (see shards.lua) `train`
--- and `heldout`, in `shards` what these two consist of, and how many bad records were `skipped`
---@return string? fault when it is damaged
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
