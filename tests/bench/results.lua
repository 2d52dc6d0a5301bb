--- The JSON that every benchmark leaves behind: what was measured, when, on what and with which versions.
local core = require "bam.core"
local json = require "bam.util.json"
local machine = require "tests.bench.machine"

local M = {}

local function description_of(device)
  for _, d in ipairs((core.devices())) do
    if d.name == device then return d.description end
  end
end

--- Begin the results of a run. `finished` stays false until the caller has everything.
---@param device string
---@param rounds integer
---@param pytorch? string its version, if it takes part
---@return table
function M.new(device, rounds, pytorch)
  local results = { machine = machine.describe(), device = device, isa = core.isa(), threads = core.threads(),
                    bamlua = core.release, pytorch = pytorch, rounds = rounds, finished = false,
                    date = os.date "!%Y-%m-%dT%H:%M:%SZ" }
  if device == "cpu" then
    results.peak = core.peak()
  else
    results.machine.device = description_of(device)
  end
  return results
end

--- Write results atomically; without a path do nothing.
---@param results table
---@param path? string
function M.save(results, path)
  if path then
    core.uninterrupted(core.write_file, path, json.encode(json.finite(results), { indent = 1 }))
  end
end

return M
