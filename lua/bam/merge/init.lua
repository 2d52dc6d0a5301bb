--- Merge methods: how the parameters of several models with a common origin become one. bam.mix applies one to the
--- parameters that belong to no expert; the uniform average is the default. Its option `merge` is the name of a
--- method ("ties", in any case), a name with options ({ "ties", density = 0.1 }), a result of bam.merge.define, or
--- a function with the arguments of `merge` there. A method can also be called on tensors.
---
---   local merged = bam.merge.ties({ seed, a, b }, { density = 0.1 })
local check = require "bam.util.check"
local definition = require "bam.merge.definition"

local M = {}

-- The registry of bam's own: a file each.
for _, name in ipairs { "average", "dare", "slerp", "task_arithmetic", "ties" } do
  M[name] = require(string.format("bam.merge.methods.%s", name))
end

---@class merge.Definition
---@field name string letters, digits and _; also its name in bam.mix
---@field merge fun(tensors: tensor[], weights: number[], o: table): tensor merges one parameter of all models. The
--- tensors are copies in f64 on the CPU; weights[i] belongs to tensors[i]. o has the options, the `name` of the
--- parameter, and `base`
---@field doc? string text for help()
---@field options? table { name = { kind, default, doc = "..." } }, as in bam.optim.define; `weights` is added.
--- With an option `seed`, bam.rand is seeded for each parameter with that seed and its name
---@field base? boolean the first model is the base: its tensor is o.base, and `tensors` and `weights` belong to
--- the others; false by default
---@field weights? "number"|"rate" kind of the weights: any numbers (default), or numbers of at least 0
---@field models? integer number of models that it merges; any by default
---@field elementwise? boolean elements are merged independently: to save memory it is called for pieces of a
--- parameter, as vectors; false by default
---@field check? fun(what: string, o: table) raises an error if options contradict each other

--- Define a merge method. Its options and its code are part of the fingerprint of phases that use it.
---
---   local median = bam.merge.define {
---     name = "median",
---     merge = function(tensors) return bam.sort(bam.stack(tensors, 1), 1):select(1, (#tensors + 1) // 2) end,
---   }
---   local mixture = bam.mix { experts = models, merge = median }
---@param what merge.Definition
---@return table method
function M.define(what) return definition.define(what) end

return check.guard(M, "bam.merge")
