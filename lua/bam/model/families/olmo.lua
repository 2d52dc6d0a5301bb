-- OlmoForCausalLM: pre-norm blocks of LayerNorms without weights, whose eps is 1e-5.
local decoder = require "bam.model.families.decoder"

local M = { name = "olmo", class = "OlmoForCausalLM", eps = "layer_norm_eps", halves = true,
            defaults = { eps = 1e-5, tied = false }, fixed = { block = "sequential", norm_weight = false } }

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d)
  decoder.only(f, "layer_norm_eps", "number", 1e-5)
  if f.get("attention_bias", "boolean", false) then d.qkv_bias, d.out_bias = true, true end
end

--- Write its own fields.
---@param config table
---@param d table
function M.write(config, d)
  config.attention_bias = d.qkv_bias and d.out_bias or false
  config.head_dim = nil -- it is hidden_size / num_attention_heads
end

return M
