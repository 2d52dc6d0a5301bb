--- What a training step asks of a device, over the shim: the lines of its trace (tests/simt/trace.cpp).
local core = require "bam.core"

local M = {}

local SCRIPT = [[
local bam, core = require "bam", require "bam.core"
local kind, layers, rows, B, T, block = arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4]), tonumber(arg[5]), arg[6]
bam.device "cuda"
local d = bam.models[block] { layers = layers, width = 64, heads = 2, kv_heads = 1, head_width = 32, ffn = 64,
                                vocab = 512, context = 32, tied = true }
local attention = ({ btx = { experts = "mean" }, shared = { kv = "shared" }, own = { kv = "own" } })[kind]
local mixed = kind ~= "dense" and bam.mix { experts = { d:build(), d:build(), d:build(), d:build() },
                                            attention = attention, ffn = { top_k = 1 }, load_balance = 0.01,
                                            z_loss = 0.001 }
local model = (mixed or d):build()
model:to "cuda"
local optimizer = bam.optim.AdamW(model, {})
local function from_host(x) return x:to "cuda" end
local here = { device = "cpu", dtype = "i64" }
local ids = bam.randint(0, 511, B, T, here)
local documents, positions = bam.ones(B, T, here), bam.zeros(B, T, here)
local function step()
  core.scope(function()
    local batch = { ids = from_host(ids), targets = from_host(ids), documents = from_host(documents),
                    positions = from_host(positions), tokens = B * T }
    bam.loop.step(model, optimizer, batch, { lr = 1e-3, clip = 1.0, rows = rows })
  end)
end
-- The same steps by bam.loop.run, with graphs: the first one prepares them, the second records them.
local function run_loop()
  local before, at = 0, 0
  bam.loop.run {
    model = model, optimizer = optimizer, lr = bam.schedule.constant(1e-3), first = 1, steps = 4, batch = B, rows = rows,
    clip = 1.0, graphs = true,
    stream = { batch = function()
      return { ids = from_host(ids), targets = from_host(ids), documents = from_host(documents),
               positions = from_host(positions), tokens = B * T }
    end },
    after = function() before, at = at, #core.read_file(os.getenv "BAMLUA_SIMT_TRACE") end }
  print(before, at)
end
if arg[7] then return run_loop() end
local function traced() return #core.read_file(os.getenv "BAMLUA_SIMT_TRACE") end
model:train()
model:set_step(1, 10)
step()
local before = traced()
step()
print(before, traced())
]]

--- The second step of a model of width 64: head width 32, 2 heads on 1, a hidden width and experts of 64, 512 words.
---@param program string over the shim
---@param of { kind: "dense"|"btx"|"shared"|"own", layers: integer, rows: integer, batch?: integer, time?: integer, block?: string,
--- graphs?: boolean } rows of a micro-batch, of `batch` (4); `block` is "parallel" by default; graphs: the fourth step,
--- with graphs
---@return string[] lines
function M.step(program, of)
  local path, log = os.tmpname(), os.tmpname()
  core.write_file(path, SCRIPT)
  local pipe = io.popen(string.format(
    "BAMLUA_ALLOCATOR=%s BAMLUA_SIMT=1 BAMLUA_SIMT_TRACE=%s '%s' %s %s %d %d %d %d %s %s 2>&1",
    of.graphs and "cached" or "malloc", log, program, path, of.kind, of.layers, of.rows, of.batch or 4, of.time or 32,
    of.block or "parallel", of.graphs and "graphs" or ""))
  local output = pipe:read "a"
  assert(pipe:close(), output)
  local from, to = output:match "^(%d+)%s+(%d+)\n$"
  local lines = {}
  for line in core.read_file(log):sub(from + 1, to):gmatch "[^\n]+" do lines[#lines + 1] = line end
  os.remove(path)
  os.remove(log)
  return lines
end

--- How many lines of each kind there are: { launch = n, product = n, ["copy out"] = n, ... }
---@param lines string[]
---@return table<string, integer>
function M.count(lines)
  local counts = {}
  for _, line in ipairs(lines) do
    local what = line:match "^copy out" or line:match "^copy in" or line:match "^%a+"
    counts[what] = (counts[what] or 0) + 1
  end
  return counts
end

return M
