-- Cohere2ForCausalLM: Cohere's blocks, of which most have a window, and only those rotate. So a model whose layers all
-- rotate has windows in all layers: as long as its context where there is none.
local windows = require "bam.model.families.windows"

local M = { name = "cohere2", class = "Cohere2ForCausalLM", eps = "layer_norm_eps", halves = false,
            defaults = { eps = 1e-5, tied = true }, fixed = {} }

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d)
  if f.get("attention_bias", "boolean", false) then d.qkv_bias, d.out_bias = true, true end
  d.logit_scale = f.get("logit_scale", "positive", 0.0625)
  local every = f.get("sliding_window_pattern", "size", 4)
  d.window = windows.read(f, d.layers, function(layer) return layer % every ~= 0 end)
  if not math.type(d.window) then d.rope_layers = "windowed"
  elseif d.window >= d.context then d.window = nil end
end

--- Write its own fields.
---@param config table
---@param d table
function M.write(config, d)
  config.attention_bias, config.logit_scale = d.qkv_bias and d.out_bias or false, d.logit_scale + 0.0
  config.head_dim = nil -- it is hidden_size / num_attention_heads
  windows.write(config, d)
  if d.window or d.rope_layers then return end
  config.sliding_window = d.context
  for layer = 1, d.layers do config.layer_types[layer] = "sliding_attention" end
end

return M
