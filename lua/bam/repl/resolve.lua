-- What an expression denotes, found without running any of it, for completion and help. Values are read raw; the
-- result of a call is known by its documented type. A thing is { value = any } or { type = "tensor" }.
local core = require "bam.core"
local lexer = require "bam.repl.lexer"

local M = {}

local MAX_CHAIN = 100 -- __index tables that are followed, as many as Lua follows

-- Types of what the standard library returns.
local STANDARD = {}
for _, name in ipairs { "char", "format", "gsub", "lower", "rep", "reverse", "sub", "upper" } do
  STANDARD[string[name]] = "string"
end
for _, f in ipairs { tostring, type, table.concat, os.date, os.getenv } do STANDARD[f] = "string" end
STANDARD[io.open], STANDARD[io.popen] = "file", "file"

-- The field of a metatable, raw.
local function meta(value, field)
  local metatable = debug.getmetatable(value)
  return type(metatable) == "table" and rawget(metatable, field) or nil
end

--- Visit the tables in which the members of a value are found, from its own to those of __index.
---@param value any
---@param visit fun(t: table): any ends the walk with a result other than nil
---@return any
function M.each_table(value, visit)
  local methods = meta(value, "__methods")
  local found = type(methods) == "table" and visit(methods)
  for _ = 1, MAX_CHAIN do
    if found then return found end
    if type(value) == "table" then found = visit(value) end
    local index = meta(value, "__index")
    if found or type(index) ~= "table" then return found or nil end
    value = index
  end
end

--- The type of a value as the documentation names it.
---@param value any
---@return string?
function M.type_of(value)
  local name = meta(value, "__name")
  if name == "bam.Tensor" then return "tensor" end
  return type(name) == "string" and name or nil
end

--- The table with the methods of a documented type, and the list of its fields.
---@param name string
---@return table methods name to function, or to the entry of one
---@return table[] fields
function M.members(name)
  if name == "string" then return string, {} end
  if name == "file" then return debug.getregistry()["FILE*"].__index, {} end
  if name == "tensor" then return core.methods, require "bam.doc.native".fields "tensor" or {} end
  local class, methods = require "bam.doc.source".classes()[name], {}
  for _, method in ipairs(class and class.methods or {}) do methods[method.name] = method end
  return methods, class and class.fields or {}
end

-- The type of the first result in a comment.
local function result_type(comment)
  local first = comment and comment.returns and comment.returns[1]
  return first and first.type:match "^[%w_.%[%]]+"
end

local function documented(f)
  local fine, entry = pcall(require "bam.doc.entry".of_function, f)
  return fine and entry.comment or nil
end

-- ---- steps from one thing to the next ----

local function member(thing, name)
  if thing.value ~= nil then
    local value = M.each_table(thing.value, function(t) return rawget(t, name) end)
    if value ~= nil then return { value = value } end
  end
  local kind = thing.type or M.type_of(thing.value)
  local methods, fields = M.members(kind or "")
  local method = rawget(methods, name)
  if type(method) == "table" then return { comment = method.comment } end
  if method ~= nil then return { value = method } end
  for _, field in ipairs(fields) do
    if field.name == name then return { type = field.type:match "^[%w_.%[%]]+" } end
  end
end

local function element(thing, tokens, first, last)
  if (thing.type or M.type_of(thing.value)) == "tensor" then return { type = "tensor" } end
  local inner = thing.type and thing.type:match "^(.*)%[%]$"
  if inner then return { type = inner } end
  local key = first == last and (tonumber(tokens[first].text) or tokens[first].text:match "^[\"'](.*)[\"']$")
  return thing.value ~= nil and key and member(thing, key) or nil
end

-- A class is called for an instance, a module for a tensor.
local function called(thing)
  if thing.comment then return { type = result_type(thing.comment) } end
  local value = thing.value
  if type(value) == "function" then return { type = STANDARD[value] or result_type(documented(value)) } end
  if value ~= nil and require "bam.doc.catalog".is_class(value) then return { value = value } end
  local call = value ~= nil and meta(value, "__call")
  if not call then return nil end
  local kind = result_type(documented(call))
  return { type = kind ~= "any" and kind or "tensor" }
end

-- ---- expressions ----

local OPENERS = { [")"] = "(", ["]"] = "[", ["}"] = "{" }

-- The position of the bracket that the one at `at` closes.
local function opener_of(tokens, at)
  local depth = 0
  for i = at, 1, -1 do
    local text = tokens[i].kind == "operator" and tokens[i].text
    if OPENERS[text] then depth = depth + 1 end
    if text == "(" or text == "[" or text == "{" then
      depth = depth - 1
      if depth == 0 then return OPENERS[tokens[at].text] == text and i or nil end
    end
  end
end

-- Can a suffix (a call, an index) follow this token?
local function ends_primary(token)
  return token and (token.kind == "name" or token.text == ")" or token.text == "]" or token.kind == "string"
                    or token.text == "}") or false
end

-- The position where the expression that ends at `at` begins.
local function start_of(tokens, at)
  while at >= 1 do
    local token, before = tokens[at], tokens[at - 1]
    if token.kind == "name" then
      if not before or before.text ~= "." and before.text ~= ":" then return at end
      at = at - 2
    elseif OPENERS[token.text] then
      at = opener_of(tokens, at)
      if not at then return nil end
      if not ends_primary(tokens[at - 1]) then return at end
      at = at - 1
    elseif token.kind == "string" and not token.open then
      if not ends_primary(before) then return at end
      at = at - 1
    else
      return nil
    end
  end
end

local evaluate -- (tokens, first, last): the thing that the tokens denote

-- The thing at the start of an expression, and the position after it.
local function primary(tokens, first)
  local token = tokens[first]
  if token.kind == "name" then
    local value = rawget(_G, token.text)
    return value ~= nil and { value = value } or nil, first + 1
  end
  if token.kind == "string" then return { type = "string" }, first + 1 end
  if token.text ~= "(" then return nil end
  local depth = 0
  for i = first, #tokens do
    local text = tokens[i].kind == "operator" and tokens[i].text
    if text == "(" then depth = depth + 1 elseif text == ")" then depth = depth - 1 end
    if depth == 0 then return evaluate(tokens, first + 1, i - 1), i + 1 end
  end
end

local CLOSERS = { ["("] = ")", ["["] = "]", ["{"] = "}" }

-- The position of the bracket that closes the one at `at`.
local function closer_of(tokens, at)
  for i = at + 1, #tokens do
    if tokens[i].text == CLOSERS[tokens[at].text] and opener_of(tokens, i) == at then return i end
  end
end

-- One suffix of `thing` at `at`: the next thing, and the position after it.
local function suffix(thing, tokens, at)
  local token = tokens[at]
  if token.text == "." or token.text == ":" then
    return tokens[at + 1] and member(thing, tokens[at + 1].text), at + 2
  end
  if token.kind == "string" then return called(thing), at + 1 end
  local close = CLOSERS[token.text] and closer_of(tokens, at)
  if not close then return nil, at + 1 end
  if token.text == "[" then return element(thing, tokens, at + 1, close - 1), close + 1 end
  return called(thing), close + 1
end

function evaluate(tokens, first, last)
  if start_of(tokens, last) ~= first then return nil end -- an operator is in between
  local thing, at = primary(tokens, first)
  while thing and at <= last do thing, at = suffix(thing, tokens, at) end
  return thing and (thing.value ~= nil or thing.type or thing.comment) and thing or nil
end

--- What the expression at the end of the tokens denotes: the thing or nil, and the position of its first token or nil.
---@param tokens repl.Token[]
---@param last integer position of its last token
---@return table?
---@return integer?
function M.expression(tokens, last)
  local first = start_of(tokens, last)
  if not first then return nil end
  return evaluate(tokens, first, last), first
end

--- The value of a name such as "model.blocks" or "x:sum"; nil if a metamethod would have to run.
---@param text string
---@return any
function M.value(text)
  local tokens = lexer.tokens(text)
  local thing, first = M.expression(tokens, #tokens)
  return first == 1 and thing and thing.value or nil
end

return M
