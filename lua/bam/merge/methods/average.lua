-- The weighted average (Wortsman et al. 2022, Model soups, arXiv:2203.05482). Sums in double precision are rounded
-- once, so that the average of copies is the copy.
local core = require "bam.core"
local definition = require "bam.merge.definition"

local function sum_of(weights)
  local sum = 0
  for _, w in ipairs(weights) do sum = sum + w end
  return sum
end

return definition.define_builtin {
  name = "average",
  doc = "The average of all models, weighted by `weights`, which need not add up to 1.",
  elementwise = true,
  weights = "rate",
  merge = function(tensors, weights)
    local sum = core.zeros(tensors[1].shape, { dtype = "f64", device = "cpu" })
    for i, x in ipairs(tensors) do sum = sum + x * weights[i] end
    return sum / sum_of(weights)
  end,
}
