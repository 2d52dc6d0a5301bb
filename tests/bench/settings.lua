--- The options of the benchmarks' scripts, and a pattern after them.
local arguments = require "bam.util.arguments"

local M = {}

local COUNTS = { rounds = true, seconds = true }

local function convert(name, value)
  if not COUNTS[name] then return value end
  local number = math.tointeger(tonumber(value))
  if not number or number < 1 then
    arguments.fail("bench: --%s: expected an integer of at least 1, got %q", name, value)
  end
  return number
end

local function show_help(flags)
  print(string.format("usage: bamlua %s [OPTION...] [PATTERN]\n%s", arg[0],
                      table.concat(arguments.describe(flags), "\n")))
  os.exit(0, true)
end

--- Read a command line.
---@param list string[]
---@param flags string[][] as in bam.util.arguments
---@param defaults table values of those that are not given
---@return table options and `pattern`, "" if none is given
function M.read(list, flags, defaults)
  flags = table.move(flags, 1, #flags, 1, { [#flags + 1] = { "help", "", "print this" } })
  local options = setmetatable({ pattern = "" }, { __index = defaults })
  local given, others = arguments.parse(flags, list)
  for _, flag in ipairs(given) do options[flag[1]] = convert(flag[1], flag[2]) end
  if options.help then show_help(flags) end
  for _, other in ipairs(others) do
    if other[1]:sub(1, 1) == "-" then
      arguments.fail("bench: no option %s%s; --help lists them", other[1], other[2])
    end
    options.pattern = other[1]
  end
  return options
end

return M
