-- Attention and FFN experts of the same input, routed before either is computed. On a GPU the host must wait for how
-- many tokens each expert has; it asks for that before attention and has the answer when attention has been enqueued.
-- Random numbers of routers are drawn in the same order as when one layer runs after the other, and backward adds up
-- gradients in the same order: bits do not change.
local check = require "bam.util.check"
local core = require "bam.core"

local M = {}

local halves = {} -- by forward

--- State that a layer's forward(h, batch, ...) is run(layer, h, batch, route(layer, h, batch), ...), and that `run`
--- draws no random numbers and calls no code of a script.
---@param forward function
---@param route fun(layer: table, h: tensor, batch?: table): any
---@param run fun(layer: table, h: tensor, batch?: table, routed: any, ...): tensor
function M.set_halves(forward, route, run) halves[forward] = { route = route, run = run } end

-- nil of a layer whose `forward` a script has written or replaced, and of a function in its place.
local function halves_of(layer)
  return type(layer) == "table" and halves[check.original(layer.forward)] or nil
end

-- layer's second half, recorded at a place.
local function run_at(place, run, layer, h, batch, routed, residual)
  local after = core.record_at(place)
  local good, y = pcall(run, layer, h, batch, routed, residual)
  core.record_at(after)
  if not good then error(y, 0) end
  return y
end

--- Compute two layers of the same input.
---@param attention table|function a module
---@param ffn table|function a module
---@param h tensor [B, T, width]
---@param batch? table table of the forward pass
---@param residual? tensor that attention adds to, see bam.nn.residual
---@return tensor of attention
---@return tensor of ffn
function M.call_both(attention, ffn, h, batch, residual)
  local first, second = halves_of(attention), halves_of(ffn)
  if not (first and second) then
    local y = residual and attention(h, batch, residual) or attention(h, batch)
    return y, ffn(h, batch)
  end
  local gates = first.route(attention, h, batch)
  local place = core.reserve_nodes()
  local choices = second.route(ffn, h, batch)
  local y = run_at(place, first.run, attention, h, batch, gates, residual)
  return y, second.run(ffn, h, batch, choices)
end

return M
