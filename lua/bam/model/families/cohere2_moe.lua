-- Cohere2MoeForCausalLM: Cohere 2's blocks with FFN experts. Its gates are a softmax of the chosen experts' logits,
-- which is renormalized top-k routing.
local cohere2 = require "bam.model.families.cohere2"
local decoder = require "bam.model.families.decoder"
local json = require "bam.util.json"
local routed = require "bam.model.families.routed"

local M = { name = "cohere2_moe", class = "Cohere2MoeForCausalLM", eps = "layer_norm_eps", halves = false,
            defaults = { eps = 1e-5, tied = true, head_width = 128 }, fixed = {}, names = { routed.ROUTER } }

local function check_layers(f, d)
  local kinds = f.get("mlp_layer_types", "list", {})
  for i, kind in ipairs(kinds) do
    if kind ~= "sparse" then f.refuse(string.format("mlp_layer_types[%d]", i), kind, "every layer has experts") end
  end
  if #kinds > 0 and #kinds ~= d.layers then f.refuse("mlp_layer_types", kinds, "it must name every layer") end
end

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d)
  check_layers(f, d)
  decoder.only(f, "first_k_dense_replace", "integer", 0)
  decoder.only(f, "num_shared_experts", "integer", 0)
  decoder.only(f, "expert_selection_fn", "string", "softmax")
  local eps = f.get("rms_norm_eps", "positive", false)
  if eps then d.norm, d.eps = "rms", eps end
  cohere2.read(f, d)
  routed.read(f, d, "num_experts", "intermediate_size", true)
end

--- Write its own fields.
---@param config table
---@param d table
function M.write(config, d)
  cohere2.write(config, d)
  routed.write(config, d, "num_experts")
  config.head_dim, config.num_shared_experts = d.head_width, 0
  config.norm_topk_prob = d.ffn.renormalise or false -- transformers does not ask; llama.cpp's converter does
  config.expert_selection_fn, config.rms_norm_eps = "softmax", d.norm == "rms" and d.eps + 0.0 or json.null
  config.mlp_layer_types = json.array {}
  for layer = 1, d.layers do config.mlp_layer_types[layer] = "sparse" end
end

return M
