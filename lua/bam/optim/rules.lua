-- What a definition of an optimizer says: the options of a call, which definition updates a parameter, and what it
-- keeps for it. Functions of definitions are stored here: scripts hold definitions, and only bam calls those.
local check = require "bam.util.check"
local registry = require "bam.util.registry"

local M = {}

--- The fields of a definition that may be functions.
M.CODE = { "update", "kernel", "state", "accepts", "check" }

--- The functions of a definition, by name; `state` may also be a list.
---@param d table
---@return table
function M.code(d) return registry.code(d) end

-- ---- options ----

-- The options of the definition that updates the rest: what `o` says of it, with the decay of `o` as the default.
local function rest_options(d, what, o)
  local rest, spec = d.rest, { lr_scale = { "rate", 1 } }
  for name, rule in pairs(rest.spec) do
    if name ~= "lr" and name ~= "groups" then spec[name] = rule end
  end
  for _, name in ipairs { "weight_decay", "decay" } do
    if spec[name] and o[name] ~= nil then spec[name] = { spec[name][1], o[name] } end
  end
  local key = rest.name:lower()
  local name = string.format("%s: option %s", what, key)
  local options = check.options(name, o[key], spec)
  options.lr_scale = options.lr_scale * (o.lr_scale or 1)
  M.check_options(rest, name, options)
  return options
end

--- Check options whose kinds are right, and add what follows from them.
---@param d table definition
---@param what string for messages
---@param o table
function M.check_options(d, what, o)
  local code = M.code(d)
  if code.check then code.check(what, o) end
  if d.rest then o._rest = rest_options(d, what, o) end
end

--- The definition that updates a parameter, and the options for it.
---@param d table definition
---@param p { name: string, tensor: tensor, module?: table }
---@param o table
---@return table definition
---@return table options
function M.rule_of(d, p, o)
  local accepts = M.code(d).accepts
  if not accepts or accepts(p.name, p.tensor, p.module, o) then return d, o end
  return d.rest, o._rest
end

-- ---- state ----

local function check_state_name(what, name)
  if type(name) ~= "string" or not name:find "^%a[%w_]*$" or name == "step" then
    check.fail("%s: state: expected names of letters, digits and _, and not `step`, got %s", what,
               check.describe(name))
  end
end

local state_spec = { shape = { "list" }, dtype = { "string", optional = true }, value = { "number", 0 } }

--- The state of a parameter: names of what has its shape and dtype, in order, and { name, shape, dtype, value } of
--- everything else. `param` is nil for what is kept in flat buffers.
---@param d table definition
---@param o table options
---@param param? tensor
---@return string[] alike
---@return table[] others
function M.state_of(d, o, param)
  local what, state = string.format("optim.%s", d.name), M.code(d).state
  if type(state) == "function" then state = check.value(string.format("%s: state", what), state(o, param), "table") end
  local alike, others = {}, {}
  for i, name in ipairs(state) do
    check_state_name(what, name)
    alike[i] = name
  end
  local named = {}
  for name, value in pairs(state) do
    if not alike[name] then named[name] = value end
  end
  for _, name in ipairs(check.sorted_names(named)) do
    check_state_name(what, name)
    local one = check.options(string.format("%s: state.%s", what, name), named[name], state_spec)
    one.name = name
    others[#others + 1] = one
  end
  if not param and others[1] then
    check.fail("%s: state.%s has a shape of its own; an elementwise optimizer keeps state of the parameters' shapes "
               .. "only: { \"m\", \"v\" }", what, others[1].name)
  end
  return alike, others
end

return M
