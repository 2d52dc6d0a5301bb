--- FFN experts, of which a router selects some for each token (BAM §3.3, §4.2). The weights of the experts are
--- stacked: `gate_up` is [experts, 2 hidden, width], gate rows before up rows, and `down` is [experts, width,
--- hidden].
local activations = require "bam.nn.activations"
local check = require "bam.util.check"
local core = require "bam.core"
local early_routing = require "bam.nn.moe.early_routing"
local Router = require "bam.nn.moe.router"
local router_options = require "bam.nn.moe.router_options"
local routing = require "bam.nn.moe.routing"
local weights = require "bam.nn.weights"

local ops = core.ops

local RoutedFFN = require("bam.nn.module").module "RoutedFFN"

RoutedFFN._fresh = {} -- see bam.nn.early

local spec = router_options.add_to {
  width = { "size" }, hidden = { "size" }, activation = { "string", "silu" }, experts = { "size" },
  top_k = { "size", 1 }, aux_group_size = { "count", 0, was = "aux_tokens" },
  router = { "callable", optional = true }, layer = { "size", optional = true },
  std = { "rate", 0.02 }, out_std = { "rate", optional = true },
  router_std = { "rate", 0.02 }, dtype = { "dtype", "f32" },
}

--- nn.RoutedFFN { width = 512, hidden = 1024, experts = 4 }
---@class nn.RoutedFFNOptions: nn.RouterSettings
---@field width integer
---@field hidden integer hidden width of each expert
---@field activation? string of the experts: "silu" (default), "gelu", or "gelu_tanh", which computes GELU by tanh
---@field experts integer
---@field top_k? integer experts per token, 1 by default
---@field aux_group_size? integer of the router, as in nn.Router
---@field router? fun(options: table): table makes a router of your own from nn.Router's options
---@field layer? integer number of the layer, passed to `router`
---@field std? number standard deviation of the initial weights, 0.02 by default
---@field out_std? number the same for `down`; std by default
---@field router_std? number the same for the router, 0.02 by default
---@field dtype? string
---@param options nn.RoutedFFNOptions
function RoutedFFN:init(options)
  local o = check.options("nn.RoutedFFN", options, spec)
  self.experts, self.layer = o.experts, o.layer
  self.activation = activations.check("nn.RoutedFFN", o.activation)
  self.router = routing.make(o.router or Router, router_options.copy(o, {
    width = o.width, experts = o.experts, top_k = o.top_k, aux_tokens = o.aux_group_size, std = o.router_std,
    dtype = o.dtype, layer = o.layer }))
  self.gate_up = weights.normal({ o.experts, 2 * o.hidden, o.width }, o.std, o.dtype)
  self.down = weights.normal({ o.experts, o.width, o.hidden }, o.out_std or o.std, o.dtype)
end

--- Its matrices: gate, up and down of every expert.
---@param x tensor
---@param key string
---@return table[]
function RoutedFFN:matrices(x, key)
  local function stack(view)
    return { view = view, count = x:size(1), rows = view:size(2), columns = x:size(3) }
  end
  if key ~= "gate_up" then return { stack(x) } end
  local hidden = x:size(2) // 2
  return { stack(x:narrow(2, 1, hidden)), stack(x:narrow(2, hidden + 1, hidden)) }
end

-- The gates, and the tokens in order of their experts.
local function route(self, h, batch)
  local gates, experts = routing.call(self, "ffn", h, batch)
  if not experts then experts = routing.all(gates, self.experts) end
  routing.check_pairs(self, "ffn", gates, experts)
  return { gates = gates, order = ops.expert_order(experts, self.experts) }
end

local function run(self, h, _, routed)
  local y = ops.routed_ffn(h, routed.gates, routed.order, self.gate_up, self.down,
                           { gelu = self.activation ~= "silu", approximate = self.activation == "gelu_tanh" })
  routed.order:close() -- only backward reads it from here on
  return y
end

--- Compute each token by its experts.
---@param h tensor [B, T, width]
---@param batch? table table of the forward pass, see nn.Router
---@return tensor y [B, T, width]
function RoutedFFN:forward(h, batch) return run(self, h, batch, route(self, h, batch)) end

early_routing.set_halves(RoutedFFN.forward, route, run)

return RoutedFFN
