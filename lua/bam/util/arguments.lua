-- Command line arguments: flags such as --seed 7, --seed=7 and --plan, and all other arguments. A list of flags has an
-- entry { name, value, text } for each flag. `value` names its value in --help; it is "" for a flag without a value,
-- and "[DIR]" for an optional value, which must follow an equals sign.
local check = require "bam.util.check"

local M = {}

--- Raise an error about the command line, without a line of the script.
---@param format string as in string.format
---@param ... any
function M.fail(format, ...)
  error(setmetatable({ message = string.format(format, ...) }, { __name = "wrong flag",
    __tostring = function(self) return self.message end }), 0)
end

local function find(flags, name)
  local names = {}
  for i, flag in ipairs(flags) do
    if flag[1] == name then return flag end
    names[i] = flag[1]
  end
  return nil, names
end

-- The value of a flag, and the number of arguments that it used.
local function value_of(flag, inline, following)
  if flag[2] == "" then
    if inline then M.fail("--%s takes no value, got %s", flag[1], check.describe(inline)) end
    return true, 1
  end
  if flag[2]:find "^%[" then return inline or true, 1 end
  local value = inline or following
  if value == nil then M.fail("--%s needs a value: --%s %s", flag[1], flag[1], flag[2]) end
  return value, inline and 1 or 2
end

--- Parse a command line. All after an argument `--` are words.
---@param flags string[][]
---@param arguments string[]
---@return table[] given { name, value } for each flag, in order
---@return table[] others { word, hint, next } for each other argument; the hint names a flag that it resembles, and
--- `next` is the argument after it
---@return string[] rest the words after `--`
function M.parse(flags, arguments)
  local given, others, i = {}, {}, 1
  while i <= #arguments do
    local word, used = arguments[i], 1
    if word == "--" then break end
    if word == "-h" then word = "--help" end
    local name, inline = word:match "^%-%-([%w-]+)=(.*)$"
    name = name or word:match "^%-%-([%w-]+)$"
    local flag, names = find(flags, name)
    if flag then
      local value
      value, used = value_of(flag, inline, arguments[i + 1])
      given[#given + 1] = { flag[1], value }
    else
      local hint = name and check.suggestion(name, names) or ""
      others[#others + 1] = { word, (hint:gsub("`(.-)`", "--%1")), arguments[i + 1] }
    end
    i = i + used
  end
  return given, others, table.move(arguments, i + 1, #arguments, 1, {})
end

--- The help text of flags, one line each.
---@param flags string[][]
---@return string[]
function M.describe(flags)
  local lines = {}
  for i, flag in ipairs(flags) do
    local separator = flag[2]:find "^%[" and "" or " "
    local value = separator == "" and flag[2]:gsub("^%[", "[=") or flag[2]
    lines[i] = string.format("  --%-18s %s", table.concat { flag[1], separator, value }, flag[3])
  end
  return lines
end

return M
