-- f32 against f64 on hard inputs, for every registered op and its gradients; tests/accuracy/cases.lua says what is counted.
-- `make accuracy` compares the same errors with PyTorch's.
local core = require "bam.core"
package.path = "tests/accuracy/?.lua;" .. package.path
local cases, measure = require "cases", require "measure"

local met, wrong, verbose = {}, 0, arg[1] == "-v"
for _, case in ipairs(cases) do
  local truth, names = measure.run(case, "f64")
  local got = measure.run(case, "f32")
  met[case.op] = true
  for _, name in ipairs(names) do
    local e = measure.error(got, truth, name, case)
    local bad = not (e <= case.bound)
    if bad then wrong = wrong + 1 end
    if bad or verbose then
      print(string.format("%s %-20s %-22s %-11s %10.2f of %g", bad and "BAD" or "ok ", case.op, case.label, name, e,
                          case.bound))
    end
  end
end
for op in pairs(core.ops) do assert(met[op], string.format("tests/accuracy/cases.lua has no case for `%s`", op)) end
assert(wrong == 0, string.format("%d errors are larger than their bounds", wrong))
print "accuracy: ok"
