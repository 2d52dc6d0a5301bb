-- The subcommands of the program: `bamlua audit runs`. Each is a file in this directory and a line in
-- `list`; docs/adding-a-subcommand.md shows how to add one. The program asks here only when a script
-- that it was told to run is a plain word and no such file exists, so starting it costs nothing.
local arguments = require "bam.util.arguments"
local check = require "bam.util.check"

local M = {}

-- Name and purpose of each subcommand. Module bam.commands.NAME holds it: a table with
--   usage   the arguments, as --help shows them: "RUN"
--   text    what it does, as --help shows it
--   flags   the flags that it takes, as bam.util.arguments wants them; may be left out
--   run     function(words, flags): the arguments that are not flags, and the flags by name. What it
--           returns is whether the program exits with 0; an error is printed and exits with 1.
M.list = {
  audit = "check that every file of a run is intact and belongs to it",
  docs = "write the reference from the sources: bamlua docs docs/api",
  help = "explain a function, a class or a module: bamlua help nn.Linear",
}

local HELP = { "help", "", "print this" }

-- The flags of a subcommand, --help among them.
local function flags_of(command)
  local flags = table.move(command.flags or {}, 1, #(command.flags or {}), 1, {})
  flags[#flags + 1] = HELP
  return flags
end

--- What `bamlua NAME --help` prints.
---@param name string
---@param command table what its module returned
---@return string
function M.usage(name, command)
  return table.concat({ string.format("usage: bamlua %s %s", name, command.usage), command.text, "Options are:",
                        table.unpack(arguments.describe(flags_of(command))) }, "\n")
end

local function run(name, ...)
  local command = require(string.format("bam.commands.%s", name))
  local given, others, rest = arguments.parse(flags_of(command), { ... })
  local flags, words = {}, {}
  for _, flag in ipairs(given) do flags[flag[1]] = flag[2] end
  if flags.help then
    print(M.usage(name, command))
    return true
  end
  for i, other in ipairs(others) do
    if other[1]:find "^%-." then
      arguments.fail("%s: unknown option %s%s; see: bamlua %s --help", name, other[1], other[2], name)
    end
    words[i] = other[1]
  end
  table.move(rest, 1, #rest, #words + 1, words)
  return command.run(words, flags) and true or false
end

--- The subcommand of a name, to be called with its arguments.
---@param name string
---@param message string why no such script could be run
---@return function? run
---@return string? message what to tell when there is no such subcommand
function M.load(name, message)
  if M.list[name] then return function(...) return run(name, ...) end end
  local hint = check.suggestion(name, check.sorted_names(M.list))
  return nil, message .. hint:gsub("did you mean", "did you mean the subcommand")
end

--- What `bamlua --help` says about subcommands.
---@return string
function M.describe()
  local lines = { "Subcommands, taken when no file has that name (./NAME is always a file):" }
  for _, name in ipairs(check.sorted_names(M.list)) do
    lines[#lines + 1] = string.format("  %-9s %s", name, M.list[name])
  end
  lines[#lines + 1] = "bamlua NAME --help explains one.\n"
  return table.concat(lines, "\n")
end

return M
