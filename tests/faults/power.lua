-- Power cuts: everything that a run writes is recorded; for each moment of it, and each way in which a
-- disk can lose what is not synced (disk.lua), what would be left is laid out, and the same command runs
-- there. It must end with the weights and figures of a run that nothing happened to.
-- Usage: bamlua tests/faults/power.lua PROGRAM INJECTOR RECORDER [--every N] [--first N] [--state FILE]
package.path = string.format("tests/faults/?.lua;%s", package.path)
local bench = require "bench"
local core = require "bam.core"
local disk = require "disk"

local INJECTOR, RECORDER = core.absolute(arg[2]), core.absolute(arg[3])
local options = bench.options(4)

if not bench.can_watch(INJECTOR) then os.exit(true, true) end
local scratch <close> = bench.begin(arg[1])
local tally = bench.tally(options)
io.stdout:setvbuf "line"

-- Write what a power cut leaves into a directory where nothing had run.
local function lay_out(state, cut, directory)
  bench.copy(scratch.fresh, directory)
  state:each(cut, function(path, kind, contents)
    local full = string.format("%s/%s", directory, path)
    if kind == "directory" then
      core.make_directory(full)
    elseif kind == "link" then
      core.link(contents, full)
    else
      local file = assert(io.open(full, "wb"))
      file:write(contents)
      file:close()
    end
  end)
end

local directory = scratch.path .. "/recorded"
bench.copy(scratch.fresh, directory)
local recording = scratch.path .. "/recording"
local output, code = bench.run(directory, string.format("'%s' '%s' .", RECORDER, recording))
assert(code == 0, output)
local changes = disk.read(recording)
assert(#changes > 500, "the recording is too short to be true")

-- What has reached the disk at the end is the whole run, in each way but for what is never synced.
local state = disk.new()
for moment, change in ipairs(changes) do
  state:apply(change)
  for _, cut in ipairs(disk.CUTS) do
    tally:try(string.format("%s after change %d (%s)", cut.name, moment, change[1]), function()
      local place = scratch.path .. "/run"
      lay_out(state, cut, place)
      return bench.check_end(place, true)
    end)
  end
end
print(string.format("%d changes, %d ways to lose what is not synced", #changes, #disk.CUTS))
assert(bench.finish(tally), "some failed")
