-- Definitions of optimizers and their registry: bam.optim.define, see optim/init.lua. A definition is called to make
-- a live optimizer. It prints its options, and help() tells them with their meaning.
local check = require "bam.util.check"
local optimizer = require "bam.optim.optimizer"
local registry = require "bam.util.registry"
local rules = require "bam.optim.rules"

local M = {}

local metatable = { __name = "optimizer definition" }

local optimizers = registry.new("optimizer", metatable, "bam.optim.define")
M.registry = optimizers

-- ---- options ----

local DECAY = { "callable", optional = true,
                doc = "function(name, tensor, module): does this parameter decay? Matrices do by default, embeddings "
                  .. "and norms do not" }
local GROUPS = { "list", optional = true,
                 doc = 'options of some parameters: { { params = "^embed%.", lr_scale = 0.5 }, ... }. A parameter '
                   .. "belongs to the first group whose Lua pattern its name matches" }

local RESERVED = { lr_scale = true, groups = true, decay = true, step = true, clip = true, name = true, params = true,
                   module = true }

-- The options of the live optimizer: the definition's own, and those that all have.
local function full_spec(what, options, rest)
  local spec = { groups = GROUPS }
  registry.check_rules(what, options, RESERVED)
  for name, rule in pairs(options) do spec[name] = rule end
  if not spec.lr or spec.lr[1] ~= "rate" or spec.lr[2] == nil then
    check.fail('%s: options: the learning rate is missing: lr = { "rate", 1e-3 }', what)
  end
  if spec.weight_decay then spec.decay = DECAY end
  if rest then
    spec[rest.name:lower()] = { "table", optional = true,
                                doc = string.format("options of %s, which updates all other parameters; also lr_scale",
                                                    rest.name) }
  end
  return spec
end

-- ---- defining ----

local spec = {
  name = { "string" }, doc = { "string", "" }, options = { "table" }, state = { "any", {} },
  update = { "callable", optional = true }, elementwise = { "boolean", false },
  kernel = { "callable", optional = true }, counts = { "boolean", false },
  check = { "callable", optional = true }, accepts = { "callable", optional = true },
  rest = { "any", optional = true },
}

local function check_state(what, state)
  if type(state) ~= "table" and not check.is_callable(state) then
    check.fail("%s: state: expected a list of names or a function(options, param), got %s", what,
               check.describe(state))
  end
end

local function read_rest(what, d)
  if not d.accepts and not d.rest then return nil end
  if not d.accepts or not d.rest then
    check.fail("%s: accepts and rest belong together: rest updates the parameters that are not accepted", what)
  end
  local rest = M.find(string.format("%s: rest", what), d.rest)
  if rest.rest then check.fail("%s: rest: %s has a rest itself", what, rest.name) end
  return rest
end

--- See bam.optim.define.
---@param given table
---@return table definition
function M.define(given)
  local d = check.options("optim.define", given, spec)
  local what = string.format("optim.define: %s", d.name)
  optimizers:check_name("optim.define", d.name)
  if (d.update == nil) == (d.kernel == nil) then
    check.fail("%s: expected either update or kernel, got %s", what, d.update and "both" or "neither")
  end
  check_state(what, d.state)
  d.rest = read_rest(what, d)
  d.spec = full_spec(what, d.options, d.rest)
  d.elementwise = d.elementwise or d.kernel ~= nil
  d.counts = d.counts or d.update ~= nil
  return optimizers:add(d, rules.CODE)
end

M.define_builtin = registry.builtin(M.define)

--- The definition that a name (in any case) or a definition stands for.
---@param what string for messages
---@param x any
---@return table
function M.find(what, x) return optimizers:find(what, x) end

-- ---- calling and printing ----

--- A live optimizer of these parameters: a module, a list of tensors, of { name =, tensor = } as m:parameters() gives
--- them, or of groups { params = ..., name = "head", lr_scale = 0.5, and any option but lr }.
---@param params table
---@param options? table
---@return table optimizer
function metatable:__call(params, options) return optimizer.new(self, params, options) end

function metatable:__tostring()
  return string.format("optimizer %s: %s", self.name, registry.options_text(self.options))
end

--- What help() and the reference say: a doc comment as bam.doc has them, and the names of the parameters.
---@return table comment
---@return string[] parameters
function metatable:__doc()
  local class = string.format("optim.%sOptions", self.name)
  local comment = registry.comment(self, "An optimizer made by bam.optim.define.", class)
  comment.returns = { { type = "bam.optim.Optimizer", text = "" } }
  comment.params = { { name = "params", type = "table", text = "a module, or a list of tensors or groups" },
                     { name = "options", type = class, text = "", optional = true } }
  return comment, { "params", "options" }
end

return M
