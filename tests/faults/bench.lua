-- What tests of a run under failures share: a scratch directory, running the small recipe in it, a
-- reference that nothing happened to, and whether another run has come to the same.
package.path = string.format("tests/lua/support/?.lua;%s", package.path)
local bam = require "bam"
local core = require "bam.core"
local small = require "small_run"

local M = {}

local program, scratch
local reference = {}

--- Run a command of the shell, which must succeed.
---@param format string as in string.format
function M.shell(format, ...)
  local command = string.format(format, ...)
  assert(os.execute(command), command)
end

--- Copy a directory, in the place of another.
function M.copy(from, to) M.shell("rm -rf '%s' && cp -a '%s' '%s'", to, from, to) end

--- Run the recipe in a directory, below another program when that is given: output and exit code.
--- Time is limited for the processor only, so that a hang ends.
---@param directory string
---@param below? string
---@return string output
---@return integer code
function M.run(directory, below)
  local command = string.format(
    "cd '%s' && ulimit -t 120 && %s '%s' recipe.lua --cache cache --threads 1 2>&1; echo \"exit $?\"",
    directory, below or "", program)
  local pipe = assert(io.popen(command))
  local output = pipe:read "a"
  pipe:close()
  return output, math.tointeger(tonumber(output:match "exit (%d+)\n$"))
end

--- Below the injector: also how many calls there were, and whether the fault came.
function M.inject(injector, directory, kind, n, fault)
  local output, code = M.run(directory, string.format("'%s' %s %d %s .", injector, kind, n, fault))
  local calls, how = output:match "inject: (%d+) calls, (%a+)\n"
  assert(calls, output)
  return output, code, math.tointeger(tonumber(calls)), how == "hit"
end

-- The figures of the comparison, without times, and without checksums that depend on them.
local function figures(directory)
  local results = bam.json.decode(core.read_file(directory .. "/runs/recipe/results.json"))
  for _, model in ipairs(results.models) do model.seconds, model.weights = nil, nil end
  results.digest = nil
  return bam.json.encode(results)
end

-- What `find` finds of a run and its cache: a list.
local function find(directory, patterns)
  local pipe = io.popen(string.format("cd '%s' && find runs cache %s | sort", directory, patterns))
  local paths = {}
  for path in pipe:lines() do paths[#paths + 1] = path end
  pipe:close()
  return paths
end

--- All files of a run and its cache, as paths from the directory.
---@param directory string
---@return string[]
function M.files(directory) return find(directory, "-type f") end

--- Run the recipe undisturbed; nil when it ends as the reference and leaves nothing behind, else why not.
---@param directory string
---@param may_set_aside? boolean damage was to be expected
---@return string? problem
---@return string output of the run
function M.check_end(directory, may_set_aside)
  local output, code = M.run(directory)
  if code ~= 0 then return string.format("the undisturbed run ends with %d: %s", code, output), output end
  for name, digest in pairs(small.digests(directory)) do
    if reference.digests[name] ~= digest then return string.format("other weights of %s", name), output end
  end
  if figures(directory) ~= reference.figures then return "other figures", output end
  local left = find(directory, may_set_aside and "-name '*.tmp-*'"
                                 or "-name '*.tmp-*' -o -name '*.set-aside*'")
  if #left > 0 then return string.format("left behind: %s", table.concat(left, ", ")), output end
  return nil, output
end

--- Begin: the scratch directory, which is deleted when the result is closed, with a directory `fresh`,
--- where nothing has run yet, and `reference`, where the recipe has run.
---@param of string the program
---@return table scratch a string and a closing value: { path, fresh, reference }
function M.begin(of)
  program, scratch = core.absolute(of), os.tmpname()
  os.remove(scratch)
  if core.is_directory "/dev/shm" then scratch = scratch:gsub("^.*/", "/dev/shm/") end -- sync is free there
  core.make_directory(scratch)
  scratch = core.absolute(scratch)
  local place = { path = scratch, fresh = scratch .. "/fresh", reference = scratch .. "/reference" }
  local texts = small.directory()
  M.copy(texts, place.fresh)
  small.remove(texts)
  M.copy(place.fresh, place.reference)
  local output, code = M.run(place.reference)
  assert(code == 0, output)
  reference.digests, reference.figures = small.digests(place.reference), figures(place.reference)
  return setmetatable(place, { __close = function() small.remove(scratch) end })
end

--- Options of a test's command line, `--every N`, `--first N`, `--state FILE` and `--flips N`, from
--- argument `first` on.
---@param first integer
---@return { every: integer, first: integer, flips?: integer, state?: string }
function M.options(first)
  local options = { every = 1, first = 0 }
  for i = first, #arg, 2 do
    local value = assert(arg[i + 1], "an option needs a value")
    if arg[i] == "--every" or arg[i] == "--first" or arg[i] == "--flips" then
      options[arg[i]:sub(3)] = assert(math.tointeger(tonumber(value)))
    elseif arg[i] == "--state" then options.state = value
    else error(string.format("no option %s", arg[i]), 0) end
  end
  for i = #arg, first, -1 do arg[i] = nil end -- or bam would take them for flags of its own
  return options
end

--- What is counted: only every n-th trial is made, from the first on, and none that the state file
--- knows. Two processes share the work by every = 2, and first = 0 and 1.
---@param options { every: integer, first: integer, state?: string }
---@return table tally passed and failed; tally:try(name, f), where f gives a problem or nil
function M.tally(options)
  local tally, done, number = { passed = 0, failed = 0 }, {}, 0
  if options.state and core.file_info(options.state) then
    for line in io.lines(options.state) do done[line] = true end
  end
  function tally:try(name, f)
    number = number + 1
    if number % options.every ~= options.first or done[name] then return end
    local problem = f()
    if problem then
      self.failed = self.failed + 1
      print(string.format("FAILED %s: %s", name, problem))
      return
    end
    self.passed = self.passed + 1
    if options.state then
      local file = assert(io.open(options.state, "a"))
      file:write(name, "\n")
      file:close()
    end
  end
  return tally
end

--- Print what was counted. Gives whether nothing failed.
function M.finish(tally)
  print(string.format("%d passed, %d failed", tally.passed, tally.failed))
  return tally.failed == 0
end

--- Does watching programs work here? Where the system forbids it the reason is printed, with a count.
---@param injector string
---@return boolean
function M.can_watch(injector)
  local pipe = io.popen(string.format("'%s' read 0 EIO . true 2>&1", injector))
  local output = pipe:read "a"
  pipe:close()
  if output:find("inject: 0 calls, missed", 1, true) then return true end
  print(string.format("skipped: calls of programs cannot be watched here: %s\n0 passed, 0 failed", output))
  return false
end

return M
