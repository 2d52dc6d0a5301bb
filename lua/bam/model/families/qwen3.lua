-- Qwen3ForCausalLM: Llama's blocks with RMS norms of query and key heads; the upper layers may have a window.
local windows = require "bam.model.families.windows"

local M = { name = "qwen3", class = "Qwen3ForCausalLM", eps = "rms_norm_eps", halves = true,
            defaults = { eps = 1e-6, tied = false, head_width = 128 },
            fixed = { block = "sequential", norm = "rms", qk_norm = "head" } }

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d)
  if f.get("attention_bias", "boolean", false) then d.qkv_bias, d.out_bias = true, true end
  d.window = windows.read_upper(f, d.layers)
end

--- Write its own fields.
---@param config table
---@param d table
function M.write(config, d)
  config.attention_bias = d.qkv_bias and d.out_bias or false
  windows.write_upper(config, d)
end

return M
