-- MistralForCausalLM: Llama's blocks without biases; all layers may have a window.
local windows = require "bam.model.families.windows"
local decoder = require "bam.model.families.decoder"

local M = { name = "mistral", class = "MistralForCausalLM", eps = "rms_norm_eps", halves = true,
            defaults = { eps = 1e-6, tied = false }, fixed = { block = "sequential", norm = "rms" } }

--- Read its own fields.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d)
  decoder.only(f, "attention_bias", "boolean", false)
  d.window = windows.read(f, d.layers, function() return true end)
end

--- Write its own fields.
---@param config table
---@param d table
function M.write(config, d)
  windows.write(config, d)
  config.layer_types = nil -- all layers have the window, or none
end

return M
