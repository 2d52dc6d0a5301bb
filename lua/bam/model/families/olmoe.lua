-- OlmoeForCausalLM: pre-norm blocks with RMS norms of all queries and all keys of a token, and FFN experts.
local routed = require "bam.model.families.routed"

local M = { name = "olmoe", class = "OlmoeForCausalLM", eps = "rms_norm_eps", halves = true,
            defaults = { eps = 1e-5, tied = false }, fixed = { block = "sequential", norm = "rms", qk_norm = "width" },
            names = { routed.ROUTER } }

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d)
  if f.get("attention_bias", "boolean", false) then d.qkv_bias, d.out_bias = true, true end
  routed.read(f, d, "num_experts", "intermediate_size", f.get("norm_topk_prob", "boolean", false))
end

--- Write its own fields.
---@param config table
---@param d table
function M.write(config, d)
  routed.write(config, d, "num_experts")
  config.norm_topk_prob = d.ffn.renormalise or false
  config.attention_bias = d.qkv_bias and d.out_bias or false
  config.head_dim = nil -- it is hidden_size / num_attention_heads
end

return M
