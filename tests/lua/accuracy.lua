-- f32 against f64 on hard inputs, for every registered op and its gradients; tests/accuracy/cases.lua says what is
-- counted. `make accuracy` compares the same errors with PyTorch's.
local core = require "bam.core"
package.path = "tests/accuracy/?.lua;" .. package.path
local cases, measure = require "cases", require "measure"

local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local met, verbose = {}, arg[1] == "-v"
for _, case in ipairs(cases) do
  test(string.format("%s %s", case.op, case.label), function()
    local truth, names = measure.run(case, "f64")
    local got = measure.run(case, "f32")
    for _, name in ipairs(names) do
      local e = measure.error(got, truth, name, case)
      if verbose then print(string.format("%-20s %-22s %-11s %10.2f of %g", case.op, case.label, name, e, case.bound)) end
      expect.compare(e, "<=", case.bound, name)
    end
  end)
end

test("every op has a case", function()
  for _, case in ipairs(cases) do met[case.op] = true end
  for op in pairs(core.ops) do
    expect.yes(met[op], string.format("tests/accuracy/cases.lua has no case for `%s`", op))
  end
end)
