-- What a linear layer in FP8 asks of a device, counted over the shim, and devices that have no FP8.
local account = require "tests.gpu.account"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local small = require "tests.lua.support.small_run"
local test = require "tests.lua.support.test"

local program = core.absolute(arg[1])

-- Run a script over the shim with these settings; its output, whether it succeeded, and the lines of its trace.
local function run(settings, script)
  local path, log = os.tmpname(), os.tmpname()
  core.write_file(path, script)
  local pipe = io.popen(string.format("%s BAMLUA_SIMT=1 BAMLUA_SIMT_TRACE=%s '%s' %s 2>&1", settings, log, program,
                                      path))
  local output = pipe:read "a"
  local fine, lines = pipe:close() == true, {}
  for line in core.read_file(log):gmatch "[^\n]+" do lines[#lines + 1] = line end
  os.remove(path)
  os.remove(log)
  return output, fine, lines
end

local LAYER = [[
local bam, core = require "bam", require "bam.core"
bam.device "cuda"
local x, w = bam.rand(32, 48):to "bf16", bam.rand(16, 48):to "bf16"
x.requires_grad, w.requires_grad = true, true
local dy = bam.ones(32, 16):to "bf16"
local function traced() return #core.read_file(os.getenv "BAMLUA_SIMT_TRACE") end
local before = traced()
local y = core.ops.linear(x, w, nil, nil, true)
local between = traced()
y:backward(dy)
print(before, between, traced())
]]

-- The lines that contain a word.
local function count(lines, word)
  local n = 0
  for _, line in ipairs(lines) do n = n + (line:find(word, 1, true) and 1 or 0) end
  return n
end

-- Bytes of the operands of launches, without partial maxima (4096) and scales.
local function bytes(lines)
  local sum = 0
  for _, line in ipairs(lines) do
    for size in (line:match "^launch .- %d+ %d+( .*)$" or ""):gmatch "%d+" do
      sum = sum + (tonumber(size) > 8 and size ~= "4096" and tonumber(size) or 0)
    end
  end
  return sum
end

-- What forward and backward of the layer ask for.
local function passes(settings)
  local output, fine, all = run(settings, LAYER)
  expect.yes(fine, output)
  local before, between, after = output:match "(%d+)%s+(%d+)%s+(%d+)"
  local forward, backward, at = {}, {}, 0
  for _, line in ipairs(all) do
    local list = at >= tonumber(between) and at < tonumber(after) and backward
      or at >= tonumber(before) and at < tonumber(between) and forward
    if list then list[#list + 1] = line end
    at = at + #line + 1
  end
  return forward, backward
end

test("two passes over an operand, one over a saved one, and no waits", function()
  local forward, backward = passes ""
  expect.equal({ count(forward, "launch"), count(forward, "find_amax"), count(forward, "quantize") }, { 4, 2, 2 })
  expect.equal(count(forward, "product"), 1)
  -- dy in both layouts at once; x and w, whose scales are known, transposed.
  expect.equal({ count(backward, "find_amax"), count(backward, "quantize") }, { 1, 3 })
  expect.equal(count(backward, "product"), 2)
  for _, word in ipairs { "copy out", "synchronize" } do
    expect.equal(count(forward, word) + count(backward, word), 0, word)
  end
end)

test("bytes and launches as tests/gpu/model.lua counts them", function()
  local counted, encoding = account.fp8(32, 48, 16), {}
  for _, list in ipairs { passes "BAMLUA_ALLOCATOR=malloc" } do
    for _, line in ipairs(list) do
      if line:find "find_amax" or line:find "quantize" then encoding[#encoding + 1] = line end
    end
  end
  expect.equal({ #encoding, bytes(encoding) }, { counted.launches, counted.bytes })
end)

test("compute capability 8.0 has no FP8, 8.9 has", function()
  local output, fine = run("BAMLUA_SIMT_CAPABILITY=80", LAYER)
  expect.equal(fine, false)
  expect.contains(output, "linear: cuda:0 does not multiply in fp8; it takes a GPU of compute capability 8.9 or newer")
  output, fine = run("BAMLUA_SIMT_CAPABILITY=89", LAYER)
  expect.yes(fine, output)
end)

test("a phase in fp8 is refused there before anything is written", function()
  local directory = small.directory()
  local cleanup <close> = setmetatable({}, { __close = function() small.remove(directory) end })
  local output, fine = small.run(directory, "--only seed --dtype fp8 --device cuda",
                                 "export BAMLUA_SIMT_CAPABILITY=80;")
  expect.equal(fine, false)
  expect.contains(output, "phase seed is to be computed in fp8, and cuda:0 does not compute in it: take a GPU of "
                  .. "compute capability 8.9 or newer, --device cuda, or --dtype f32")
  expect.equal(#core.glob(directory .. "/runs/*"), 0)
end)
