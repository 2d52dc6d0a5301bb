-- Results that are no errors in Lua, and not what a user of Python meant: list[0], text[1], and == of tensors.
local lexer = require "bam.repl.lexer"
local resolve = require "bam.repl.resolve"

local M = {}

local input = ""

--- Note the input whose results follow.
---@param text string
function M.begin(text) input = text end

-- The type of the expression that ends at the token at `last`.
local function type_at(tokens, last)
  local thing = last >= 1 and resolve.expression(tokens, last)
  if not thing then return nil end
  return thing.type or type(thing.value) == "string" and "string" or resolve.type_of(thing.value)
end

-- What is said of an entry that is nil: t[0], t[-1], text[1].
local function about_nil()
  local position = input:match "%[%s*(%-?%d+)%s*%]%s*$"
  if not position then return nil end
  local tokens = lexer.tokens(input)
  local open = #tokens
  while open > 1 and tokens[open].text ~= "[" do open = open - 1 end
  if type_at(tokens, open - 1) == "string" then return "note: a character of a text is text:sub(1, 1)" end
  if tonumber(position) > 0 then return nil end
  return string.format("note: lists count from 1, and nothing is at %s; the last entry of t is t[#t]", position)
end

-- What is said of == and ~= between a tensor and something else.
local function about_equality()
  local tokens = lexer.tokens(input)
  for i, token in ipairs(tokens) do
    if token.kind == "operator" and (token.text == "==" or token.text == "~=") then
      local right = tokens[i + 1]
      local is_tensor = type_at(tokens, i - 1) == "tensor"
        or right and right.kind == "name" and resolve.type_of(rawget(_G, right.text)) == "tensor" and i + 1 == #tokens
      if is_tensor then return "note: == asks whether both are the same object; x:eq(y) compares the elements" end
    end
  end
end

--- What to say about the only result of an input, or nil.
---@param value any
---@return string?
function M.about(value)
  if value == nil then return about_nil() end
  if type(value) == "boolean" then return about_equality() end
end

return M
