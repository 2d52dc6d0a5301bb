--- Methods of tensors that are written in Lua: views, in-place arithmetic, printing.
local check = require "bam.util.check"
local core = require "bam.core"
local display = require "bam.tensor.display"

---@class tensor
local methods = core.methods
local metatable = debug.getmetatable(core.zeros(1))

-- Every op that takes a tensor first is also a method.
for name, op in pairs(core.ops) do methods[name] = methods[name] or op end
for _, name in ipairs { "concat", "stack" } do methods[name] = nil end

methods.backward = core.backward
metatable.__tostring = display.text

-- Convert dimension `dim` of `x` (from 1, or from -1 at the end) to 1 .. extent, or raise.
local function dimension(x, dim, what, extent)
  extent = extent or x.ndim
  local d = type(dim) == "number" and math.tointeger(dim)
  if not d then check.fail("%s: expected a dimension, got %s", what, tostring(dim)) end
  if d < 0 then d = d + extent + 1 end
  if d < 1 or d > extent then
    check.fail("%s: dimension %d is out of range 1 to %d", what, dim, extent)
  end
  return d
end

--- A view with two dimensions swapped.
---@param a integer
---@param b integer
---@return tensor
function methods:transpose(a, b)
  local order = {}
  for d = 1, self.ndim do order[d] = d end
  a, b = dimension(self, a, "transpose"), dimension(self, b, "transpose")
  order[a], order[b] = order[b], order[a]
  return self:permute(order)
end

--- The transpose of a matrix, as a view.
---@return tensor
function methods:t()
  if self.ndim ~= 2 then
    check.fail("t: expected a matrix, got %d dimensions; use x:transpose(a, b)", self.ndim)
  end
  return self:permute(2, 1)
end

--- A view without dimension `dim`, which must have size 1; without `dim`, drop all dimensions of size 1.
---@param dim? integer
---@return tensor
function methods:squeeze(dim)
  local shape, kept = self.shape, {}
  local drop = dim and dimension(self, dim, "squeeze")
  if drop and shape[drop] ~= 1 then
    check.fail("squeeze: dimension %d has size %d, not 1", drop, shape[drop])
  end
  for d, size in ipairs(shape) do
    if drop and d ~= drop or not drop and size ~= 1 then kept[#kept + 1] = size end
  end
  return self:reshape(kept)
end

--- A view with a new dimension of size 1 at position `dim`.
---@param dim integer
---@return tensor
function methods:unsqueeze(dim)
  local shape = self.shape
  table.insert(shape, dimension(self, dim, "unsqueeze", #shape + 1), 1)
  return self:reshape(shape)
end

--- Merge dimensions `first` to `last` into one.
---@param first? integer 1 by default
---@param last? integer -1 by default
---@return tensor
function methods:flatten(first, last)
  if self.ndim == 0 then return self:reshape(1) end
  first, last = dimension(self, first or 1, "flatten"), dimension(self, last or -1, "flatten")
  local shape, merged, size = self.shape, {}, 1
  for d, n in ipairs(shape) do
    if d < first or d > last then
      merged[#merged + 1] = n
    else
      size = size * n
      if d == last then merged[#merged + 1] = size end
    end
  end
  return self:reshape(merged)
end

--- A view of positions `first` to `last`, both included, of dimension `dim`.
---@param dim integer
---@param first integer
---@param last integer
---@return tensor
function methods:slice(dim, first, last)
  local n = self:size(dim)
  first = check.value("slice: first", first, "integer")
  last = check.value("slice: last", last, "integer")
  local from = first < 0 and first + n + 1 or first
  local to = last < 0 and last + n + 1 or last
  return self:narrow(dim, from, math.max(to - from + 1, 0))
end

--- Split a dimension into views of the given sizes. A number gives equal sizes; the last may be smaller.
---@param sizes integer|integer[]
---@param dim? integer 1 by default
---@return tensor[]
function methods:split(sizes, dim)
  dim = dimension(self, dim or 1, "split")
  local total, list = self:size(dim), sizes
  if type(sizes) == "number" then
    if sizes < 1 then check.fail("split: the size must be at least 1") end
    list = {}
    for start = 1, total, sizes do list[#list + 1] = math.min(sizes, total - start + 1) end
  else
    check.list("split: sizes", sizes)
  end
  local pieces, at = {}, 1
  for i, size in ipairs(list) do
    pieces[i] = self:narrow(dim, at, size)
    at = at + size
  end
  if at ~= total + 1 then
    check.fail("split: the sizes add up to %d, but dimension %d has %d", at - 1, dim, total)
  end
  return pieces
end

--- Split a dimension into at most `n` views of equal size; the last may be smaller.
---@param n integer
---@param dim? integer 1 by default
---@return tensor[]
function methods:chunk(n, dim)
  if math.type(n) ~= "integer" or n < 1 then check.fail("chunk: expected a number of pieces of at least 1") end
  local total = self:size(dim or 1)
  return self:split(math.max((total + n - 1) // n, 1), dim or 1)
end

-- x:add_(y) and so on.
local is_float = { f16 = true, bf16 = true, f32 = true, f64 = true }
for _, name in ipairs { "add", "sub", "mul", "div" } do
  local op = core.ops[name]
  --- The op of the same name without the underscore, in place.
  ---@param value tensor|number
  ---@return tensor self
  methods[string.format("%s_", name)] = function(self, value)
    local result = op(self, value)
    if is_float[result.dtype] and not is_float[self.dtype] then
      check.fail("%s_: the result is %s and does not fit into %s; convert first: x:to \"%s\"", name, result.dtype,
                 self.dtype, result.dtype)
    end
    return self:copy_(result)
  end
end

--- Fill the tensor with a number.
---@param value number
---@return tensor self
function methods:fill_(value) return self:copy_(value) end

--- Fill the tensor with 0.
---@return tensor self
function methods:zero_() return self:copy_(0) end

--- Set requires_grad and return the tensor.
---@param requires_grad? boolean true by default
---@return tensor self
function methods:requires_grad_(requires_grad)
  if requires_grad == nil then requires_grad = true end
  self.requires_grad = requires_grad -- an error unless it is true or false
  return self
end

return methods
