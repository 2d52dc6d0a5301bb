-- bam.models.parallel: the description of a dense model of the paper's blocks.
local check = require "bam.util.check"
local check_heads = require "bam.nn.heads"
local description = require "bam.model.description"

local spec = {
  layers = { "few" }, width = { "extent" }, heads = { "extent" },
  kv_heads = { "extent", optional = true }, head_width = { "extent", optional = true },
  ffn = { "extent" }, vocab = { "extent" },
  tied = { "boolean", false }, rope_base = { "positive", 10000 }, eps = { "positive", 1e-5 },
  logit_scale = { "positive", 1 }, context = { "size", 2048 }, std = { "rate", 0.02 },
}

--- Describe a dense model of parallel blocks: one LayerNorm, then attention and SwiGLU side by side; no biases,
--- RoPE (BAM §3.1, Table 8). Nothing is allocated before description:build().
---@class models.ParallelOptions
---@field layers integer
---@field width integer
---@field heads integer
---@field kv_heads? integer heads by default
---@field head_width? integer width / heads by default
---@field ffn integer hidden width of SwiGLU: half of what the paper calls the FFN dimension
---@field vocab integer
---@field tied? boolean the head uses the input embedding; false by default
---@field rope_base? number 10000 by default
---@field eps? number of the norms, 1e-5 by default
---@field logit_scale? number factor of the logits, 1 by default
---@field context? integer longest sequence, written to config.json
---@field std? number standard deviation of the initial weights, 0.02 by default; output projections use std / √(2
--- layers)
---@param options models.ParallelOptions
---@return bam.Description
return function(options)
  local o = check.options("models.parallel", options, spec)
  o.kv_heads, o.head_width = check_heads("models.parallel", o, true)
  o.attention = { experts = 1, kv = "own", routing = "soft" }
  o.ffn = { experts = 1, hidden = o.ffn, top_k = 1 }
  o.load_balance, o.z_loss, o.aux_tokens = 0, 0, 0
  return description.new(o)
end
