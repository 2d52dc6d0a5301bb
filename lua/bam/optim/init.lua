--- Optimisers. Making one moves the parameters into flat buffers, where every p.grad is a view of
--- one long gradient; then opt:zero_grad(), loss:backward(), opt:clip(1), opt:step(lr). opt:state()
--- and opt:load_state(t) save and resume to the bit.
---
--- `params` is a module, a list of tensors or of { name =, tensor = } as m:parameters() gives, or a
--- list of groups { params = ..., name = "head", lr_scale = 0.5, and any option but lr }, where
--- name and lr_scale may be left out. Frozen parameters are left out; one frozen later is skipped
--- while it is, and one that was frozen when the optimiser was made cannot join it. Weights decay,
--- but norms, biases and other vectors and embeddings do not; `decay` is a function(name, tensor,
--- module) that decides otherwise.
require "bam.tensor" -- tensors have their methods
local check = require "bam.check"
local adamw = require "bam.optim.adamw"
local sgd = require "bam.optim.sgd"

local M = { Optimiser = require("bam.optim.optimiser").Optimiser }

--- Adam with decoupled weight decay. The bias of a parameter's moments is corrected by the number of
--- steps in which it was trained.
---@class optim.AdamWOptions
---@field lr? number 1e-3 by default; opt:step(lr) overrides it
---@field betas? number[] { 0.9, 0.95 } by default
---@field eps? number 1e-8 by default
---@field weight_decay? number 0.1 by default
---@field decay? fun(name: string, tensor: tensor, module?: table): boolean which parameters decay
---@param params table
---@param options? optim.AdamWOptions
---@return table optimiser
function M.AdamW(params, options) return adamw(params, options) end

--- Gradient descent with momentum, as PyTorch has it.
---@class optim.SGDOptions
---@field lr? number 1e-2 by default; opt:step(lr) overrides it
---@field momentum? number 0 by default
---@field nesterov? boolean false by default
---@field weight_decay? number 0 by default
---@field decay? fun(name: string, tensor: tensor, module?: table): boolean which parameters decay
---@param params table
---@param options? optim.SGDOptions
---@return table optimiser
function M.SGD(params, options) return sgd(params, options) end

return check.guard(M, "bam.optim")
