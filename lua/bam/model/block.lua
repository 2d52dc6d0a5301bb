-- One block of a model: its norms, attention and FFN, put together as its definition says.
local blocks = require "bam.model.blocks.registry"
local freeze = require "bam.model.freeze"
local nn = require "bam.nn"
local parts = require "bam.model.parts"
local registry = require "bam.util.registry"
local readonly = require "bam.util.readonly"
local router_options = require "bam.nn.moe.router_options"
local sparse = require "bam.model.sparse"
local windows = require "bam.model.families.windows"

local Block = nn.module "Block"

--- A norm of a model.
---@param d table description
---@param o { dtype: string }
---@return table module
local function make_norm(d, o)
  local weight = d.norm_weight ~= false
  if d.norm == "rms" then return nn.RMSNorm(d.width, { weight = weight, eps = d.eps, dtype = o.dtype }) end
  return nn.LayerNorm(d.width, { weight = weight, bias = false, eps = d.eps, dtype = o.dtype })
end

Block.make_norm = make_norm

-- Deviation of output projections at first: a block's two add to the residual stream of all layers.
local function out_std(d, o) return o.std / math.sqrt(2 * d.layers) end

-- A layer of a script's class.
local function make_own(d, which, o)
  return parts.make(d, which, { std = o.std, out_std = out_std(d, o), dtype = o.dtype })
end

-- Add the options of a part's router to those of its layer; `now` are the numbers of the knobs.
local function with_router(part, now, layer_options)
  for _, option in ipairs(router_options.LIST) do
    local holder = option.scheduled and now or part
    layer_options[option.name] = holder[option.name]
  end
  return layer_options
end

-- Do the heads of a layer rotate? In Cohere 2 only those with a window do.
local function rotates(d, layer) return not d.rope_layers or windows.of(d, layer) > 0 end

local function make_attention(d, layer, o, now)
  local a = d.attention
  if a.class then return make_own(d, "attention", o) end
  return nn.MixtureOfAttention(with_router(a, now.attention, {
    width = d.width, heads = d.heads, kv_heads = d.kv_heads, head_width = d.head_width,
    experts = a.experts, kv = a.kv, routing = now.attention.routing,
    keys_apart = freeze.keys_apart(d), router = a.router, layer = layer, aux_tokens = d.aux_tokens,
    rope_base = rotates(d, layer) and d.rope_base or 0, rope_scaling = d.rope and readonly.copy(d.rope),
    rope_width = d.rope_width,
    window = windows.of(d, layer), qkv_bias = d.qkv_bias, out_bias = d.out_bias, qk_norm = d.qk_norm, eps = d.eps,
    std = o.std, out_std = out_std(d, o), dtype = o.dtype }))
end

local function make_ffn(d, layer, o, now)
  local f, dense = d.ffn, sparse.dense(d, layer)
  if f.experts == 1 or dense then
    if f.class then return make_own(d, "ffn", o) end
    return nn.SwiGLU { width = d.width, hidden = dense or f.hidden, activation = d.activation, std = o.std,
                       out_std = out_std(d, o), dtype = o.dtype }
  end
  local given = with_router(f, now.ffn, { width = d.width, experts = f.experts, top_k = now.ffn.top_k,
                                          router = f.router, layer = layer, aux_tokens = d.aux_tokens,
                                          dtype = o.dtype })
  if f.class then
    given.make = function() return make_own(d, "ffn", o) end
    return nn.RoutedModules(given)
  end
  given.hidden, given.std, given.out_std = f.hidden, o.std, out_std(d, o)
  given.activation = d.activation
  return nn.RoutedFFN(given)
end

--- One block of a model that is described.
---@param d table description
---@param layer integer
---@param o { std: number, dtype: string }
---@param now table what knobs.at gives
function Block:init(d, layer, o, now)
  local definition = blocks.of(d)
  for _, norm in ipairs(definition.norms) do self[norm[1]] = make_norm(d, o) end
  self.attention = make_attention(d, layer, o, now)
  self.ffn = make_ffn(d, layer, o, now)
  self._forward, self._is_builtin = registry.code(definition).forward, definition.is_builtin
end

--- x is the residual stream before the last block's `branch` was added to it; that happens in a norm.
---@param x tensor [B, T, width]
---@param branch? tensor [B, T, width]
---@param pass table of the forward pass
---@return tensor x
---@return tensor? branch nil if it has been added already, see bam.nn.residual
---@return boolean? fresh whether nothing else holds `branch`, so that it can be closed when it has been added
---@return boolean? fresh_x whether nothing else holds x either, nor does its gradient need it
function Block:forward(x, branch, pass)
  local sum, next_branch, fresh, fresh_x = self._forward(self, x, branch, pass)
  local may_close = next_branch ~= nil and self._is_builtin
  return sum, next_branch, may_close and fresh, may_close and fresh_x
end

return Block
