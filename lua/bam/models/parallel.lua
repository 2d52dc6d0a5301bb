-- bam.models.parallel: the description of a dense model of the paper's blocks.
local check = require "bam.check"
local check_heads = require "bam.nn.heads"
local description = require "bam.models.description"

local spec = {
  layers = { "few" }, width = { "extent" }, heads = { "extent" },
  kv_heads = { "extent", optional = true }, head_width = { "extent", optional = true },
  ffn = { "extent" }, vocab = { "extent" },
  tied = { "boolean", false }, rope_base = { "positive", 10000 }, eps = { "positive", 1e-5 },
  logit_scale = { "positive", 1 }, context = { "size", 2048 }, std = { "rate", 0.02 },
}

--- Describes a dense model of parallel blocks: one LayerNorm, then attention and SwiGLU side by
--- side; no biases, RoPE (BAM §3.1, Table 8). Nothing is allocated; :build() makes it.
---@class models.ParallelOptions
---@field layers integer
---@field width integer
---@field heads integer
---@field kv_heads? integer default: heads
---@field head_width? integer default: width / heads
---@field ffn integer hidden width of SwiGLU: half of what the paper calls FFN dimension
---@field vocab integer
---@field tied? boolean the head is the input embedding; false by default
---@field rope_base? number
---@field eps? number of the norms, 1e-5
---@field logit_scale? number logits are multiplied by it, 1
---@field context? integer longest sequence, as a checkpoint's config.json says it
---@field std? number of the weights at first, 0.02; output projections: / sqrt(2 layers)
---@param options models.ParallelOptions
---@return table description
return function(options)
  local o = check.options("models.parallel", options, spec)
  o.kv_heads, o.head_width = check_heads("models.parallel", o, true)
  o.attention = { experts = 1, kv = "own", routing = "soft" }
  o.ffn = { experts = 1, hidden = o.ffn, top_k = 1 }
  o.load_balance, o.z_loss, o.aux_tokens = 0, 0, 0
  return description.new(o)
end
