--- The options of the benchmarks' scripts, and the words after them.
local arguments = require "bam.util.arguments"

local M = {}

local COUNTS = { rounds = true, seconds = true, vocab = true, limit = true }

local function convert(name, value)
  if not COUNTS[name] then return value end
  local number = math.tointeger(tonumber(value))
  if not number or number < 1 then
    arguments.fail("bench: --%s: expected an integer of at least 1, got %q", name, value)
  end
  return number
end

local function show_help(flags, words)
  print(string.format("usage: bamlua %s [OPTION...] [%s]\n%s", arg[0], words,
                      table.concat(arguments.describe(flags), "\n")))
  os.exit(0, true)
end

--- Read a command line.
---@param list string[]
---@param flags string[][] as in bam.util.arguments
---@param defaults table values of those that are not given
---@param words? string what the other words are; "PATTERN", of which there is one at most, by default
---@return table options and `words`, a list; `pattern` is the first of them, or ""
function M.read(list, flags, defaults, words)
  words = words or "PATTERN"
  flags = table.move(flags, 1, #flags, 1, { [#flags + 1] = { "help", "", "print this" } })
  local options = setmetatable({ words = {} }, { __index = defaults })
  local given, others = arguments.parse(flags, list)
  for _, flag in ipairs(given) do options[flag[1]] = convert(flag[1], flag[2]) end
  if options.help then show_help(flags, words) end
  for i, other in ipairs(others) do
    if other[1]:sub(1, 1) == "-" then
      arguments.fail("bench: no option %s%s; --help lists them", other[1], other[2])
    end
    if i > 1 and words == "PATTERN" then
      arguments.fail("bench: expected one pattern, got also %q; quote a pattern that has blanks", other[1])
    end
    options.words[i] = other[1]
  end
  options.pattern = options.words[1] or ""
  return options
end

return M
