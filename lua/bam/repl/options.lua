-- Options at the cursor, for Tab: the keys of a table of options, and the strings that an option takes. Known from
-- comments; no code of the user runs.
local core = require "bam.core"
local resolve = require "bam.repl.resolve"

local M = {}

-- ---- the function around ----

-- The function whose arguments the bracket at `at` opens, and its position among the arguments if it is a `{`.
local function call_around(tokens, at)
  local position, depth = 1, 0
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

-- The comment of what is called: a function, a class, an object; and the op that it is, if it is one.
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

--- The position of the innermost bracket that is open before `last`.
---@param tokens repl.Token[]
---@param last integer
---@return integer?
function M.open_bracket(tokens, last)
  local depth = 0
  for i = last, 1, -1 do
    local text = tokens[i].kind == "operator" and tokens[i].text
    if text == ")" or text == "}" or text == "]" then depth = depth + 1 end
    if text == "(" or text == "{" or text == "[" then
      if depth == 0 then return i end
      depth = depth - 1
    end
  end
end

-- ---- fields ----

local function fields_of_class(kind)
  local class = require "bam.doc.source".classes()[kind]
  if class then return #class.methods == 0 and class.fields or {} end
  return require "bam.doc.native".fields(kind) or {}
end

-- Add the fields of a type such as "bam.TrainOptions|string" or "{ bias?: boolean }".
local function add_fields(list, types)
  local written = types:match "^{(.*)}$"
  for name, kind in (written or ""):gmatch "([%a_][%w_]*)%??:%s*([^,]+)" do
    list[#list + 1] = { name = name, type = kind, text = "" }
  end
  for kind in (written and "" or types):gmatch "[%a_][%w_.]*" do
    local fields = fields_of_class(kind)
    table.move(fields, 1, #fields, #list + 1, list)
  end
end

-- Where definitions with options of their own are, by the option that chooses one.
local DEFINITIONS = { optimizer = "bam.optim.definition", merge = "bam.merge.definition" }

local function registry_of(option)
  local module = DEFINITIONS[option]
  return module and require(module).registry
end

-- The options of the definition that a table names first: { "muon", momentum = 0.9 }.
local function add_definition(list, option, tokens, open)
  local first, registry = tokens[open + 1], registry_of(option)
  local name = first and first.kind == "string" and first.text:match "^[\"'](.*)[\"']$"
  local d = name and registry and registry.by_name[name:lower()]
  for key in pairs(d and d.spec or {}) do list[#list + 1] = { name = key, type = "any", text = "" } end
end

local function named(fields, name)
  for _, field in ipairs(fields) do
    if field.name == name then return field end
  end
end

-- The domains of a text, in text:sample {.
local function add_domains(list, tokens, open)
  local name, colon = tokens[open - 1], tokens[open - 2]
  local thing = name and name.text == "sample" and colon and colon.text == ":" and resolve.expression(tokens, open - 3)
  local domains = thing and resolve.type_of(thing.value) == "bam.text" and rawget(thing.value, "domains")
  for _, domain in ipairs(domains or {}) do list[#list + 1] = { name = domain, type = "number", text = "" } end
end

-- The parameters of the call around the `{` at `open` from there on; an op's attributes are fields of their own.
local function fields_of_call(list, tokens, open)
  add_domains(list, tokens, open)
  local thing, position = call_around(tokens, open)
  local comment, op = nil, nil
  if thing then comment, op = comment_of(thing) end
  for i, param in ipairs(comment and comment.params or {}) do
    if op and param.optional then list[#list + 1] = param end
    if i >= position or param.name == "..." then add_fields(list, param.type or "") end
  end
end

--- The fields of the table of options that the `{` at `open` begins: { name, type, text }; empty if they are unknown.
---@param tokens repl.Token[]
---@param open integer
---@return table[]
function M.fields(tokens, open)
  local list = {}
  local key = tokens[open - 1] and tokens[open - 1].text == "=" and tokens[open - 2]
  local outer = key and key.kind == "name" and M.open_bracket(tokens, open - 1)
  if not outer then
    fields_of_call(list, tokens, open)
  elseif tokens[outer].text == "{" then
    local field = named(M.fields(tokens, outer), key.text)
    if field then add_fields(list, field.type or "") end
    add_definition(list, key.text, tokens, open)
  end
  return list
end

-- ---- values ----

local DTYPES = { "bf16", "bool", "f16", "f32", "f64", "i32", "i64", "u8" }

local function devices()
  local names = {}
  for i, device in ipairs(core.devices()) do names[i] = device.name end
  return names
end

-- The words in quotes in a text.
local function quoted(text)
  local names, known = {}, {}
  for word in text:gmatch '"([%w_-]+)"' do
    if not known[word] then names[#names + 1], known[word] = word, true end
  end
  return names
end

-- The strings that a field or a parameter may be.
local function values_of(field)
  local kind, registry = field.type or "", registry_of(field.name)
  if registry then return registry:names() end
  if field.name == "dtype" or kind == "dtype" then return DTYPES end
  if field.name == "device" or kind == "device" then return devices() end
  local names = quoted(kind)
  if #names > 0 then return names end
  names = kind:find "string" and quoted(field.text or "") or {}
  return #names > 1 and names or {} -- a single one is an example
end

-- The parameter of a call with round brackets, or with a string alone, that the token at `at` is.
local function parameter(tokens, at)
  local open = M.open_bracket(tokens, at - 1)
  local direct = tokens[at - 1] and (tokens[at - 1].kind == "name" or tokens[at - 1].text == ")")
  if not direct and (not open or tokens[open].text ~= "(") then return nil end
  local position, depth = 1, 0
  for i = open and not direct and open + 1 or at, at - 1 do
    local text = tokens[i].text
    if text == "(" or text == "{" or text == "[" then depth = depth + 1 end
    if text == ")" or text == "}" or text == "]" then depth = depth - 1 end
    if depth == 0 and text == "," then position = position + 1 end
  end
  local last = direct and at - 1 or open - 1
  local thing = resolve.expression(tokens, last)
  local comment, op = nil, nil
  if thing then comment, op = comment_of(thing) end
  local is_method = op and tokens[last - 1] and tokens[last - 1].text == ":"
  return comment and comment.params[position + (is_method and 1 or 0)]
end

-- The keys of the table before the bracket at `at`, as in t["; nil if it is none.
local function keys_before(tokens, at)
  local thing = tokens[at].text == "[" and resolve.expression(tokens, at - 1)
  if not thing or type(thing.value) ~= "table" then return nil end
  local names = {}
  resolve.each_table(thing.value, function(t)
    for key in next, t do
      if type(key) == "string" then names[#names + 1] = key end
    end
  end)
  return names
end

-- The names that help() knows, where the string at `at` is its argument.
local function topics(tokens, at)
  local last = tokens[at - 1].text == "(" and at - 2 or at - 1
  local thing = resolve.expression(tokens, last)
  if not thing or thing.value == nil or thing.value ~= rawget(_G, "help") then return nil end
  local names = {}
  for i, one in ipairs(require "bam.doc.find".all()) do names[i] = one.path end
  return names
end

--- The strings that may stand where the token at `at`, an unfinished string, stands. Empty if they are unknown.
---@param tokens repl.Token[]
---@param at integer
---@return string[]
function M.values(tokens, at)
  local before, key = tokens[at - 1], tokens[at - 2]
  local known = before and (keys_before(tokens, at - 1) or topics(tokens, at))
  if known then return known end
  local open = before and M.open_bracket(tokens, at - 1)
  local field
  if before and before.text == "=" and key and key.kind == "name" and open and tokens[open].text == "{" then
    field = named(M.fields(tokens, open), key.text)
  elseif open and open == at - 1 and tokens[open].text == "{" and tokens[open - 1] and tokens[open - 1].text == "=" then
    field = DEFINITIONS[tokens[open - 2].text] and { name = tokens[open - 2].text } -- { "muon", ... }
  else
    field = before and parameter(tokens, at)
  end
  return field and values_of(field) or {}
end

return M
