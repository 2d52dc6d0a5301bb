-- Several processes and signals: a phase that is being trained is left to the process that trains
-- it; SIGTERM and SIGINT save and say how to go on, and going on ends with the same bits; a second
-- signal ends the process at once.
local core = require "bam.core"
local small = require "tests.lua.support.small_run"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

-- The recipe, waiting in step 5 of the seed until there is a file `go`.
local WAITING = small.RECIPE:gsub("phase.eval_tokens = 64", [[%0
  phase.on_step = function(record)
    if phase.name ~= "seed" or record.step ~= 5 then return end
    local core = require "bam.core"
    core.write_file("waiting", "")
    while not core.file_info "go" and not core.pending_signal() do core.sleep(0.005) end
    while core.file_info "hold" do core.sleep(0.005) end
  end]])

local directories = {}
local cleanup <close> = setmetatable({}, { __close = function()
  for _, directory in ipairs(directories) do small.remove(directory) end
end })

local function new_directory(recipe)
  local directory = small.directory(recipe)
  directories[#directories + 1] = directory
  return directory
end

local function touch(directory, name)
  core.write_file(string.format("%s/%s", directory, name), "")
end

local function wait_for(directory, name)
  local path = string.format("%s/%s", directory, name)
  while not core.file_info(path) do core.sleep(0.005) end
end

-- Start the recipe in the background; its output is in `log`, how it ended in `status`.
local function start(directory)
  local script = string.format("( %s ) > '%s/log'\necho $? > '%s/status.new'\n"
                               .. "mv '%s/status.new' '%s/status'\n", small.command(directory),
                               directory, directory, directory, directory)
  core.write_file(directory .. "/run.sh", script)
  os.execute(string.format("sh '%s/run.sh' &", directory))
  wait_for(directory, "waiting")
end

local function pid_of(directory)
  local lock = core.read_file(small.phase(directory, "seed") .. "/lock")
  return math.tointeger(tonumber(lock:match "%d+"))
end

local function ending(directory)
  wait_for(directory, "status")
  return core.read_file(directory .. "/log"), tonumber(core.read_file(directory .. "/status"))
end

local _, fine, expected
test("a run that nothing disturbs", function()
  local undisturbed = new_directory()
  _, fine = small.run(undisturbed)
  expect.yes(fine)
  expected = small.digests(undisturbed)
end)

local directory = new_directory(WAITING)

local output, log, status
test("two processes", function()
  start(directory)
  output, fine = small.run(directory)
  expect.no(fine, output)
  expect.matches(output, "seed is being trained by process %d+")
  expect.contains(output, "wait for it")
  expect.lacks(output, "traceback")
  touch(directory, "go")
  log, status = ending(directory)
  expect.equal(status, 0, log)
  small.assert_same(expected, small.digests(directory))
end)

test("signals", function()
  for _, signal in ipairs { "TERM", "INT", "HUP" } do
    directory = new_directory(WAITING)
    start(directory)
    os.execute(string.format("kill -%s %d", signal, pid_of(directory)))
    log, status = ending(directory)
    expect.equal(status, 1, log)
    expect.contains(log, string.format("SIG%s: seed is saved at step 5 of 10. To resume type: "
                                  .. "bamlua recipe.lua --cache cache", signal))
    expect.lacks(log, "traceback")
    touch(directory, "go")
    output, fine = small.run(directory)
    expect.yes(fine, output)
    expect.contains(output, "seed  done: 10 steps")
    small.assert_same(expected, small.digests(directory))
  end
end)

test("a second signal", function()
  directory = new_directory(WAITING)
  touch(directory, "hold")
  start(directory)
  local pid = pid_of(directory)
  os.execute(string.format("kill -INT %d; sleep 0.05; kill -INT %d", pid, pid))
  log, status = ending(directory)
  expect.equal(status, 130, log)
  expect.lacks(log, "is saved")
  os.remove(directory .. "/hold")
  touch(directory, "go")
  output, fine = small.run(directory)
  expect.yes(fine, output)
  small.assert_same(expected, small.digests(directory))
end)

