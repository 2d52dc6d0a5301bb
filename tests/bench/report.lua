-- The tables of docs/benchmarks.md, from the JSON of `make bench`:
--
--     bamlua tests/bench/report.lua JSON...
--
-- prints Markdown. Several files are one table, with the last result of every case, and must come from the same
-- machine, instruction set, number of threads and versions.
local HERE = arg[0]:match "^(.*/)" or "./"
package.path = string.format("%s../../?.lua;%s", HERE, package.path)

local arguments = require "bam.util.arguments"
local figures = require "tests.bench.figures"
local json = require "bam.util.json"

local function read(path)
  local results, why = json.read(path)
  if not results then arguments.fail("report: %s", why) end
  if type(results.cases) ~= "table" or type(results.machine) ~= "table" then
    arguments.fail("report: %s is not a result of tests/bench/bench.lua", path)
  end
  return results
end

local ALIKE = { "machine", "device", "isa", "threads", "bamlua", "pytorch" }

-- Whether two results have the same value; one without PyTorch goes with any version of it.
local function check_alike(name, paths, i, first, other)
  local a, b = json.encode { first[name] }, json.encode { other[name] }
  if a == b or name == "pytorch" and not (first.pytorch and other.pytorch) then return end
  arguments.fail("report: %s and %s differ in %s: %s and %s; make a table of each", paths[1], paths[i], name, a, b)
end

-- Results of several runs as one.
local function join(paths)
  local all = read(paths[1])
  for i = 2, #paths do
    local more = read(paths[i])
    for _, name in ipairs(ALIKE) do check_alike(name, paths, i, all, more) end
    all.pytorch = all.pytorch or more.pytorch
    table.move(more.cases, 1, #more.cases, #all.cases + 1, all.cases)
    all.finished = all.finished and more.finished
  end
  return all
end

-- The last record of every title, in the order of the first.
local function last_of_each(cases)
  local list, place = {}, {}
  for _, record in ipairs(cases) do
    place[record.title] = place[record.title] or #list + 1
    list[place[record.title]] = record
  end
  return list
end

local function peak_of(results)
  local low, high = math.huge, 0
  for _, record in ipairs(results.cases) do
    low, high = math.min(low, record.possible or low), math.max(high, record.possible or high)
  end
  if high == 0 or results.device ~= "cpu" then return "" end
  return string.format(", multiply-add peak %.0f to %.0f GFLOP/s", low / 1e9, high / 1e9)
end

local function heading(results)
  local machine = results.machine
  return string.format("%s, %s cores, %s threads, %s%s; bamlua %s%s; %s%s.", machine.device or machine.cpu or "CPU",
                       machine.cores or "unknown", results.threads, results.isa, peak_of(results), results.bamlua,
                       results.pytorch and string.format(", PyTorch %s", results.pytorch) or "",
                       results.date:sub(1, 10), results.finished and "" or "; not all cases")
end

local function other_time(record)
  local other = record.other
  if not other then return "" end
  local time = figures.duration(other.median)
  return other.name == "PyTorch" and time or string.format("%s (`%s`)", time, other.name)
end

local function row(record)
  local share = figures.share(record)
  print(string.format("| %s | %s | %s | %s | %s |", record.title, figures.duration(record.median), other_time(record),
                      figures.ratio(record, "**"), share ~= "" and share or figures.rate(record)))
end

if #arg == 0 then arguments.fail "report: expected results: bamlua tests/bench/report.lua build/bench.json" end
local results = join(arg)
print(heading(results))
print()
print "| case | bamlua | PyTorch | ratio | share of peak |"
print "|---|---|---|---|---|"
for _, record in ipairs(last_of_each(results.cases)) do row(record) end
