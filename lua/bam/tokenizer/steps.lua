-- The pre-tokenizer of tokenizer.json: how text is split before merging. It is a list of steps with one regular
-- expression each: the JSON objects Split and Digits, and GPT2 for the expression built into ByteLevel. Expressions
-- have Oniguruma's syntax, as in the tokenizers package.
local check = require "bam.util.check"

local M = {}

--- GPT-2's expression: contractions, then words, numbers and the rest, with the space before them.
M.GPT2 = [['s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+]]

--- Create the step of one regular expression.
---@param expression string
---@return table
function M.split(expression)
  return { type = "Split", pattern = { Regex = expression }, behavior = "Isolated", invert = false }
end

local function fail(label, format, ...)
  check.fail("%s: pre_tokenizer: %s", label, string.format(format, ...))
end

-- Escape a text for use as a regular expression that matches it literally. ASCII letters, digits and non-ASCII
-- characters need no escape.
local function literal(text) return (text:gsub("[\1-\127]", function(c)
  return c:match "%w" or "\\" .. c
end)) end

local regex_of = {
  Split = function(step) return step.pattern.Regex or literal(step.pattern.String) end,
  Digits = function(step) return step.individual_digits and [[\p{N}]] or [[\p{N}+]] end,
  GPT2 = function() return M.GPT2 end,
}

--- Compile the steps to the fields of core.bpe and core.bpe_trainer that say how to split text.
---@param steps table[]
---@param label string for messages
---@return { patterns: string[], recent_patterns: string[], recent: integer[], behaviors: string[] }
function M.patterns(steps, label)
  local regex = require "bam.tokenizer.regex"
  local patterns, recent_patterns, behaviors = {}, {}, {}
  for i, step in ipairs(steps) do
    local fine, usual, recent = pcall(regex.translate, regex_of[step.type](step))
    if not fine then check.fail("%s: %s", label, (tostring(usual):gsub("^.-:%d+: ", ""))) end
    patterns[i], recent_patterns[i] = usual, recent
    behaviors[i] = (step.invert and "~" or "") .. (step.behavior or "Isolated")
  end
  return { patterns = patterns, recent_patterns = recent_patterns, recent = regex.recent,
           behaviors = behaviors }
end

--- Format the steps as the field pre_tokenizer.
---@param steps table[]
---@return table
function M.write(steps)
  local sequence, uses_regex = {}, false
  for _, step in ipairs(steps) do
    uses_regex = step.type == "GPT2"
    if not uses_regex then sequence[#sequence + 1] = step end
  end
  local bytes = { type = "ByteLevel", add_prefix_space = false, trim_offsets = true,
                  use_regex = uses_regex }
  if #sequence == 0 then return bytes end
  sequence[#sequence + 1] = bytes
  return { type = "Sequence", pretokenizers = sequence }
end

-- ---- reading ----

local BEHAVIORS = { Isolated = true, Removed = true, Contiguous = true, MergedWithPrevious = true,
                    MergedWithNext = true }

local function read_split(label, step)
  local pattern = type(step.pattern) == "table" and step.pattern or {}
  local expression, text = pattern.Regex, pattern.String
  if (type(expression) == "string") == (type(text) == "string") or expression == "" or text == "" then
    fail(label, "a Split needs a pattern, { Regex } or { String }, that is not empty")
  end
  if not BEHAVIORS[step.behavior] then
    fail(label, "a Split has behavior %s; bamlua supports Isolated, Removed, Contiguous, "
         .. "MergedWithPrevious and MergedWithNext", check.describe(step.behavior))
  end
  if step.invert ~= nil and type(step.invert) ~= "boolean" then
    fail(label, "invert of a Split is %s, not true or false", check.describe(step.invert))
  end
  return { type = "Split", behavior = step.behavior, invert = step.invert == true,
           pattern = { Regex = expression, String = text } }
end

local function read_digits(label, step)
  if type(step.individual_digits) ~= "boolean" then
    fail(label, "individual_digits of Digits is %s, not true or false",
         check.describe(step.individual_digits))
  end
  return { type = "Digits", individual_digits = step.individual_digits }
end

local readers = { Split = read_split, Digits = read_digits }

-- The steps that ByteLevel adds.
local function read_byte_level(label, step, steps)
  if step.add_prefix_space ~= false then
    fail(label, "add_prefix_space of ByteLevel is %s; bamlua supports only false, which keeps every "
         .. "text as it is", check.describe(step.add_prefix_space))
  end
  local uses_regex = step.use_regex == nil or step.use_regex
  if type(uses_regex) ~= "boolean" then
    fail(label, "use_regex of ByteLevel is %s, not true or false", check.describe(step.use_regex))
  end
  if uses_regex then steps[#steps + 1] = { type = "GPT2" } end
end

local function type_of(label, step)
  if type(step) ~= "table" or type(step.type) ~= "string" then
    fail(label, "expected an object with a type, got %s", check.describe(step))
  end
  return step.type
end

--- Parse the field pre_tokenizer into steps. Unsupported steps are an error.
---@param value any
---@param label string the file, for messages
---@return table[]
function M.read(value, label)
  local list = type_of(label, value) == "Sequence" and value.pretokenizers or { value }
  if type(list) ~= "table" or #list == 0 then fail(label, "a Sequence needs a list of steps") end
  local steps = {}
  for i, step in ipairs(list) do
    local kind = type_of(label, step)
    if kind == "ByteLevel" and i == #list then
      read_byte_level(label, step, steps)
    elseif readers[kind] and i < #list then
      steps[i] = readers[kind](label, step)
    else
      fail(label, "%s as step %d of %d is not supported; bamlua supports Split and Digits, and then "
           .. "ByteLevel", kind, i, #list)
    end
  end
  return steps
end

return M
