-- Lion (Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, arXiv:2302.06675, algorithm 2), one fused
-- pass per group of parameters.
local check_betas = require "bam.optim.betas"
local core = require "bam.core"
local definition = require "bam.optim.definition"

local function kernel(segment, o)
  core.lion_step(segment.param, segment.grad, segment.state.m, {
    lr = o.lr, beta1 = o.betas[1], beta2 = o.betas[2], weight_decay = o.weight_decay, clip = o.clip,
    low = segment.low })
end

return definition.define_builtin {
  name = "Lion",
  doc = "The sign of an interpolation of momentum and gradient, with decoupled weight decay. It keeps half the\n"
    .. "state of AdamW. The paper uses learning rates 3 to 10 times smaller than for AdamW, and weight decay larger\n"
    .. "by the same factor.",
  options = {
    lr = { "rate", 1e-4, doc = "opt:step(lr) overrides it" },
    betas = { "list", { 0.9, 0.99 }, doc = "coefficients of the interpolation and of the momentum" },
    weight_decay = { "rate", 0 },
  },
  state = { "m" },
  check = check_betas,
  kernel = kernel,
}
