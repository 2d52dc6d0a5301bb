-- Windows in a config.json: `sliding_window`, and the layers that have it. A description holds `window`: a number of
-- tokens for all layers, or a list with one per layer, 0 for none.
local json = require "bam.util.json"

local M = {}

local KINDS = { sliding_attention = true, full_attention = false }

-- Which layers have a window, from `layer_types`; nil when the file does not say.
local function read_types(f, layers)
  local given = f.get("layer_types", "list", false)
  if not given then return nil end
  if #given ~= layers then f.refuse("layer_types", given, string.format("it must name %d layers", layers)) end
  local sliding = {}
  for i, kind in ipairs(given) do
    if KINDS[kind] == nil then
      f.refuse(string.format("layer_types[%d]", i), kind, 'it computes "sliding_attention" and "full_attention"')
    end
    sliding[i] = KINDS[kind]
  end
  return sliding
end

-- One number for all layers, a list, or nil where there is no window.
local function simplest(list)
  local same = true
  for _, window in ipairs(list) do same = same and window == list[1] end
  if not same then return list end
  return list[1] ~= 0 and list[1] or nil
end

--- The field `window` of a description.
---@param f families.Fields
---@param layers integer
---@param sliding fun(layer: integer): boolean which layers have it where `layer_types` is missing
---@return integer|integer[]?
function M.read(f, layers, sliding)
  local size = f.get("sliding_window", "size", false)
  if size and not f.get("use_sliding_window", "boolean", true) then size = false end
  local types, list = read_types(f, layers), {}
  for i = 1, layers do
    local has = types and types[i]
    if not types then has = size and sliding(i) end
    if has and not size then
      f.refuse(string.format("layer_types[%d]", i), "sliding_attention", "`sliding_window` must say how many tokens")
    end
    list[i] = has and size or 0
  end
  return simplest(list)
end

--- The same for Qwen's files: without `layer_types` the layers from `max_window_layers` on have it, if
--- `use_sliding_window` says so.
---@param f families.Fields
---@param layers integer
---@return integer|integer[]?
function M.read_upper(f, layers)
  if not f.get("use_sliding_window", "boolean", false) then return nil end
  local first = f.get("max_window_layers", "count", 28)
  return M.read(f, layers, function(layer) return layer > first end)
end

--- The window of a layer.
---@param d table description
---@param layer integer
---@return integer 0 for none
function M.of(d, layer) return type(d.window) == "table" and d.window[layer] or math.tointeger(d.window) or 0 end

--- The largest window of all layers, 0 for none.
---@param d table
---@return integer
function M.largest(d)
  local most = 0
  for layer = 1, d.layers do most = math.max(most, M.of(d, layer)) end
  return most
end

--- Write `sliding_window` and `layer_types`.
---@param config table
---@param d table
function M.write(config, d)
  local size, types = M.largest(d), json.array {}
  for layer = 1, d.layers do types[layer] = M.of(d, layer) > 0 and "sliding_attention" or "full_attention" end
  config.sliding_window, config.layer_types = size > 0 and size or json.null, types
end

--- The same for Qwen's files.
---@param config table
---@param d table
function M.write_upper(config, d)
  M.write(config, d)
  config.use_sliding_window = M.largest(d) > 0
  config.max_window_layers = d.layers
end

return M
