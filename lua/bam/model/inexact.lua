-- Saving as a family that computes almost the same: how far logits are from the model's, on a sample.
local check = require "bam.util.check"
local core = require "bam.core"
local description = require "bam.model.description"

local M = {}

local ROWS, LENGTH = 2, 64 -- of the sample

-- Logits of a sample, in evaluation mode.
local function logits(model, ids)
  return core.with_grad(false, model.in_eval, model, function() return model:forward(ids) end)
end

local function renormalize(model, value)
  for _, layer in ipairs(model.layers) do
    if layer.ffn.router then layer.ffn.router.renormalise = value end
  end
end

--- By how much logits change when the gates of the chosen FFN experts sum to 1.
---@param model table live model whose gates do not
---@return number largest
---@return number mean
---@return integer tokens of the sample
function M.of_gates(model)
  local d = model.description
  local length = math.min(LENGTH, d.context)
  return core.scope(function()
    local ids = description.seeded(1, function()
      return core.randint(0, d.vocab - 1, ROWS, length, { device = model.embed.weight.device })
    end)
    local before = logits(model, ids)
    renormalize(model, true)
    local fine, after = pcall(logits, model, ids)
    renormalize(model, false)
    if not fine then error(after, 0) end
    local difference = core.ops.abs(core.ops.sub(after, before))
    return core.ops.max(difference):item(), core.ops.mean(difference):item(), ROWS * length
  end)
end

--- Print it.
---@param model table
---@param family table
function M.report(model, family)
  local largest, mean, tokens = M.of_gates(model)
  print(string.format("save: not exact: gates sum to 1 in %s, and not in this model; on a sample of %s logits differ "
                      .. "by at most %.3g, and by %.3g on average", family.name, check.count(tokens, "random token"),
                      largest, mean))
end

return M
