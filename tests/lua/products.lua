-- The library behind matrix products uses what this CPU has, also where it does not know the CPU's
-- model number: its kernels are no lesser than bam.isa(). A variable of the user's own wins, with a
-- warning. Each case is a process of its own, since the choice is made before main.
local bamlua = os.getenv "BAMLUA" or "build/bamlua"

-- What bamlua prints for `code`, with these variables and neither of the two that matter otherwise.
local function run(variables, code)
  local command = string.format("env -u BAMLUA_ISA -u OPENBLAS_CORETYPE %s %s -e '%s' 2>&1",
                                variables, bamlua, code)
  local pipe = assert(io.popen(command))
  local output = pipe:read "a"
  assert(pipe:close(), output)
  return output
end

local ASK = [[ local bam = require "bam" print(bam.isa(), bam.products()) ]]

for _, variables in ipairs { "", "BAMLUA_ISA=avx2", "BAMLUA_ISA=baseline" } do
  local output = run(variables, ASK)
  local isa, library, lag = output:match "^(%w+)\tOpenBLAS (%w+)\t(%w+)\n$"
  assert(isa and lag == "false", string.format("%s: %s", variables, output))
  local limit = variables:match "=(.*)"
  assert(limit == nil or isa == limit or isa == "baseline", output)
  if isa ~= "baseline" then assert(library ~= "Prescott", output) end
end

local old = run("OPENBLAS_CORETYPE=Nehalem", ASK)
assert(old:find("OpenBLAS Nehalem", 1, true), old)
if old:find "baseline\t" then
  print "products: the warning is skipped: this build or CPU has no more than the baseline"
else
  assert(old:find("warning: matrix products use OpenBLAS Nehalem", 1, true), old)
  assert(old:find("unset OPENBLAS_CORETYPE", 1, true), old)
end

-- The choice is this program's own affair: what it starts does not see it.
local inner = run("", [[ require "bam" os.execute "env" ]])
assert(not inner:find("OPENBLAS_CORETYPE", 1, true), inner)

assert(require("bam").peak() > 1e8)

-- With too little address space OpenBLAS would try forever: bamlua starts, or says why it cannot.
local function check_limit(kilobytes)
  local command = string.format("ulimit -t 60; ulimit -v %d; OMP_NUM_THREADS=2 %s -e 'print(1)' 2>&1",
                                kilobytes, bamlua)
  local pipe = assert(io.popen(command))
  local output = pipe:read "a"
  pipe:close()
  assert(output == "1\n" or output:find("OpenBLAS needs 272 MB of address space", 1, true),
         string.format("%d KB: %s", kilobytes, output))
end

if os.getenv "ASAN_OPTIONS" then
  print "products: limits of the address space are skipped: a sanitizer needs all of it"
else
  for _, kilobytes in ipairs { 100000, 131072, 160000, 200000, 280000, 400000 } do
    check_limit(kilobytes)
  end
end
print "products: ok"
