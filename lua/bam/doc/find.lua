-- Finding what help() is asked for: public items by name or value, values of globals and modules, Lua's library, and
-- names by a word. Values are read raw.
local catalog = require "bam.doc.catalog"
local comments = require "bam.doc.comment"
local core = require "bam.core"
local entries = require "bam.doc.entry"
local library = require "bam.doc.lua_library"
local native = require "bam.doc.native"

local M = {}

--- The public item of a value: its first name from `bam` on; nil if it is not public.
---@param value any
---@return table? item as in the catalog
function M.item_of(value)
  for _, item in ipairs(catalog.items()) do
    if rawequal(item.value, value) then return item end
  end
end

--- The public item of a name: "nn.Linear", "bam.nn.Linear", "nn.Linear:forward", "x:chunk", "chunk".
---@param name string
---@return table? item
function M.item(name)
  local method = name:find "^%w+:" and "x" .. name:match ":.*"
  for _, path in ipairs { "bam." .. name, name, "x:" .. name, method or name } do
    for _, item in ipairs(catalog.items()) do
      if item.path == path or item.path == path:gsub("%.([%w_]+)$", ":%1") then return item end
    end
  end
end

--- Follow "string.rep" from the globals, or "bam.core.glob" from a module, raw.
---@param name string
---@return any
function M.value(name)
  local module, rest = name, ""
  while module and not package.loaded[module] do
    module, rest = module:match "^(.*)[.:]([%w_]+)$", "." .. (module:match "[%w_]+$" or "") .. rest
  end
  local value = module and package.loaded[module] or _G
  for key in (module and rest or name):gmatch "[^.:]+" do
    if type(value) ~= "table" then return nil end
    value = rawget(value, key)
  end
  return value
end

--- A function of Lua's library, by its name or itself: { name, usage, text }.
---@param what any
---@return table?
function M.in_library(what)
  for _, entry in ipairs(library.entries()) do
    if entry.name == what or type(what) == "function" and rawequal(M.value(entry.name), what) then return entry end
  end
end

--- A property of tensors, by name: "x.shape" or "shape".
---@param name string
---@return table? field
function M.property(name)
  for _, field in ipairs(native.fields "tensor") do
    if field.name == name or "x." .. field.name == name then return field end
  end
end

-- What a public item does, in a sentence.
local function summary(item)
  if not catalog.is_function(item.value) then return "" end
  return comments.summary(entries.of_function(item.value).comment)
end

--- All that has a name, of bam and Lua: { path, name, text() }.
---@return table[]
function M.all()
  local list = {}
  for _, item in ipairs(catalog.items()) do
    list[#list + 1] = { path = item.path, name = item.name or item.path, text = function() return summary(item) end }
  end
  for _, entry in ipairs(library.entries()) do
    list[#list + 1] = { path = entry.name, name = entry.name:match "[^.]+$", text = function() return entry.text end }
  end
  return list
end

--- Those whose last name is a word; if there are none, in any case.
---@param word string
---@return table[]
function M.named(word)
  local exact, found = {}, {}
  for _, one in ipairs(M.all()) do
    if one.name == word then exact[#exact + 1] = one end
    if one.name:lower() == word:lower() then found[#found + 1] = one end
  end
  return #exact > 0 and exact or found
end

-- Those in whose text(one) all words are.
local function with_words(words, text)
  local found = {}
  for _, one in ipairs(M.all()) do
    local where, all = text(one):lower(), true
    for _, word in ipairs(words) do all = all and where:find(word, 1, true) ~= nil end
    if all then found[#found + 1] = one end
  end
  return found
end

--- Those whose name contains all words of a text, or, if there are none, whose description does.
---@param text string
---@return table[]
function M.containing(text)
  local words = {}
  for word in text:lower():gmatch "%S+" do words[#words + 1] = word end
  local by_name = with_words(words, function(one) return one.path end)
  if #by_name > 0 then return by_name end
  return with_words(words, function(one) return one.text() end)
end

--- The one whose name is spelled most alike, or nil.
---@param word string
---@return table?
function M.nearest(word)
  local names, by_name = {}, {}
  for _, one in ipairs(M.all()) do
    if not by_name[one.name] then
      by_name[one.name] = one
      names[#names + 1] = one.name
    end
  end
  return by_name[core.nearest(word:match "[%w_]+$" or word, names)]
end

return M
