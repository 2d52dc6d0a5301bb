-- `make accuracy`: errors of f32 against f64 on hard inputs, bamlua's beside PyTorch's.
--
--     bamlua tests/accuracy/accuracy.lua [PATTERN]
--
-- PATTERN selects cases by op. PyTorch is looked for in $BAMLUA_PEER_PYTHON, then in python3. Errors are in units of
-- roundoff, as measure.lua counts them. A ratio above 4 is marked and fails; errors of 1 unit or less count as 1, since
-- a result cannot be better than rounded once.
local bam = require "bam"
local HERE = arg[0]:match "^(.*/)" or "./"
package.path = HERE .. "?.lua;" .. package.path
local cases, measure = require "cases", require "measure"

local LIMIT = 4
local python = os.getenv "BAMLUA_PEER_PYTHON" or "python3"
local function quote(word) return string.format("'%s'", word:gsub("'", [['\'']])) end

if not os.execute(string.format("%s -c 'import torch' 2>/dev/null", quote(python))) then
  io.stderr:write(string.format("accuracy: %s has no PyTorch, so there is nothing to compare with; BAMLUA_PEER_PYTHON may "
                                .. "name a Python that does (tests/bench/peer.py says how to install it)\n", python))
  os.exit(2)
end

local folder
do
  local pipe <close> = assert(io.popen "mktemp -d")
  folder = pipe:read "l"
end
local cleanup <close> = setmetatable({}, { __close = function() os.execute(string.format("rm -rf %s", quote(folder))) end })

-- JSON has no infinity.
local function plain(attributes)
  local copy = {}
  for name, value in pairs(attributes) do copy[name] = value == math.huge and "inf" or value end
  return copy
end

local function write_case(number, case, list)
  local tensors, flat = {}, type(case.inputs[1]) == "table" and case.inputs[1] or case.inputs
  for i, x in ipairs(flat) do tensors[string.format("%d", i)] = x end
  for _, dtype in ipairs { "f64", "f32" } do
    local values, names = measure.run(case, dtype)
    for _, name in ipairs(names) do
      tensors[string.format("%s %s", dtype, name)] = values[name]
      local k = name:match "^result (%d+)$"
      if k then tensors["seed " .. k] = measure.seed_for(case, values[name], tonumber(k)) end
    end
  end
  bam.save(string.format("%s/%d.safetensors", folder, number), tensors)
  list:write(string.format("%d\t%s\t%s\t%g\t%s\n", number, case.op, case.relative or false, case.floor or 0,
                           bam.json.encode(plain(case.attributes))))
end

do
  local list <close> = assert(io.open(folder .. "/list.txt", "w"))
  for number, case in ipairs(cases) do
    if case.op:find(arg[1] or "") then write_case(number, case, list) end
  end
end

local worse, failed = 0, 0
print(string.format("%-21s %-24s %-11s %12s %12s %8s", "op", "input", "value", "bamlua", "PyTorch", "ratio"))
local pipe <close> = assert(io.popen(string.format("%s %speer.py %s", quote(python), HERE, quote(folder))))
for line in pipe:lines() do
  local number, name, ours, theirs, apart = line:match "^(%d+)\t([^\t]+)\t([^\t]+)\t?([^\t]*)\t?([^\t]*)$"
  local case = cases[tonumber(number)]
  if name == "failed" then
    failed = failed + 1
    print(string.format("%-21s %-24s PyTorch fails: %s", case.op, case.label, ours))
  else
    ours, theirs, apart = tonumber(ours), tonumber(theirs), tonumber(apart)
    local ratio = math.max(ours, 1) / math.max(theirs, 1)
    local mark = not (ratio <= LIMIT) and "  <-- more than 4 times" or ""
    if mark ~= "" then worse = worse + 1 end
    if not (apart < 1e-2) then -- in f64 the two do not compute the same: the case is wrong
      failed = failed + 1
      mark = string.format("  <-- f64 differs by %g", apart)
    end
    print(string.format("%-21s %-24s %-11s %12.2f %12.2f %8.2f%s", case.op, case.label, name, ours, theirs, ratio, mark))
  end
end
print(string.format("%d errors are more than %d times PyTorch's, %d comparisons failed", worse, LIMIT, failed))
os.exit(worse == 0 and failed == 0, true)
