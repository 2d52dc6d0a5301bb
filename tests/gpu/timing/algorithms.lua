--- The algorithms of the products of a micro-step at the paper's sizes: all that the library proposes are measured
--- (docs/cuda.md), the fastest beside the first. A row per product, from which tests/gpu/merge.lua makes a file for --tune.
local bam = require "bam"
local core = require "bam.core"
local machine = require "bam.train.machine"
local sizes = require "tests.gpu.timing.sizes"
local steps = require "tests.gpu.timing.steps"

local M = {}

-- One layer has all products that there are. The second pass adds to gradients.
local function measure(size, kind, dtype)
  core.scope(function()
    local model = bam.models.Model(sizes.describe(size, kind, 1)):to(dtype)
    local batch = steps.batch_of(sizes.of(size), sizes.ROWS)
    model:train()
    model:set_step(1, 10)
    for _ = 1, 2 do bam.loop.gradients(model, batch) end
  end)
  collectgarbage()
  collectgarbage()
end

local function note_all(list, note)
  local identity, before, after, changed, plain = machine.identity(), 0, 0, 0, 0
  for _, x in ipairs(list) do
    before, after = before + x.first_ms, after + x.ms
    changed, plain = changed + (x.rank > 1 and 1 or 0), plain + (x.rank == 0 and 1 or 0)
    note { case = "algorithm", product = x.product, rank = x.rank, algorithm = x.algorithm, ms_median = x.ms,
           first_ms = x.first_ms, gain = x.ms > 0 and x.first_ms / x.ms or nil,
           machine = string.format("%s, %s", identity.device, identity.products) }
  end
  note { case = "algorithms", products = #list, changed = changed, plain = plain, first_ms = before, ms = after,
         gain = after > 0 and before / after or nil }
end

--- Measure the products of all models.
---@param options table
---@param note fun(row: table)
---@return boolean
function M.run(options, note)
  local dtype = sizes.dtype(options.device)
  core.set_product_algorithms({}, true)
  for _, size in ipairs(options.tiny and { "tiny" } or { "small", "large" }) do
    for _, kind in ipairs { "dense", "btx", "shared", "own" } do
      local ok, why = core.try(measure, size, kind, dtype)
      if not ok then note { case = "micro-step", model = size, kind = kind, failed = why } end
    end
  end
  note_all(core.product_algorithms(), note)
  return true
end

return M
