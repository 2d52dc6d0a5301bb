-- What belongs to Lua and to bam: functions and tables that count by their names in a fingerprint.
-- They are remembered when bam is loaded, so that what a script puts in their place or adds to them
-- later is known to be its own.
local check = require "bam.util.check"

local M = {}

local LUA = { "coroutine", "debug", "io", "math", "os", "package", "string", "table", "utf8" }

local names = {}    -- by value
local contents = {} -- { { table, name, fields = its fields at first, is_lua } }

local function is_named(value)
  local kind = type(value)
  return kind == "function" or kind == "table" or kind == "userdata"
end

local function is_c(value)
  return type(value) == "function" and debug.getinfo(value, "S").what == "C"
end

-- Remember a table and what is in it, `depth` levels of tables further down.
local function remember(t, name, is_lua, depth)
  if names[t] then return end
  names[t] = name
  local fields, inner = {}, {}
  for key, value in next, t do
    if type(key) == "string" then fields[key] = value end
  end
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
  for _, pair in ipairs(inner) do remember(pair[1], pair[2], is_lua, depth - 1) end
end

--- Remember everything that is there. Called once, when bam has been loaded.
---@param bam table
function M.remember(bam)
  for _, name in ipairs(LUA) do -- what is added to string is a method of all strings
    remember(package.loaded[name], name, name ~= "string", 0)
  end
  remember(bam, "bam", false, 2)
  for _, name in ipairs(check.sorted_names(package.loaded)) do
    local module = package.loaded[name]
    if name:find "^bam%." and type(module) == "table" then remember(module, name, false, 2) end
  end
  names[_G] = "_G"
  for _, name in ipairs(check.sorted_names(_G)) do -- what a script has put there is its own
    local value = rawget(_G, name)
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
