-- Files that bam.evaluate is given in place of held-out text: a corpus of domains that are held out whole, with the
-- model's own tokenizer. Its tokens are cached like those of other corpora.
local check = require "bam.util.check"
local codec = require "bam.model.codec"
local core = require "bam.core"
local corpus = require "bam.data"
local paths = require "bam.data.paths"

local M = {}

-- A name of a domain for a path: the file's name without its endings.
local function name_of(path)
  local name = path:match "([^/]*)$":gsub("%.zst$", ""):gsub("%.gz$", ""):gsub("%.%w+$", ""):gsub("[^%w_.-]", "_")
  return name:find "^[%w_]" and name or "text"
end

local function read_domains(value)
  if type(value) == "string" then return { [name_of(value)] = { heldout = value } } end
  if type(value) ~= "table" or getmetatable(value) or next(value) == nil then
    local got = check.describe(value)
    check.fail("evaluate: expected held-out text, as text.heldout, or the path of a file, got %s%s", got,
               got == "a bam.text" and "; give its field heldout" or "")
  end
  if value[1] ~= nil then return { text = { heldout = value } } end
  local domains = {}
  for name, files in pairs(value) do
    domains[name] = type(files) == "table" and files[1] == nil and files or { heldout = files }
  end
  return domains
end

-- The path of the model's tokenizer.json, which is written to the cache.
local function tokenizer_path(model, cache)
  local json = codec.json(model)
  if not json then
    check.fail "evaluate: this model has no tokenizer to read files with; set model.tokenizer, or give text.heldout"
  end
  local directory = string.format("%s/tokenizers", paths.cache(cache))
  local path = string.format("%s/%s.json", directory, core.hash(json))
  if not core.file_info(path) then
    core.make_directory(directory)
    core.write_file(path, json)
  end
  return path
end

-- The token between documents: <|endoftext|>, or the one that begins or ends a text of this model.
local function separator_of(model)
  local tokenizer, id = codec.tokenizer(model), codec.first(model)
  if tokenizer:id "<|endoftext|>" then return nil end
  return id and tokenizer:token(id)
    or check.fail "evaluate: the model does not say which token separates documents; give the heldout of a bam.corpus "
                  .. "with option separator"
end

--- Held-out text of files, for a model with a tokenizer.
---@param model table
---@param value any what bam.evaluate was given
---@param cache? string
---@return bam.Heldout
function M.heldout(model, value, cache)
  local domains = read_domains(value)
  local path = tokenizer_path(model, cache)
  return corpus(domains, { tokenizer = path, separator = separator_of(model), cache = cache }).heldout
end

return M
