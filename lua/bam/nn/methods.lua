--- The methods of every module: list, count, save, load, freeze, group and convert its parameters.
local check = require "bam.util.check"
local core = require "bam.core"
local module = require "bam.nn.module"
local state = require "bam.nn.state"

local Module = module.Module

local floats = { f32 = true, f64 = true, f16 = true, bf16 = true }

-- Each tensor once, under its first name; other names of shared tensors as { other = first }.
local function unique(self)
  local list, first, tied = {}, {}, {}
  for _, entry in ipairs(module.contents(self).tensors) do
    local known = first[entry.tensor]
    if known then
      tied[entry.name] = known
    else
      first[entry.tensor] = entry.name
      list[#list + 1] = entry
    end
  end
  return list, tied
end

--- List the parameters in order: every floating-point tensor, each once. `module` is the module that holds it.
---@return { name: string, tensor: tensor, module: table }[]
function Module:parameters()
  local list = {}
  for _, entry in ipairs((unique(self))) do
    if floats[entry.tensor.dtype] then
      list[#list + 1] = { name = entry.name, tensor = entry.tensor, module = entry.module }
    end
  end
  return module.parameter_list(list)
end

--- Iterate over the parameters: for name, tensor in m:named_parameters() do
---@return fun(): string, tensor
function Module:named_parameters()
  local list, i = self:parameters(), 0
  return function()
    i = i + 1
    if list[i] then return list[i].name, list[i].tensor end
  end
end

--- Iterate over this module (named "") and all modules inside it: for name, module in m:named_modules() do
---@return fun(): string, table
function Module:named_modules()
  local list, i = module.contents(self).modules, 0
  return function()
    i = i + 1
    if list[i] then return list[i].name, list[i].module end
  end
end

--- Call f(module, name) for this module and all modules inside it.
---@param f fun(module: table, name: string)
---@return table self
function Module:apply(f)
  check.value("apply: f", f, "callable")
  for name, m in self:named_modules() do f(m, name) end
  return self
end

--- All tensors by name, for bam.save. They are the live tensors: clone them to keep their values.
---@return table<string, tensor>
function Module:state()
  local t = {}
  for _, entry in ipairs((unique(self))) do t[entry.name] = entry.tensor end
  return t
end

--- Copy the tensors of a state into this module, converting between float dtypes. Names and shapes are checked
--- before anything changes.
---@param values table<string, tensor>
---@param options? { strict?: boolean } strict = false ignores names that only one side has
---@return string[] missing
---@return string[] unexpected
function Module:load_state(values, options)
  local targets, tied = unique(self)
  return state.load("load_state", targets, values, options, tied)
end

-- Set requires_grad of the parameters that `which` selects: nil, a Lua pattern, or f(name, tensor).
local function set_requires_grad(self, what, which, requires)
  local kind, hits = type(which), 0
  if kind ~= "nil" and kind ~= "string" and kind ~= "function" then
    check.fail("%s: expected a pattern or a function(name, tensor), got %s", what,
               check.describe(which))
  end
  for name, tensor in self:named_parameters() do
    local hit = kind == "nil" or kind == "string" and name:find(which)
      or kind == "function" and which(name, tensor)
    if hit then
      tensor.requires_grad, hits = requires, hits + 1
    end
  end
  if kind == "string" and hits == 0 then
    check.fail('%s: no parameter matches the pattern "%s"', what, which)
  end
  return self
end

--- Exclude parameters from training: all, those whose name matches a Lua pattern ("^embed%."), or those for which
--- f(name, tensor) returns true.
---@param which? string|fun(name: string, tensor: tensor): boolean all by default
---@return table self
function Module:freeze(which) return set_requires_grad(self, "freeze", which, false) end

--- Train parameters again: all, or those selected as in freeze.
---@param which? string|fun(name: string, tensor: tensor): boolean all by default
---@return table self
function Module:unfreeze(which) return set_requires_grad(self, "unfreeze", which, true) end

--- Group the parameters. key(name, tensor, module) returns the name of the group, or nil to leave the parameter
--- out.
---@param key fun(name: string, tensor: tensor, module: table): any
---@return table<any, table[]> groups lists as m:parameters() returns
function Module:groups(key)
  check.value("groups: key", key, "callable")
  local groups = {}
  for _, p in ipairs(self:parameters()) do
    local name = key(p.name, p.tensor, p.module)
    if name ~= nil then
      groups[name] = groups[name] or {}
      table.insert(groups[name], p)
    end
  end
  return groups
end

--- Count the numbers in all parameters, and in those that are trained.
---@return integer total
---@return integer trainable
function Module:count()
  local total, trainable = 0, 0
  for _, p in self:named_parameters() do
    local n = p:count()
    total, trainable = total + n, trainable + (p.requires_grad and n or 0)
  end
  return total, trainable
end

--- Switch to training mode (dropout is active), or to evaluation mode with false.
---@param on? boolean true by default
---@return table self
function Module:train(on)
  if on == nil then on = true end
  check.value("train: on", on, "boolean")
  return self:apply(function(m) m.training = on end)
end

--- Switch to evaluation mode (dropout is inactive).
---@return table self
function Module:eval() return self:train(false) end

local restoring = { __name = "modes to restore", __close = function(saved)
  for _, mode in ipairs(saved) do mode.module.training = mode.training end
end }

--- Call f(...) in evaluation mode. Afterwards, even after an error or an interrupt, every module inside is back in
--- the mode that it had before.
---@param f function
---@param ... any arguments of f
---@return any ... results of f
function Module:in_eval(f, ...)
  check.value("in_eval: f", f, "callable")
  local saved <close> = setmetatable({}, restoring)
  local _ <close> = saved -- twice, because an interrupt may arrive during the first close
  self:apply(function(m)
    saved[#saved + 1] = { module = m, training = m.training }
    m.training = false
  end)
  return f(...)
end

-- A float dtype, a device or both: the arguments of Module:to, in either position.
local function destination(dtype, device)
  if type(dtype) == "string" and not device and (dtype:find "^cpu" or dtype:find "^cuda") then
    return nil, dtype
  end
  if (dtype == nil and device == nil) or dtype ~= nil and not floats[dtype] then
    check.fail('to: expected "f32", "f64", "bf16" or "f16", or a device such as "cuda", got %s',
               check.describe(dtype))
  end
  return dtype, device
end

--- Convert all parameters to a float dtype, move everything to a device, or both: m:to "f64", m:to "cuda",
--- m:to("f32", "cuda"). CUDA devices compute in bf16; elsewhere it is for saving, as f16 is everywhere. Changed tensors
--- are new and have no gradient: make optimizers afterwards.
---@param dtype? string
---@param device? string
---@return table self
function Module:to(dtype, device)
  dtype, device = destination(dtype, device)
  local entries, converted = module.contents(self).tensors, {}
  for _, entry in ipairs(entries) do
    local old = entry.tensor
    local float = floats[old.dtype]
    if not converted[old] and (device or float and old.dtype ~= dtype) then
      converted[old] = core.ops.to(old:detach(), { dtype = float and dtype or nil,
                                                   device = device }):keep()
      converted[old].requires_grad = old.requires_grad
    end
  end
  for _, entry in ipairs(entries) do -- all conversions succeeded; nothing below can fail
    rawset(entry.holder, entry.key, converted[entry.tensor] or entry.tensor)
  end
  return self
end

-- Does a module belong to a router? A router is the field `router` of a layer.
local function is_of_router(name) return name:find "%f[%w_]router%f[^%w_]" ~= nil end

--- Compute the products of the linear layers inside in FP8, forward and backward, or with false as before. Parameters
--- stay as they are: bf16, on a GPU of compute capability 8.9 or newer. It concerns nn.Linear and attention's
--- projections, not routers, routed experts, embeddings and heads, and no product with a size that is not a multiple of
--- 16. bam.train { dtype = "fp8" } does it for phases.
---@param on? boolean true by default
---@return table self
function Module:fp8(on)
  if on == nil then on = true end
  check.value("fp8: on", on, "boolean")
  return self:apply(function(m, name)
    if m._fp8 ~= nil and not is_of_router(name) then m._fp8 = on end
  end)
end

check.methods(Module, module.is_module, "a module", "m")

-- Names that PyTorch's modules have. One that was ever a field of a module may be absent from another.
local metatable = { __name = "nn.Module" }
function metatable.__index(_, name)
  local text = type(name) == "string" and not module.was_field(name)
    and require("bam.util.hints").known("module", name)
  if text then check.fail("a module has no `%s`; %s", name, text) end
end
function metatable.__call()
  check.fail 'nn.Module: write a class: local Mine = nn.module "Mine", with methods init and forward'
end
setmetatable(Module, metatable)

return Module
