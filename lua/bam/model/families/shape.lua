-- What a description may say of its layers beyond sizes: windows, scaled or partial rotation, biases, norms of queries
-- and keys, the FFN's activation, norms without weights. A description holds only what is not the default, so that
-- fingerprints of models without it stay as they are.
local check = require "bam.util.check"
local frequencies = require "bam.nn.frequencies"

local M = {}

--- The fields of descriptions.
M.NAMES = { "rope", "rope_layers", "rope_width", "window", "qkv_bias", "out_bias", "qk_norm", "activation",
            "norm_weight" }

--- Those of attention, which a class of a script's own is not given.
M.ATTENTION = { "rope", "rope_layers", "rope_width", "window", "qkv_bias", "out_bias", "qk_norm" }

local MOST = 1 << 31

-- A number of tokens for all layers, or a list with one per layer, 0 for none; nil when no layer has one.
local function read_window(what, value, layers)
  if type(value) ~= "table" then
    local window = check.value(what, value, "count")
    return window > 0 and check.value(what, window, "extent") or nil
  end
  if check.list(what, value) ~= layers then
    check.fail("%s: expected a window for each of the %d layers, got %d; 0 stands for none", what, layers, #value)
  end
  local list, same = {}, true
  for i = 1, layers do
    list[i] = check.value(string.format("%s[%d]", what, i), value[i], "count")
    if list[i] >= MOST then check.fail("%s[%d]: %d tokens are too many", what, i, list[i]) end
    same = same and list[i] == list[1]
  end
  if not same then return list end
  return list[1] > 0 and list[1] or nil
end

local function read_choice(what, value, ...)
  for _, choice in ipairs { ... } do
    if value == choice then return value end
  end
  local known = table.concat({ ... }, '", "'):gsub(', ("[^"]*)$', " or %1")
  return check.fail('%s: expected "%s", got %s', what, known, check.describe(value))
end

local function read_rope_width(what, value, head_width)
  local width = check.value(what, value, "extent")
  if width % 2 ~= 0 or width > head_width then
    check.fail("%s: expected an even number of a head's %d elements, got %d", what, head_width, width)
  end
  return width < head_width and width or nil
end

--- Put what scripts or files say into the fields of a description; defaults are left out.
---@param what fun(name: string): string begins messages about a field
---@param o table what is given
---@param d table fields of a description, with `layers` and `head_width`
function M.fill(what, o, d)
  d.rope = o.rope and frequencies.read(what "rope", o.rope) or nil
  d.window = o.window and read_window(what "window", o.window, d.layers) or nil
  local which = o.rope_layers and read_choice(what "rope_layers", o.rope_layers, "all", "windowed")
  d.rope_layers = which == "windowed" and not math.type(d.window) and which or nil -- a number: all layers have one
  d.rope_width = o.rope_width and read_rope_width(what "rope_width", o.rope_width, d.head_width) or nil
  d.qk_norm = o.qk_norm and read_choice(what "qk_norm", o.qk_norm, "head", "width", "layer") or nil
  if d.rope_width and d.rope and d.rope.scaling == "yarn" then
    check.fail("%s: with yarn heads are rotated as a whole; leave it out", what "rope_width")
  end
  local activation = o.activation and read_choice(what "activation", o.activation, "silu", "gelu", "gelu_tanh")
  d.activation = activation ~= "silu" and activation or nil
  if o.norm_weight == false then d.norm_weight = false else d.norm_weight = nil end
  d.qkv_bias, d.out_bias = o.qkv_bias or nil, o.out_bias or nil
end

--- Read them from a config.json of model_type "bam"; rotation and activation are read elsewhere.
---@param f families.Fields
---@param d table fields of a description
function M.read(f, d)
  local get = f.get
  local o = { rope = d.rope, window = get("window", "any", false), rope_layers = get("rope_layers", "string", false),
              qk_norm = get("qk_norm", "string", false), qkv_bias = get("qkv_bias", "boolean", false),
              out_bias = get("out_bias", "boolean", false), activation = d.activation,
              norm_weight = get("norm_weight", "boolean", true), rope_width = d.rope_width }
  M.fill(function(name) return string.format("%s: `%s`", f.label, name) end, o, d)
end

--- Write them to a config.json of model_type "bam".
---@param config table
---@param d table
function M.write(config, d)
  for _, name in ipairs { "rope_layers", "qk_norm", "qkv_bias", "out_bias", "norm_weight" } do
    config[name] = d[name]
  end
  config.window = type(d.window) == "table" and table.move(d.window, 1, d.layers, 1, {}) or d.window
end

return M
