-- How many launches, copies and waits a training step takes on a device, per layer and besides, over the shim. A wait
-- stops the host until the device has done everything before it, so a step has few, and the count is exact: a change
-- that adds one fails here. Also that tests/gpu/model.lua counts FLOPs and bytes as they are.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local launches = require "tests.gpu.launches"
local model = require "tests.gpu.account"
local test = require "tests.lua.support.test"
local traced = require "tests.simt.traced"

local program = core.absolute(arg[1])
local SIZES = { width = 64, heads = 2, kv_heads = 1, head_width = 32, ffn = 64, vocab = 512, tied = true, context = 32 }

local steps = {}

-- The lines of a step, which is run once.
local function step(kind, layers, rows)
  local key = string.format("%s %d %d", kind, layers, rows)
  steps[key] = steps[key] or traced.step(program, { kind = kind, layers = layers, rows = rows })
  return steps[key]
end

-- Counts per layer, besides the layers, and for a second micro-batch in a step of two layers.
local function taken(kind)
  local two, three, split = traced.count(step(kind, 2, 4)), traced.count(step(kind, 3, 4)), traced.count(step(kind, 2, 2))
  local result = {}
  for _, what in ipairs { "launch", "product", "copy out", "copy in" } do
    local layer = (three[what] or 0) - (two[what] or 0)
    result[what] = { layer = layer, besides = (two[what] or 0) - 2 * layer, more = (split[what] or 0) - (two[what] or 0) }
  end
  return result
end

-- What a step of a dense model asks for with graphs, whatever its depth: a launch per micro-step, whose inputs are copied
-- and whose loss is added up, one for the norm, and the update's, a launch per group of parameters.
test("a step with graphs", function()
  local function counts(layers, rows)
    return traced.count(traced.step(program, { kind = "dense", layers = layers, rows = rows, graphs = true }))
  end
  local one = counts(2, 4)
  one.wait = nil
  expect.equal(one, { graph = 2, launch = 3, ["copy in"] = 4, copy = 4, ["copy out"] = 2 })
  local deep = counts(5, 4)
  deep.wait = nil
  expect.equal(deep, one)
  local two = counts(2, 2)
  two.wait = nil
  expect.equal(two, { graph = 3, launch = 9, ["copy in"] = 4, copy = 8, ["copy out"] = 3 })
end)

for _, kind in ipairs { "dense", "btx", "shared", "own" } do
  test(string.format("a step of %s", kind), function()
    local got = taken(kind)
    for what, most in pairs(launches[kind]) do
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

  test(string.format("FLOPs and bytes of %s", kind), function()
    local function products(lines)
      local flops = 0
      for _, line in ipairs(lines) do
        local m, n, k = line:match "^product (%d+) (%d+) (%d+)$"
        if m then flops = flops + 2 * tonumber(m) * tonumber(n) * tonumber(k) end
      end
      return flops
    end
    -- Without the buffers of all parameters and their gradients, which the optimizer has too, and scratch; and without
    -- orders of experts, of which a launch reads a part, which is little at other widths than this.
    local function operands(lines)
      local bytes, buffers = 0, { [tostring((2 * 128 + 4 + 1) * 8)] = true }
      for _, line in ipairs(lines) do
        if line:find "adamw" then
          for size in line:gmatch " %d+ %d+ (.*)" do
            for one in size:gmatch "%d+" do buffers[one] = true end
          end
        end
      end
      for _, line in ipairs(lines) do
        local name, sizes = line:match "^launch (.-) %d+ %d+( .*)$"
        if name and not name:find "attend" and not name:find "find_d" then
          for size in sizes:gmatch "%d+" do
            bytes = bytes + (buffers[size] and 0 or tonumber(size) >= 1 << 20 and 0 or tonumber(size))
          end
        end
      end
      return bytes
    end
    local two, three = step(kind, 2, 4), step(kind, 3, 4)
    local a = model.account(SIZES, kind, 2, 128, 4)
    expect.equal(products(two), a.products + a.head)
    local layer = model.account(SIZES, kind, 3, 128, 4).operands - a.operands
    local counted = operands(three) - operands(two)
    expect.close(layer / counted, 1, 0.05, string.format("%d bytes per layer, counted %d", layer, counted))
  end)
end

-- What was enqueued between the copies of rows per expert and the waits for them, of each layer of a step.
local function between(kind, block)
  local layers, names = {}, nil
  for _, line in ipairs(traced.step(program, { kind = kind, layers = 2, rows = 4, block = block })) do
    local name = line:match "^launch %(*([%w_]+)" or line:match "^product"
    if line == "copy out 40" then
      names = {}
    elseif names and name then
      names[#names + 1] = name
    elseif names and line:find "^wait" then
      expect.equal(line, string.format("wait %d", #names), "an early wait")
      layers[#layers + 1], names = names, nil
    end
  end
  return layers
end

for _, kind in ipairs { "btx", "shared", "own" } do
  test(string.format("rows per expert of %s are waited for behind other work", kind), function()
    local hidden = { "product", "rotate", "attend", "product", "gather_all" }
    if kind ~= "btx" then table.insert(hidden, 4, "gate") end
    local first = table.move(hidden, 1, #hidden, 2, { "fill_table" }) -- the angles of RoPE, once for all layers
    expect.equal(between(kind, "parallel"), { first, hidden })
    -- Where the FFN reads what attention has given, only the gathering of rows is left to hide the wait.
    expect.equal(between(kind, "sequential"), { { "gather_all" }, { "gather_all" } })
  end)
end
