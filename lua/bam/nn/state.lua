-- Loads saved values into existing tensors. Everything is checked before anything is copied.
local check = require "bam.util.check"
local core = require "bam.core"
local metadata = require "bam.util.metadata"

local M = {}

local function is_float(x)
  return x.dtype == "f32" or x.dtype == "f64" or x.dtype == "f16" or x.dtype == "bf16"
end

local function same_shape(a, b)
  if #a ~= #b then return false end
  for d = 1, #a do
    if a[d] ~= b[d] then return false end
  end
  return true
end

-- "`a`, `b` and 3 more"
local function enumerate(names)
  if #names == 0 then return "nothing" end
  local shown = {}
  for i = 1, math.min(#names, 5) do shown[i] = string.format("`%s`", names[i]) end
  local text = table.concat(shown, ", ")
  return #names > 5 and string.format("%s and %d more", text, #names - 5) or text
end

-- The names that only one side has, sorted; and all names: `known` of the targets, `given` of the state.
local function compare(targets, state)
  local wanted, known, given, missing, unexpected = {}, {}, {}, {}, {}
  for i, target in ipairs(targets) do
    wanted[target.name], known[i] = true, target.name
    if state[target.name] == nil then missing[#missing + 1] = target.name end
  end
  for name in pairs(state) do
    given[#given + 1] = tostring(name)
    if not wanted[name] then unexpected[#unexpected + 1] = tostring(name) end
  end
  table.sort(unexpected)
  table.sort(given)
  return missing, unexpected, { known = known, given = given }
end

-- Is it a tensor that stays in its file until it is read?
local function is_stored(x) return getmetatable(x) == "bam.StoredTensor" end

local function check_fit(what, target, value)
  if not check.is_tensor(value) and not is_stored(value) then
    check.fail("%s: `%s` is %s, not a tensor", what, target.name, check.describe(value))
  end
  if not same_shape(target.tensor.shape, value.shape) then
    check.fail("%s: `%s` has shape %s, but is %s in the state", what, target.name,
               check.shape(target.tensor.shape), check.shape(value.shape))
  end
  if target.tensor.dtype ~= value.dtype and not (is_float(target.tensor) and is_float(value)) then
    check.fail("%s: `%s` is %s, but %s in the state", what, target.name, target.tensor.dtype,
               value.dtype)
  end
end

-- Raise if the names of the state and of its owner, a module or an optimizer, differ.
local function check_names(what, missing, unexpected, names, tied)
  local first, twin = unexpected[1], tied and tied[unexpected[1]]
  local owner = what:find(":", 1, true) and "optimizer" or "module"
  if twin then
    check.fail("%s: the state has `%s`, and this %s does not: it is the same tensor as `%s`; "
               .. "{ strict = false } ignores it", what, first, owner, twin)
  elseif first then
    local rest = string.format("the %s has %s; { strict = false } ignores the others", owner, enumerate(names.known))
    check.fail("%s: the state has %s, and this %s does not%s", what, enumerate(unexpected), owner,
               check.suggestion(first, names.known, rest))
  elseif missing[1] then
    check.fail("%s: the state has no %s; it has %s; { strict = false } keeps the current values", what,
               enumerate(missing), enumerate(names.given))
  end
end

--- Copy the tensors of `state` into the targets of the same name, converting between float dtypes.
--- Any error is raised before anything is changed.
---@param what string for messages
---@param targets { name: string, tensor: tensor }[]
---@param state table<string, tensor|bam.StoredTensor>
---@param options? { strict: boolean } true by default: both sides must have the same names
---@param tied? table<string, string> other names of targets, for messages
---@return string[] missing names of targets that the state lacks
---@return string[] unexpected names in the state that no target has
function M.load(what, targets, state, options, tied)
  if metadata.is(options) then options = nil end -- load_state(bam.load(path))
  local o = check.options(what, options, { strict = { "boolean", true } })
  check.value(string.format("%s: state", what), state, "table")
  local missing, unexpected, names = compare(targets, state)
  if o.strict then check_names(what, missing, unexpected, names, tied) end
  for _, target in ipairs(targets) do
    local value = state[target.name]
    if value ~= nil then check_fit(what, target, value) end
  end
  core.uninterrupted(core.with_grad, false, function()
    for _, target in ipairs(targets) do
      local value = state[target.name]
      core.scope(function() -- frees a stored tensor before the next one is read
        if value ~= nil then target.tensor:copy_(is_stored(value) and value:read() or value) end
      end)
    end
  end)
  return missing, unexpected
end

return M
