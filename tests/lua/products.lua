-- Matrix products are the program's own: they need no library that would want address space for each thread, and their
-- bits do not depend on the number of threads. tests/engine/test_gemm.c has their values.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local bamlua = os.getenv "BAMLUA" or "build/bamlua"

test("the same bits on any number of threads", function()
  local before = bam.threads()
  local a, b, w = bam.randn(3, 130, 300), bam.randn(3, 300, 70), bam.randn(700, 300)
  local function products()
    return bam.matmul(a, b), bam.matmul(a, w:transpose(1, 2)), bam.matmul(w, b:select(1, 1))
  end
  bam.threads(1)
  local want = table.pack(products())
  for threads = 2, 5 do
    bam.threads(threads)
    for i, got in ipairs { products() } do
      expect.yes(bam.all(bam.eq(got, want[i])):item(), string.format("product %d on %d threads", i, threads))
    end
  end
  bam.threads(before)
end)

test("the peak is measured", function() expect.compare(bam.peak(), ">", 1e8) end)

test("the program starts with little address space", function()
  if os.getenv "ASAN_OPTIONS" then test.skip "a sanitizer needs all of the address space" end
  local command = string.format([[ulimit -v 65536; OMP_NUM_THREADS=2 %s -e 'print(1)' 2>&1]], bamlua)
  local pipe = assert(io.popen(command))
  expect.equal(pipe:read "a", "1\n")
  pipe:close()
end)
