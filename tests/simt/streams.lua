-- Lanes of products of experts (kernels/cuda/lanes.cu), over the shim: training has the same bits when they run as late
-- as they may, behind the stream, and when the stream runs behind them.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local program = core.absolute(arg[1])

local SCRIPT = [[
local bam, core = require "bam", require "bam.core"
local dtype, block = arg[1], arg[2]
bam.device "cuda"
local d = bam.models[block] { layers = 2, width = 32, heads = 2, kv_heads = 1, head_width = 16, ffn = 32, vocab = 100,
                              context = 16, tied = true }
local experts = {}
for i = 1, 6 do experts[i] = d:build { seed = i } end -- more than lanes
local model = bam.mix { experts = experts, attention = { kv = "own" }, ffn = { top_k = 2 }, load_balance = 0.01 }:build()
model:to("cuda"):to(dtype)
local optimizer = bam.optim.AdamW(model, {})
model:train()
for step = 1, 3 do
  core.scope(function()
    bam.seed(step)
    local ids = bam.randint(0, 99, 3, 16, { device = "cpu", dtype = "i64" }):to "cuda"
    local batch = { ids = ids, targets = ids, tokens = 48 }
    local result = bam.loop.step(model, optimizer, batch, { lr = 0.01, clip = 1 })
  end)
end
for _, p in ipairs(model:parameters()) do print(core.hash_tensor(p.tensor:to "cpu")) end
]]

-- The hashes of all parameters after a few steps.
local function train(environment, dtype, block)
  local path = os.tmpname()
  core.write_file(path, SCRIPT)
  local pipe = io.popen(string.format("%s BAMLUA_SIMT=1 '%s' %s %s %s 2>&1", environment, program, path, dtype, block))
  local output = pipe:read "a"
  os.remove(path)
  assert(pipe:close(), output)
  return output
end

for _, of in ipairs { { "f32", "parallel" }, { "bf16", "parallel" }, { "f32", "sequential" } } do
  test(string.format("a mixture of %s blocks in %s", of[2], of[1]), function()
    local late = train("", of[1], of[2])
    expect.compare(#late, ">", 500)
    expect.equal(train("BAMLUA_SIMT_STREAMS=side", of[1], of[2]), late)
    expect.equal(train("BAMLUA_SYNC=1 BAMLUA_SIMT_STREAMS=side", of[1], of[2]), late)
    -- Every storage of its own: what is freed while a lane has still to use it is an error.
    expect.equal(train("BAMLUA_ALLOCATOR=malloc", of[1], of[2]), late)
  end)
end
