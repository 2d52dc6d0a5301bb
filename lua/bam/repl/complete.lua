-- Tab: completions of the text before the cursor, or how the function before an open bracket is called. Runs no code of
-- the user: see resolve.lua.
local core = require "bam.core"
local lexer = require "bam.repl.lexer"
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

-- The function whose arguments the bracket at `at` opens, and its position among the arguments if it is a `{`.
local function call_around(tokens, at)
  local position, depth = 1, 0
  if tokens[at].text == "{" then
    local before = tokens[at - 1]
    local direct = before and (before.kind == "name" or before.text == ")" or before.text == "]")
    if direct then return resolve.expression(tokens, at - 1), 1 end
    for i = at - 1, 1, -1 do
      local text = tokens[i].text
      if text == ")" or text == "}" or text == "]" then depth = depth + 1
      elseif depth > 0 and (text == "(" or text == "{" or text == "[") then depth = depth - 1
      elseif depth == 0 and text == "," then position = position + 1
      elseif depth == 0 and text == "(" then return resolve.expression(tokens, i - 1), position
      elseif depth == 0 and (text == "{" or text == "[") then return nil end
    end
  end
end

local function fields_of_type(kind)
  local class = require "bam.doc.source".classes()[kind]
  if class then return #class.methods == 0 and class.fields or {} end
  return require "bam.doc.native".fields(kind) or {}
end

-- The fields of a type such as "bam.TrainOptions|string" or "{ bias?: boolean }".
local function offer_fields(set, types, partial)
  local written = types:match "^{(.*)}$"
  for name in (written or ""):gmatch "([%a_][%w_]*)%??:" do offer(set, name, partial) end
  for kind in (written and "" or types):gmatch "[%a_][%w_.]*" do
    for _, field in ipairs(fields_of_type(kind)) do offer(set, field.name, partial) end
  end
end

-- The comment of what is called: a function, a class, an object.
local function comment_of(thing)
  local value = thing.value
  if thing.comment or value == nil then return thing.comment end
  local catalog = require "bam.doc.catalog"
  if catalog.is_class(value) then value = value.init end
  if not catalog.is_function(value) then
    local metatable = debug.getmetatable(value)
    value = type(metatable) == "table" and rawget(metatable, "__call")
  end
  if not value or not catalog.is_function(value) then return nil end
  local entry = require "bam.doc.entry".of_function(value)
  return entry.comment, entry.op
end

-- Keys of the table of options at `open`, the last bracket that is not closed.
local function option_keys(set, tokens, open, partial)
  local thing, position = call_around(tokens, open)
  local comment, op = nil, nil
  if thing then comment, op = comment_of(thing) end
  if not comment then return end
  for i, param in ipairs(comment.params) do
    local from_here = i >= position or param.name == "..."
    if op and param.optional then offer(set, param.name, partial) end
    offer_fields(set, from_here and param.type or "", partial)
  end
end

-- The position of the innermost bracket that is open at the end.
local function open_bracket(tokens)
  local depth = 0
  for i = #tokens, 1, -1 do
    local text = tokens[i].kind == "operator" and tokens[i].text
    if text == ")" or text == "}" or text == "]" then depth = depth + 1 end
    if text == "(" or text == "{" or text == "[" then
      if depth == 0 then return i end
      depth = depth - 1
    end
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
  local open = open_bracket(tokens)
  if is_key_position(tokens, open) then option_keys(set, tokens, open, partial) end
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
    local partial_name = last.text:gsub("^%[=*%[", ""):gsub("^[\"']", "")
    return files(partial_name)
  end
  if last and last.kind == "comment" and last.last == #text then return {}, 0 end
  local set = names_for(tokens, partial)
  if next(set) ~= nil or last and (last.text == "." or last.text == ":") then return sorted(set), #partial end
  local call = partial == "" and usage(text, tokens)
  if call then return {}, 0, call end
  offer_names(set, tokens, partial)
  return sorted(set), #partial
end
