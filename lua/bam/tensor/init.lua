--- Methods of tensors that are written in Lua: views, in-place arithmetic, printing.
local check = require "bam.util.check"
local core = require "bam.core"
local display = require "bam.tensor.display"

---@class tensor
local methods = core.methods
local metatable = debug.getregistry()["bam.Tensor"] -- without a tensor: the first one takes a block of memory

-- Every op that takes a tensor first is also a method.
for name, op in pairs(core.ops) do methods[name] = methods[name] or op end
for _, name in ipairs { "concat", "stack" } do methods[name] = nil end

methods.backward = core.backward
metatable.__tostring = display.text

local in_c = {} -- the methods that check their arguments themselves
for name in pairs(methods) do in_c[name] = true end

-- What to write in place of a name that tensors do not have: the end of the message.
function metatable.__unknown(x, name)
  local level = 2 -- C's __index, which calls this, is 1 above
  local info = debug.getinfo(level, "f")
  while info and debug.getinfo(level, "S").what == "C" do level, info = level + 1, debug.getinfo(level + 1, "f") end
  if info and select(2, debug.getlocal(level, 1)) == x and debug.getlocal(level, 1) == "self" then
    return "; `self` is a tensor here, because a method was called with a dot: write m:forward(x), with a colon"
  end
  local names = check.sorted_names(methods)
  for property in pairs(metatable.__properties) do names[#names + 1] = property end
  local hint = require("bam.util.hints").hint("tensor", name, names)
  if name:find "^%-?%d*:%-?%d*$" then hint = "; ranges are lists: x[{ { 1, 2 } }] has rows 1 to 2" end
  return hint ~= "" and hint or "; help(x) lists them"
end

--- Iterate over the rows: for i, row in pairs(x) do. Row i is the view x[i].
---@return fun(x: tensor, i: integer): integer?, tensor?
local function rows(x, i)
  if i < #x then return i + 1, x[i + 1] end
end

function metatable.__pairs(x)
  if x.ndim == 0 then check.fail "pairs: a 0-dimensional tensor has no rows; x:item() is its value" end
  return rows, x, 0
end

-- The ops that methods are written with, under the names of the methods.
local named = core.op_named
local transposed, t, squeezed = named("permute", "transpose"), named("permute", "t"), named("reshape", "squeeze")
local unsqueezed, flattened = named("reshape", "unsqueeze"), named("reshape", "flatten")
local sliced, split = named("narrow", "slice"), named("narrow", "split")

-- Convert dimension `dim` of `x` (from 1, or from -1 at the end) to 1 .. extent, or raise.
local function dimension(x, dim, what, extent)
  extent = extent or x.ndim
  local d = type(dim) == "number" and math.tointeger(dim)
  if not d then check.fail("%s: expected a dimension, got %s", what, tostring(dim)) end
  if d < 0 then d = d + extent + 1 end
  if d < 1 or d > extent then
    check.fail("%s: dimension %d is out of range 1 to %d%s", what, dim, extent,
               dim == 0 and "; they count from 1" or "")
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
  return transposed(self, order)
end

--- The transpose of a matrix, as a view.
---@return tensor
function methods:t()
  if self.ndim ~= 2 then
    check.fail("t: expected a matrix, got %d dimensions; use x:transpose(a, b)", self.ndim)
  end
  return t(self, 2, 1)
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
  return squeezed(self, kept)
end

--- A view with a new dimension of size 1 at position `dim`.
---@param dim integer
---@return tensor
function methods:unsqueeze(dim)
  local shape = self.shape
  table.insert(shape, dimension(self, dim, "unsqueeze", #shape + 1), 1)
  return unsqueezed(self, shape)
end

--- Merge dimensions `first` to `last` into one.
---@param first? integer 1 by default
---@param last? integer -1 by default
---@return tensor
function methods:flatten(first, last)
  if self.ndim == 0 then return flattened(self, 1) end
  first, last = dimension(self, first or 1, "flatten"), dimension(self, last or -1, "flatten")
  if first > last then check.fail("flatten: dimension %d is after dimension %d", first, last) end
  local shape, merged, size = self.shape, {}, 1
  for d, n in ipairs(shape) do
    if d < first or d > last then
      merged[#merged + 1] = n
    else
      size = size * n
      if d == last then merged[#merged + 1] = size end
    end
  end
  return flattened(self, merged)
end

--- A view of positions `first` to `last`, both included, of dimension `dim`.
---@param dim integer
---@param first integer
---@param last integer
---@return tensor
function methods:slice(dim, first, last)
  local n = self:size(dimension(self, dim, "slice"))
  first = check.value("slice: first", first, "integer")
  last = check.value("slice: last", last, "integer")
  local from = first < 0 and first + n + 1 or first
  local to = last < 0 and last + n + 1 or last
  if to > n or from < 1 then
    check.fail("slice: positions %d to %d are out of range: dimension %d has %d positions%s", first, last, dim, n,
               first == 0 and ", counted from 1; the end is included" or "")
  end
  return sliced(self, dim, from, math.max(to - from + 1, 0))
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
    pieces[i] = split(self, dim, at, size)
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
  local total = self:size(dimension(self, dim or 1, "chunk"))
  return self:split(math.max((total + n - 1) // n, 1), dim or 1)
end

-- x:add_(y) and so on.
local is_float = { f16 = true, bf16 = true, f32 = true, f64 = true }
for _, name in ipairs { "add", "sub", "mul", "div", "maximum", "minimum" } do
  local in_place = string.format("%s_", name)
  local op = named(name, in_place)
  --- The op of the same name without the underscore, in place.
  ---@param value tensor|number
  ---@return tensor self
  methods[in_place] = function(self, value)
    local result = op(self, value)
    if is_float[result.dtype] and not is_float[self.dtype] then
      check.fail("%s_: the result is %s and does not fit into %s; convert first: x:to \"%s\"", name, result.dtype,
                 self.dtype, result.dtype)
    end
    return core.overwrite(self, result, in_place)
  end
end

--- Fill the tensor with a number.
---@param value number
---@return tensor self
function methods:fill_(value) return core.overwrite(self, value, "fill_") end

--- Fill the tensor with 0.
---@return tensor self
function methods:zero_() return core.overwrite(self, 0, "zero_") end

--- Set requires_grad and return the tensor.
---@param requires_grad? boolean true by default
---@return tensor self
function methods:requires_grad_(requires_grad)
  if requires_grad == nil then requires_grad = true end
  self.requires_grad = requires_grad -- an error unless it is true or false
  return self
end

check.methods(methods, check.is_tensor, "a tensor", "x", in_c)

return methods
