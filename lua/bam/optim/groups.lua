-- What an optimizer is given, sorted: a module, a list of parameters or tensors, or a list of groups with options
-- of their own, becomes sets of parameters that are updated alike.
local check = require "bam.util.check"
local core = require "bam.core"
local description = require "bam.model.description"
local module = require "bam.nn.module"
local rules = require "bam.optim.rules"

local M = {}

local UPDATES = { f32 = true, f64 = true, bf16 = true }

local function describe_params(params)
  if description.is(params) then
    return "a description, which has no parameters; give the model, description:build()"
  end
  if check.describe(params) == "a phase" then return "a phase; give its model, phase:load()" end
  if not module.is_plain(params) then return check.describe(params) end
  local name, value = next(params)
  if type(name) == "string" and check.is_tensor(value) then
    return "tensors by name, as m:state() gives them; pass the module, or m:parameters()"
  end
  return name == nil and "an empty list" or "a table without entries 1, 2, ..."
end

-- The parameters that `params` names: { name, tensor, module }. `number` counts those without a
-- name.
local function list_parameters(what, params, number)
  if module.is_module(params) then return params:parameters() end -- new tables, ours to change
  if not module.is_plain(params) or #params == 0 then
    check.fail("%s: expected a module, or a list of tensors, of { name =, tensor = } or of groups "
               .. "{ params = ... }, got %s",
               what, describe_params(params))
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

-- ---- options ----

-- What a group may say: every option but lr and groups, with the optimizer's own as defaults.
local function group_spec(options, spec)
  local allowed = { lr_scale = { "rate", 1 }, name = { "string", optional = true } }
  for name, rule in pairs(spec) do
    if name ~= "lr" and name ~= "groups" then allowed[name] = { rule[1], options[name], optional = true } end
  end
  return allowed
end

-- The options of one group: those of the optimizer, with what the group says over them.
local function group_options(what, group, options, definition)
  local given = {}
  for name, value in pairs(group) do
    if name == "lr" then
      check.fail("%s: a group scales the learning rate, with lr_scale = 0.5", what)
    end
    if name ~= "params" then given[name] = value end
  end
  local o = check.options(what, given, group_spec(options, definition.spec))
  rules.check_options(definition, what, o)
  return o
end

-- ---- groups by pattern ----

-- The parameters sorted by the option `groups`, a list of { params = "pattern", options }: each parameter belongs
-- to the first group whose pattern its name matches. What matches none is a last group without options.
local function by_pattern(what, parameters, groups)
  local sorted, rest = {}, { params = {} }
  for i, group in ipairs(groups) do
    sorted[i] = {}
    for key, value in pairs(group) do sorted[i][key] = value end
    sorted[i].params = {}
  end
  for _, p in ipairs(parameters) do
    local home = rest
    for i = #groups, 1, -1 do
      if p.name:find(groups[i].params) then home = sorted[i] end
    end
    table.insert(home.params, p)
  end
  for i, group in ipairs(sorted) do
    if #group.params == 0 then
      check.fail('%s: group %d: no parameter matches the pattern "%s" that is not in a group before it', what, i,
                 groups[i].params)
    end
  end
  if #rest.params > 0 then sorted[#sorted + 1] = rest end
  return sorted
end

--- Check the option `groups`, as far as can be told without the parameters.
---@param what string for messages
---@param groups any
---@param options table the optimizer's, checked
---@param definition table
function M.check_patterns(what, groups, options, definition)
  check.value(string.format("%s: option groups", what), groups, "list")
  for i, group in ipairs(groups) do
    local name = string.format("%s: group %d", what, i)
    check.value(name, group, "table")
    check.value(string.format("%s: params", name), group.params, "string")
    if not pcall(string.find, "", group.params) then
      check.fail('%s: params: "%s" is not a Lua pattern', name, group.params)
    end
    group_options(name, group, options, definition)
  end
end

-- ---- sorting ----

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
  local dtype, device = p.tensor.dtype, p.tensor.device
  if not UPDATES[dtype] or not core.computes(dtype, device) then
    check.fail('%s: parameter `%s` is %s; on %s, optimizers update f32 and f64%s: m:to "f32"', what, p.name, dtype,
               tostring(device), core.computes("bf16", device) and " and bf16" or "")
  end
  if not p.tensor.is_leaf then
    check.fail("%s: parameter `%s` is the result of an op, not a leaf", what, p.name)
  end
end

-- The set that a parameter belongs to: parameters of one dtype, device, definition and decay.
local function set_of(sets, found, p, o, definition)
  local rule, options = rules.rule_of(definition, p, o)
  local decay = options.weight_decay or 0
  local decays = decay > 0 and (options.decay or M.decays)(p.name, p.tensor, p.module)
  local key = string.format("%s %s %s %s", p.tensor.dtype, p.tensor.device, decays, rule.name)
  if not sets[key] then
    sets[key] = { parameters = {}, options = options, rule = rule, weight_decay = decays and decay or 0 }
    table.insert(found.sets, sets[key])
  end
  return sets[key]
end

-- Add the parameters of one group to the sets.
local function sort_group(what, parameters, o, found, definition)
  local sets = {}
  for _, p in ipairs(parameters) do
    if not found.seen[p.tensor] then
      found.seen[p.tensor] = true
      p.name = o.name and string.format("%s.%s", o.name, p.name) or p.name
      check_parameter(what, p, found.names)
      if p.tensor.requires_grad then
        table.insert(set_of(sets, found, p, o, definition).parameters, p)
      else
        table.insert(found.frozen, p)
      end
    end
  end
end

-- The groups that `params` and the option `groups` come to; nil when there is one without options.
local function list_groups(what, params, options, number)
  local is_list = is_group_list(params)
  if options.groups == nil then return is_list and params or nil end
  if is_list then
    check.fail("%s: groups are given in the parameters and in option groups; give them once", what)
  end
  return by_pattern(what, list_parameters(what, params, number), options.groups)
end

--- Sort `params` into sets { parameters, options, weight_decay, rule }, where `rule` is the definition that updates
--- them; each tensor counts once, under its first name. Also the parameters that are frozen now.
---@param what string the optimizer, for messages
---@param params any
---@param options table checked
---@param definition table
---@return table[] sets
---@return table[] frozen
function M.sort(what, params, options, definition)
  local found, number = { sets = {}, frozen = {}, seen = {}, names = {} }, { last = 0 }
  local several = list_groups(what, params, options, number)
  for i, group in ipairs(several or { { params = params } }) do
    local name = several and string.format("%s: group %d", what, i) or what
    if type(group) ~= "table" or getmetatable(group) or several and group.params == nil then
      check.fail("%s: expected { params = ..., settings }, got %s", name, check.describe(group))
    end
    local o = group_options(name, group, options, definition)
    sort_group(name, list_parameters(name, group.params, number), o, found, definition)
  end
  if #found.sets == 0 then
    check.fail("%s: there is nothing to train: every parameter is frozen", what)
  end
  return found.sets, found.frozen
end

return M
