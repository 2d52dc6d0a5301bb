-- The domains of a corpus: for each domain the patterns of its training files and of its held-out files. They are
-- checked when the recipe gives them, and expanded when the files are needed.
local check = require "bam.util.check"
local core = require "bam.core"
local paths = require "bam.data.paths"

local M = {}

local spec = {
  files = { "any", optional = true }, heldout = { "any", optional = true }, field = { "string", optional = true },
  format = { "string", optional = true }, skip_bad = { "boolean", optional = true },
}

-- Normalize a pattern or a list of patterns to a list.
local function read_patterns(what, value)
  if type(value) == "string" then value = { value } end
  if type(value) ~= "table" or getmetatable(value) or #value == 0 then
    local hint = (type(value) == "number" or type(value) == "boolean")
      and "; options are a second table: bam.corpus({ law = \"law.txt\" }, { vocab = 8192 })" or ""
    check.fail("%s: expected a path or a list of paths, got %s%s", what, check.describe(value), hint)
  end
  local list, n = {}, #value
  for key, pattern in pairs(value) do
    if math.type(key) ~= "integer" or key < 1 or key > n then
      check.fail("%s: expected a list of paths, but there is the key %s", what, tostring(key))
    end
    if type(pattern) ~= "string" or pattern == "" then
      check.fail("%s: expected a path, got %s", what, check.describe(pattern))
    end
    list[key] = pattern
  end
  return list
end

-- Names become parts of file names, and keys next to these two in the result of text.heldout:open.
local RESERVED = { domains = true, batch = true }

local function check_name(name)
  if type(name) ~= "string" or not name:find "^[%w_][%w_.-]*$" or RESERVED[name] then
    if name == 1 then check.fail 'corpus: a domain has a name: bam.corpus({ law = "law.txt" }, { vocab = 8192 })' end
    check.fail("corpus: the name of a domain consists of letters, digits, `_`, `-` and `.`, and is not "
               .. "`domains` or `batch`; got %s", check.describe(name))
  end
end

-- How to read files, as reading.each takes it. A domain's own options override those of the corpus.
local function read_how(what, o, all)
  local how = {}
  for _, name in ipairs { "field", "format", "skip_bad" } do
    if o[name] ~= nil then how[name] = o[name] else how[name] = all[name] end
  end
  if how.format and how.format ~= "jsonl" and how.format ~= "text" then
    check.fail('%s: option format: expected "jsonl" or "text", got %s', what,
               check.describe(how.format))
  end
  return how
end

local function read_domain(name, given, all)
  local what = string.format("corpus: domain %s", name)
  local described = type(given) == "table" and given[1] == nil
  local o = described and check.options(what, given, spec) or { files = given }
  if o.files == nil and o.heldout == nil then
    check.fail("%s: option `files` is missing: a path or a list of paths; `heldout` alone holds the domain out whole",
               what)
  end
  return {
    files = o.files ~= nil and read_patterns(what, o.files) or {},
    heldout = o.heldout and read_patterns(string.format("%s: heldout", what), o.heldout),
    how = read_how(what, o, all),
  }
end

--- Check the domains of a recipe: { [name] = { files, heldout?, how } }. `files` and `heldout` are lists of patterns,
--- `how` is as for reading.each. A domain without files is held out whole.
---@param given table
---@param all { field: string, format?: string, skip_bad?: boolean } defaults for all domains
---@return table
function M.read(given, all)
  if type(given) ~= "table" or getmetatable(given) or next(given) == nil then
    check.fail('corpus: expected a table of domains, such as { law = "law/*.jsonl.zst" }, got %s',
               check.describe(given))
  end
  local domains = {}
  for name, value in pairs(given) do
    check_name(name)
    domains[name] = read_domain(name, value, all)
  end
  return domains
end

--- Raise the error for an unknown domain.
---@param what string the function, for messages
---@param name any
---@param domains string[] known domains
function M.fail_unknown(what, name, domains)
  local hint = check.suggestion(name, domains)
  if hint == "" then hint = string.format("; there are %s", table.concat(domains, ", ")) end
  check.fail("%s: there is no domain `%s`%s", what, tostring(name), hint)
end

-- ---- finding the files ----

local function check_file(name, path)
  local info = core.file_info(path)
  if not info then
    check.fail("corpus: domain %s: no such file: %s; relative paths start at %s", name, path,
               core.absolute(paths.recipe()))
  end
  if info.kind == "directory" then
    check.fail("corpus: domain %s: %s is a directory; name the files in it: %s/*.txt", name, path,
               path)
  end
  if info.kind ~= "file" then
    check.fail("corpus: domain %s: %s is not a regular file", name, path)
  end
end

-- The files of one pattern, at least one. An existing path is taken literally, and so is the recipe's directory, even
-- if it contains pattern characters.
local function expand(name, pattern)
  local recipe = paths.recipe()
  local path = paths.below(recipe, pattern)
  if core.file_info(path) or not pattern:find "[*?%[]" then return { path } end
  local found = core.glob(paths.below(recipe:gsub("[*?%[%]\\]", "\\%0"), pattern))
  if #found == 0 then
    check.fail("corpus: domain %s: no file matches %s; relative paths start at %s", name, path,
               core.absolute(paths.recipe()))
  end
  return found
end

-- The files of several patterns, in order and without duplicates, except those whose absolute path is in the set
-- `except`.
local function find(name, patterns, except)
  local files, seen = {}, {}
  for _, pattern in ipairs(patterns) do
    for _, path in ipairs(expand(name, pattern)) do
      check_file(name, path)
      local absolute = core.absolute(path)
      if not seen[absolute] and not except[absolute] then files[#files + 1] = path end
      seen[absolute] = true
    end
  end
  return files
end

--- Find the files of checked domains: { [name] = { train, heldout?, how } }, where `train` and `heldout` are lists of
--- paths. A held-out file is excluded from the training files of every domain.
---@param domains table result of M.read
---@return table
function M.locate(domains)
  local located, held = {}, {}
  local names = check.sorted_names(domains)
  for _, name in ipairs(names) do
    local domain = domains[name]
    located[name] = { how = domain.how,
                      heldout = domain.heldout and find(name, domain.heldout, {}) }
  end
  for _, name in ipairs(names) do
    for _, path in ipairs(located[name].heldout or {}) do held[core.absolute(path)] = true end
  end
  for _, name in ipairs(names) do
    located[name].train = find(name, domains[name].files, held)
    if #located[name].train == 0 and #domains[name].files > 0 then
      check.fail("corpus: domain %s: all of its files are held out; none is left to train on", name)
    end
  end
  return located
end

return M
