--- The SwiGLU feed-forward layer: down(silu(gate(x)) * up(x)), or GeGLU with another activation. Gate and up are one
--- projection `gate_up` (its rows are [gate | up]).
local activations = require "bam.nn.activations"
local check = require "bam.util.check"
local core = require "bam.core"
local Linear = require "bam.nn.linear"

local SwiGLU = require("bam.nn.module").module "SwiGLU"

SwiGLU._fresh = { "down" } -- see bam.nn.early
SwiGLU._adds = true -- see bam.nn.residual

--- nn.SwiGLU { width = 512, hidden = 1536 }
---@class nn.SwiGLUOptions
---@field width integer
---@field hidden integer
---@field activation? string "silu" (default), "gelu", or "gelu_tanh", which computes GELU by tanh
---@field bias? boolean bias of both projections, false by default
---@field std? number standard deviation of the initial weights, as in nn.Linear
---@field out_std? number the same for `down`; std by default
---@field dtype? string
---@param options nn.SwiGLUOptions
function SwiGLU:init(options)
  local o = check.options("nn.SwiGLU", options, {
    width = { "size" }, hidden = { "size" }, activation = { "string", "silu" }, bias = { "boolean", false },
    std = { "rate", optional = true }, out_std = { "rate", optional = true },
    dtype = { "dtype", "f32" },
  })
  self.activation = activations.check("nn.SwiGLU", o.activation)
  self.gate_up = Linear(o.width, 2 * o.hidden, { bias = o.bias, std = o.std, dtype = o.dtype })
  self.gate_up._parts = { o.hidden, o.hidden }
  self.down = Linear(o.hidden, o.width,
                     { bias = o.bias, std = o.out_std or o.std, dtype = o.dtype })
end

--- Apply the layer to the last dimension.
---@param x tensor [..., width]
---@param _? table of a forward pass, which other layers in its place need
---@param residual? tensor [..., width] is added to the result
---@return tensor y [..., width]
function SwiGLU:forward(x, _, residual)
  local rows, ops = self.gate_up(x), core.ops
  if self.activation == "silu" then return self.down(ops.swiglu(rows), residual) end
  return self.down(ops.geglu(rows, self.activation == "gelu_tanh"), residual)
end

return SwiGLU
