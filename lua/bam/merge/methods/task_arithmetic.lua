-- Task arithmetic (Ilharco et al. 2023, Editing models with task arithmetic, arXiv:2212.04089).
local definition = require "bam.merge.definition"

return definition.define_builtin {
  name = "task_arithmetic",
  doc = "The seed plus `scale` times the weighted sum of the task vectors: each model's difference from the seed,\n"
    .. "which is the first model. A negative weight forgets a task.",
  options = { scale = { "number", 0.4, doc = "the paper advises 0.3 to 0.5" } },
  base = true, elementwise = true,
  merge = function(tensors, weights, o)
    local sum = o.base * 0
    for i, x in ipairs(tensors) do sum = sum + (x - o.base) * weights[i] end
    return o.base + sum * o.scale
  end,
}
