-- The head and its loss on a device: how many chunks of tokens it takes, which products that are, and how many bytes of
-- logits exist at a time. Over the shim, whose trace has every product; values are those of the CPU.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local program = core.absolute(arg[1])

-- Forward and backward of the head. Prints the bytes at the peak besides those of its inputs, and its results' largest
-- differences from the CPU's.
local SCRIPT = [[
local bam, core = require "bam", require "bam.core"
local tokens, vocabulary, width, chunk = tonumber(arg[1]), tonumber(arg[2]), 4, tonumber(arg[3])
local scale = arg[4] == "scale" and 1 / tokens or nil
bam.seed(1)
local x, weight = bam.randn(tokens, width), bam.randn(vocabulary, width)
local targets = bam.randint(0, vocabulary - 1, tokens, { dtype = "i64" })
local function run(device)
  local a, w, t = x:to(device):clone(), weight:to(device):clone(), targets:to(device)
  a.requires_grad, w.requires_grad = true, true
  local before = bam.memory().live
  local loss = bam.linear_cross_entropy(a, w, t, { chunk = chunk, scale = scale })
  loss:backward()
  return bam.memory().peak - before, loss:to "cpu", a.grad:to "cpu", w.grad:to "cpu"
end
local function off(a, b) return (a - b):abs():max():item() / b:abs():max():item() end
local bytes, loss, dx, dw = run "cuda"
local _, want, want_dx, want_dw = run "cpu"
print(bytes)
print(math.max(off(loss, want), off(dx, want_dx), off(dw, want_dw)))
]]

-- Run the head on a device with this much memory: the rows of its logits' products, the bytes at the peak, and how far
-- off its results are.
local function run(memory, ...)
  local path, log = os.tmpname(), os.tmpname()
  core.write_file(path, SCRIPT)
  local pipe = io.popen(string.format("BAMLUA_SIMT=1 BAMLUA_SIMT_MEMORY=%d BAMLUA_SIMT_TRACE=%s '%s' %s %s 2>&1", memory,
                                      log, program, path, table.concat({ ... }, " ")))
  local output = pipe:read "a"
  expect.yes(pipe:close(), output)
  local products, bytes, off = {}, output:match "^(%d+)\n(%S+)\n$"
  for m, n, k in core.read_file(log):gmatch "product (%d+) (%d+) (%d+)" do
    products[#products + 1] = { tonumber(m), tonumber(n), tonumber(k) }
  end
  os.remove(path)
  os.remove(log)
  return products, tonumber(bytes), tonumber(off)
end

-- The products of chunks of these rows: logits, then the gradients of x and the weight. Without a scale the gradients
-- come in a second round, with the logits computed again.
local function expected(rows, vocabulary, scale)
  local list = {}
  for _, n in ipairs(scale == "" and rows or {}) do list[#list + 1] = { n, vocabulary, 4 } end
  for _, n in ipairs(rows) do
    list[#list + 1] = { n, vocabulary, 4 }
    list[#list + 1] = { n, 4, vocabulary }
    list[#list + 1] = { vocabulary, 4, n }
  end
  return list
end

local function check(memory, tokens, vocabulary, chunk, rows)
  local most
  for _, scale in ipairs { "scale", "" } do
    local products, bytes, off = run(memory, tokens, vocabulary, chunk, scale)
    expect.equal(products, expected(rows, vocabulary, scale))
    expect.compare(off, "<", 2e-6, "loss and gradients, relative to the CPU's")
    most = math.max(most or 0, bytes)
  end
  return most
end

test("chunks of 8192 tokens", function() check(1 << 30, 8192 + 200, 8, 0, { 8192, 200 }) end)

test("whose logits take at most a 32nd of the device's memory", function()
  local memory, vocabulary = 256 << 20, 2048
  local bytes = check(memory, 1300, vocabulary, 0, { 1024, 276 })
  local one = check(memory, 276, vocabulary, 276, { 276 })
  expect.compare(bytes - one, "<=", memory // 32, "bytes more than of a small chunk")
  check(memory, 1300, vocabulary + 1, 0, { 896, 404 }) -- whole tiles of 128 tokens
end)

test("a chunk that was asked for", function() check(1 << 30, 300, 8, 130, { 130, 130, 40 }) end)
