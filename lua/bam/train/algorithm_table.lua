-- A file of measured algorithms of products (tuning.lua): for each kind of device with a version of its library a list,
-- as core.product_algorithms returns it, and a digest of all. Several processes may add to one file; what is in it
-- stays.
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"
local paths = require "bam.data.paths"
local sealed = require "bam.util.sealed"

local M = {}

local VERSION = 1

local function read_file(path)
  if not core.file_info(path) then return { version = VERSION, machines = {} } end
  local record, fault = json.read(path)
  if not record or sealed.check(record, "digest", {}) ~= "sound" or type(record.machines) ~= "table" then
    check.fail("tune: %s; restore it, or delete it to measure again",
               fault or string.format("%s was changed: its digest does not match", path))
  elseif record.version ~= VERSION then
    check.fail("tune: %s is of another version of bamlua; name another file", path)
  end
  return record
end

--- Entries by product.
---@param list bam.Algorithm[]
---@return table<string, bam.Algorithm>
function M.by_product(list)
  local known = {}
  for _, entry in ipairs(list) do known[entry.product] = entry end
  return known
end

-- What is kept of an entry.
local function kept(entry)
  return { product = entry.product, rank = entry.rank, algorithm = entry.algorithm, ms = entry.ms,
           first_ms = entry.first_ms }
end

--- The entries of a machine; none if there is no file.
---@param path string
---@param machine string
---@return bam.Algorithm[]
function M.read(path, machine) return read_file(path).machines[machine] or {} end

--- Add the entries whose products the file lacks. Returns how many it has with another algorithm.
---@param path string
---@param machine string
---@param list bam.Algorithm[]
---@return integer others
function M.add(path, machine, list)
  local others = 0
  paths.locked(path .. ".lock", function()
    local record = read_file(path)
    local all = record.machines[machine] or json.array {}
    local known, before = M.by_product(all), #all
    for _, entry in ipairs(list) do
      local there = known[entry.product]
      if not there then
        all[#all + 1] = kept(entry)
      elseif there.algorithm ~= entry.algorithm then
        others = others + 1
      end
    end
    if #all == before then return end
    table.sort(all, function(a, b) return a.product < b.product end)
    record.machines[machine] = all
    core.write_file(path, json.encode(sealed.seal(record, "digest"), { indent = 1 }))
  end)
  return others
end

return M
