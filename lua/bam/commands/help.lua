-- bamlua help [NAME]: help() from the command line.
local arguments = require "bam.util.arguments"

local function run(words)
  if #words > 1 then arguments.fail("help: expected one name, got %d: bamlua help nn.Linear", #words) end
  require "bam"
  local show = require "bam.doc.show"
  if #words == 0 then return show() end
  return show(words[1])
end

return {
  usage = "[NAME]",
  text = "Explain a function, a class, a method or a module: bamlua help nn.Linear. Without NAME, list the modules\n"
    .. "and functions of bam. The exit code is 1 if nothing has that name.",
  run = run,
}
