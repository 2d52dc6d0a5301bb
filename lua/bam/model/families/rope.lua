-- Rotary settings in a config.json: `rope_parameters`, or `rope_theta` and `rope_scaling` in older files. What they
-- mean is in bam.nn.frequencies.
local frequencies = require "bam.nn.frequencies"

local M = {}

-- What a kind of scaling is given by: our name, the file's, and the kind of value.
local SCALING = {
  linear = { { "factor", "factor", "positive" } },
  llama3 = { { "factor", "factor", "positive" }, { "low", "low_freq_factor", "positive" },
             { "high", "high_freq_factor", "positive" }, { "context", "original_max_position_embeddings", "size" } },
}

local WHOLE = "heads are rotated as a whole"

local function read_scaling(f, where, given)
  local inner = f.inner(where, given)
  local kind = inner.get("rope_type", "string", inner.get("type", "string", "default"))
  if inner.get("partial_rotary_factor", "number", 1) ~= 1 then
    f.refuse(string.format("%s.partial_rotary_factor", where), given.partial_rotary_factor, WHOLE)
  end
  if kind == "default" then return inner, nil end
  if not SCALING[kind] then
    f.refuse(string.format("%s.rope_type", where), kind, 'it computes "default", "linear" and "llama3"')
  end
  local scaling = { scaling = kind }
  for _, field in ipairs(SCALING[kind]) do scaling[field[1]] = inner.get(field[2], field[3]) end
  return inner, frequencies.read(inner.label, scaling)
end

--- Read the base, and the scaling of frequencies if there is one.
---@param f families.Fields
---@param default number base of files that say none
---@return number base
---@return table? scaling { scaling = "linear"|"llama3", factor, low?, high?, context? }
function M.read(f, default)
  if f.get("partial_rotary_factor", "number", 1) ~= 1 then
    f.refuse("partial_rotary_factor", f.get("partial_rotary_factor", "number"), WHOLE)
  end
  local base, old = f.get("rope_theta", "positive", default), f.get("rope_scaling", "table", false)
  local parameters, scaling = f.get("rope_parameters", "table", false), nil
  if old then scaling = select(2, read_scaling(f, "rope_scaling", old)) end
  if parameters then
    local inner
    inner, scaling = read_scaling(f, "rope_parameters", parameters)
    base = inner.get("rope_theta", "positive", base)
  end
  return base, scaling
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
  return parameters
end

return M
