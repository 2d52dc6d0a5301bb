-- From the text of an input to functions: an expression, a statement, a pasted block, a command.
local commands = require "bam.repl.commands"
local globals = require "bam.util.globals"
local inputs = require "bam.repl.inputs"
local lexer = require "bam.repl.lexer"
local native_errors = require "bam.util.native_errors"
local other_globals = require "bam.util.other_globals"
local other_syntax = require "bam.util.other_syntax"
local surprises = require "bam.repl.surprises"

local M = {}

local CHUNK = "=stdin"
local RETURN = "local _result <close> = nil return " -- not a tail call, so that an error in it has its line
local was_local = {} -- names of locals of earlier inputs
local told = {}      -- names of undefined globals that were pointed out

-- Load a text as an expression, else as statements. On failure nil, the message, and whether more lines could help.
local function load_text(text)
  local chunk, about_expression = load(RETURN .. text, CHUNK, "t")
  if chunk then
    inputs.remember(chunk, text, RETURN .. text, CHUNK)
    return chunk
  end
  local message
  chunk, message = load(text, CHUNK, "t")
  if chunk then
    inputs.remember(chunk, text, text, CHUNK)
    return chunk
  end
  local incomplete = message:find "<eof>$" or about_expression:find "<eof>$"
  return nil, message, incomplete ~= nil
end

local function lines_of(text)
  local lines = {}
  for line in string.gmatch(text .. "\n", "(.-)\n") do lines[#lines + 1] = line end
  return lines
end

-- Statements, then `return` before an expression; nil if they cannot be loaded.
local function with_result(head, tail, text)
  if not load(RETURN .. tail, CHUNK, "t") then return nil end
  local code = string.format("%s%s%s", head, RETURN, tail)
  local chunk = load(code, CHUNK, "t")
  if chunk then inputs.remember(chunk, text, code, CHUNK) end
  return chunk
end

-- A text that ends in an expression, on a line of its own or after a semicolon.
local function load_with_result(lines)
  local text = table.concat(lines, "\n")
  for last = #lines, 2, -1 do
    local chunk = with_result(table.concat(lines, "\n", 1, last - 1) .. "\n", table.concat(lines, "\n", last), text)
    if chunk then return chunk end
  end
  local tokens = lexer.tokens(text)
  for i = #tokens - 1, 2, -1 do
    local at = tokens[i].text == ";" and tokens[i].first
    local chunk = at and with_result(text:sub(1, at), text:sub(at + 1), text)
    if chunk then return chunk end
  end
end

-- A block of several expressions and statements, each run as if it were typed. Nil unless all of them can be loaded.
local function load_one_by_one(lines)
  local chunks, first = {}, 1
  for last = 1, #lines do
    local text = table.concat(lines, "\n", first, last)
    local chunk, _, incomplete = load_text(string.rep("\n", first - 1) .. text)
    if chunk then
      chunks[#chunks + 1], first = chunk, last + 1
    elseif not incomplete then
      return nil
    end
  end
  return first > #lines and chunks or nil
end

--- What an input is: "ready" and the functions to run one after the other, "more" and a message if lines are missing,
--- "wrong" and the message of a syntax error, or "exit".
---@param text string
---@return "ready"|"more"|"wrong"|"exit"
---@return function[]|string|nil
function M.parse(text)
  native_errors.shown(nil)
  debug.getregistry()["bam.shown"] = nil -- what the input before has printed itself
  surprises.begin(text)
  if commands.is_exit(text) then return "exit" end
  local command, wrong, unfinished = commands.parse(text, load_text)
  if command then return "ready", { command } end
  if wrong then return unfinished and "more" or "wrong", other_syntax.explain(wrong, text) end
  if text:find "^=" then text = "return " .. text:sub(2) end -- as in older versions of Lua
  local chunk, message, incomplete = load_text(text)
  if chunk then return "ready", { chunk } end
  local lines = lines_of(text)
  chunk = load_with_result(lines)
  if incomplete and not chunk then
    return other_syntax.block(text) and "wrong" or "more", other_syntax.explain(message, text)
  end
  local chunks = chunk and { chunk } or load_one_by_one(lines)
  if chunks then return "ready", chunks end
  return "wrong", other_syntax.explain(message, text)
end

local OPENS = { ["do"] = true, ["then"] = true, ["repeat"] = true, ["function"] = true }
local CLOSES = { ["end"] = true, ["until"] = true, ["elseif"] = true }

-- Visit the names of the declaration that follows the `local` before `at`.
local function each_declared(tokens, at, visit)
  if tokens[at] and tokens[at].text == "function" then at = at + 1 end
  while tokens[at] and tokens[at].kind == "name" do
    visit(tokens[at].text)
    at = at + 1
    if tokens[at] and tokens[at].text == "<" then at = at + 3 end -- an attribute
    if not (tokens[at] and tokens[at].text == ",") then return end
    at = at + 1
  end
end

--- Take note of the locals that an input declares outside of blocks.
---@param text string
function M.note(text)
  local tokens, depth = lexer.tokens(text), 0
  for i, token in ipairs(tokens) do
    if token.text == "local" and depth == 0 then
      each_declared(tokens, i + 1, function(name) was_local[name], told[name] = true, nil end)
    end
    if token.kind == "keyword" then
      depth = depth + (OPENS[token.text] and 1 or 0) - (CLOSES[token.text] and 1 or 0)
    end
  end
end

--- What to say about an undefined global that was read, and whether it is an error; nil if it was said before.
---@param name string
---@param where string "stdin:1"
---@return string?
---@return boolean?
function M.undefined(name, where)
  local constant = globals.constant(name)
  if constant then return constant, true end
  if told[name] then return nil end
  told[name] = true
  if was_local[name] then
    return string.format("note: '%s' was a local of an earlier input; locals end with their input, so write %s = ... "
                         .. "without `local` to keep it", name, name)
  end
  local hint = other_globals.hint(name)
  native_errors.shown(hint and name)
  local ending = hint and string.format("; %s", hint) or ""
  return string.format("warning: undefined global '%s' (%s)%s", name, where, ending)
end

return M
