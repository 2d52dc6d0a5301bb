-- Graphs under settings of the environment, and on devices that fail, over the shim.
local core = require "bam.core"
local test = require "tests.lua.support.test"

local program = core.absolute(arg[1])

local function run(settings, script)
  local path = os.tmpname()
  core.write_file(path, string.format([[
    local bam, core = require "bam", require "bam.core"
    bam.device "cuda"
    local w = bam.ones(100000)
    local graph = bam.graph(function(x) return ((x * w + 1) * 2):sum() end)
    local function call(n) return graph(bam.full(100000, n)):item() end
    %s]], script))
  local pipe = io.popen(string.format("env -u BAMLUA_ALLOCATOR BAMLUA_SIMT=1 %s '%s' %s 2>&1", settings, program, path))
  local output = pipe:read "a"
  local fine = pipe:close()
  os.remove(path)
  assert(fine, output)
end

local REFUSED = [[
  for i = 1, 3 do assert(call(i) == 2e5 * (i + 1)) end
  assert(graph:obstacle():find(%q, 1, true), graph:obstacle())]]

test("settings under which nothing is recorded", function()
  run("BAMLUA_SYNC=1", REFUSED:format "a graph cannot capture work that is waited for; unset BAMLUA_SYNC")
  run("BAMLUA_GRAPHS=0", REFUSED:format "BAMLUA_GRAPHS is 0")
  run("BAMLUA_ALLOCATOR=malloc", REFUSED:format "a graph cannot capture work whose memory is from malloc")
  run("BAMLUA_SIMT_FAIL=cudaStreamBeginCapture", REFUSED:format "begin of a capture: unknown error")
  run("BAMLUA_SIMT_FAIL=cudaGraphInstantiate", REFUSED:format "making a graph: out of memory")
  run("A=1", [[
    for i = 1, 3 do assert(call(i) == 2e5 * (i + 1)) end
    assert(not graph:obstacle())
    bam.profile(call, 3)
    assert(graph:obstacle() == "every op is looked at")
    call(4)
    assert(not graph:obstacle())
    bam.debug { nan = true }
    call(3)
    assert(graph:obstacle() == "every op is looked at")
    for i = 1, 3 do graph(bam.ones(100000, { dtype = "f64" })) end
    assert(graph:obstacle():find "bam.debug", graph:obstacle())]])
end)

test("a device that fails in a replay", function()
  run("BAMLUA_SIMT_FAIL=cudaGraphLaunch", [[
    call(1)
    local fine, message = pcall(call, 2)
    assert(not fine and message:find("cuda:0: graph: unspecified launch failure", 1, true), message)]])
end)

test("recordings are given up when memory is short", function()
  run("BAMLUA_SIMT_MEMORY=300000000", [[
    local big, x = bam.graph(function(y) return (y * y + y):sum() end), bam.ones(10000000)
    for _ = 1, 3 do assert(big(x):item() == 2e7) end
    assert(not big:obstacle(), big:obstacle())
    local held = bam.memory "cuda".live
    assert(held > 160e6, held) -- x, the input, a product and a sum
    local more = bam.ones(40000000) -- 160 MB: only without the recording
    more:close()
    assert(big(x):item() == 2e7)
    assert(big:obstacle() == "memory was short")
    for _ = 1, 3 do big(x) end
    assert(big:obstacle() == "memory was short")]])
end)
