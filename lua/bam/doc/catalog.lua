-- Everything public, by name: what scripts reach from `bam`, and the methods of tensors and of classes. Values are read
-- raw.
local core = require "bam.core"

local M = {}

--- The public names of a table, sorted, for which `accept(value)` holds.
---@param t table
---@param accept fun(value: any): boolean
---@return string[]
function M.names(t, accept)
  local names = {}
  for name, value in next, t do
    if type(name) == "string" and name:find "^%a" and accept(value) then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

--- Is it a class of nn.module?
---@param value any
---@return boolean
function M.is_class(value)
  local metatable = type(value) == "table" and debug.getmetatable(value)
  return metatable and tostring(rawget(metatable, "__name")):find "^class " ~= nil
end

--- What an object that is called like a function says about itself: the result of its metamethod __doc, a comment
--- { text, params, returns, fields } and the names of its parameters. The comment may have `options`: the name of their
--- class, their names in order, and their rules as check.options takes them. Nil of everything else.
---@param value any
---@return table? comment
---@return string[]? parameters
function M.own_comment(value)
  local metatable = type(value) == "table" and debug.getmetatable(value)
  local describe = metatable and rawget(metatable, "__doc")
  if describe then return describe(value) end
end

--- Is it a function, or an object that is documented as one?
---@param value any
---@return boolean
function M.is_function(value) return type(value) == "function" or M.own_comment(value) ~= nil end

-- The loaded module that a table is: "bam.nn".
local function module_of(value)
  for name, loaded in next, package.loaded do
    if rawequal(loaded, value) and type(name) == "string" and name:find "^bam%." then return name end
  end
end

-- Add the functions of `t`, named "PATH.name" or, as methods, "PATH:name".
local function add_functions(items, t, path, separator)
  for _, name in ipairs(M.names(t, M.is_function)) do
    items[#items + 1] = { path = path .. separator .. name, name = name, value = t[name],
                          kind = separator == ":" and "method" or "function", owner = path }
  end
end

local function add_module(items, t, path, module)
  items[#items + 1] = { path = path, value = t, kind = "module", module = module }
  add_functions(items, t, path, ".")
  for _, name in ipairs(M.names(t, function(value) return type(value) == "table" end)) do
    local value, inner = t[name], path .. "." .. name
    local submodule = module_of(value)
    if M.is_class(value) or name == "Module" or name == "Optimizer" then
      items[#items + 1] = { path = inner, name = name, value = value, kind = "class", owner = path, module = submodule }
      add_functions(items, value, inner, ":")
    elseif submodule and path == "bam" then
      add_module(items, value, inner, submodule)
    end
  end
end

--- All public items in order: { path, name, value, kind, owner, module }. The kinds are "module", "function", "class"
--- and "method". Needs bam to be loaded.
---@return table[]
function M.items()
  local items = {}
  add_module(items, package.loaded.bam, "bam", "bam")
  add_functions(items, core.methods, "x", ":")
  return items
end

return M
