-- TIES (Yadav et al. 2023, TIES-Merging, arXiv:2306.01708): trim, elect signs, merge what agrees.
local check = require "bam.util.check"
local core = require "bam.core"
local definition = require "bam.merge.definition"

local ops = core.ops

-- The `density` of the elements that are largest in size; others become 0.
local function trimmed(x, density)
  local sizes, count = ops.reshape(ops.abs(x), x:count()), x:count()
  local k = math.ceil(density * count)
  if k >= count then return x end
  local smallest = ops.narrow(ops.topk(sizes, k, 1), 1, k, 1):item()
  return ops.where(ops.lt(ops.abs(x), smallest), 0, x)
end

-- The weighted mean of the task vectors whose sign at an element is the elected one.
local function merge_agreeing(vectors, weights, sign)
  local sum, total = sign * 0, sign * 0
  for i, v in ipairs(vectors) do
    local agrees = ops.to(ops.logical_and(ops.eq(ops.sign(v), sign), ops.ne(v, 0)), "f64")
    sum, total = sum + v * agrees * weights[i], total + agrees * weights[i]
  end
  return ops.where(ops.eq(total, 0), 0, sum / ops.where(ops.eq(total, 0), 1, total))
end

return definition.define_builtin {
  name = "ties",
  doc = "Of each task vector (a model's difference from the seed, which is the first model) the largest elements are\n"
    .. "kept. Each element's sign is that of their weighted sum; the mean of those with this sign, times `scale`, is\n"
    .. "added to the seed.",
  options = {
    density = { "share", 0.2, doc = "share of a task vector's elements that are kept, in each parameter" },
    scale = { "number", 1, doc = "factor of the merged task vector" },
  },
  base = true, weights = "rate",
  check = function(what, o)
    if o.density == 0 then check.fail("%s: option density: with 0 nothing is kept", what) end
  end,
  merge = function(tensors, weights, o)
    local vectors, sum = {}, o.base * 0
    for i, x in ipairs(tensors) do
      vectors[i] = trimmed(x - o.base, o.density)
      sum = sum + vectors[i] * weights[i]
    end
    return o.base + merge_agreeing(vectors, weights, ops.sign(sum)) * o.scale
  end,
}
