-- Spherical linear interpolation of two models (Shoemake 1985), each parameter as one vector.
local core = require "bam.core"
local definition = require "bam.merge.definition"

local ops = core.ops

local PARALLEL = 1 - 1e-9 -- cosines beyond this: a straight line, whose limit the arc is

local function dot(a, b) return ops.sum(ops.mul(a, b)):item() end

return definition.define_builtin {
  name = "slerp",
  doc = "Two models, merged along the arc between them, for each parameter as one vector. `weights` of { 0.75, 0.25 }\n"
    .. "are a quarter of the way from the first to the second.",
  models = 2, weights = "rate",
  merge = function(tensors, weights)
    local a, b = tensors[1], tensors[2]
    local t, sizes = weights[2] / (weights[1] + weights[2]), math.sqrt(dot(a, a) * dot(b, b))
    local cosine = sizes > 0 and dot(a, b) / sizes or 1
    if math.abs(cosine) > PARALLEL then return a * (1 - t) + b * t end
    local angle = math.acos(cosine)
    return a * (math.sin((1 - t) * angle) / math.sin(angle)) + b * (math.sin(t * angle) / math.sin(angle))
  end,
}
