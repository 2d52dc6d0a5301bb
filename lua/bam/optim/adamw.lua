-- AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), one fused pass per group of parameters.
local check_betas = require "bam.optim.betas"
local core = require "bam.core"
local definition = require "bam.optim.definition"

local function kernel(segment, o)
  core.adamw_step(segment.param, segment.grad, segment.state.m, segment.state.v, {
    lr = o.lr, beta1 = o.betas[1], beta2 = o.betas[2], eps = o.eps, weight_decay = o.weight_decay, step = o.step,
    clip = o.clip,
    low = segment.low })
end

return definition.define_builtin {
  name = "AdamW",
  doc = "Adam with decoupled weight decay. The bias correction of a parameter's moments uses the number of steps\n"
    .. "in which it was trained.",
  options = {
    lr = { "rate", 1e-3, doc = "opt:step(lr) overrides it" },
    betas = { "list", { 0.9, 0.95 }, doc = "decay rates of the first and the second moment" },
    eps = { "positive", 1e-8, doc = "added to the root of the second moment" },
    weight_decay = { "rate", 0.1 },
  },
  state = { "m", "v" },
  check = check_betas,
  counts = true, -- for the correction of the moments' bias
  kernel = kernel,
}
