-- GlmForCausalLM (GLM-4 9B, GLM-Edge): Llama's blocks, of whose heads a part rotates, in pairs; biases of queries, keys
-- and values; gate and up in one matrix.
local M = { name = "glm", class = "GlmForCausalLM", eps = "rms_norm_eps", halves = false, partial = true,
            defaults = { eps = 1.5625e-07, tied = false, head_width = 128, rope_share = 0.5 },
            fixed = { block = "sequential", norm = "rms" },
            fused = { { "gate_up_proj", { "gate_proj", "up_proj" } } } }

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d) if f.get("attention_bias", "boolean", true) then d.qkv_bias = true end end

--- Write its own fields.
---@param config table
---@param d table
function M.write(config, d)
  config.attention_bias = d.qkv_bias or false
  config.rope_parameters.partial_rotary_factor = config.rope_parameters.partial_rotary_factor or 1.0
  config.partial_rotary_factor = config.rope_parameters.partial_rotary_factor -- older versions read it here
end

return M
