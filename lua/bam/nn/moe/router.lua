--- The router of a mixture: a linear layer to one logit per expert, softmax, and the k largest gates. Any module or
--- function with the same signature can replace it:
---
---   gates, experts, record = router(h, batch)
---     h        tensor [B, T, width]: the input of the layer's experts
---     batch    table of this forward pass, the same for all layers: documents, positions, mask (bool [B, T], false for
---              padding; nil without padding), and whatever routers store there for later layers
---     gates    tensor [B, T, k], differentiable; 0 drops a choice
---     experts  integers [B, T, k] from 1, 0 for none; nil: all experts in order, k of them
---     record   optional: { losses = tensor [2], load balance and z, which the model adds to its own; statistics =
---              tensor [3, experts]: per expert the share of assignments, the mean gate, the mean of -p ln p },
---              computed over the tokens of the mask
---
--- bam.mix, nn.RoutedFFN and nn.MixtureOfAttention take a class or a function that makes the router, and call it
--- with the options of nn.Router. The parameters of a router that is a module are trained and saved.
---
--- A router that is a module may have a method after_step, called after every optimizer step (not after a skipped
--- one), without autograd:
---
---   router:after_step(statistics)
---     statistics   { load, gate, entropy }: lists with a number per expert, those of `record` averaged over the whole
---                  batch of the step; nil if the router returns no statistics
---
--- It changes tensors in the router's fields in place, for example a bias that balances the load:
--- self.bias:add_(...). It is also called while the router's parameters are frozen.
---
--- In bam.train the code of a router, with the globals, modules and tables that it uses, is part of the phase's
--- fingerprint. State that a router keeps between steps must be tensors in its fields, changed only while its field
--- `training` is true: checkpoints contain these. Caches belong in fields whose names start with "_".
local check = require "bam.util.check"
local core = require "bam.core"
local router_options = require "bam.nn.moe.router_options"
local routing = require "bam.nn.moe.routing"
local weights = require "bam.nn.weights"

local Router = require("bam.nn.module").module "Router"
local ops = core.ops

Router.is_head = true -- over experts: Muon leaves it to AdamW, as it does the model's head

local spec = router_options.add_to {
  width = { "size" }, experts = { "size" }, top_k = { "size", optional = true },
  dense = { "boolean", false }, losses = { "boolean", true }, aux_group_size = { "count", 0, was = "aux_tokens" },
  std = { "rate", 0.02 }, dtype = { "dtype", "f32" }, layer = { "size", optional = true },
}

--- nn.Router { width = 512, experts = 4, top_k = 1 }. `weight` is [experts, width]. The fields
--- temperature, jitter, top_k and aux_tokens (option aux_group_size) may be changed between steps.
---@class nn.RouterOptions: nn.RouterSettings
---@field width integer
---@field experts integer
---@field top_k? integer all experts by default
---@field dense? boolean return gates for all experts, 0 for those not selected, and no `experts`
---@field losses? boolean compute the auxiliary losses, true by default
---@field aux_group_size? integer tokens per group over which the load is balanced; 0 by default: all tokens
---@field std? number standard deviation of the initial weights, 0.02 by default
---@field dtype? string
---@field layer? integer number of the layer, for routers that differ between layers
---@param options nn.RouterOptions
function Router:init(options)
  local o = check.options("nn.Router", options, spec)
  self.experts, self.top_k = o.experts, o.top_k or o.experts
  if self.top_k > self.experts then
    check.fail("nn.Router: top_k is %d, and there are %d experts", self.top_k, self.experts)
  end
  self.dense, self.losses, self.aux_tokens = o.dense, o.losses, o.aux_group_size
  router_options.copy(o, self)
  self.weight = weights.normal({ o.experts, o.width }, o.std, o.dtype)
end

local function shaken(h, jitter)
  local noise = core.rand(h.shape, { dtype = h.dtype, device = h.device })
  return ops.mul(h, ops.add(ops.mul(noise, 2 * jitter), 1 - jitter))
end

-- A gate that is p / p has no gradient.
local function check_learns(self)
  if not (self.renormalise and self.top_k == 1 and self.experts > 1) then return end
  if self.training and self.weight.requires_grad and core.is_recording() then
    check.fail("router: %s. For inference: m:eval() or bam.no_grad", routing.CANNOT_LEARN)
  end
end

--- Select experts for each token.
---@param h tensor [..., width]
---@param batch? table table of the forward pass
---@return tensor gates [..., k]
---@return tensor? experts [..., k]
---@return table record
function Router:forward(h, batch)
  check_learns(self)
  if self.training and self.jitter > 0 then h = shaken(h, self.jitter) end
  local rounded = check.is_tensor(h) and h.dtype == "bf16" -- else linear says what it expects
  local logits = ops.linear(h, self.weight, nil, rounded and "f32" or nil)
  if self.temperature ~= 1 then logits = ops.div(logits, self.temperature) end
  local group = self.training and self.aux_tokens or 0 -- evaluating, there may be any number
  local gates, experts, losses, statistics =
    ops.route(logits, batch and batch.mask, self.top_k, self.renormalise, self.dense, group)
  return gates, not self.dense and experts or nil,
         { losses = self.losses and losses or nil, statistics = statistics }
end

return Router
