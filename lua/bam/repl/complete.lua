-- Tab: completions of the text before the cursor, or how the function before an open bracket is called. Runs no code of
-- the user: see resolve.lua.
local core = require "bam.core"
local lexer = require "bam.repl.lexer"
local options = require "bam.repl.options"
local resolve = require "bam.repl.resolve"

-- ---- sets of names ----

-- Add a name that starts with `partial`. Names that start with an underscore are offered only after one.
local function offer(set, name, partial)
  if type(name) ~= "string" or not name:find "^[%a_][%w_]*$" then return end
  if name:sub(1, #partial) ~= partial or partial == "" and name:sub(1, 1) == "_" then return end
  set[name] = true
end

local function offer_keys(set, t, partial, only_functions)
  for name, value in next, t do
    if not only_functions or type(value) == "function" or type(value) == "table" and value.comment then
      offer(set, name, partial)
    end
  end
end

-- Names that an object says it has: a list, or the keys of a table.
local function offer_properties(set, value, partial)
  local metatable = debug.getmetatable(value)
  local list = type(metatable) == "table" and rawget(metatable, "__properties")
  for key, name in next, type(list) == "table" and list or {} do
    offer(set, key, partial)
    offer(set, name, partial)
  end
end

-- The keys of a table that is read through metamethods of bam's own, such as the options of a recipe.
local function offer_own_pairs(set, value, partial)
  local metatable = debug.getmetatable(value)
  local own = type(metatable) == "table" and rawget(metatable, "__pairs")
  if type(own) ~= "function" or not debug.getinfo(own, "S").source:find "^=bam/" then return end
  for name in pairs(value) do offer(set, name, partial) end
end

local function offer_value(set, value, partial, after_colon)
  resolve.each_table(value, function(t) offer_keys(set, t, partial, after_colon) end)
  if after_colon then return end
  offer_properties(set, value, partial)
  offer_own_pairs(set, value, partial)
end

local function offer_type(set, name, partial, after_colon)
  local methods, fields = resolve.members(name)
  offer_keys(set, methods, partial, true)
  for _, field in ipairs(after_colon and {} or fields) do offer(set, field.name, partial) end
end

-- ---- what is asked for ----

-- Members of the expression before the `.` or `:` at `at`. Of an unknown result of a call: the methods of tensors.
local function members(set, tokens, at, partial)
  local after_colon = tokens[at].text == ":"
  local thing = resolve.expression(tokens, at - 1)
  if thing and thing.value ~= nil then
    offer_value(set, thing.value, partial, after_colon)
  elseif thing and thing.type then
    offer_type(set, thing.type, partial, after_colon)
  elseif tokens[at - 1] and tokens[at - 1].text == ")" then
    offer_type(set, "tensor", partial, after_colon)
  end
end

-- Globals, keywords, and names that the input has already.
local function offer_names(set, tokens, partial)
  offer_value(set, _G, partial, false)
  for i, token in ipairs(partial ~= "" and tokens or {}) do
    local before = i > 1 and tokens[i - 1].text
    if token.kind == "name" and before ~= "." and before ~= ":" then offer(set, token.text, partial) end
  end
  for _, word in ipairs(lexer.KEYWORDS) do offer(set, word, partial) end
end

local function sorted(set)
  local list = {}
  for name in next, set do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- The names that begin with `start`, sorted.
local function with_start(names, start)
  local set = {}
  for _, name in ipairs(names) do
    if name:sub(1, #start) == start then set[name] = true end
  end
  return sorted(set)
end

-- ---- files ----

--- Completions of a file name: names in its directory, with a slash after those of directories.
local function files(partial)
  local directory, start = partial:match "^(.*/)([^/]*)$"
  directory, start = directory or "", start or partial
  local home = directory:find "^~/" and os.getenv "HOME"
  local real = home and home .. directory:sub(2) or directory
  local fine, names = pcall(core.list_directory, real == "" and "." or real)
  local list = {}
  for _, name in ipairs(fine and names or {}) do
    if name:sub(1, #start) == start and (start ~= "" or name:sub(1, 1) ~= ".") then
      local found, info = pcall(core.file_info, real .. name)
      list[#list + 1] = found and info and info.kind == "directory" and name .. "/" or name
    end
  end
  table.sort(list)
  return list, #start
end

-- ---- usage ----

-- After an opening bracket: how the function before it is called.
local function usage(text, tokens)
  local last = tokens[#tokens]
  if not last or last.text ~= "(" and last.text ~= "{" then return nil end
  local thing, first = resolve.expression(tokens, #tokens - 1)
  if not thing or thing.value == nil then return nil end
  return require "bam.doc.usage"(text:sub(tokens[first].first, last.first - 1):match "^(.-)%s*$", thing.value)
end

-- The tokens before the word that is being typed, and that word, which may be empty.
local function split_word(text)
  local tokens = lexer.tokens(text)
  local last = tokens[#tokens]
  local is_word = last and (last.kind == "name" or last.kind == "keyword") and last.last == #text
  if is_word then tokens[#tokens] = nil end
  return tokens, is_word and last.text or ""
end

-- Whether the table constructor at the end may go on with a key.
local function is_key_position(tokens, open)
  local before = open and tokens[#tokens].text
  return open and tokens[open].text == "{" and (open == #tokens or before == "," or before == ";")
end

local function names_for(tokens, partial)
  local set, before = {}, tokens[#tokens]
  if before and (before.text == "." or before.text == ":") then
    members(set, tokens, #tokens, partial)
    return set
  end
  local open = options.open_bracket(tokens, #tokens)
  if is_key_position(tokens, open) then
    for _, field in ipairs(options.fields(tokens, open)) do offer(set, field.name, partial) end
  end
  return set
end

--- The sorted completions of the end of the text, the number of bytes of each that are typed already, and the usage of
--- a function or nil. Without a usage, the list may be empty.
---@param text string all before the cursor
---@return string[]
---@return integer typed
---@return string? usage
return function(text)
  local tokens, partial = split_word(text)
  local last = tokens[#tokens]
  if last and last.kind == "string" and last.open then
    local start = last.text:gsub("^%[=*%[", ""):gsub("^[\"']", "")
    local values = with_start(options.values(tokens, #tokens), start)
    if #values > 0 then return values, #start end
    return files(start)
  end
  if last and last.kind == "comment" and last.last == #text then return {}, 0 end
  local set = names_for(tokens, partial)
  if next(set) ~= nil or last and (last.text == "." or last.text == ":") then return sorted(set), #partial end
  local call = partial == "" and usage(text, tokens)
  if call then return {}, 0, call end
  offer_names(set, tokens, partial)
  return sorted(set), #partial
end
