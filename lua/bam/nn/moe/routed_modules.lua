--- FFN experts that are modules of any class, of which a router selects some for each token. Each expert computes the
--- tokens that are sent to it. nn.RoutedFFN computes experts of SwiGLU faster.
local check = require "bam.util.check"
local core = require "bam.core"
local Router = require "bam.nn.moe.router"
local router_options = require "bam.nn.moe.router_options"
local routing = require "bam.nn.moe.routing"

local RoutedModules = require("bam.nn.module").module "RoutedModules"
local ops = core.ops

local spec = router_options.add_to {
  width = { "size" }, experts = { "size" }, make = { "callable" }, top_k = { "size", 1 },
  aux_group_size = { "count", 0, was = "aux_tokens" },
  router = { "callable", optional = true }, layer = { "size", optional = true },
  router_std = { "rate", 0.02 }, dtype = { "dtype", "f32" },
}

--- nn.RoutedModules { width = 64, experts = 4, make = function() return MyFFN { width = 64 } end }
---@class nn.RoutedModulesOptions: nn.RouterSettings
---@field width integer
---@field experts integer
---@field make function makes an expert, a module that computes x [1, tokens, width] to the same shape, token by token
---@field top_k? integer experts per token, 1 by default
---@field aux_group_size? integer of the router, as in nn.Router
---@field router? fun(options: table): table makes a router of your own from nn.Router's options
---@field layer? integer number of the layer, passed to `router`
---@field router_std? number standard deviation of the router's initial weights, 0.02 by default
---@field dtype? string of the router
---@param options nn.RoutedModulesOptions
function RoutedModules:init(options)
  local o = check.options("nn.RoutedModules", options, spec)
  self.experts, self.layer = o.experts, o.layer
  self.router = routing.make(o.router or Router, router_options.copy(o, {
    width = o.width, experts = o.experts, top_k = o.top_k, aux_tokens = o.aux_group_size, std = o.router_std,
    dtype = o.dtype, layer = o.layer }))
  self.modules = {}
  for e = 1, o.experts do self.modules[e] = o.make() end
end

-- For each expert the tokens that are sent to it, and which of all choices those are; both from 1.
local function sort_choices(experts, count)
  local lists, k = {}, experts:size(-1)
  for e = 1, count do lists[e] = { tokens = {}, choices = {} } end
  for i, e in ipairs(ops.reshape(experts, experts:count()):totable()) do
    local list = lists[e] -- nil of 0: no expert
    if list then
      list.tokens[#list.tokens + 1], list.choices[#list.choices + 1] = (i - 1) // k + 1, i
    end
  end
  return lists
end

local function index(list, device) return core.tensor(list, { dtype = "i64", device = device }) end

--- Compute each token by its experts.
---@param h tensor [B, T, width]
---@param batch? table table of the forward pass, see nn.Router
---@return tensor y [B, T, width]
function RoutedModules:forward(h, batch)
  local gates, experts = routing.call(self, "ffn", h, batch)
  if not experts then experts = routing.all(gates, self.experts) end
  local rows, width = ops.reshape(h, -1, h:size(-1)), h:size(-1)
  local flat_gates = ops.reshape(gates, gates:count())
  local sum = core.zeros(rows.shape, { dtype = h.dtype, device = h.device })
  for e, list in ipairs(sort_choices(experts, self.experts)) do
    local n = #list.tokens
    if n > 0 then
      local tokens = index(list.tokens, h.device)
      local x = ops.reshape(ops.index_select(rows, tokens, 1), 1, n, width)
      local y = ops.reshape(self.modules[e](x), n, width)
      local gate = ops.reshape(ops.index_select(flat_gates, index(list.choices, h.device), 1), n, 1)
      sum = ops.index_add(sum, tokens, ops.to(ops.mul(y, gate), h.dtype), 1)
    end
  end
  return ops.reshape(sum, h.shape)
end

return RoutedModules
