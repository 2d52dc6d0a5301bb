-- What a corpus is asked to consist of: for each domain the patterns of its files, and of files
-- that are held out, checked when the recipe says it, and found when they are needed.
local check = require "bam.util.check"
local core = require "bam.core"
local paths = require "bam.data.paths"

local M = {}

local spec = {
  files = { "any" }, heldout = { "any", optional = true }, field = { "string", optional = true },
  format = { "string", optional = true }, skip_bad = { "boolean", optional = true },
}

-- One pattern or a list of them, as a list.
local function read_patterns(what, value)
  if type(value) == "string" then value = { value } end
  if type(value) ~= "table" or getmetatable(value) or #value == 0 then
    check.fail("%s: expected a path or a list of paths, got %s", what, check.describe(value))
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

-- Names are parts of file names, and keys beside these two in what text.heldout:open gives.
local RESERVED = { domains = true, batch = true }

local function check_name(name)
  if type(name) ~= "string" or not name:find "^[%w_][%w_.-]*$" or RESERVED[name] then
    check.fail("corpus: a domain is called by letters, digits, `_`, `-` and `.`, and not "
               .. "`domains` or `batch`; got %s", check.describe(name))
  end
end

-- How files are read, as reading.each takes it: what the domain says, else what is said for all.
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
  return {
    files = read_patterns(what, o.files),
    heldout = o.heldout and read_patterns(string.format("%s: heldout", what), o.heldout),
    how = read_how(what, o, all),
  }
end

--- The domains that a recipe gives, checked: { [name] = { files, heldout?, how } }, the first two
--- lists of patterns, `how` as reading.each takes it.
---@param given table
---@param all { field: string, format?: string, skip_bad?: boolean } where a domain says nothing else
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

--- Raise the error about a domain that there is not.
---@param what string the function, for messages
---@param name any
---@param domains string[] those there are
function M.fail_unknown(what, name, domains)
  local hint = check.suggestion(name, domains)
  if hint == "" then hint = string.format("; there are %s", table.concat(domains, ", ")) end
  check.fail("%s: there is no domain `%s`%s", what, tostring(name), hint)
end

-- ---- finding the files ----

local function check_file(name, path)
  local info = core.file_info(path)
  if not info then
    check.fail("corpus: domain %s: there is no file %s; relative paths begin at %s", name, path,
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

-- The files of one pattern, not none. A path that exists is meant as it is, and so is the recipe's
-- directory, whatever its name holds.
local function expand(name, pattern)
  local recipe = paths.recipe()
  local path = paths.below(recipe, pattern)
  if core.file_info(path) or not pattern:find "[*?%[]" then return { path } end
  local found = core.glob(paths.below(recipe:gsub("[*?%[%]\\]", "\\%0"), pattern))
  if #found == 0 then
    check.fail("corpus: domain %s: no file matches %s; relative paths begin at %s", name, path,
               core.absolute(paths.recipe()))
  end
  return found
end

-- The files of some patterns in their order, each once, without those of which the absolute path is
-- in the set `except`.
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

--- The files of checked domains: { [name] = { train, heldout?, how } }, the first two lists of
--- paths. A file that is held out is left out of the training files of every domain.
---@param domains table what M.read gave
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
    if #located[name].train == 0 then
      check.fail("corpus: domain %s: every file of it is held out; there is none to train on", name)
    end
  end
  return located
end

return M
