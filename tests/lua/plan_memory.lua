-- The memory that --plan predicts, against that of a training step, on the CPU or on the device of BAMLUA_TEST_DEVICE.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local program = core.absolute(arg[1])
local device = os.getenv "BAMLUA_TEST_DEVICE" or "cpu"

-- A process per model, as the counter of the peak never falls. Prints the prediction, the peak of two steps, and the peak
-- before them, which is lower: there are enough tokens.
local SCRIPT = [[
local bam, core = require "bam", require "bam.core"
local budget, choice = require "bam.train.budget", require "bam.train.optimizer_choice"
local block, kind, device, dtype = table.unpack(arg)
local B, T = 4, device == "cpu" and 256 or 160
local function make()
  local d = bam.models[block] { layers = 3, width = 64, heads = 2, kv_heads = 1, head_width = 32, ffn = 256,
                                vocab = 512, context = T, tied = true }
  local attention = ({ btx = { experts = "mean" }, shared = { kv = "shared" }, own = { kv = "own" } })[kind]
  if not attention then return d:build() end
  return bam.mix({ experts = { d:build(), d:build(), d:build(), d:build() }, attention = attention,
                   ffn = { top_k = kind == "own" and 2 or 1 }, load_balance = 0.01, z_loss = 0.001 }):build()
end
local model = make()
model:to(device)
require("bam.train.precision").apply(model, dtype)
local optimizer = bam.optim.AdamW(model, {})
local here = { device = "cpu", dtype = "i64" }
local function ids() return bam.randint(0, 511, B, T, here):to(device) end
local batch = { ids = ids(), targets = ids(), documents = bam.ones(B, T, here):to(device),
                positions = bam.zeros(B, T, here):to(device), tokens = B * T }
model:train()
model:set_step(1, 10)
collectgarbage()
local function peak() return device == "cpu" and bam.memory().peak or bam.memory(device).peak end
local before = peak()
for _ = 1, 2 do core.scope(function() bam.loop.step(model, optimizer, batch, { lr = 1e-3, clip = 1.0 }) end) end
print(budget.bytes(model.description, B * T, choice.read "adamw", dtype, device), peak(), before)
]]

local function check(block, kind, dtype)
  local path = os.tmpname()
  core.write_file(path, SCRIPT)
  local pipe = io.popen(string.format("'%s' %s %s %s %s %s 2>&1", program, path, block, kind, device, dtype))
  local output = pipe:read "a"
  expect.yes(pipe:close(), output)
  os.remove(path)
  local predicted, peak, before = output:match "^(%d+)%s+(%d+)%s+(%d+)\n$"
  expect.compare(tonumber(peak), ">", tonumber(before), "the peak is that of the steps")
  expect.compare(math.abs(predicted / peak - 1), "<=", 0.05, output)
end

for _, case in ipairs { { "parallel", "dense" }, { "sequential", "dense" }, { "post_norm", "dense" },
                        { "parallel", "btx" }, { "parallel", "shared" }, { "parallel", "own" } } do
  for _, dtype in ipairs(device == "cpu" and { "f32" } or { "f32", "bf16", "fp8" }) do
    test(table.concat({ case[1], case[2], dtype }, " "), function() check(case[1], case[2], dtype) end)
  end
end
