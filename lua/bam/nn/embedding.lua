--- A table of vectors, one per token id. Ids count from 0. `weight` is [count, width].
local check = require "bam.util.check"
local core = require "bam.core"
local weights = require "bam.nn.weights"

local Embedding = require("bam.nn.module").module "Embedding"

Embedding.no_decay = true -- excluded from weight decay

--- nn.Embedding(count, width, options). The initial weights are normally distributed.
---@param count integer
---@param width integer
---@param options? { std?: number, dtype?: string } std is 0.02 by default
function Embedding:init(count, width, options)
  self.vectors = check.value("nn.Embedding: count", count, "size") -- m:count() counts parameters
  self.width = check.value("nn.Embedding: width", width, "size")
  local o = check.options("nn.Embedding", options,
                          { std = { "rate", 0.02 }, dtype = { "dtype", "f32" } })
  self.weight = weights.normal({ self.vectors, self.width }, o.std, o.dtype)
end

--- Look up the vectors of token ids.
---@param ids tensor integers of any shape, from 0
---@return tensor y [..., width]
function Embedding:forward(ids) return core.ops.embedding(ids, self.weight) end

return Embedding
