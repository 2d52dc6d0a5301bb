-- The memory of training steps at the paper's sizes, on the device that only counts it (device.c): what the optimizer
-- holds, what --plan predicts, how much the allocator holds above the peak, and that the largest mixture fits an H200.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local program = core.absolute(arg[1])

-- A process per model, as the counter of the peak never falls. Prints a line for the optimizer and one per step.
local SCRIPT = [==[
local bam, core = require "bam", require "bam.core"
local budget, choice = require "bam.train.budget", require "bam.train.optimizer_choice"
local kind, scale, steps, rows = arg[1], require "bam.train.scales"[arg[2]], tonumber(arg[3]), tonumber(arg[4])
bam.device "cuda"
local options = { vocab = scale.vocab }
for name, value in pairs(scale.model) do options[name] = value end
local d = bam.models.parallel(options)
local attention = ({ btx = { experts = "mean" }, shared = { kv = "shared" }, own = { kv = "own" } })[kind]
if attention then
  d = bam.mix { experts = { d, d, d, d }, attention = attention, ffn = { top_k = 1 }, load_balance = 0.01,
                z_loss = 0.001 }
end
local model = require "bam.model.model"(d)
model:to "bf16"
local optimizer = bam.optim.AdamW(model, {})
collectgarbage()
local B, T = rows or scale.rows, scale.model.context
print(d:count(), bam.memory "cuda".live, bam.memory "cuda".peak,
      budget.bytes(d, B * T, choice.read "adamw", "bf16", "cuda"),
      budget.reserved(budget.bytes(d, B * T, choice.read "adamw", "bf16", "cuda"), "cuda"))
model:train()
model:set_step(1, 10)
for _ = 1, steps do
  core.scope(function()
    local function ids() return bam.zeros(2 * B, T, { dtype = "i64" }) end
    local batch = { ids = ids(), targets = ids(), documents = ids(), positions = ids(), tokens = 2 * B * T }
    bam.loop.step(model, optimizer, batch, { lr = 1e-3, clip = 1.0, rows = B })
  end)
  print(bam.memory "cuda".live, bam.memory "cuda".peak, bam.memory "cuda".reserved, bam.memory().system_requests)
end
]==]

local GIB = 1 << 30

local function run(settings, kind, scale, steps, rows)
  local path = os.tmpname()
  core.write_file(path, SCRIPT)
  local pipe = io.popen(string.format("%s '%s' %s %s %s %d %s 2>&1", settings, program, path, kind, scale, steps,
                                      rows or ""))
  local output = pipe:read "a"
  local fine = pipe:close()
  os.remove(path)
  local lines = {}
  for line in output:gmatch "[^\n]+" do
    local numbers = {}
    for number in line:gmatch "%d+" do numbers[#numbers + 1] = tonumber(number) end
    lines[#lines + 1] = numbers
  end
  return lines, output, fine
end

local function check(kind, scale)
  local lines, output, fine = run("", kind, scale, 5)
  expect.yes(fine, output)
  local parameters, live, building, predicted, held = table.unpack(lines[1])
  expect.compare(live, "<=", 16 * parameters * 1.0001, "parameters, gradients and moments take 16 bytes each")
  local last = lines[#lines]
  local peak, reserved = last[2], last[3]
  expect.compare(peak, ">", building, "the peak is that of the steps")
  expect.compare(math.abs(predicted / peak - 1), "<=", 0.01, output)
  expect.compare(reserved, "<=", held, output)
  expect.compare(held / reserved - 1, "<=", 0.05, output)
  expect.equal(last[4], lines[4][4], "from the third step on nothing is asked of the device")
  expect.compare(last[1], "<=", live + 1024, "a step leaves nothing behind but numbers that were not collected yet")
  return peak, reserved
end

for _, scale in ipairs { "590m", "2b" } do
  for _, kind in ipairs { "dense", "btx", "shared", "own" } do
    test(kind .. " " .. scale, function() check(kind, scale) end)
  end
end

test("with few tokens the peak is when the optimizer takes the parameters", function()
  local lines, output, fine = run("", "own", "2b", 2, 1)
  expect.yes(fine, output)
  local _, _, building, predicted = table.unpack(lines[1])
  expect.equal(lines[3][2], building, output)
  expect.compare(math.abs(predicted / building - 1), "<=", 0.01, output)
end)

test("the largest mixture fits an H200", function()
  local _, reserved = check("own", "2b")
  expect.compare(reserved, "<", 139.8 * GIB - 12e9, "12 GB are left")
end)

test("and devices with hardly more memory than its peak", function()
  local lines, output, fine = run("BAMLUA_DRY_MEMORY=132000000000", "own", "2b", 5)
  expect.yes(fine, output)
  expect.compare(lines[6][3], "<=", 132000000000)
  expect.equal(lines[6][4], lines[4][4], "from the third step on nothing is asked of the device")
end)

-- The lines of a plan: that of a phase called `name`, and that about memory.
local function plan(settings, flags)
  local path = os.tmpname()
  core.write_file(path, [[
local bam = require "bam"
local d = bam.models.parallel { layers = 2, width = 1024, heads = 8, ffn = 2048, vocab = 256000 }
bam.plan { name = "small", model = d, batch = 1, context = 8, steps = 5 }
bam.plan { name = "large", model = d, batch = 64, context = 2048, steps = 5 }
require "bam.train.plan".total()
]])
  local pipe = io.popen(string.format("%s '%s' %s --plan %s 2>&1", settings, program, path, flags))
  local output = pipe:read "a"
  expect.yes(pipe:close(), output)
  os.remove(path)
  return output
end

test("--plan says whether the memory of the device is enough", function()
  local output = plan("", "--device cuda")
  local total, bytes = output:match "\ncuda:0 has ([%d,]+) bytes, which is enough: large needs ([%d,]+) bytes, and CUDA"
  expect.equal(total, "150,109,106,995", output)
  local needed = math.tointeger((bytes:gsub(",", "")))
  expect.contains(plan(string.format("BAMLUA_DRY_MEMORY=%d", needed + GIB), "--device cuda:0"), "which is enough")
  expect.contains(plan(string.format("BAMLUA_DRY_MEMORY=%d", needed + GIB - 1), "--device cuda"),
                  "which is too little for large: large needs " .. bytes)
  expect.contains(plan("BAMLUA_DRY_MEMORY=2000000000", "--device cuda"), "too little for small, large: large needs")
  expect.contains(plan("", "--device cuda:1"), string.format("\ncuda:1 is not here: large needs %s bytes", bytes))
  expect.lacks(plan("", "--device cpu"), "needs")
end)

test("but not those with less", function()
  local _, output, fine = run("BAMLUA_DRY_MEMORY=128000000000", "own", "2b", 5)
  expect.no(fine, output)
  expect.contains(output, { "out of memory on cuda:0: asked for ", " MB in use and ", "the largest free piece being" })
end)
