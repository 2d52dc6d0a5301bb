-- Ends of error messages: what to write in place of a wrong argument, and of a name that does not exist (what PyTorch's
-- or NumPy's name is called here, where in bam the name is, or the most similar one). Loaded when an error is made.
local core = require "bam.core"
local rows = require "bam.util.other_names"

local M = {}

local MOST_NAMES = 15 -- that a message lists

-- The rows of one owner by name: { code, note }.
local by_name = {}
local function rows_of(owner)
  if not by_name[owner] then
    local found = {}
    for _, row in ipairs(rows[owner] or {}) do
      for name in row[1]:gmatch "%S+" do found[name] = found[name] or { code = row[2] or nil, note = row[3] } end
    end
    by_name[owner] = found
  end
  return by_name[owner]
end

local function row_text(row)
  if row.code and row.note then return string.format("%s: %s", row.note, row.code) end
  return row.note or string.format("write %s", row.code)
end

-- Where else bam has the name.
local PLACES = { bam = "bam.%s", nn = "bam.nn.%s", optim = "bam.optim.%s", schedule = "bam.schedule.%s",
                 models = "bam.models.%s" }

local function elsewhere(owner, name)
  local bam = package.loaded.bam
  if type(bam) ~= "table" then return nil end
  for _, place in ipairs { "bam", "nn", "optim", "schedule", "models" } do
    local t = place == "bam" and bam or rawget(bam, place)
    local value = place ~= owner and type(t) == "table" and rawget(t, name)
    if value and (owner ~= "module" or place ~= "bam") then return string.format("it is " .. PLACES[place], name) end
  end
  if owner ~= "tensor" and owner ~= "module" and owner ~= "optimizer" and core.methods[name] then
    return string.format("it is a method of tensors: x:%s(...)", name)
  end
end

--- For a schedule where a number is expected.
M.SCHEDULE = "; schedule:at(step, steps) is its number at a step, as in o:step(lr:at(step, steps))"

--- What is known about a name of PyTorch or NumPy, or nil.
---@param owner "bam"|"tensor"|"nn"|"module"|"optim"|"optimizer"|string
---@param name string
---@return string?
function M.known(owner, name)
  local row = rows_of(owner)[name]
  return row and row_text(row)
end

--- The end of a message about an unknown name: "; write bam.concat({ x, y }, 1)", "; did you mean `sum`?", or "".
---@param owner string where it was looked for
---@param name string
---@param names string[] that are there
---@return string
function M.hint(owner, name, names)
  local text = M.known(owner, name) or elsewhere(owner, name)
  if text then return "; " .. text end
  local near = core.nearest(name, names)
  if near then return string.format("; did you mean `%s`?", near) end
  return #names <= MOST_NAMES and string.format("; there are %s", table.concat(names, ", ")) or ""
end

--- The end of a message about an unknown option: what it is called here, or the most similar one, or "".
---@param name string
---@param names string[] that there are
---@return string
function M.option_name(name, names)
  local known = require("bam.util.other_options").hint(name, names)
  if known then return "; " .. known end
  local near = core.nearest(name, names)
  return near and string.format("; did you mean `%s`?", near) or ""
end

--- The end of a message about entries of a list among options: the option that takes a list of models, or "".
---@param spec table as check.options takes it
---@return string
function M.list_option(spec)
  for _, name in ipairs { "experts", "models", "inputs" } do
    if spec[name] then return string.format("; write %s = { ... }", name) end
  end
  return ""
end

-- The options that a call must have, as they are written.
local function required_options(spec)
  local names = {}
  for name, rule in pairs(spec) do
    if rule[2] == nil and not rule.optional then names[#names + 1] = string.format("%s = ...", name) end
  end
  if #names == 0 then return "; options have names, { name = value }" end
  table.sort(names)
  return string.format("; options have names: { %s }", table.concat(names, ", "))
end

--- For a value that stands where options are expected: the option that it may be meant for.
---@param value any
---@param spec table as check.options takes it
---@param kinds table check's kinds
---@return string
function M.option(value, spec, kinds)
  local fitting = {}
  for name, rule in pairs(spec) do
    local kind = rule[1]
    local fits = kind ~= "any" and kind ~= "table" and kind ~= "list" and kind ~= "string" and kinds[kind]
    if fits and fits[2](value) ~= nil then fitting[name] = true end
  end
  local name = fitting.lr and "lr" or fitting.peak and "peak" or next(fitting)
  if not name or type(value) ~= "number" and type(value) ~= "boolean" then return "" end
  if not (fitting.lr or fitting.peak) and next(fitting, name) then return required_options(spec) end
  return string.format("; write { %s = %s }", name, value)
end

--- For a module in place of a number, as a function gets one that was defined with a dot and is called with a colon.
---@param value any
---@return string
function M.module(value)
  local metatable = type(value) == "table" and getmetatable(value)
  local class = type(metatable) == "table" and metatable.__index
  if type(class) ~= "table" or type(class.forward) ~= "function" then return "" end
  return string.format("; a method is defined with a colon: function %s:init(...)", metatable.__name)
end

--- For a list of numbers in place of the first of them: nn.Linear { 3, 4 }.
---@param what string as in check.value
---@param value any
---@param expected string text of the kind
---@return string
function M.braces(what, value, expected)
  local numbers = type(value) == "table" and not getmetatable(value) and math.type(value[1]) and what:match "^[^:]+"
  if not numbers or not expected:find "^an integer" then return "" end
  local count = 0
  for i, entry in ipairs(value) do
    if type(entry) ~= "number" then return "" end
    count = i
  end
  return string.format("; write it with round brackets: %s(%s)", numbers, table.concat(value, ", ", 1, count))
end

return M
