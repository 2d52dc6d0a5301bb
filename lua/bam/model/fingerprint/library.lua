-- What belongs to Lua and to bam: functions and tables that count by their names in a fingerprint.
-- Their fields are copied when they are loaded, so that what a script puts in their place or adds to
-- them later is known to be its own. Names are given when they are first asked for: most scripts
-- never ask, and naming takes longer than loading bam.
local check = require "bam.util.check"
local core = require "bam.core"

local M = {}

local LUA = { "coroutine", "debug", "io", "math", "os", "package", "string", "table", "utf8" }
--- Modules that are loaded when they are first needed, for a faster start. In fingerprints their functions count by
--- name, as those of the modules that are loaded with bam. Older fingerprints rely on it.
M.late = {
  "bam.data.build", "bam.data.data_stream", "bam.data.debian", "bam.data.debian.cache",
  "bam.data.debian.duplicates", "bam.data.debian.packages", "bam.data.debian.split", "bam.data.domain_sampler",
  "bam.data.heldout", "bam.data.windows", "bam.eval.compared", "bam.model.config",
  "bam.model.fingerprint.bytecode", "bam.model.fingerprint.function_code", "bam.model.redundant",
  "bam.optim.saved", "bam.tokenizer.file", "bam.tokenizer.regex", "bam.tokenizer.regex.class",
  "bam.tokenizer.regex.class_text", "bam.tokenizer.regex.emitter", "bam.tokenizer.regex.escapes",
  "bam.tokenizer.regex.fold", "bam.tokenizer.regex.parser", "bam.tokenizer.regex.properties",
  "bam.tokenizer.regex.quantifiers", "bam.tokenizer.regex.recent", "bam.tokenizer.regex.scanner",
  "bam.tokenizer.regex.scripts", "bam.tokenizer.regex.sets", "bam.train.continued",
  "bam.train.files_to_evaluate", "bam.train.start",
}

local is_late = {}
for _, name in ipairs(M.late) do is_late[name] = true end

local roots = {}    -- { value, name, is_lua, depth }: whose tables are named, `depth` levels down
local copied = {}   -- keys and values in turn of all tables, as they were when they were loaded
local spans = {}    -- by table: where its fields are in `copied`; see core.copy_fields

local names = {}    -- by value
local contents = {} -- { { table, name, fields = its fields at first, is_lua } }
local named = 0     -- how many roots `names` and `contents` are made of

local function is_named(value)
  local kind = type(value)
  return kind == "function" or kind == "table" or kind == "userdata"
end

local function is_c(value)
  return type(value) == "function" and debug.getinfo(value, "S").what == "C"
end

-- ---- copying ----

local function copy(t, depth) core.copy_fields(copied, spans, t, depth) end

local function add_root(value, name, is_lua, depth)
  roots[#roots + 1] = { value = value, name = name, is_lua = is_lua, depth = depth }
  copy(value, depth)
end

-- From now on, copy a late module right after it has been loaded.
local function watch_loading()
  local search = package.searchers[2] -- for the modules in the program
  package.searchers[2] = function(name)
    local loader, path = search(name)
    if type(loader) ~= "function" or not is_late[name] then return loader, path end
    return function(...)
      local module = loader(...)
      add_root(module, name, false, 2)
      return module
    end, path
  end
end

--- Remember everything that is there. Called once, when bam has been loaded.
---@param bam table
function M.remember(bam)
  for _, name in ipairs(LUA) do -- what is added to string is a method of all strings
    add_root(package.loaded[name], name, name ~= "string", 0)
  end
  add_root(bam, "bam", false, 2)
  for name, module in next, package.loaded do
    if name:sub(1, 4) == "bam." and type(module) == "table" then add_root(module, name, false, 2) end
  end
  copy(_G, 0)
  watch_loading()
end

-- ---- naming ----

-- The fields that have names.
local function fields_of(t)
  local fields, span = {}, spans[t]
  for i = span & 0x3fffffff, span >> 30 & 0x3fffffff, 2 do
    if type(copied[i]) == "string" then fields[copied[i]] = copied[i + 1] end
  end
  return fields
end

-- Name a table and what is in it, `depth` levels of tables further down.
local function give_names(t, name, is_lua, depth)
  if names[t] then return end
  names[t] = name
  local fields, inner = fields_of(t), {}
  contents[#contents + 1] = { table = t, name = name, fields = fields, is_lua = is_lua }
  for _, key in ipairs(check.sorted_names(fields)) do
    local value = fields[key]
    local path = string.format("%s.%s", name, key)
    if type(value) == "table" and depth > 0 then
      inner[#inner + 1] = { value, path }
    elseif is_named(value) then
      names[value] = names[value] or path
    end
  end
  for _, pair in ipairs(inner) do give_names(pair[1], pair[2], is_lua, depth - 1) end
end

-- Lua's libraries come first, then bam, then its modules by name, whenever they were loaded.
local function sort_roots()
  local first = {}
  for i, name in ipairs(LUA) do first[name] = i end
  first.bam = #LUA + 1
  table.sort(roots, function(a, b)
    local x, y = first[a.name] or #LUA + 2, first[b.name] or #LUA + 2
    return x < y or x == y and a.name < b.name
  end)
end

-- Give names, unless it has been done and no module was loaded since.
local function update()
  if named == #roots then return end
  named, names, contents = #roots, {}, {}
  sort_roots()
  for _, root in ipairs(roots) do give_names(root.value, root.name, root.is_lua, root.depth) end
  names[_G] = "_G"
  local globals = fields_of(_G)
  for _, name in ipairs(check.sorted_names(globals)) do -- what a script has put there is its own
    local value = globals[name]
    if is_c(value) then
      names[value] = names[value] or name
    end
  end
end

--- Is it one of bam's own functions?
---@param f function
---@return boolean
function M.is_own(f) return debug.getinfo(f, "S").source:find("=bam/", 1, true) == 1 end

--- The names of what belongs to Lua and bam, and of functions in C of other modules, by value.
---@return table<any, string>
function M.names()
  update()
  local all = setmetatable({}, { __index = names })
  for _, name in ipairs(check.sorted_names(package.loaded)) do
    local module = package.loaded[name]
    if type(module) == "table" and not names[module] then
      if name:find "^bam%." then all[module] = name end -- bam loaded it later
      for key, value in next, module do
        if is_c(value) and not all[value] then
          all[value] = string.format("%s.%s", name, tostring(key))
        end
      end
    end
  end
  return all
end

--- What a script has changed in bam's own tables, or added to them, and replaced in Lua's: by path,
--- sorted; nil values as false.
---@return { path: string, value: any }[]
function M.changes()
  update()
  local list = {}
  for _, entry in ipairs(contents) do
    for key, before in next, entry.fields do
      local now = rawget(entry.table, key)
      if now ~= before and (is_named(before) or not entry.is_lua) then
        list[#list + 1] = { path = string.format("%s.%s", entry.name, key), value = now or false }
      end
    end
    for key, value in next, entry.is_lua and {} or entry.table do
      local own = type(value) == "function" and M.is_own(value)
      if type(key) == "string" and entry.fields[key] == nil and not own then
        list[#list + 1] = { path = string.format("%s.%s", entry.name, key), value = value }
      end
    end
  end
  table.sort(list, function(a, b) return a.path < b.path end)
  return list
end

return M
