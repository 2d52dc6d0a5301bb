-- Olmo2ForCausalLM: norms after attention and FFN, and RMS norms of all queries and all keys of a token.
local M = { name = "olmo2", class = "Olmo2ForCausalLM", eps = "rms_norm_eps", halves = true,
            defaults = { eps = 1e-5, tied = false }, fixed = { block = "post_norm", norm = "rms", qk_norm = "width" } }

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d) if f.get("attention_bias", "boolean", false) then d.qkv_bias, d.out_bias = true, true end end

--- Write its own fields.
---@param config table
---@param d table
function M.write(config, d)
  config.attention_bias = d.qkv_bias and d.out_bias or false
  config.head_dim = nil -- it is hidden_size / num_attention_heads
end

return M
