--- Optimizers. Making one moves the parameters into flat buffers, where every p.grad is a view of
--- one long gradient; then opt:zero_grad(), loss:backward(), opt:clip(1), opt:step(lr). opt:state()
--- and opt:load_state(t) save and resume to the bit. help(bam.optim.AdamW) tells the options of one.
---
--- `params` is a module, a list of tensors or of { name =, tensor = } as m:parameters() gives, or a
--- list of groups { params = ..., name = "head", lr_scale = 0.5, and any option but lr }, where
--- name and lr_scale may be left out. The option `groups` sorts the parameters by patterns instead:
--- groups = { { params = "^embed%.", lr_scale = 0.5 } }. Frozen parameters are left out; one frozen later is
--- skipped while it is, and one that was frozen when the optimizer was made cannot join it. Weights decay,
--- but norms, biases and other vectors and embeddings do not; `decay` is a function(name, tensor,
--- module) that decides otherwise.
---
--- bam.train { optimizer = "muon" } takes one by its name, in any case, or with options
--- { "muon", momentum = 0.9 }, or what bam.optim.define gives.
require "bam.tensor" -- tensors have their methods
local check = require "bam.util.check"
local definition = require "bam.optim.definition"

local M = { Optimizer = require("bam.optim.optimizer").Optimizer }

-- The registry of bam's own: a file each.
for _, name in ipairs { "adamw", "lion", "muon", "sgd" } do
  local one = require(string.format("bam.optim.%s", name))
  M[one.name] = one
end

---@class optim.Definition
---@field name string letters, digits and _; it also names the optimizer in bam.train
---@field doc? string what help() prints
---@field options table { name = { kind, default, doc = "..." } }; lr = { "rate", 1e-3 } is needed. Kinds: "rate" is a
--- number of at least 0, "fraction" one from 0 to below 1, others are positive, number, count, size, boolean, string,
--- list, table, callable. Without a default an option is needed, unless it says optional = true. With an option
--- weight_decay there is also `decay`, and the update gets 0 where a parameter does not decay
---@field state? string[]|fun(options: table, param: tensor): table what is kept for each parameter, zeros at first,
--- saved and resumed: names of tensors of the parameter's shape; and name = { shape =, dtype =, value = }, where dtype
--- is by default the parameter's and value, at first, 0
---@field update? fun(param: tensor, grad: tensor, state: table, o: table): tensor gives the parameter's new value and
--- assigns new values to the fields of `state`; nothing is changed in place. It sees one whole parameter; o has the
--- options, with this step's lr, weight_decay, step (how often the parameter was trained, from 1), name and module
---@field elementwise? boolean the update treats every element alike: it is called once for many parameters, which are
--- stored back to back as one vector; faster
---@field kernel? fun(segment: table, o: table) instead of update: changes segment.param and segment.state in place, by
--- one call of a kernel; o.clip is the factor of segment.grad, a 0-d f64 tensor or nil. 0 must change nothing
---@field check? fun(what: string, options: table) raises an error if options do not go together
---@field counts? boolean with kernel: it needs o.step of the parameter, not of the optimizer
---@field accepts? fun(name: string, tensor: tensor, module?: table, options: table): boolean which parameters it
--- updates
---@field rest? string|table the name or definition of the optimizer that updates the others

--- Defines an optimizer: what it keeps for each parameter, and how a parameter changes in a step. Gives what makes
--- live ones: local opt = Mine(model, { lr = 0.1 }), and bam.train { optimizer = { Mine, beta = 0.9 } }. A step whose
--- new values have the wrong shape or are not finite raises an error, and changes nothing.
---@param what optim.Definition
---@return table definition
function M.define(what) return definition.define(what) end

check.guard(M, "bam.optim")
local unknown = getmetatable(M).__index
getmetatable(M).__index = function(t, name) -- Optimiser: its name before version 0.2
  return name == "Optimiser" and M.Optimizer or unknown(t, name)
end
return M
