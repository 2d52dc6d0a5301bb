-- Tables of rotary positions, computed once for all layers of a forward pass that rotate alike.
local check = require "bam.util.check"
local core = require "bam.core"

local ops = core.ops

local M = {}

local INTEGERS = { i32 = true, i64 = true, u8 = true }
local SCALING = { "rope_factor", "rope_low", "rope_high", "rope_context", "rope_yarn", "rope_width" }

-- Would the op that rotates accept these positions of x [B, T, ...]? It refuses others by name.
local function fit(positions, x)
  local B, T, n = x:size(1), x:size(2), check.is_tensor(positions) and positions.ndim
  return n and INTEGERS[positions.dtype] and (n == 1 and positions:size(1) == T
                                        or n == 2 and positions:size(1) == B and positions:size(2) == T)
end

-- The settings of a table as text; tables of the same are the same.
local function key_of(x, attributes)
  local parts = { x.device, x.dtype, x:size(2), attributes.width, attributes.base }
  for i, name in ipairs(SCALING) do parts[5 + i] = tostring(attributes[name]) end
  return table.concat(parts, " ")
end

-- 0 to n - 1. On a device without a copy from the host, which a graph cannot have (bam.graph).
local function count_up(n, device)
  if device == "cpu" then return core.arange(0, n - 1, { dtype = "i64" }) end
  return ops.sub(ops.cumsum(core.ones(n, { dtype = "i64", device = device }), 1), 1)
end

--- The table for the positions of x; the positions themselves if the op has to refuse them.
---@param x tensor [B, T, ...] what is rotated, or made into it
---@param positions? tensor integers [T] or [B, T]; 0, 1, ... by default
---@param attributes table width, base and scaling of a rotation, as rope_table takes them
---@return tensor?
function M.make(x, positions, attributes)
  if x:size(2) == 0 then return positions end
  positions = positions or count_up(x:size(2), x.device)
  if not fit(positions, x) then return positions end
  attributes.dtype = x.dtype == "f64" and "f64" or "f32"
  return ops.rope_table(positions, attributes)
end

--- What an op takes as positions in this pass: the table, which the pass keeps for the other layers, or the positions
--- themselves in a table of a pass that a script has made.
---@param pass table of a forward pass
---@param x tensor [B, T, ...]
---@param attributes table as for make
---@return tensor?
function M.of(pass, x, attributes)
  local kept, positions = pass.rotations, pass.positions
  if not kept or x.ndim < 2 then return positions end
  local key = key_of(x, attributes)
  if not kept[key] or kept[key].positions ~= positions then
    kept[key] = { positions = positions, table = M.make(x, positions, attributes) }
  end
  return kept[key].table
end

return M
