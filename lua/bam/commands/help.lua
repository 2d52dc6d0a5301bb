-- bamlua help [NAME]: help() from the command line, and the usage of subcommands.
local arguments = require "bam.util.arguments"
local check = require "bam.util.check"

-- A name that is both, such as audit, is bam's function; its usage follows.
local function run(words)
  if #words > 1 then arguments.fail("help: expected one name, got %d: bamlua help nn.Linear", #words) end
  local bam, commands, show = require "bam", require "bam.commands", require "bam.doc.show"
  if #words == 0 then
    show()
    print(string.format("Subcommands: %s", table.concat(check.sorted_names(commands.list), " ")))
    return true
  end
  local name = words[1]
  if not commands.list[name] then return (show(name)) end
  if rawget(bam, name) ~= nil then show(name) end
  print(commands.usage(name, require(string.format("bam.commands.%s", name))))
  return true
end

return {
  usage = "[NAME]",
  text = "Explain a function, a class, a method, a module or a subcommand: bamlua help nn.Linear. Without NAME, list\n"
    .. "the modules and functions of bam. The exit code is 1 if nothing has that name.",
  run = run,
}
