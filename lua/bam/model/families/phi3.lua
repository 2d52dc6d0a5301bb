-- Phi3ForCausalLM (Phi-3 mini, Phi-4, Phi-4 mini): Llama's blocks, of whose heads a part may rotate; queries, keys and
-- values in one matrix, gate and up in another.
local decoder = require "bam.model.families.decoder"
local json = require "bam.util.json"
local windows = require "bam.model.families.windows"

local M = { name = "phi3", class = "Phi3ForCausalLM", eps = "rms_norm_eps", halves = true, partial = true,
            defaults = { eps = 1e-5, tied = false }, fixed = { block = "sequential", norm = "rms" },
            fused = { { "qkv_proj", { "q_proj", "k_proj", "v_proj" } },
                      { "gate_up_proj", { "gate_proj", "up_proj" } } } }

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d)
  decoder.only(f, "attention_bias", "boolean", false)
  decoder.only(f, "resid_pdrop", "rate", 0)
  decoder.only(f, "embd_pdrop", "rate", 0)
  if d.rope then f.refuse("rope_parameters.rope_type", d.rope.scaling, 'in this family it may be "default"') end
  d.window = windows.read(f, d.layers, function() return true end)
end

--- Write its own fields.
---@param config table
---@param d table
function M.write(config, d)
  windows.write(config, d)
  config.layer_types = nil -- all layers have the window, or none
  config.head_dim = nil -- it is hidden_size / num_attention_heads
  config.rope_scaling, config.original_max_position_embeddings = json.null, d.context
  config.partial_rotary_factor = config.rope_parameters.partial_rotary_factor or 1.0
  config.attention_bias, config.resid_pdrop, config.embd_pdrop = false, 0.0, 0.0
end

return M
