-- LlamaForCausalLM: sequential blocks of RMSNorm, heads rotated in halves.
local M = { name = "llama", class = "LlamaForCausalLM", eps = "rms_norm_eps", halves = true,
            defaults = { eps = 1e-6, tied = false }, fixed = { block = "sequential", norm = "rms" } }

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d) if f.get("attention_bias", "boolean", false) then d.qkv_bias, d.out_bias = true, true end end

--- Write its own fields.
---@param config table
---@param d table
function M.write(config, d) config.attention_bias, config.mlp_bias = d.qkv_bias and d.out_bias or false, false end

return M
