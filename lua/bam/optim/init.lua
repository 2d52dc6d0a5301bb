--- Optimizers. Making one moves the parameters into flat buffers, in which every p.grad is a view of one long
--- gradient. opt:state() and opt:load_state(t) save and resume to the bit.
---
---   local opt = bam.optim.AdamW(model, { lr = 1e-3 })
---   opt:zero_grad()
---   loss:backward()
---   opt:clip(1)
---   opt:step()
---
--- `params` is a module, a list of tensors or of { name =, tensor = } as m:parameters() returns, or a list of
--- groups { params = ..., name = "head", lr_scale = 0.5 } with any option except lr. The option `groups` selects
--- parameters by pattern instead: groups = { { params = "^embed%.", lr_scale = 0.5 } }. Frozen parameters are left
--- out: one that is frozen later is skipped while it is frozen, and one that was frozen when the optimizer was made
--- cannot join it. Weight decay applies to matrices, not to norms, biases, other vectors and embeddings; the option
--- `decay`, a function(name, tensor, module), decides otherwise.
---
--- bam.train { optimizer = "muon" } selects an optimizer by its name, or with options, { "muon", momentum = 0.9 },
--- or by a result of bam.optim.define.
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
---@field name string letters, digits and _; also its name in bam.train
---@field doc? string text for help()
---@field options table { name = { kind, default, doc = "..." } }; lr = { "rate", 1e-3 } is required. Kinds: rate
--- (a number of at least 0), fraction (from 0 to below 1), positive, number, count, size, boolean, string, list,
--- table, callable. An option without a default is required, unless it has optional = true. The option weight_decay
--- adds `decay`; the update receives weight_decay = 0 for parameters that do not decay
---@field state? string[]|fun(options: table, param: tensor): table tensors kept for each parameter, initially 0,
--- saved and resumed: names of tensors with the shape of the parameter, and name = { shape =, dtype =, value = }
--- for others, with the dtype of the parameter and value 0 by default
---@field update? fun(param: tensor, grad: tensor, state: table, o: table): tensor returns the new value of the
--- parameter and assigns new values to the fields of `state`; changes nothing in place. It sees one whole
--- parameter; o has the options, with this step's lr, weight_decay, step (how often the parameter was trained, from
--- 1), name and module
---@field elementwise? boolean the update treats all elements alike: it is called once for many parameters, stored
--- back to back as one vector, which is faster; false by default
---@field kernel? fun(segment: table, o: table) instead of update: changes segment.param and segment.state in place
--- by one call of a kernel; o.clip, a 0-d f64 tensor or nil, is the factor of segment.grad; a factor of 0 must
--- change nothing
---@field check? fun(what: string, options: table) raises an error if options contradict each other
---@field counts? boolean with kernel: o.step counts for each parameter, not for the optimizer; false by default
---@field accepts? fun(name: string, tensor: tensor, module?: table, options: table): boolean which parameters it
--- updates; all by default
---@field rest? string|table name or definition of the optimizer that updates the others

--- Define an optimizer: the state it keeps for each parameter, and how a step changes a parameter. The result is
--- called to make an optimizer, and may be an option of bam.train. A step whose new values have the wrong shape or
--- are not finite is an error and changes nothing.
---
---   local Sign = bam.optim.define {
---     name = "Sign", options = { lr = { "rate", 1e-3 } },
---     update = function(param, grad, state, o) return param - grad:sign() * o.lr end,
---   }
---   local opt = Sign(model, { lr = 0.1 })
---@param what optim.Definition
---@return table definition
function M.define(what) return definition.define(what) end

check.guard(M, "bam.optim")
local unknown = getmetatable(M).__index
getmetatable(M).__index = function(t, name) -- Optimiser: its name before version 0.2
  return name == "Optimiser" and M.Optimizer or unknown(t, name)
end
return M
