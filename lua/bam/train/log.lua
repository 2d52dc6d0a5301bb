--- bam.metrics: what the log of a phase holds, for plots and tables.
local check = require "bam.util.check"
local core = require "bam.core"
local flags = require "bam.util.flags"
local metrics = require "bam.train.metrics"
local phase = require "bam.train.phase"

local M = {}

local function directory_of(value)
  if phase.is(value) then return value:directory() end
  if type(value) ~= "string" then
    check.fail('metrics: expected a phase or its directory, as "runs/recipe/seed", got %s', check.describe(value))
  end
  return value
end

--- Read the log of a phase, runs/NAME-XXXXXXXX/metrics.jsonl, also while it trains and from older versions. The record
--- of a step has step, loss, lr, norm and what help(bam.train) lists; that of an evaluation has step and `eval`, with
--- perplexity and bits_per_byte by domain and the average perplexity.
---
---   for _, record in ipairs(bam.metrics(phase)) do
---     if record.loss then print(record.step, record.loss) end
---   end
---@param value bam.Phase|string a phase, or its directory
---@return table[] records in order; none under --plan
function M.metrics(value)
  if flags.get().plan and phase.is(value) then return {} end
  local directory = directory_of(value)
  if not core.file_info(string.format("%s/metrics.jsonl", directory)) then
    check.fail("metrics: %s holds no metrics.jsonl: nothing has been trained there", directory)
  end
  return metrics.read(directory)
end

return M
