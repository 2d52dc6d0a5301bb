-- bam.train's option `optimizer`: the optimizer of a phase and its options, chosen before there is a model. It is a
-- name, a definition, or { name or definition, options }. It is part of the phase's fingerprint: options by their
-- values, functions and definitions by their code.
local check = require "bam.util.check"
local closure_hash = require "bam.model.fingerprint.closure_hash"
local definition = require "bam.optim.definition"
local groups = require "bam.optim.groups"
local params = require "bam.model.params"
local plain = require("bam.model.fingerprint.options").plain
local Router = require "bam.nn.moe.router"
local registry = require "bam.util.registry"
local rules = require "bam.optim.rules"

local M = {}

local Choice = {} -- methods
local metatable = { __name = "choice of optimizer", __index = Choice }

function metatable:__tostring() return string.format("optimizer %s", self.definition.name) end

local WHAT = "train: option optimizer"

-- Check the options, all but the learning rate, and fill in defaults.
local function read_options(d, what, given)
  local spec = {}
  for name, rule in pairs(d.spec) do
    if name ~= "lr" then spec[name] = rule end
  end
  local o = check.options(what, given, spec)
  rules.check_options(d, what, o)
  if o.groups then groups.check_patterns(what, o.groups, o, d) end
  return o
end

--- Read the option.
---@param value any
---@return table choice
function M.read(value)
  local chosen, given = registry.split(value)
  if given.lr ~= nil then
    check.fail("%s: the learning rate is option lr of bam.train; groups = { { params = \"...\", lr_scale = 0.1 } } "
               .. "gives some parameters another rate", WHAT)
  end
  if type(chosen) == "table" and check.is_callable(check.field(chosen, "step")) then
    check.fail('%s: a phase makes its own optimizer; write optimizer = "adamw", or { "adamw", weight_decay = 0 }', WHAT)
  end
  local d = definition.find(WHAT, chosen)
  return setmetatable({ definition = d, options = read_options(d, string.format("%s: %s", WHAT, d.name), given) },
                      metatable)
end

--- Create the optimizer of a live model.
---@param model table
---@return table
function Choice:make(model)
  local options = {}
  for name, value in pairs(self.options) do
    if name:sub(1, 1) ~= "_" then options[name] = value end
  end
  return self.definition(model, options)
end

-- ---- the fingerprint ----

--- Hash the code of a definition that a script has written; nil for bam's own definitions.
---@param d table definition
---@param hash fun(value: any): string
---@return table<string, string>?
function M.code(d, hash)
  if d.is_builtin then return nil end
  local code = { elementwise = d.elementwise, rest = d.rest and d.rest.name, counts = d.counts }
  for name, field in pairs(rules.code(d)) do code[name] = hash(field) end
  for name, hashed in pairs(d.rest and M.code(d.rest, hash) or {}) do code[string.format("rest.%s", name)] = hashed end
  return code
end

--- The contribution of the optimizer to the settings of a phase. AdamW with plain options is stored as before the
--- option existed.
---@return table settings with the fields betas, eps and weight_decay, or with optimizer
function Choice:settings()
  local o = plain(self.options)
  local is_adamw = self.definition.name == "AdamW" and self.definition.is_builtin
  if is_adamw and not o.decay and not o.groups then
    return { betas = o.betas, eps = self.options.eps, weight_decay = self.options.weight_decay }
  end
  return { optimizer = { name = self.definition.name, options = next(o) and o or nil,
                         code = M.code(self.definition, closure_hash.hash) } }
end

-- ---- memory ----

-- A stand-in for a parameter before there is a model: a tensor's shape, and the module that would hold it.
local function stand_in(entry)
  local shape = entry.shape
  local tensor = { shape = shape, ndim = #shape, dtype = "f32", device = "cpu" }
  function tensor.size(_, i) return shape[i < 0 and #shape + 1 + i or i] end
  function tensor.count() return params.size(entry) end
  local module = { no_decay = entry.kind == "embedding" or entry.kind == "norm" or entry.kind == "head" or nil,
                   is_head = entry.kind == "router" and Router.is_head or nil }
  return { name = entry.name, tensor = tensor, module = module }
end

-- Numbers that an optimizer stores for a parameter, and numbers it computes before it writes them.
local function numbers_of(d, o, p)
  local rule, options = rules.rule_of(d, p, o)
  local alike, others = rules.state_of(rule, options, not rule.elementwise and p.tensor or nil)
  local count = p.tensor.count()
  local state = #alike * count
  for _, other in ipairs(others) do
    local size = 1
    for _, n in ipairs(other.shape) do size = size * n end
    state = state + size
  end
  return state + (rules.code(rule).update and count + state or 0)
end

--- Bytes of the optimizer state of a model, including the new values that an update in Lua computes before they are
--- written. State functions receive a stand-in with the tensor's shape.
---@param description table
---@return integer
function Choice:bytes(description)
  local sum = 0
  for _, entry in ipairs(params.list(description)) do
    local p = stand_in(entry)
    local fine, numbers = pcall(numbers_of, self.definition, self.options, p)
    sum = sum + 4 * (fine and numbers or 2 * p.tensor.count()) -- as AdamW if the code needs a live tensor
  end
  return sum
end

return M
