--- Layers and modules. A module has named parameters; nn.module "Name" starts a class of your own, nn.Linear and
--- the other classes here are called to make a layer. All of them have the methods of nn.Module.
require "bam.tensor" -- tensors have their methods
local check = require "bam.util.check"
local module = require "bam.nn.module"
require "bam.nn.methods"
require "bam.nn.tree"

local M = {
  module = module.module,
  Module = module.Module,
  is_module = module.is_module,
  weights = require "bam.nn.weights",
  Linear = require "bam.nn.linear",
  Embedding = require "bam.nn.embedding",
  LayerNorm = require "bam.nn.layer_norm",
  RMSNorm = require "bam.nn.rms_norm",
  Attention = require "bam.nn.attention",
  MixtureOfAttention = require "bam.nn.moe.mixture_of_attention",
  Router = require "bam.nn.moe.router",
  RoutedFFN = require "bam.nn.moe.routed_ffn",
  RoutedModules = require "bam.nn.moe.routed_modules",
  SwiGLU = require "bam.nn.swiglu",
  Sequential = require "bam.nn.sequential",
  Dropout = require "bam.nn.dropout",
}

for _, class in pairs(M) do
  if type(class) == "table" and class.forward and class ~= module.Module then
    check.methods(class, module.is_module, "a module", "m")
  end
end

return check.guard(M, "bam.nn")
