-- Definitions of merge methods and their registry, see bam.merge.define. A definition is called to merge tensors; in
-- bam.mix { merge = ... } it is named, or stands with its options.
local apply = require "bam.merge.apply"
local check = require "bam.util.check"
local core = require "bam.core"
local registry = require "bam.util.registry"

local M = {}

local metatable = { __name = "merge method" }

M.registry = registry.new("merge method", metatable, "bam.merge.define")

local CODE = { "merge", "check" }
local RESERVED = { weights = true, base = true, name = true }

-- What `weights` means for a method.
local function weights_rule(d)
  return { "list", optional = true,
           doc = string.format("%s for each model%s, 1 by default", check.kind_text(d.weights),
                               d.base and " but the first" or "") }
end

local function full_spec(what, d)
  local full = { weights = weights_rule(d) }
  registry.check_rules(what, d.options, RESERVED)
  for name, rule in pairs(d.options) do full[name] = rule end
  return full
end

local spec = {
  name = { "string" }, doc = { "string", "" }, options = { "table", {} }, merge = { "callable" },
  base = { "boolean", false }, models = { "size", optional = true }, elementwise = { "boolean", false },
  check = { "callable", optional = true }, weights = { "string", "number" },
}

--- See bam.merge.define.
---@param given table
---@return table definition
function M.define(given)
  local d = check.options("merge.define", given, spec)
  local what = string.format("merge.define: %s", d.name)
  M.registry:check_name("merge.define", d.name)
  if d.weights ~= "number" and d.weights ~= "rate" then
    check.fail('%s: weights: expected "number" or "rate" (numbers of at least 0), got "%s"', what, d.weights)
  end
  d.spec = full_spec(what, d)
  return M.registry:add(d, CODE)
end

M.define_builtin = registry.builtin(M.define)

--- A plain function as a method without options.
---@param f function
---@return table definition
function M.of_function(f)
  local d = { name = "function", doc = "", options = {}, merge = f, base = false, elementwise = false,
              weights = "number", spec = { weights = { "list", optional = true } } }
  registry.hide(d, CODE)
  return setmetatable(d, metatable)
end

-- ---- options ----

local function read_weights(what, d, given, n)
  local count, weights, sum = d.base and n - 1 or n, {}, 0
  if given and #given ~= count then
    check.fail("%s: option weights: %d numbers, and there are %d models%s", what, #given, count,
               d.base and " besides the first" or "")
  end
  for i = 1, count do
    local value = given and given[i] or 1
    weights[i] = check.value(string.format("%s: option weights: entry %d", what, i), value, d.weights)
    sum = sum + math.abs(weights[i])
  end
  if sum == 0 then check.fail("%s: option weights: all are 0", what) end
  return weights
end

--- Check options for merging `n` models.
---@param d table definition
---@param what string for messages
---@param given? table
---@param n integer
---@return table o with the list `weights`
function M.read_options(d, what, given, n)
  if d.models and n ~= d.models then
    check.fail("%s: it merges exactly %d models, and there are %d", what, d.models, n)
  end
  local o, code = check.options(what, given, d.spec), registry.code(d)
  o.weights = read_weights(what, d, o.weights, n)
  if code.check then code.check(what, o) end
  return o
end

-- ---- calling and printing ----

--- Merge tensors that stand for one parameter of several models.
---@param tensors tensor[] one per model, the seed's first
---@param options? table
---@return tensor
function metatable:__call(tensors, options)
  local what = string.format("merge.%s", self.name)
  local n = apply.check_tensors(what, tensors)
  local merged = apply.apply(self, M.read_options(self, what, options, n), tensors, "", "f64")
  return core.ops.to(merged, tensors[1].dtype, tensors[1].device)
end

function metatable:__tostring()
  return string.format("merge method %s: %s", self.name, registry.options_text(self.spec))
end

--- What help() and the reference say.
---@return table comment
---@return string[] parameters
function metatable:__doc()
  local class = string.format("merge.%sOptions", self.name)
  local comment = registry.comment(self, "A merge method made by bam.merge.define.", class)
  comment.returns = { { type = "tensor", text = "" } }
  comment.params = { { name = "tensors", type = "tensor[]", text = "one per model, the seed's first" },
                     { name = "options", type = class, text = "", optional = true } }
  return comment, { "tensors", "options" }
end

return M
