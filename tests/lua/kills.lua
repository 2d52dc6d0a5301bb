-- Killed at any moment and started again, a recipe ends with the same bits as undisturbed: 100
-- times kill -9, at random moments and, at least 20 times, inside a save; KILLS=1000 for more.
local core = require "bam.core"
local small = require "tests.lua.support.small_run"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local KILLS = math.tointeger(tonumber(os.getenv "KILLS" or 100))
local IN_SAVES = KILLS // 5

local recipe = small.RECIPE:gsub("save_every = 3,", "save_every = 1,")
local directory = small.directory(recipe)
local cleanup <close> = setmetatable({}, { __close = function() small.remove(directory) end })

-- What is being written, or was left half-written, below the phases' directories.
local function staged_names()
  local names = {}
  for _, depth in ipairs { "*", "*/*" } do
    for _, path in ipairs(core.glob(string.format("%s/runs/%s/*.tmp-*", directory, depth))) do
      names[path] = true
    end
  end
  return names
end

-- Start the recipe; a shell stands ready to kill it, so that the kill comes at once.
local function start()
  local left = staged_names()
  local pipe = io.popen(string.format("( %s ) > '%s/log' & echo $!", small.command(directory),
                                      directory))
  local pid = pipe:read "n"
  pipe:close()
  local killer = io.popen("read pid && kill -9 $pid 2>/dev/null", "w")
  return { pid = pid, left = left, kill = function()
    killer:write(pid, "\n")
    killer:close()
  end }
end

local function is_alive(process)
  local info = io.open(string.format("/proc/%d/stat", process.pid))
  local state = info and info:read "a":match "%) (%a)"
  if info then info:close() end
  return state ~= nil and state ~= "Z"
end

-- Is it writing a checkpoint?
local function is_saving(process)
  for path in pairs(staged_names()) do
    if not process.left[path] then return true end
  end
  return false
end

-- Kill the process, by turns at a random moment and inside a save. Was it alive, and saving?
local function kill_once(process, inside)
  local deadline = core.clock() + math.random()
  while is_alive(process) do
    if inside and is_saving(process) or not inside and core.clock() > deadline then break end
  end
  local alive = is_alive(process)
  process.kill()
  while is_alive(process) do core.sleep(0.001) end
  return alive, alive and is_saving(process)
end

test("a run that is killed again and again ends with the same bits", function()
  expect.yes(select(2, small.run(directory)))
  local expected = small.digests(directory)
  local table_of = small.run(directory)

  local function check_end()
    local output, fine = small.run(directory)
    expect.yes(fine, output)
    small.assert_same(expected, small.digests(directory))
    -- the same figures, but for the seconds that training took
    local function figures(text) return (text:gsub("%d+:%d%d", "TIME"):gsub("%s+", " ")) end
    local want = figures(table_of)
    expect.equal(figures(output):sub(-#want), want, output)
    os.execute(string.format("rm -rf '%s/runs'", directory))
  end

  math.randomseed(7)
  os.execute(string.format("rm -rf '%s/runs'", directory))
  local kills, in_saves, rounds = 0, 0, 0
  while kills < KILLS or in_saves < IN_SAVES do
    local alive, saving = kill_once(start(), kills % 2 == 1)
    if alive then
      kills, in_saves = kills + 1, in_saves + (saving and 1 or 0)
    else
      check_end()
      rounds = rounds + 1
    end
  end
  check_end()
  print(string.format("kills: ok, %d kills in %d runs, %d of them inside a save", kills, rounds + 1,
                      in_saves))
end)
