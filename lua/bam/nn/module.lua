--- Modules: layers and models with parameters. Tensors, modules and lists of them in the fields of a module belong
--- to it. Names follow from the fields ("layers.1.attn.qkv.weight"), in the order of first assignment.
--- Fields whose names start with "_" are private and ignored.
---
---   local Block = nn.module "Block"
---   function Block:init(options) self.norm = nn.LayerNorm(options.width) end
---   function Block:forward(x) return x + self.norm(x) end
---   local block = Block { width = 64 }      -- calls init
---   local y = block(x)                      -- calls forward
local check = require "bam.util.check"
local core = require "bam.core"

local M = {}

-- The metatable of lists of parameters, for those who write `for p in m:parameters() do`.
local parameters = { __name = "list of parameters" }
check.plain[parameters] = true
function parameters.__index(_, key)
  if math.type(key) == "integer" and key < 1 then
    check.fail("m:parameters(): a list counts from 1, got %d; list[#list] is the last", key)
  end
end
function parameters.__call()
  check.fail("m:parameters() is a list: for i, p in ipairs(m:parameters()) do, with p.name and p.tensor; or "
             .. "for name, tensor in m:named_parameters() do")
end

--- Mark a list as parameters: calling it, as `for p in list do` does, is an error that says how to walk it.
---@param list table
---@return table list
function M.parameter_list(list) return setmetatable(list, parameters) end

--- Is it a table without a metatable, or a list of parameters?
---@param value any
---@return boolean
function M.is_plain(value)
  local metatable = getmetatable(value)
  return type(value) == "table" and (metatable == nil or metatable == parameters)
end

local Module = {} -- the methods that every module has; methods.lua adds more
M.Module = Module

-- For each module, the names of its fields in order: { list = { name, ... }, known = { [name] =
-- true } }.
local fields = setmetatable({}, { __mode = "k" })
local classes = setmetatable({ [Module] = true }, { __mode = "k" })

--- Is `value` a module?
---@param value any
---@return boolean
function M.is_module(value) return type(value) == "table" and fields[value] ~= nil end

local was_field = {} -- by name

--- Has a module ever had a field of this name, even if nil?
---@param name string
---@return boolean
function M.was_field(name) return was_field[name] == true end

-- The first assignment of a field.
local function assign(self, name, value)
  local order = fields[self]
  was_field[name] = true
  if type(value) ~= "function" and type(self[name]) == "function" then
    check.fail("%s: a field `%s` would hide the method of the same name; choose another name",
               getmetatable(self).__name, name)
  end
  if not order.known[name] then
    order.known[name] = true
    order.list[#order.list + 1] = name
  end
  rawset(self, name, value)
end

--- Initialize a new module. Classes define their own, which receives the arguments of the class call.
function Module:init() end

--- Compute the module: m(x) calls m:forward(x). Classes define their own.
function Module:forward()
  local name = getmetatable(self).__name
  check.fail("%s has no forward; define function %s:forward(x)", name, name)
end

local PYTHON = { __init__ = "init", __init = "init", __call__ = "forward", __call = "forward" }

-- The first assignment of a method to a class.
local function define(class, key, value)
  local known = PYTHON[key]
  if known then
    check.fail("nn.module: `%s` is called `%s`: function %s:%s(...)", key, known, tostring(class):match "%S+$", known)
  end
  rawset(class, key, value)
end

--- Create a class of modules. Give it methods init(...) and forward(...).
---
---   local Block = nn.module "Block"
---   function Block:init(width) self.norm = nn.LayerNorm(width) end
---   function Block:forward(x) return x + self.norm(x) end
---   local block = Block(64)
---@param name string
---@param base? table class to inherit from, nn.Module by default
---@return table class call it to make a module
function M.module(name, base)
  check.value("nn.module: name", name, "string")
  base = base or Module
  if not classes[base] then
    check.fail("nn.module: the base of %s must be a class made by nn.module, not %s", name,
               check.describe(base))
  end
  local class = {}
  local instance = { __name = name, __index = class, __newindex = assign }
  function instance:__tostring() return self:describe() end
  function instance:__call(...) return self:forward(...) end
  classes[class] = true
  -- Make a module of this class; the arguments are those of its `init`.
  local function make(_, ...)
    local self = setmetatable({ training = true }, instance)
    fields[self] = { list = {}, known = {} }
    self:init(...)
    return self
  end
  local function text() return string.format("class %s", name) end
  return setmetatable(class, { __name = text(), __index = base, __call = make, __tostring = text,
                               __newindex = define })
end

-- The keys of the contents of `value`: a module's fields, or the positions of a list.
local function keys_of(value, name)
  if fields[value] then return fields[value].list end
  local keys = {}
  if getmetatable(value) then return keys end
  for i = 1, #value do keys[i] = i end
  for key, held in next, value do
    if not keys[key] and (check.is_tensor(held) or M.is_module(held)) then
      check.fail("`%s` holds a parameter or module under the key %s; parameters are found in "
                 .. "fields and in lists without gaps", name, check.describe(key))
    end
  end
  return keys
end

local function is_private(key) return type(key) == "string" and key:sub(1, 1) == "_" end

--- Raise if a tensor in a field was closed or released, as when forward assigns a result to a field.
---@param name string of the field
---@param x tensor
function M.check_open(name, x)
  local closed = core.closed(x)
  if closed then
    check.fail("`%s` holds a tensor that was %s; change the one that `init` made in place, self.%s:copy_(x), or keep "
               .. "caches in a field whose name begins with _", name, closed, name:match "[^.]*$")
  end
end

-- Add `value` and its contents to `found`. `holder[key]` is where it was found, `module` the innermost module around
-- it.
local function gather(found, value, name, module, holder, key)
  if check.is_tensor(value) then
    M.check_open(name, value)
    if not value.is_leaf then
      check.fail("`%s` is the result of an op, not a parameter; name the field `_%s` to keep it "
                 .. "out", name, key)
    end
    found.tensors[#found.tensors + 1] = { name = name, tensor = value, module = module,
                                          holder = holder, key = key }
  elseif type(value) == "table" and not found.seen[value] then
    found.seen[value] = true
    if fields[value] then
      found.modules[#found.modules + 1] = { name = name, module = value, parent = module }
      module = value
    end
    for _, k in ipairs(keys_of(value, name)) do
      if not is_private(k) then
        gather(found, rawget(value, k),
               name == "" and tostring(k) or string.format("%s.%s", name, k), module, value, k)
      end
    end
  end
end

--- Collect everything in a module, in order: `tensors` as { name, tensor, module, holder, key }, one for each place
--- that holds a tensor, and `modules` as { name, module, parent }, each once.
---@param self table
---@return { tensors: table[], modules: table[] }
function M.contents(self)
  if not M.is_module(self) then
    check.fail("expected a module, got %s; call methods with a colon: m:name()",
               check.describe(self))
  end
  local found = { tensors = {}, modules = {}, seen = {} }
  gather(found, self, "")
  return found
end

return M
