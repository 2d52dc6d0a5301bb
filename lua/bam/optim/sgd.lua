-- Stochastic gradient descent with momentum, Nesterov's or plain; weight decay is added to the gradient.
local check = require "bam.util.check"
local core = require "bam.core"
local definition = require "bam.optim.definition"

local function check_options(what, o)
  if o.nesterov and o.momentum == 0 then
    check.fail("%s: option nesterov: needs a momentum above 0", what)
  end
end

local function kernel(segment, o)
  core.sgd_step(segment.param, segment.grad, segment.state.momentum, {
    lr = o.lr, momentum = o.momentum, nesterov = o.nesterov, weight_decay = o.weight_decay, step = o.step,
    clip = o.clip,
    low = segment.low })
end

return definition.define_builtin {
  name = "SGD",
  doc = "Stochastic gradient descent with momentum, as in PyTorch.",
  options = {
    lr = { "rate", 1e-2, doc = "opt:step(lr) overrides it" },
    momentum = { "fraction", 0 },
    nesterov = { "boolean", false },
    weight_decay = { "rate", 0 },
  },
  state = function(o) return o.momentum > 0 and { "momentum" } or {} end,
  check = check_options,
  kernel = kernel,
}
