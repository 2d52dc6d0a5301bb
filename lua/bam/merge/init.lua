--- Merge methods: how the parameters of several models of one origin become one. bam.mix { merge = "ties" } takes one
--- by its name, in any case, with options as { "ties", density = 0.1 }, or what bam.merge.define gives, or a function
--- with the arguments of `merge` there. It merges the parameters that belong to no expert; the default is the uniform
--- average. A method can also be called: bam.merge.ties({ seed, a, b }, { density = 0.1 }) merges three tensors.
local check = require "bam.util.check"
local definition = require "bam.merge.definition"

local M = {}

-- The registry of bam's own: a file each.
for _, name in ipairs { "average", "dare", "slerp", "task_arithmetic", "ties" } do
  M[name] = require(string.format("bam.merge.methods.%s", name))
end

---@class merge.Definition
---@field name string letters, digits and _; it also names the method in bam.mix
---@field merge fun(tensors: tensor[], weights: number[], o: table): tensor merges one parameter of all models. The
--- tensors are copies in f64 on the CPU; weights[i] belongs to tensors[i]. o has the options, the
--- `name` of the parameter, and `base`
---@field doc? string what help() prints
---@field options? table { name = { kind, default, doc = "..." } }, as in bam.optim.define; `weights` is added. With an
--- option `seed` the random numbers of bam.rand begin anew for each parameter, from the seed and its name
---@field base? boolean the first model is the base: its tensor is o.base, and `tensors` and `weights` are of the others
---@field weights? "number"|"rate" what the weights may be: any numbers, as by default, or those of at least 0
---@field models? integer the number of models it merges; any by default
---@field elementwise? boolean elements are merged independently: it is called for pieces of a parameter, as vectors, to
--- save memory
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
