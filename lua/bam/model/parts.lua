-- The parts of a block, attention and FFN, when they are not bam's but of a class that a script gives. What such a
-- layer holds is found out by making one and dropping it; everything else about it is said by the class.
local check = require "bam.util.check"
local core = require "bam.core"
local module = require "bam.nn.module"

local M = {}

-- What the model gives to the class; a script cannot.
local GIVEN = {
  attention = { "width", "heads", "kv_heads", "head_width", "rope_base", "std", "out_std", "dtype" },
  ffn = { "width", "std", "out_std", "dtype" },
}

-- ---- reading ----

local function is_class(value) return check.is_callable(value) and not module.is_module(value) end

local function read_options(where, which, value)
  local options = {}
  for name, field in pairs(value) do
    if type(name) ~= "string" then
      check.fail("%s: expected { class = ..., and options by name }, but there is %s", where, check.describe(field))
    end
    if name ~= "class" then options[name] = field end
  end
  for _, name in ipairs(GIVEN[which]) do
    if options[name] ~= nil then
      check.fail("%s: `%s` is given to the class by the model; leave it out", where, name)
    end
  end
  return options
end

--- Does an option say a class, alone or as { class = ..., and its options }?
---@param value any
---@return boolean
function M.is_given(value) return type(value) == "table" or type(value) == "function" end

--- Read the class of a part and its options.
---@param where string for messages
---@param which "attention"|"ffn"
---@param value any
---@return table class
---@return table options
function M.read(where, which, value)
  if is_class(value) then return value, {} end
  if type(value) ~= "table" or getmetatable(value) or not is_class(value.class) then
    check.fail("%s: expected a class made by nn.module, or { class = ..., and its options }, got %s", where,
               check.describe(value))
  end
  return value.class, read_options(where, which, value)
end

--- A part as M.read takes it.
---@param part table
---@return table? nil of bam's own
function M.given(part)
  if not part.class then return nil end
  local given = { class = part.class }
  for name, field in pairs(part.options) do given[name] = field end
  return given
end

-- ---- making ----

--- The layer of a part.
---@param d table description
---@param which "attention"|"ffn"
---@param o { std: number, out_std: number, dtype: string }
---@return table module
function M.make(d, which, o)
  local part, options = d[which], {}
  for _, name in ipairs(GIVEN[which]) do
    if o[name] ~= nil then options[name] = o[name] else options[name] = d[name] end
  end
  for name, value in pairs(part.options) do options[name] = value end
  local layer = part.class(options)
  if not module.is_module(layer) then
    check.fail("model: option %s: expected a module from the class, got %s", which, check.describe(layer))
  end
  return layer
end

-- ---- measuring ----

local FLOATS = { f32 = true, f64 = true, f16 = true, bf16 = true }

local function shapes_of(which, layer)
  local list, seen = {}, {}
  for _, entry in ipairs(module.contents(layer).tensors) do
    if not FLOATS[entry.tensor.dtype] then
      check.fail("model: option %s: `%s` is %s; a layer of a model holds floating-point parameters only: call the "
                 .. "field `_%s`", which, entry.name, entry.tensor.dtype, entry.key)
    end
    if not seen[entry.tensor] then
      list[#list + 1] = { name = entry.name, shape = entry.tensor.shape }
    end
    seen[entry.tensor] = true
  end
  return list
end

local measured = setmetatable({}, { __mode = "k" }) -- by part

--- The tensors of one such layer: { name, shape }, in order. One is made and dropped, without a trace in the generator
--- of random numbers.
---@param d table description
---@param which "attention"|"ffn"
---@return table[]
function M.shapes(d, which)
  local part = d[which]
  if not measured[part] then
    local before = core.random_state()
    local fine, list = pcall(core.scope, function()
      return shapes_of(which, M.make(d, which, { std = d.std, out_std = d.std, dtype = "f32" }))
    end)
    core.random_state(before)
    if not fine then error(list, 0) end
    measured[part] = list
  end
  return measured[part]
end

--- Parameters of one such layer.
---@param d table description
---@param which "attention"|"ffn"
---@return integer
function M.size(d, which)
  local sum = 0
  for _, entry in ipairs(M.shapes(d, which)) do
    local size = 1
    for _, n in ipairs(entry.shape) do size = size * n end
    sum = sum + size
  end
  return sum
end

--- FLOPs of one token in one such layer in inference: what the class says in flops(options, context), else twice its
--- parameters.
---@param d table description
---@param which "attention"|"ffn"
---@param context integer
---@return number
function M.flops(d, which, context)
  local class = d[which].class
  local says = type(class) == "table" and class.flops
  if not check.is_callable(says) then return 2 * M.size(d, which) end
  local options = {}
  for _, name in ipairs(GIVEN[which]) do options[name] = d[name] end
  for name, value in pairs(d[which].options) do options[name] = value end
  return check.value(string.format("flops of %s", tostring(class)), says(options, context), "rate")
end

--- Hidden width of the FFN: of a script's class, that of a SwiGLU with as many parameters.
---@param d table description
---@return integer
function M.hidden(d)
  return d.ffn.hidden or math.max(1, M.size(d, "ffn") // (3 * d.width))
end

--- "MyFFN { hidden = 64 }"
---@param part table
---@return string
function M.text(part)
  local options, name = {}, tostring(part.class):match "^class (.*)$" or "of a function"
  for i, key in ipairs(check.sorted_names(part.options)) do
    options[i] = string.format("%s = %s", key, tostring(part.options[key]))
  end
  return #options == 0 and name or string.format("%s { %s }", name, table.concat(options, ", "))
end

return M
