-- Tokenized text on disk. A shard is a safetensors file with `tokens` i32 [n] and `documents` i64 [d], the 0-based
-- starts of its documents. Each document begins with the separator token. A document that does not fit into one shard
-- continues in the next one, where it starts as a new document.
local check = require "bam.util.check"
local core = require "bam.core"
local reading = require "bam.data.reading"

local M = {}

local SHARD_TOKENS = 1 << 24 -- approximate size of a shard; bounds memory use
local SMALL_BYTES = 64 << 20 -- smaller shards are hashed whenever they are opened

local ops = core.ops

-- ---- writing ----

local Writer = {}
local metatable = { __name = "shard writer", __index = Writer }

function metatable:__tostring() return string.format("shard writer of %s", self.name) end

--- Create a writer of text as shards NAME-00001.safetensors, NAME-00002.safetensors, ... in a directory.
---@param directory string
---@param name string
---@param tokenizer table
---@param shard_tokens? integer for tests
---@param separator? integer the token before each document, <|endoftext|> by default
---@return table writer
function M.writer(directory, name, tokenizer, shard_tokens, separator)
  return setmetatable({
    directory = directory, name = name, tokenizer = tokenizer,
    limit = shard_tokens or SHARD_TOKENS, separator = separator or tokenizer:id(reading.SEPARATOR),
    tokens = core.token_buffer(), starts = core.token_buffer(),
    record = { bytes = 0, documents = 0, tokens = 0, shards = {} },
  }, metatable)
end

local function flush(self)
  local record = self.record
  local file = string.format("%s-%05d.safetensors", self.name, #record.shards + 1)
  local path = string.format("%s/%s", self.directory, file)
  local shard = { file = file, tokens = #self.tokens, documents = #self.starts }
  core.scope(function()
    core.save(path, { tokens = self.tokens:take(), documents = ops.to(self.starts:take(), "i64") })
  end)
  shard.size, shard.digest = core.file_info(path).size, core.hash_file(path)
  record.shards[#record.shards + 1] = shard
  record.tokens = record.tokens + shard.tokens
end

--- Append a document, or the next piece of the last document.
---@param text string not empty
---@param continues boolean
function Writer:append(text, continues)
  if not continues or #self.tokens == 0 then
    self.starts:push(#self.tokens)
    self.tokens:push(self.separator)
  end
  self.tokenizer:append(text, self.tokens)
  local record = self.record
  record.bytes = record.bytes + #text
  record.documents = record.documents + (continues and 0 or 1)
  if #self.tokens >= self.limit then flush(self) end
end

--- Write the tokens that are still buffered.
---@return table record bytes, documents, tokens, and for each of its shards file, size, digest, tokens and documents
function Writer:finish()
  if #self.tokens > 0 then flush(self) end
  return self.record
end

-- ---- reading ----

-- Check the file of a shard. Returns nil if it finds no fault.
local function fault_in(directory, shard, thorough)
  local path = string.format("%s/%s", directory, shard.file)
  local info = core.file_info(path)
  if not info then return string.format("%s is missing", shard.file) end
  if info.size ~= shard.size then
    return string.format("%s has %d bytes instead of %d", shard.file, info.size, shard.size)
  end
  if (thorough or shard.size < SMALL_BYTES) and core.hash_file(path) ~= shard.digest then
    return string.format("%s was changed", shard.file)
  end
end

--- Look for damage in the shards of a record: all sizes, and the contents of small shards, or of all of them.
---@param directory string
---@param record table result of Writer:finish
---@param thorough? boolean read all shards
---@return string? fault
function M.fault(directory, record, thorough)
  for _, shard in ipairs(record.shards) do
    local fault = fault_in(directory, shard, thorough)
    if fault then return fault end
  end
end

--- Open the shards of a record. Tokens stay in the files until windows of them are read; reading a file that was
--- modified since is an error.
---@param directory string
---@param record table
---@return { tokens: bam.StoredTensor, documents: bam.StoredTensor }[]
function M.open(directory, record)
  local shards = {}
  for i, shard in ipairs(record.shards) do
    local path = string.format("%s/%s", directory, shard.file)
    local tensors = core.open_tensors(path)
    local is_whole = tensors.tokens and tensors.documents and #tensors.tokens == shard.tokens
      and #tensors.documents == shard.documents
    if not is_whole then
      check.fail("corpus: %s does not match its manifest", path)
    end
    shards[i] = tensors
  end
  return shards
end

return M
