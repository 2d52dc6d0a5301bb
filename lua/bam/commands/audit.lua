-- bamlua audit RUN: bam.audit from the command line.
local arguments = require "bam.util.arguments"
local core = require "bam.core"

local EXAMPLE = "give the directory of all runs or of one phase: bamlua audit runs"

local function run(words, flags)
  if #words == 0 then arguments.fail("audit: no directory given; %s", EXAMPLE) end
  if #words > 1 then arguments.fail("audit: expected one directory, got %d; %s", #words, EXAMPLE) end
  if not core.is_directory(words[1]) then
    arguments.fail("audit: %s is not a directory; %s", words[1], EXAMPLE)
  end
  local fine, sound = core.try(require("bam").audit, words[1], { cache = flags.cache, quiet = flags.quiet })
  if not fine then arguments.fail("%s", sound) end
  return sound
end

return {
  usage = "[--quiet] [--cache[=DIR]] RUN",
  text = "Check that every checkpoint, evaluation, log and result of a run is what was written, and that each\n"
    .. "phase started from the weights that its parents ended with. Changes nothing. RUN is the directory of\n"
    .. "all runs, a recipe's directory in it, or one phase. The exit code is 1 if there is a problem.",
  flags = {
    { "quiet", "", "print nothing; the exit code tells" },
    { "cache", "[DIR]", "also check the prepared text in DIR (~/.cache/bamlua)" },
  },
  run = run,
}
