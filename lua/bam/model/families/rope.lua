-- Rotary settings in a config.json: `rope_parameters`, or `rope_theta` and `rope_scaling` in older files. What they
-- mean is in bam.nn.frequencies.
local frequencies = require "bam.nn.frequencies"
local json = require "bam.util.json"

local M = {}

-- What a kind of scaling is given by: our name, the file's, and the kind of value.
local SCALING = {
  linear = { { "factor", "factor", "positive" } },
  llama3 = { { "factor", "factor", "positive" }, { "low", "low_freq_factor", "positive" },
             { "high", "high_freq_factor", "positive" }, { "context", "original_max_position_embeddings", "size" } },
  yarn = { { "factor", "factor", "positive" }, { "low", "beta_slow", "positive", 1 },
           { "high", "beta_fast", "positive", 32 }, { "context", "original_max_position_embeddings", "size" },
           { "attention", "attention_factor", "positive", false } },
}

-- How DeepSeek's files say YaRN's attention factor: the ratio of two.
local function read_mscale(inner, factor)
  local over, under = inner.get("mscale", "rate", 0), inner.get("mscale_all_dim", "rate", 0)
  if over == 0 or under == 0 or factor <= 1 then return nil end
  return (0.1 * over * math.log(factor) + 1) / (0.1 * under * math.log(factor) + 1)
end

local function read_yarn(f, where, inner, scaling)
  scaling.attention = scaling.attention or read_mscale(inner, scaling.factor)
  if not inner.get("truncate", "boolean", true) then f.refuse(string.format("%s.truncate", where), false) end
end

local function read_scaling(f, where, given)
  local inner = f.inner(where, given)
  for _, kind in ipairs { "full_attention", "sliding_attention" } do
    if given[kind] then f.refuse(where, given, "it must hold for all layers, not for each kind of them") end
  end
  local kind = inner.get("rope_type", "string", inner.get("type", "string", "default"))
  if kind == "default" then return inner, nil end
  if not SCALING[kind] then
    f.refuse(string.format("%s.rope_type", where), kind, 'it computes "default", "linear", "llama3" and "yarn"')
  end
  local scaling = { scaling = kind }
  for _, field in ipairs(SCALING[kind]) do scaling[field[1]] = inner.get(field[2], field[3], field[4]) or nil end
  if kind == "yarn" then read_yarn(f, where, inner, scaling) end
  return inner, frequencies.read(inner.label, scaling)
end

-- A scaling as text, to compare it.
local function text_of(scaling) return scaling and json.encode(scaling) or "none" end

-- The share of a head that rotates, as a number of its elements; nil for all.
local function read_width(f, name, share, scaling, o)
  if share == 1 then return nil end
  if scaling and scaling.scaling == "yarn" then f.refuse(name, share, "with yarn heads are rotated as a whole") end
  if not o.partial then f.refuse(name, share, "in this family heads are rotated as a whole") end
  local width = math.floor(o.head_width * share)
  if width < 2 or width > o.head_width or width % 2 ~= 0 then
    f.refuse(name, share, string.format("of a head's %d elements it must be an even number", o.head_width))
  end
  return width
end

--- Read the base, the scaling of frequencies if there is one, and how much of a head rotates.
---@param f families.Fields
---@param o { base?: number, share?: number, partial?: boolean, head_width: integer } base and share of files that say
--- none: 10000 and 1; may only a part of a head rotate?
---@return number base
---@return table? scaling { scaling = "linear"|"llama3"|"yarn", factor, low?, high?, context?, attention? }
---@return integer? width elements of a head that rotate, nil for all
function M.read(f, o)
  local base, old = f.get("rope_theta", "positive", o.base or 10000), f.get("rope_scaling", "table", false)
  local parameters = f.get("rope_parameters", "table", false)
  local inner, scaling
  local name, share = "partial_rotary_factor", f.get("partial_rotary_factor", "positive", o.share or 1)
  if old then
    inner, scaling = read_scaling(f, "rope_scaling", old)
    share = inner.get("partial_rotary_factor", "positive", share)
  end
  if parameters then
    local other = scaling
    inner, scaling = read_scaling(f, "rope_parameters", parameters)
    if old and text_of(other) ~= text_of(scaling) then
      f.refuse("rope_scaling", old, "`rope_parameters` says something else; remove one of them")
    end
    base = inner.get("rope_theta", "positive", base)
    if parameters.partial_rotary_factor then name = "rope_parameters.partial_rotary_factor" end
    share = inner.get("partial_rotary_factor", "positive", share)
  end
  if scaling and scaling.scaling == "yarn" and base <= 1 then f.refuse("rope_theta", base, "yarn takes one above 1") end
  return base, scaling, read_width(f, name, share, scaling, o)
end

-- The share that gives this width again.
local function share_of(width, head_width)
  local share = width / head_width
  return math.floor(head_width * share) < width and share * (1 + 0x1p-52) or share
end

--- The table `rope_parameters` of a description.
---@param d table
---@return table
function M.parameters(d)
  local parameters = { rope_theta = d.rope_base + 0.0, rope_type = d.rope and d.rope.scaling or "default" }
  for _, field in ipairs(d.rope and SCALING[d.rope.scaling] or {}) do
    local value = d.rope[field[1]]
    parameters[field[2]] = field[3] == "size" and value or value + 0.0
  end
  if d.rope_width then parameters.partial_rotary_factor = share_of(d.rope_width, d.head_width) end
  return parameters
end

return M
