-- Kernels that move rows in packs (kernels/cuda/pack.h) do so in accesses of 16 bytes, in what nvcc makes of them: it
-- may split them, which no test of values would notice.
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local bamlua = os.getenv "BAMLUA" or "build/bamlua"
local directory = bamlua:match "^(.*)/" or "."

local FILES = { "swiglu", "geglu", "norm", "loss", "rope", "softmax", "embedding", "mixture_of_attention", "routed_ffn" }
local COMPILE = "nvcc -std=c++17 -O3 -DBAM_TYPE=bf16 -DBAM_TYPE_bf16 -arch=compute_80 -ptx -o - kernels/cuda/%s.cu"
local PACKED = "Li8EE" -- the end of the template arguments in the name of a kernel for packs of 8 bf16

-- The bodies of the kernels for packs in a PTX file, by name.
local function packed_kernels(ptx)
  local kernels = {}
  for name, body in ptx:gmatch "%.entry ([%w_]+)%b()[^{]*(%b{})" do
    if name:find(PACKED, 1, true) then kernels[name] = body end
  end
  return kernels
end

-- How many accesses of 16 or 32 bits a body has: `access` is ld or st.
local function narrow(body, access)
  local total = 0
  for bits in body:gmatch(access .. "%.global%.[bu](%d+)") do
    if bits == "16" or bits == "32" then total = total + 1 end
  end
  return total
end

-- Statistics of rows are stored as f32 or f64, a loss reads the logit of its target by itself, and log-sum-exp has one
-- result per row.
local function check(ptx)
  local kernels = packed_kernels(ptx)
  expect.yes(next(kernels), "there are kernels for packs")
  for name, body in pairs(kernels) do
    expect.matches(body, "ld%.global%.v4%.[uf]32", "wide loads of " .. name)
    expect.compare(narrow(body, "ld"), "<=", 1, "narrow loads of " .. name)
    local results = name:find "logsumexp_rows" and 2 or 0 -- of rows that are held in registers, and others
    expect.compare(narrow(body, "st"), "<=", results, "narrow stores of " .. name)
  end
end

local KERNEL = [[
.entry _Z4copyILi32ELi8EEv(
  .param .u64 y
)
{
  ld.global.v4.u32 {%%r1, %%r2, %%r3, %%r4}, [%%rd1];
  %s [%%rd2], %%r1;
}
]]

test("a store that was split is found", function()
  check(KERNEL:format "st.global.wb.v4.u32")
  expect.raises("narrow stores of _Z4copyILi32ELi8EEv", check, KERNEL:format "st.global.u32")
  expect.raises("there are kernels for packs", check, "")
end)

for _, name in ipairs(FILES) do
  test(name, function()
    local object <close> = io.open(string.format("%s/kernels/cuda/%s.bf16.o", directory, name))
    if not object then test.skip "the program was built without CUDA (nvcc)" end
    local output <close> = assert(io.popen(COMPILE:format(name)))
    check(output:read "a")
  end)
end
