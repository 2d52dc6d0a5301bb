-- DARE (Yu et al. 2024, Language models are super Mario, arXiv:2311.03099): drop and rescale, then task arithmetic.
local core = require "bam.core"
local definition = require "bam.merge.definition"

return definition.define_builtin {
  name = "dare",
  doc = "Task arithmetic after a random share of each task vector's elements is dropped, and the others are divided\n"
    .. "by 1 - drop. The first model is the seed.",
  options = {
    drop = { "fraction", 0.5, doc = "probability that an element is dropped" },
    scale = { "number", 0.4, doc = "factor of the sum of the task vectors" },
    seed = { "integer", 1, doc = "of the random choice" },
  },
  base = true,
  merge = function(tensors, weights, o)
    local sum = o.base * 0
    for i, x in ipairs(tensors) do
      local kept = core.ops.to(core.ops.ge(core.rand(x.shape, { dtype = "f64", device = "cpu" }), o.drop), "f64")
      sum = sum + (x - o.base) * kept * (weights[i] / (1 - o.drop))
    end
    return o.base + sum * o.scale
  end,
}
