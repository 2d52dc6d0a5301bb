-- MixtralForCausalLM: Mistral's blocks with FFN experts, whose gates sum to 1.
local decoder = require "bam.model.families.decoder"
local routed = require "bam.model.families.routed"
local windows = require "bam.model.families.windows"

local M = { name = "mixtral", class = "MixtralForCausalLM", eps = "rms_norm_eps", halves = true,
            defaults = { eps = 1e-5, tied = false, rope_base = 1e6 }, fixed = { block = "sequential", norm = "rms" },
            names = { { "%.mlp%.router%.weight$", ".block_sparse_moe.gate.weight" },
                      { "%.mlp%.experts%.(%d+)%.gate_proj%.", ".block_sparse_moe.experts.%1.w1." },
                      { "%.mlp%.experts%.(%d+)%.up_proj%.", ".block_sparse_moe.experts.%1.w3." },
                      { "%.mlp%.experts%.(%d+)%.down_proj%.", ".block_sparse_moe.experts.%1.w2." } } }

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d)
  decoder.only(f, "attention_bias", "boolean", false)
  routed.read(f, d, "num_local_experts", "intermediate_size", true)
  d.window = windows.read(f, d.layers, function() return true end)
end

--- Write its own fields.
---@param config table
---@param d table
function M.write(config, d)
  routed.write(config, d, "num_local_experts")
  config.router_jitter_noise = d.ffn.jitter + 0.0
  windows.write(config, d)
  config.layer_types = nil -- all layers have the window, or none
end

return M
