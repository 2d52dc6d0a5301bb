-- Products of experts: however their rows change, cuBLASLt's heuristic is asked once per class of sizes, for the
-- class and not for the first size that came, so that a resumed run computes with the same algorithms. Over the shim,
-- whose trace says what was asked.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local program = core.absolute(arg[1])

-- Run a script over the shim with these settings; the lines of its trace.
local function trace(settings, script)
  local path, log = os.tmpname(), os.tmpname()
  core.write_file(path, script)
  local pipe = io.popen(string.format("%s BAMLUA_SIMT=1 BAMLUA_SIMT_TRACE=%s '%s' %s 2>&1", settings, log, program,
                                      path))
  local output = pipe:read "a"
  local fine, lines = pipe:close(), {}
  for line in core.read_file(log):gmatch "[^\n]+" do lines[#lines + 1] = line end
  os.remove(path)
  os.remove(log)
  expect.yes(fine, output)
  return lines, output
end

-- The sizes in lines that begin with `word`.
local function sizes(lines, word)
  local list = {}
  for _, line in ipairs(lines) do
    local m, n, k = line:match(string.format("^%s (%%d+) (%%d+) (%%d+)$", word))
    if m then list[#list + 1] = { tonumber(m), tonumber(n), tonumber(k) } end
  end
  return list
end

-- Routed FFNs, forward and backward, whose 3 experts get other numbers of rows each time. Prints hashes of results.
local ROUTED = [[
local bam, core = require "bam", require "bam.core"
bam.seed(1)
local T, N, D, F = 700, 3, 12, 20
local up, down = bam.randn(N, 2 * F, D):to "cuda", bam.randn(N, D, F):to "cuda"
up.requires_grad, down.requires_grad = true, true
local sizes = { { 300, 300, 100 }, { 1, 698, 1 }, { 256, 257, 187 }, { 0, 513, 187 }, { 300, 299, 101 } }
for step = 1, 5 do
  local experts, t = bam.zeros(T, 1, { dtype = "i64" }), 0
  for e = 1, N do
    if sizes[step][e] > 0 then experts[{ { t + 1, t + sizes[step][e] } }] = e end
    t = t + sizes[step][e]
  end
  local x = bam.randn(T, D):to "cuda"
  x.requires_grad = true
  local y = core.ops.routed_ffn(x, bam.ones(T, 1, { device = "cuda" }), experts:to "cuda", up, down)
  y:sum():backward()
  print(core.hash_tensor(y:to "cpu"), core.hash_tensor(x.grad:to "cpu"), core.hash_tensor(up.grad:to "cpu"))
end
]]

test("the heuristic is asked once per class of rows", function()
  local lines, first = trace("", ROUTED)
  local asked, products, seen = sizes(lines, "heuristic"), sizes(lines, "product"), {}
  expect.equal(#products, 6 * (5 * 3 - 1)) -- a product of no rows is none
  for _, s in ipairs(asked) do
    local key = table.concat(s, " ")
    expect.no(seen[key], "asked twice: " .. key)
    seen[key] = true
    expect.yes(s[1] % 256 == 0 or s[3] % 256 == 0, "not asked for a class: " .. key)
  end
  -- classes of 256, 512 and 768 rows, for each of the 6 products of an expert
  expect.equal(#asked, 3 * 6)
  local _, second = trace("BAMLUA_SIMT_BLAS=exact", ROUTED)
  expect.equal(second, first)
end)

test("a size that its class's algorithm refuses has a plan of its own", function()
  local asked = sizes(trace("BAMLUA_SIMT_BLAS=exact", ROUTED), "heuristic")
  local own = 0
  for _, s in ipairs(asked) do
    if s[1] % 256 ~= 0 and s[3] % 256 ~= 0 then own = own + 1 end
  end
  -- rows 300, 100, 1, 698, 257, 187, 513, 299, 101; 256 is its class
  expect.equal(own, 9 * 6)
end)

test("other products are asked for as they are, once", function()
  local asked = sizes(trace("", [[
    local bam = require "bam"
    bam.device "cuda"
    local w = bam.randn(5, 7)
    for _ = 1, 3 do
      for _, rows in ipairs { 96, 100 } do bam.matmul(bam.randn(rows, 5), w) end
    end]]), "heuristic")
  expect.equal(asked, { { 96, 7, 5 }, { 100, 7, 5 } })
end)

if not bam.devices()[2] then error "this test needs the shim" end
