--- Adds the results of a window to those that are kept, and prints what they say:
---   bamlua tests/gpu/merge.lua RESULTS.json [DIR]
--- DIR is tests/gpu/results: a file per window; index.json with the newest result of each part that ran, by which the
--- next window decides what to run; and algorithms.json, a file for --tune, in which a product keeps its first entry.
--- Ratios to PyTorch are of the newest rows of both; they are provisional when they come from different windows.
local HERE = arg[0]:match "^(.*/)" or "./"
package.path = string.format("%s../../?.lua;%s", HERE, package.path)
local core = require "bam.core"
local json = require "bam.util.json"
local algorithm_table = require "bam.train.algorithm_table"
local compare = require "tests.gpu.compare"

local path, directory = arg[1], arg[2] or "tests/gpu/results"
if not path then
  io.stderr:write "usage: bamlua tests/gpu/merge.lua RESULTS.json [DIR]\n"
  os.exit(1)
end
local results, why = json.read(path)
if not results or not results.parts or not results.date then
  io.stderr:write(string.format("merge: %s is not a window's results%s\n", path, why and ": " .. why or ""))
  os.exit(1)
end
if results.tiny then
  io.stderr:write(string.format("merge: %s is of --tiny sizes, which say nothing\n", path))
  os.exit(1)
end

core.make_directory(directory)
local name = string.format("%s.json", (results.date:gsub(":", "")))
core.write_file(string.format("%s/%s", directory, name), json.encode(results, { indent = 1 }))

local index_path = directory .. "/index.json"
local index = json.read(index_path) or { parts = {} }
local ran = 0
for _, part in ipairs(results.parts) do
  local known = index.parts[part.name]
  if part.seconds and not (known and known.date > results.date) then
    index.parts[part.name] = { date = results.date, status = part.status, sources = part.sources, file = name }
    ran = ran + 1
  end
end
core.write_file(index_path, json.encode(index, { indent = 1 }))

-- What was measured of products goes into a file for --tune.
local measured = {}
for _, part in ipairs(results.parts) do
  for _, row in ipairs(part.rows or {}) do
    if row.case == "algorithm" then
      local list = measured[row.machine] or {}
      measured[row.machine] = list
      list[#list + 1] = { product = row.product, rank = row.rank, algorithm = row.algorithm, ms = row.ms_median,
                          first_ms = row.first_ms }
    end
  end
end
for machine, list in pairs(measured) do algorithm_table.add(directory .. "/algorithms.json", machine, list) end
print(string.format("%d parts of %s are in %s", ran, results.date, directory))
for _, line in ipairs(compare.lines(compare.newest(directory, index))) do print(line) end
