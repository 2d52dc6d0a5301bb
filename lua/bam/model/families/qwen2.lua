-- Qwen2ForCausalLM: Llama's blocks with biases of queries, keys and values; the upper layers may have a window.
local windows = require "bam.model.families.windows"

local M = { name = "qwen2", class = "Qwen2ForCausalLM", eps = "rms_norm_eps", halves = true,
            defaults = { eps = 1e-6, tied = false }, fixed = { block = "sequential", norm = "rms", qkv_bias = true } }

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d) d.window = windows.read_upper(f, d.layers) end

--- Write its own fields.
---@param config table
---@param d table
function M.write(config, d) windows.write_upper(config, d) end

return M
