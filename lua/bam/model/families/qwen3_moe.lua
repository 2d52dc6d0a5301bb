-- Qwen3MoeForCausalLM: Qwen 3's blocks with FFN experts in every layer, or in some of them.
local json = require "bam.util.json"
local routed = require "bam.model.families.routed"
local sparse = require "bam.model.sparse"
local windows = require "bam.model.families.windows"

local M = { name = "qwen3_moe", class = "Qwen3MoeForCausalLM", eps = "rms_norm_eps", halves = true,
            defaults = { eps = 1e-6, tied = false }, fixed = { block = "sequential", norm = "rms", qk_norm = "head" },
            names = { routed.ROUTER } }

-- Layers are dense that `mlp_only_layers` names, and those that are no multiple of `decoder_sparse_step`.
local function read_dense(f, d)
  local step, named = f.get("decoder_sparse_step", "size", 1), {}
  for i, layer in ipairs(f.get("mlp_only_layers", "list", {})) do
    if not math.type(layer) or layer < 0 or layer >= d.layers then
      f.refuse(string.format("mlp_only_layers[%d]", i), layer, string.format("layers are 0 to %d", d.layers - 1))
    end
    named[layer + 1] = true
  end
  return sparse.list(d.layers, f.get("intermediate_size", "extent"), function(layer)
    return named[layer] or layer % step ~= 0
  end)
end

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d)
  d.dense_ffn = read_dense(f, d)
  if d.dense_ffn and sparse.layers(d) == 0 then
    f.refuse("mlp_only_layers", f.get("mlp_only_layers", "list", {}), "some layer must have experts")
  end
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
  for layer = 1, d.layers do
    if sparse.dense(d, layer) then table.insert(config.mlp_only_layers, layer - 1) end
  end
  config.intermediate_size = sparse.hidden(d) or config.intermediate_size
  config.attention_bias = d.qkv_bias and d.out_bias or false
  windows.write(config, d)
  config.layer_types, config.use_sliding_window = nil, windows.largest(d) > 0
end

return M
