-- Everything that can be called: the functions reachable from `require "bam"` and bam.core, the
-- operators, and the methods of any object. Found by looking, so that new functions are covered.
local limits = require "limits"
local random = require "random"

local M = {}

local bam, core = require "bam", require "bam.core"

local function callable(value)
  local metatable = debug.getmetatable(value)
  return type(value) == "function" or type(value) == "table" and metatable and rawget(metatable, "__call")
end

-- Add what `value` leads to, each function under its first name.
local function walk(list, known, name, value, depth)
  if known[value] or limits.EXCLUDED[name] then return end
  if callable(value) then list[#list + 1] = { name = name, f = value } end
  if type(value) ~= "table" then
    known[value] = type(value) == "function" or nil
    return
  end
  known[value] = true
  if depth == 6 then return end
  for _, key in ipairs(random.names(value)) do
    walk(list, known, name .. "." .. key, rawget(value, key), depth + 1)
  end
  local metatable = debug.getmetatable(value)
  if metatable and type(metatable.__index) == "table" then
    walk(list, known, name, metatable.__index, depth + 1)
  end
end

--- A list of { name, f }, sorted by the order of the walk.
function M.functions()
  local list, known = {}, {}
  walk(list, known, "core", core, 0)
  walk(list, known, "bam", bam, 0)
  walk(list, known, "bam.help", require("bam.help"), 5)
  return list
end

M.operators = {}

local function operator(name, f) table.insert(M.operators, { name = "operator " .. name, f = f }) end

for name, text in pairs { add = "a + b", sub = "a - b", mul = "a * b", div = "a / b", mod = "a % b",
                          idiv = "a // b", pow = "a ^ b", unm = "-a", band = "a & b", bor = "a | b",
                          bxor = "a ~ b", bnot = "~a", shl = "a << b", lt = "a < b", le = "a <= b",
                          eq = "a == b", len = "#a", concat = "a .. b", call = "a(b, c)",
                          index = "a[b]", assign = "(function() a[b] = c end)()",
                          tostring = "tostring(a)", format = "string.format('%s %q', a, b)",
                          grad = "(function() a.grad = b end)()",
                          requires_grad = "(function() a.requires_grad = b end)()",
                          properties = "a.grad, a.shape, a.strides, a.is_leaf, a.device, a.dtype",
                          close = "(function() local x <close> = a return b end)()",
                          each = "(function() for k, v in pairs(a) do b = v end return b end)()" } do
  operator(name, assert(load(string.format("local a, b, c = ... return %s", text), "=operator")))
end
table.sort(M.operators, function(a, b) return a.name < b.name end)

local by_metatable = setmetatable({}, { __mode = "k" })

--- The methods of an object, a list of { name, f, method = true }; empty for what has none.
function M.methods(value)
  local metatable = debug.getmetatable(value)
  if type(metatable) ~= "table" then return {} end
  if metatable.__name == "bam.Tensor" then metatable = { __index = core.methods } end
  local list = by_metatable[metatable]
  if list then return list end
  list = {}
  local index, depth = rawget(metatable, "__index"), 0
  while type(index) == "table" and depth < 5 do
    for _, name in ipairs(random.names(index)) do
      local f = rawget(index, name)
      if type(f) == "function" then list[#list + 1] = { name = name, f = f, method = true } end
    end
    local above = debug.getmetatable(index)
    index, depth = type(above) == "table" and rawget(above, "__index"), depth + 1
  end
  by_metatable[metatable] = list
  return list
end

return M
