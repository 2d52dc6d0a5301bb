--- AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019), one fused pass per group
--- of parameters.
local check = require "bam.check"
local core = require "bam.core"
local optimiser = require "bam.optim.optimiser"

local function check_options(what, o)
  if #o.betas ~= 2 then
    check.fail("%s: option betas: expected two numbers, as in { 0.9, 0.95 }", what)
  end
  for i, beta in ipairs(o.betas) do
    check.value(string.format("%s: option betas: number %d", what, i), beta, "fraction")
  end
end

local function update(bucket, segment, settings)
  local betas = bucket.options.betas
  settings.beta1, settings.beta2, settings.eps = betas[1], betas[2], bucket.options.eps
  core.adamw_step(segment.param, segment.grad, segment.moments[1], segment.moments[2], settings)
end

return optimiser.define {
  name = "AdamW",
  options = { lr = { "rate", 1e-3 }, betas = { "list", { 0.9, 0.95 } }, eps = { "positive", 1e-8 },
              weight_decay = { "rate", 0.1 }, decay = { "callable", optional = true } },
  moments = function() return { "m", "v" } end,
  check = check_options,
  counts = true, -- for the correction of the moments' bias
  update = update,
}
