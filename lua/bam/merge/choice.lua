-- bam.mix's option `merge`: how the parameters that belong to no expert are merged. It is a name, a definition, a
-- function, or { one of these, options }.
local average = require "bam.merge.methods.average"
local check = require "bam.util.check"
local closure_hash = require "bam.model.fingerprint.closure_hash"
local definition = require "bam.merge.definition"
local plain = require("bam.model.fingerprint.options").plain
local registry = require "bam.util.registry"

local M = {}

local Choice = {} -- methods
local metatable = { __name = "choice of a merge method", __index = Choice }

-- "ties { density = 0.2 }": the options that were given.
function metatable:__tostring()
  local parts = {}
  for _, name in ipairs(check.sorted_names(self.given)) do
    local value = self.given[name]
    local text = type(value) == "table" and string.format("{ %s }", table.concat(value, ", ")) or tostring(value)
    parts[#parts + 1] = string.format("%s = %s", name, text)
  end
  if not parts[1] then return self.definition.name end
  return string.format("%s { %s }", self.definition.name, table.concat(parts, ", "))
end

local function all_equal(list)
  for _, x in ipairs(list) do
    if x ~= list[1] then return false end
  end
  return true
end

--- Read the option.
---@param what string for messages
---@param value any
---@param n integer number of models
---@return table? choice nil of what is the default: the uniform average
function M.read(what, value, n)
  if value == nil then return nil end
  local chosen, given = registry.split(value)
  local d = type(chosen) == "function" and definition.of_function(chosen) or definition.registry:find(what, chosen)
  local o = definition.read_options(d, string.format("%s: %s", what, d.name), given, n)
  if d == average and all_equal(o.weights) then return nil end
  return setmetatable({ definition = d, options = o, given = given }, metatable)
end

--- What merges when nothing is said.
---@param n integer number of models
---@return table choice
function M.default(n)
  local o = definition.read_options(average, "mix", nil, n)
  return setmetatable({ definition = average, options = o, given = {} }, metatable)
end

--- What it adds to the settings of a phase: options by their values, functions by their code, as a script's method.
---@return table
function Choice:settings()
  local d = self.definition
  local settings = { method = d.name, options = plain(self.options) }
  if not d.is_builtin then
    settings.code = { merge = closure_hash.hash(registry.code(d).merge), base = d.base, elementwise = d.elementwise }
  end
  return settings
end

return M
