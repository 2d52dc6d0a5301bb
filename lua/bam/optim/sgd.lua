--- Stochastic gradient descent with momentum, Nesterov's or plain; weight decay is added to the
--- gradient.
local check = require "bam.check"
local core = require "bam.core"
local optimiser = require "bam.optim.optimiser"

local function check_options(what, o)
  if o.nesterov and o.momentum == 0 then
    check.fail("%s: option nesterov: needs a momentum above 0", what)
  end
end

local function update(bucket, segment, settings)
  settings.momentum, settings.nesterov = bucket.options.momentum, bucket.options.nesterov
  core.sgd_step(segment.param, segment.grad, segment.moments[1], settings)
end

return optimiser.define {
  name = "SGD",
  options = { lr = { "rate", 1e-2 }, momentum = { "fraction", 0 }, nesterov = { "boolean", false },
              weight_decay = { "rate", 0 }, decay = { "callable", optional = true } },
  moments = function(o) return o.momentum > 0 and { "momentum" } or {} end,
  check = check_options,
  update = update,
}
