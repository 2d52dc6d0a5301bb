-- Definitions of file formats, see bam.formats.define, and which of them a path is for: a directory's, the one whose
-- ending the path has, or the one whose first bytes the file has.
local check = require "bam.util.check"
local core = require "bam.core"
local foreign = require "bam.formats.foreign"
local registry = require "bam.util.registry"

local M = {}

local metatable = { __name = "file format" }

local formats = registry.new("file format", metatable, "bam.formats.define")

local CODE = { "load", "decode", "save", "encode", "begins" }

local spec = {
  name = { "string" }, doc = { "string", "" }, endings = { "list", {} },
  load = { "callable", optional = true }, decode = { "callable", optional = true },
  save = { "callable", optional = true }, encode = { "callable", optional = true },
  load_options = { "table", {} }, save_options = { "table", {} }, begins = { "callable", optional = true },
}

-- ---- defining ----

local function by_ending(ending)
  for _, name in ipairs(formats:names()) do
    local d = formats.by_name[name]
    for _, other in ipairs(d.endings) do
      if other == ending then return d end
    end
  end
end

local function read_endings(what, d)
  local endings = {}
  for i, ending in ipairs(d.endings) do
    if type(ending) ~= "string" or not ending:find "^%w[%w_.-]*$" then
      check.fail('%s: endings: expected names of endings without a dot before them, as "csv", got %s', what,
                 check.describe(ending))
    end
    endings[i] = ending:lower()
    local other = by_ending(endings[i])
    if other and other.name:lower() ~= d.name:lower() then
      check.fail("%s: endings: .%s is the ending of the format %s", what, ending, other.name)
    end
  end
  if not endings[1] and not d.directory then
    check.fail('%s: endings: expected a list of at least one, as { "csv" }', what)
  end
  return endings
end

local function check_pair(what, d, one, other)
  if d[one] and d[other] then check.fail("%s: expected either %s or %s, got both", what, one, other) end
end

-- `own` has fields that scripts cannot give: `directory` if it is a directory's format, `reads_options` if its
-- functions check options themselves.
local function define(given, own)
  local d = check.options("formats.define", given, spec)
  d.directory, d.reads_options, d.is_builtin = own.directory, own.reads_options, own.is_builtin
  local what = string.format("formats.define: %s", d.name)
  formats:check_name("formats.define", d.name)
  check_pair(what, d, "load", "decode")
  check_pair(what, d, "save", "encode")
  if not (d.load or d.decode or d.save or d.encode) then
    check.fail("%s: it can neither load nor save: give decode and encode, or load and save", what)
  end
  d.endings = read_endings(what, d)
  for _, options in ipairs { d.load_options, d.save_options } do
    for name, rule in pairs(options) do check.rule(what, name, rule) end
  end
  return formats:add(d, CODE)
end

--- See bam.formats.define.
---@param given table
---@return table definition
function M.define(given) return define(given, {}) end

--- One of bam's own, whose name cannot be defined again.
---@param given table
---@param own? { directory?: boolean, reads_options?: boolean }
---@return table definition
function M.define_builtin(given, own)
  own = own or {}
  own.is_builtin = true
  return define(given, own)
end

local function ending_texts(d)
  local texts = {}
  for i, ending in ipairs(d.endings) do texts[i] = string.format(".%s", ending) end
  return texts
end

function metatable:__tostring()
  return string.format("file format %s: %s", self.name,
                       self.directory and "directories" or table.concat(ending_texts(self), ", "))
end

-- ---- finding ----

-- Can this format do it? `verb` is "load" or "save".
local function can(d, verb)
  local code = registry.code(d)
  return code[verb] or code[verb == "load" and "decode" or "encode"]
end

-- What bam can load or save, for messages.
local function known_text(verb)
  local texts = {}
  for _, name in ipairs(formats:names()) do
    local d = formats.by_name[name]
    if can(d, verb) then table.move(ending_texts(d), 1, #d.endings, #texts + 1, texts) end
  end
  table.sort(texts)
  return string.format("bam can %s %s, and directories of models", verb, table.concat(texts, ", "))
end

-- The format with the longest of the endings that a path has.
local function of_ending(path)
  local best, length = nil, 0
  local name = path:lower()
  for _, key in ipairs(formats:names()) do
    local d = formats.by_name[key]
    for _, ending in ipairs(d.endings) do
      if #ending > length and name:sub(-#ending - 1) == "." .. ending then best, length = d, #ending end
    end
  end
  return best
end

-- The format that the first bytes of a file belong to.
local function of_contents(path)
  local info = core.file_info(path)
  local file = info and info.kind == "file" and io.open(path, "rb")
  if not file then return nil end
  local head = file:read(64) or ""
  file:close()
  for _, name in ipairs(formats:names()) do
    local d = formats.by_name[name]
    local begins = registry.code(d).begins
    if begins and begins(head) then return d end
  end
end

local function fail_unknown(verb, path, ending)
  local advice = foreign[ending:lower()]
  local fine, message = true, nil
  if advice and verb == "load" and not core.file_info(path) then fine, message = core.try(core.read_file, path) end
  if not fine then check.fail("%s", (message:gsub("^.-read_file: ", "load: "))) end
  if advice then check.fail('%s: "%s": %s', verb, path, (advice:gsub("PATH", (path:gsub("%.%w*$", ""))))) end
  check.fail('%s: "%s": no format has the ending .%s; %s', verb, path, ending, known_text(verb))
end

local function check_can(d, verb, path)
  if can(d, verb) then return d end
  return check.fail('%s: "%s": the format %s cannot %s; %s', verb, path, d.name, verb, known_text(verb))
end

local function of_directories()
  for _, name in ipairs(formats:names()) do
    if formats.by_name[name].directory then return formats.by_name[name] end
  end
end

-- A name of the Hugging Face hub, such as "meta-llama/Llama-3.2-1B", stands for no file.
local function check_downloaded(path)
  if path:find "^[%w_.-]+/[%w_.-]+$" and not core.file_info(path) and not core.is_directory(path:match "^[^/]+") then
    check.fail('load: cannot read "%s": No such file or directory; check the name, and the directory that it is '
               .. "relative to; bam downloads nothing: of the Hugging Face hub, `hf download %s --local-dir DIR` first",
               path, path)
  end
end

--- The format of a path that is loaded. Names without an ending are safetensors files, unless their contents say
--- otherwise.
---@param path string
---@return table definition
function M.to_load(path)
  if core.is_directory(path) then return of_directories() end
  local d = of_ending(path)
  if d then return check_can(d, "load", path) end
  local ending = path:match "%.(%a%w*)$"
  check_downloaded(path)
  d = of_contents(path)
  if not d and ending then fail_unknown("load", path, ending) end
  return d or formats.by_name.safetensors
end

--- The format in which a value is saved at a path.
---@param path string
---@param is_model boolean is the value a live model?
---@return table definition
function M.to_save(path, is_model)
  local d = of_ending(path)
  if d then return check_can(d, "save", path) end
  if is_model then return of_directories() end
  local ending = path:match "%.(%a%w*)$"
  if ending then fail_unknown("save", path, ending) end
  return formats.by_name.safetensors
end

return M
