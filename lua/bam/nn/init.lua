--- Layers and models: modules with named parameters. nn.module "Name" begins one of your own;
--- help("nn.Linear") tells how to make one. Every module has the methods of nn.Module: parameters,
--- state, load_state, freeze, count, to, ...
require "bam.tensor" -- tensors have their methods
local check = require "bam.check"
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
  Attention = require "bam.nn.attention",
  MixtureOfAttention = require "bam.nn.mixture_of_attention",
  Router = require "bam.nn.router",
  RoutedFFN = require "bam.nn.routed_ffn",
  SwiGLU = require "bam.nn.swiglu",
  Sequential = require "bam.nn.sequential",
  Dropout = require "bam.nn.dropout",
}

return check.guard(M, "bam.nn")
