-- Definitions of optimizers and their registry: bam.optim.define, see optim/init.lua. A definition is called to make
-- a live optimizer. It prints its options, and help() tells them with their meaning.
local check = require "bam.util.check"
local groups = require "bam.optim.groups"
local optimizer = require "bam.optim.optimizer"

local M = {}

local CODE = { "update", "kernel", "state", "accepts", "check" } -- what may be functions is kept in the field `code`

local Definition = {} -- methods
local metatable = { __name = "optimizer definition", __index = Definition }

local registered = {} -- definitions by name, in lower case
local builtin = {} -- names, in lower case, that a script cannot define again

-- ---- options ----

local DECAY = { "callable", optional = true,
                doc = "function(name, tensor, module): does this parameter decay? Matrices do by default, embeddings "
                  .. "and norms do not" }
local GROUPS = { "list", optional = true,
                 doc = 'options of some parameters: { { params = "^embed%.", lr_scale = 0.5 }, ... }. A parameter '
                   .. "belongs to the first group whose Lua pattern its name matches" }

local RESERVED = { lr_scale = true, groups = true, decay = true, step = true, clip = true, name = true, params = true,
                   module = true }

local function check_rule(what, name, rule)
  check.rule(what, name, rule)
  if RESERVED[name] then check.fail("%s: options: an option cannot be called `%s`", what, name) end
end

-- The options of the live optimizer: the definition's own, and those that all have.
local function full_spec(what, options, rest)
  local spec = { groups = GROUPS }
  for name, rule in pairs(check.value(string.format("%s: options", what), options, "table")) do
    check_rule(what, name, rule)
    spec[name] = rule
  end
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

-- The options of the definition that updates the rest: what `o` says of it, with the decay of `o` as the default.
local function rest_options(self, what, o)
  local rest, spec = self.rest, { lr_scale = { "rate", 1 } }
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
  rest:check_options(name, options)
  return options
end

--- Check options whose kinds are right, and add what follows from them.
---@param what string for messages
---@param o table
function Definition:check_options(what, o)
  if self.code.check then self.code.check(what, o) end
  if self.rest then o._rest = rest_options(self, what, o) end
end

--- Options as bam.train's option `optimizer` gives them: all but the learning rate, with defaults filled in.
---@param what string for messages
---@param given? table
---@return table
function Definition:read_options(what, given)
  local spec = {}
  for name, rule in pairs(self.spec) do
    if name ~= "lr" then spec[name] = rule end
  end
  local o = check.options(what, given, spec)
  self:check_options(what, o)
  if o.groups then groups.check_patterns(what, o.groups, o, self) end
  return o
end

--- The definition that updates a parameter, and the options for it.
---@param p { name: string, tensor: tensor, module?: table }
---@param o table
---@return table definition
---@return table options
function Definition:rule_of(p, o)
  local accepts = self.code.accepts
  if not accepts or accepts(p.name, p.tensor, p.module, o) then return self, o end
  return self.rest, o._rest
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
---@param o table options
---@param param? tensor
---@return string[] alike
---@return table[] others
function Definition:state_of(o, param)
  local what, state = string.format("optim.%s", self.name), self.code.state
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
  if not d.name:find "^%a[%w_]*$" then
    check.fail('optim.define: name: expected letters, digits and _, got "%s"', d.name)
  end
  if builtin[d.name:lower()] then check.fail("%s: bam has an optimizer of this name; choose another", what) end
  if (d.update == nil) == (d.kernel == nil) then
    check.fail("%s: expected either update or kernel, got %s", what, d.update and "both" or "neither")
  end
  check_state(what, d.state)
  d.rest = read_rest(what, d)
  d.spec = full_spec(what, d.options, d.rest)
  d.elementwise = d.elementwise or d.kernel ~= nil
  d.counts = d.counts or d.update ~= nil
  d.code = {}
  for _, name in ipairs(CODE) do d.code[name], d[name] = d[name], nil end
  setmetatable(d, metatable)
  registered[d.name:lower()] = d
  return d
end

--- One of bam's own: its name cannot be defined again.
---@param given table
---@return table definition
function M.define_builtin(given)
  local d = M.define(given)
  builtin[d.name:lower()], d.is_builtin = true, true
  return d
end

--- The definition that a name (in any case) or a definition stands for.
---@param what string for messages
---@param x any
---@return table
function M.find(what, x)
  if getmetatable(x) == metatable then return x end
  local found = type(x) == "string" and registered[x:lower()]
  if found then return found end
  local names = check.sorted_names(registered)
  if type(x) == "string" then
    check.fail('%s: no optimizer is called "%s"%s; there are %s', what, x, check.suggestion(x:lower(), names),
               table.concat(names, ", "))
  end
  return check.fail("%s: expected the name of an optimizer or what bam.optim.define gives, got %s", what,
                    check.describe(x))
end

--- Is `x` a definition?
---@param x any
---@return boolean
function M.is(x) return getmetatable(x) == metatable end

-- ---- calling and printing ----

--- A live optimizer of these parameters: a module, a list of tensors, of { name =, tensor = } as m:parameters() gives
--- them, or of groups { params = ..., name = "head", lr_scale = 0.5, and any option but lr }.
---@param params table
---@param options? table
---@return table optimizer
function metatable:__call(params, options) return optimizer.new(self, params, options) end

local function show(value)
  if type(value) == "table" then
    local items = {}
    for i, item in ipairs(value) do items[i] = show(item) end
    return string.format("{ %s }", table.concat(items, ", "))
  end
  return type(value) == "number" and string.format("%g", value) or tostring(value)
end

-- "lr = 0.001 (a number of at least 0)" of an option.
local function show_option(name, rule)
  local default = rule[2] ~= nil and string.format(" = %s", show(rule[2])) or ""
  return string.format("%s%s (%s)", name, default, check.kind_text(rule[1]))
end

function metatable:__tostring()
  local parts = {}
  for _, name in ipairs(check.sorted_names(self.options)) do
    parts[#parts + 1] = show_option(name, self.options[name])
  end
  return string.format("optimizer %s: %s", self.name, table.concat(parts, ", "))
end

--- What help() and the reference say: a doc comment as bam.doc has them, and the names of the parameters.
---@return table comment
---@return string[] parameters
function metatable:__doc()
  local text, class = {}, string.format("optim.%sOptions", self.name)
  for line in self.doc:gmatch "[^\n]+" do text[#text + 1] = line end
  if #text == 0 then text[1] = "An optimizer made by bam.optim.define." end
  return { text = text, fields = {}, returns = { { type = "bam.optim.Optimizer", text = "" } },
           options = { class = class, names = check.sorted_names(self.spec), rules = self.spec },
           params = { { name = "params", type = "table", text = "a module, or a list of tensors or groups" },
                      { name = "options", type = class, text = "", optional = true } } },
         { "params", "options" }
end

return M
