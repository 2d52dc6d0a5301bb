-- Qwen3MoeForCausalLM: Qwen 3's blocks with FFN experts in every layer.
local decoder = require "bam.model.families.decoder"
local json = require "bam.util.json"
local routed = require "bam.model.families.routed"
local windows = require "bam.model.families.windows"

local M = { name = "qwen3_moe", class = "Qwen3MoeForCausalLM", eps = "rms_norm_eps", halves = true,
            defaults = { eps = 1e-6, tied = false }, fixed = { block = "sequential", norm = "rms", qk_norm = "head" },
            names = { routed.ROUTER } }

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d)
  decoder.only(f, "decoder_sparse_step", "integer", 1)
  local dense = f.get("mlp_only_layers", "list", {})
  if #dense > 0 then f.refuse("mlp_only_layers", dense, "it may be empty: every layer has experts") end
  if f.get("attention_bias", "boolean", false) then d.qkv_bias, d.out_bias = true, true end
  routed.read(f, d, "num_experts", "moe_intermediate_size", f.get("norm_topk_prob", "boolean", false))
  if f.get("use_sliding_window", "boolean", false) then
    d.window = windows.read(f, d.layers, function() return true end)
  end
end

--- Write its own fields.
---@param config table
---@param d table
function M.write(config, d)
  routed.write(config, d, "num_experts")
  config.moe_intermediate_size, config.norm_topk_prob = d.ffn.hidden, d.ffn.renormalise or false
  config.decoder_sparse_step, config.mlp_only_layers = 1, json.array {}
  config.attention_bias = d.qkv_bias and d.out_bias or false
  windows.write(config, d)
  config.layer_types, config.use_sliding_window = nil, windows.largest(d) > 0
end

return M
