-- The library behind matrix products uses what this CPU has, also where it does not know the CPU's
-- model number: its kernels are no lesser than bam.isa(). A variable of the user's own wins, with a
-- warning. Each case is a process of its own, since the choice is made before main.
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
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

test("matrix products use what the CPU has", function()
  local ASK = [[ local bam = require "bam" print(bam.isa(), bam.products()) ]]

  for _, variables in ipairs { "", "BAMLUA_ISA=avx2", "BAMLUA_ISA=baseline" } do
    local output = run(variables, ASK)
    local isa, library, lag = output:match "^(%w+)\tOpenBLAS (%w+)\t(%w+)\n$"
    expect.yes(isa, string.format("%s: %s", variables, output))
    expect.equal(lag, "false", string.format("%s: %s", variables, output))
    local limit = variables:match "=(.*)"
    expect.yes(limit == nil or isa == limit or isa == "baseline", output)
    if isa ~= "baseline" then expect.different(library, "Prescott", output) end
  end

  local old = run("OPENBLAS_CORETYPE=Nehalem", ASK)
  expect.contains(old, "OpenBLAS Nehalem")
  if old:find "baseline\t" then
    print "products: the warning is skipped: this build or CPU has no more than the baseline"
  else
    expect.contains(old, "warning: matrix products use OpenBLAS Nehalem")
    expect.contains(old, "unset OPENBLAS_CORETYPE")
  end
end)

test("the choice is this program's own affair: what it starts does not see it", function()
  local inner = run("", [[ require "bam" os.execute "env" ]])
  expect.lacks(inner, "OPENBLAS_CORETYPE")

  expect.compare(require("bam").peak(), ">", 1e8)
end)

-- With too little address space OpenBLAS would try forever: bamlua starts, or says why it cannot.
local function check_limit(kilobytes)
  local command = string.format("ulimit -t 60; ulimit -v %d; OMP_NUM_THREADS=2 %s -e 'print(1)' 2>&1",
                                kilobytes, bamlua)
  local pipe = assert(io.popen(command))
  local output = pipe:read "a"
  pipe:close()
  expect.yes(output == "1\n" or output:find("OpenBLAS needs 272 MB of address space", 1, true),
             string.format("%d KB: %s", kilobytes, output))
end

test("too little address space is an error, not a hang", function()
  if os.getenv "ASAN_OPTIONS" then test.skip "a sanitizer needs all of the address space" end
  for _, kilobytes in ipairs { 100000, 131072, 160000, 200000, 280000, 400000 } do
    check_limit(kilobytes)
  end
end)
