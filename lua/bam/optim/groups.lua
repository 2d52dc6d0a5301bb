-- What an optimiser is given, sorted: a module, a list of parameters or tensors, or a list of
-- groups with settings of their own, becomes lists of parameters that are updated alike.
local check = require "bam.check"
local module = require "bam.nn.module"

local M = {}

local COMPUTES = { f32 = true, f64 = true }

-- The parameters that `params` names: { name, tensor, module }. `number` counts those without a
-- name.
local function list_parameters(what, params, number)
  if module.is_module(params) then return params:parameters() end -- new tables, ours to change
  if type(params) ~= "table" or getmetatable(params) or #params == 0 then
    check.fail("%s: expected a module, or a list of tensors, of { name =, tensor = } or of groups "
               .. "{ params = ... }, got %s",
               what, type(params) == "table" and not getmetatable(params) and "an empty list"
                 or check.describe(params))
  end
  local list = {}
  for i, p in ipairs(params) do
    if check.is_tensor(p) then
      number.last = number.last + 1
      p = { name = tostring(number.last), tensor = p }
    end
    if type(p) ~= "table" or not check.is_tensor(p.tensor) or type(p.name) ~= "string" then
      check.fail("%s: entry %d of the parameters is %s, not a tensor or { name =, tensor = }",
                 what, i, check.describe(p))
    end
    for key in pairs(p) do
      if key ~= "name" and key ~= "tensor" and key ~= "module" then
        check.fail("%s: entry %d of the parameters has no use for `%s`; a group { params = ..., %s = "
                   .. "... } has settings of its own", what, i, tostring(key), tostring(key))
      end
    end
    list[i] = { name = p.name, tensor = p.tensor, module = p.module }
  end
  return list
end

local function is_group_list(params)
  return type(params) == "table" and not getmetatable(params) and type(params[1]) == "table"
    and not module.is_module(params[1]) and rawget(params[1], "params") ~= nil
end

-- The settings of one group: those of the optimiser, with what the group says over them.
local function group_options(what, group, options, spec)
  local merged, allowed = {}, { lr_scale = { "rate", 1 }, name = { "string", optional = true } }
  for name, rule in pairs(spec) do
    if name ~= "lr" then allowed[name] = { rule[1], options[name], optional = true } end
  end
  for name, value in pairs(group) do
    if name == "lr" then
      check.fail("%s: a group scales the learning rate, with lr_scale = 0.5", what)
    end
    if name ~= "params" then merged[name] = value end
  end
  return check.options(what, merged, allowed)
end

--- Should this parameter decay? Not vectors and scalars (norms, biases), nor what belongs to a
--- module that says `no_decay`, as nn.Embedding does.
---@param _ string its name
---@param tensor tensor
---@param owner? table the module whose field it is
---@return boolean
function M.decays(_, tensor, owner) return tensor.ndim >= 2 and not (owner and owner.no_decay) end

local function check_parameter(what, p, names)
  if names[p.name] then
    check.fail("%s: two parameters are called `%s`; give the groups names, "
               .. '{ name = "head", params = ... }, or the parameters: { name =, tensor = }', what,
               p.name)
  end
  names[p.name] = true
  if not COMPUTES[p.tensor.dtype] then
    check.fail('%s: parameter `%s` is %s; optimisers update f32 and f64: m:to "f32"', what, p.name,
               p.tensor.dtype)
  end
  if not p.tensor.is_leaf then
    check.fail("%s: parameter `%s` is the result of an op, not a leaf", what, p.name)
  end
end

-- Add the parameters of one group to the sets, by dtype, device and decay.
local function sort_group(what, parameters, o, found)
  local sets = {}
  for _, p in ipairs(parameters) do
    if not found.seen[p.tensor] then
      found.seen[p.tensor] = true
      p.name = o.name and string.format("%s.%s", o.name, p.name) or p.name
      check_parameter(what, p, found.names)
      if p.tensor.requires_grad then
        local decays = (o.decay or M.decays)(p.name, p.tensor, p.module) and o.weight_decay > 0
        local key = string.format("%s %s %s", p.tensor.dtype, p.tensor.device, decays)
        if not sets[key] then
          sets[key] = { parameters = {}, options = o,
                        weight_decay = decays and o.weight_decay or 0 }
          table.insert(found.sets, sets[key])
        end
        table.insert(sets[key].parameters, p)
      else
        table.insert(found.frozen, p)
      end
    end
  end
end

--- Sort `params` into sets { parameters, options, weight_decay }; each tensor counts once, under
--- its first name. Also the parameters that are frozen now.
---@param what string the optimiser, for messages
---@param params any
---@param options table checked
---@param spec table of the options
---@return table[] sets
---@return table[] frozen
function M.sort(what, params, options, spec)
  local found, number = { sets = {}, frozen = {}, seen = {}, names = {} }, { last = 0 }
  local several = is_group_list(params)
  for i, group in ipairs(several and params or { { params = params } }) do
    local name = several and string.format("%s: group %d", what, i) or what
    if type(group) ~= "table" or getmetatable(group) or several and group.params == nil then
      check.fail("%s: expected { params = ..., settings }, got %s", name, check.describe(group))
    end
    local o = group_options(name, group, options, spec)
    sort_group(name, list_parameters(name, group.params, number), o, found)
  end
  if #found.sets == 0 then
    check.fail("%s: there is nothing to train: every parameter is frozen", what)
  end
  return found.sets, found.frozen
end

return M
