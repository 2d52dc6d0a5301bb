-- Calling a merge method for one parameter. It gets tensors in double precision on the CPU, and its result is rounded
-- once. A method that works element by element is called for one piece after another, so that no more than the
-- tensors themselves and one piece is in memory.
local check = require "bam.util.check"
local core = require "bam.core"
local description = require "bam.model.description"
local registry = require "bam.util.registry"

local ops = core.ops
local M = {}

local PIECE = 1 << 20 -- elements
local FLOATS = { f32 = true, f64 = true, bf16 = true, f16 = true }

-- A copy, which a method may change.
local function double(x)
  local copy = ops.to(x, "f64", "cpu")
  return x.dtype == "f64" and ops.clone(copy) or copy
end

-- What method `d` gives for tensors of one shape.
local function call(d, o, tensors, name)
  local options, merged = { name = name }, {}
  for key, value in pairs(o) do options[key] = value end
  for i, x in ipairs(tensors) do merged[i] = double(x) end
  if d.base then options.base = table.remove(merged, 1) end
  local shape, weights = check.shape(tensors[1].shape), table.move(o.weights, 1, #o.weights, 1, {})
  options.weights = nil
  local result = registry.code(d).merge(merged, weights, options)
  local what = string.format("merge method %s: `%s`", d.name, name)
  if not check.is_tensor(result) or check.shape(result.shape) ~= shape then
    check.fail("%s: expected a tensor of shape %s from the method, got %s", what, shape, check.describe(result))
  end
  if not ops.all(ops.isfinite(ops.to(result, "f32"))):item() then
    check.fail("%s: the merged tensor holds a NaN, an infinity or a number beyond f32", what)
  end
  return result
end

local function flat(x) return ops.reshape(x, x:count()) end

local function in_pieces(d, o, tensors, name, dtype)
  local views, result = {}, core.empty(tensors[1].shape, { dtype = dtype, device = "cpu" })
  local out, count = ops.view(result, result:count()), result:count()
  for i, x in ipairs(tensors) do views[i] = flat(x) end
  for from = 1, count, PIECE do
    local n = math.min(PIECE, count - from + 1)
    core.scope(function()
      local pieces = {}
      for i, view in ipairs(views) do pieces[i] = ops.narrow(view, 1, from, n) end
      ops.narrow(out, 1, from, n):copy_(call(d, o, pieces, name))
    end)
  end
  return result
end

-- The seed of a parameter: each has other random numbers.
local function seed_of(seed, name)
  return tonumber(core.hash(string.format("%d %s", seed, name)):sub(1, 12), 16)
end

--- The merged tensor, in f64 or in `dtype`.
---@param d table definition
---@param o table options as definition.read_options gives them
---@param tensors tensor[] one per model, of one shape
---@param name string of the parameter
---@param dtype "f32"|"f64" what the result is rounded to at last
---@return tensor
function M.apply(d, o, tensors, name, dtype)
  local function merge()
    return core.with_grad(false, d.elementwise and in_pieces or call, d, o, tensors, name, dtype)
  end
  if math.type(o.seed) ~= "integer" then return merge() end
  return description.seeded(seed_of(o.seed, name), merge)
end

--- Check what a call of a method is given.
---@param what string for messages
---@param tensors any
---@return integer n how many there are
function M.check_tensors(what, tensors)
  local n = check.list(string.format("%s: tensors", what), tensors)
  if n == 0 then check.fail("%s: expected a list of tensors, got none", what) end
  for i, x in ipairs(tensors) do
    if not check.is_tensor(x) or not FLOATS[x.dtype] then
      check.fail("%s: entry %d of the list: expected a floating-point tensor, got %s", what, i,
                 check.is_tensor(x) and x.dtype or check.describe(x))
    end
    if check.shape(x.shape) ~= check.shape(tensors[1].shape) then
      check.fail("%s: tensor %d is %s, and the first %s", what, i, check.shape(x.shape), check.shape(tensors[1].shape))
    end
  end
  return n
end

return M
