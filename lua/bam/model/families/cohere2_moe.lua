-- Cohere2MoeForCausalLM: Cohere 2's blocks with FFN experts. Its gates are a softmax of the chosen experts' logits,
-- which is renormalized top-k routing.
local cohere2 = require "bam.model.families.cohere2"
local decoder = require "bam.model.families.decoder"
local json = require "bam.util.json"
local sparse = require "bam.model.sparse"
local routed = require "bam.model.families.routed"
local windows = require "bam.model.families.windows"

local M = { name = "cohere2_moe", class = "Cohere2MoeForCausalLM", eps = "layer_norm_eps", halves = false,
            defaults = { eps = 1e-5, tied = true, head_width = 128 }, fixed = {}, names = { routed.ROUTER } }

local KINDS = { dense = true, sparse = true }

-- Layers are dense that `mlp_layer_types` names so, or the first few.
local function read_dense(f, d)
  local kinds, first = f.get("mlp_layer_types", "list", false), f.get("first_k_dense_replace", "count", 0)
  for i, kind in ipairs(kinds or {}) do
    if not KINDS[kind] then f.refuse(string.format("mlp_layer_types[%d]", i), kind, 'it may be "dense" or "sparse"') end
  end
  if kinds and #kinds ~= d.layers then f.refuse("mlp_layer_types", kinds, "it must name every layer") end
  local hidden = f.get("prefix_dense_intermediate_size", "extent", f.get("intermediate_size", "extent"))
  return sparse.list(d.layers, hidden, function(layer)
    if kinds then return kinds[layer] == "dense" end
    return layer <= first
  end)
end

-- transformers rotates the heads of dense layers also without a window, unless it is told another pattern.
local function check_rotation(f, d)
  if not d.dense_ffn then return end
  f.get("layer_types", "list") -- must be there: what it is by default depends on more than a description holds
  if sparse.layers(d) == 0 then f.refuse("mlp_layer_types", "dense", "some layer must be sparse") end
  if d.rope_layers ~= "windowed" or f.get("prefix_dense_sliding_window_pattern", "size", 1) > 1 then return end
  for layer = 1, d.layers do
    if sparse.dense(d, layer) and windows.of(d, layer) == 0 then
      f.refuse(string.format("layer_types[%d]", layer), "full_attention", "the layer is dense, so its heads rotate; a "
               .. "prefix_dense_sliding_window_pattern above 1 says that they do not")
    end
  end
end

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d)
  d.dense_ffn = read_dense(f, d)
  decoder.only(f, "num_shared_experts", "integer", 0)
  decoder.only(f, "expert_selection_fn", "string", "softmax")
  local eps = f.get("rms_norm_eps", "positive", false)
  if eps then d.norm, d.eps = "rms", eps end
  cohere2.read(f, d)
  check_rotation(f, d)
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
  for layer = 1, d.layers do config.mlp_layer_types[layer] = sparse.dense(d, layer) and "dense" or "sparse" end
  config.prefix_dense_intermediate_size = sparse.hidden(d) or json.null
  config.prefix_dense_sliding_window_pattern = 2 -- dense layers rotate as the others do: if they have a window
end

return M
