-- How many launches, copies and waits a training step takes on a device, per layer and besides, over the shim. A wait
-- stops the host until the device has done everything before it, so a step has few, and the count is exact: a change
-- that adds one fails here. Sizes do not matter; the head is one chunk.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local program = core.absolute(arg[1])

local SCRIPT = [[
local bam, core = require "bam", require "bam.core"
local kind, layers, rows = arg[1], tonumber(arg[2]), tonumber(arg[3])
bam.device "cuda"
local d = bam.models.parallel { layers = layers, width = 64, heads = 2, kv_heads = 1, head_width = 32, ffn = 64,
                                vocab = 512, context = 32, tied = true }
local attention = ({ btx = { experts = "mean" }, shared = { kv = "shared" }, own = { kv = "own" } })[kind]
local mixed = kind ~= "dense" and bam.mix { experts = { d:build(), d:build(), d:build(), d:build() },
                                            attention = attention, ffn = { top_k = 1 }, load_balance = 0.01,
                                            z_loss = 0.001 }
local model = (mixed or d):build()
model:to "cuda"
local optimizer = bam.optim.AdamW(model, {})
local B, T = 4, 32
local function from_host(x) return x:to "cuda" end
local here = { device = "cpu", dtype = "i64" }
local ids = bam.randint(0, 511, B, T, here)
local documents, positions = bam.ones(B, T, here), bam.zeros(B, T, here)
ids[{ B, { T, T } }] = 0
local function step()
  core.scope(function()
    local batch = { ids = from_host(ids), targets = from_host(ids), documents = from_host(documents),
                    positions = from_host(positions), tokens = B * T }
    bam.loop.step(model, optimizer, batch, { lr = 1e-3, clip = 1.0, rows = rows })
  end)
end
local function traced() return #core.read_file(os.getenv "BAMLUA_SIMT_TRACE") end
model:train()
model:set_step(1, 10)
step()
local before = traced()
step()
print(before, traced())
]]

-- What the second step asks of the device: { launch = n, product = n, ["copy out"] = n, ... }
local function count(kind, layers, rows)
  local path, log = os.tmpname(), os.tmpname()
  core.write_file(path, SCRIPT)
  local pipe = io.popen(string.format("BAMLUA_SIMT=1 BAMLUA_SIMT_TRACE=%s '%s' %s %s %d %d 2>&1", log, program, path,
                                      kind, layers, rows))
  local output = pipe:read "a"
  expect.yes(pipe:close(), output)
  local from, to = output:match "^(%d+)%s+(%d+)\n$"
  local counts = {}
  for line in core.read_file(log):sub(from + 1, to):gmatch "[^\n]+" do
    local what = line:match "^copy out" or line:match "^copy in" or line:match "^%a+"
    counts[what] = (counts[what] or 0) + 1
  end
  os.remove(path)
  os.remove(log)
  return counts
end

-- Counts per layer, besides the layers, and for a second micro-batch in a step of two layers.
local function taken(kind)
  local two, three, split = count(kind, 2, 4), count(kind, 3, 4), count(kind, 2, 2)
  local result = {}
  for _, what in ipairs { "launch", "product", "copy out", "copy in" } do
    local layer = (three[what] or 0) - (two[what] or 0)
    result[what] = { layer = layer, besides = (two[what] or 0) - 2 * layer, more = (split[what] or 0) - (two[what] or 0) }
  end
  return result
end

-- Launches and products may become fewer.
local MOST = {
  dense = { launch = { 13, 35, 47 }, product = { 12, 3, 27 } },
  btx = { launch = { 27, 42, 94 }, product = { 33, 3, 69 } },
  shared = { launch = { 32, 42, 104 }, product = { 36, 3, 75 } },
  own = { launch = { 32, 42, 104 }, product = { 36, 3, 75 } },
}

for _, kind in ipairs { "dense", "btx", "shared", "own" } do
  test(string.format("a step of %s", kind), function()
    local got = taken(kind)
    for what, most in pairs(MOST[kind]) do
      local g = got[what]
      expect.compare(g.layer, "<=", most[1], what .. " per layer")
      expect.compare(g.besides, "<=", most[2], what .. " besides the layers")
      expect.compare(g.more, "<=", most[3], what .. " of a second micro-batch")
    end
    -- What is waited for: rows per expert in each routed layer; the sums of the step and the norm of its gradient; and
    -- before several micro-batches the numbers of their targets. Ids are checked before they are on the device.
    local routed = kind == "dense" and 0 or 1
    expect.equal(got["copy out"], { layer = routed, besides = 2, more = 1 + 2 * routed })
    -- ids, targets, documents and positions; two coefficients per micro-batch
    expect.equal(got["copy in"], { layer = 0, besides = 4 + routed, more = routed })
  end)
end
