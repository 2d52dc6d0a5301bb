-- A snapshot of a live model: its modules and lists with their fields, its tensors by version and requires_grad, and
-- the settings of bam; to be compared with a later state.
local check = require "bam.util.check"
local core = require "bam.core"
local module = require "bam.nn.module"
local tuning = require "bam.train.tuning"

local M = {}

---@class bam.Watched
---@field fields? table<string, true> fields that may change, such as "layers.1.ffn.router.top_k"
---@field tensors? table<tensor, true> the tensors to compare; all by default
---@field freezing? boolean requires_grad may change

-- The settings of bam that results depend on; tune() as how often it was called.
local SETTINGS = { threads = core.threads, tf32 = core.tf32, device = core.device, tune = tuning.changes }

local LAZY = { tokenizer = true } -- created by the model when it first samples text

local function is_noted(key, value)
  if LAZY[key] then return false end
  local is_private = type(key) == "string" and key:sub(1, 1) == "_"
  return not is_private or type(value) == "function"
end

local function fields_of(t)
  local fields = {}
  for key, value in next, t do
    if is_noted(key, value) then fields[key] = value end
  end
  return fields
end

local function path_of(path, key)
  return path == "" and tostring(key) or string.format("%s.%s", path, key)
end

-- Record a module, or a list of its parts, and everything in it.
local function note_table(noted, t, path)
  if noted.seen[t] then return end
  noted.seen[t] = true
  local fields = fields_of(t)
  noted.tables[#noted.tables + 1] = { table = t, path = path, fields = fields,
                                      metatable = debug.getmetatable(t) }
  for key, value in next, fields do
    local is_list = type(value) == "table" and not check.has_metatable(value)
    if is_list or module.is_module(value) then note_table(noted, value, path_of(path, key)) end
  end
end

local function note_tensors(noted, model)
  for _, entry in ipairs(module.contents(model).tensors) do
    local x, only = entry.tensor, noted.may.tensors
    if not only or only[x] then
      noted.tensors[#noted.tensors + 1] = { name = entry.name, tensor = x, version = core.version(x),
                                            requires_grad = x.requires_grad }
    end
  end
end

--- Take a snapshot of a model.
---@param model table
---@param may? bam.Watched
---@return table noted
function M.note(model, may)
  local noted = { tables = {}, tensors = {}, seen = {}, settings = {}, may = may or {} }
  for name, read in pairs(SETTINGS) do noted.settings[name] = read() end
  note_table(noted, model, "")
  note_tensors(noted, model)
  return noted
end

local function changed_field(entry, may)
  if debug.getmetatable(entry.table) ~= entry.metatable then return path_of(entry.path, "metatable") end
  local function differs(key, value)
    if rawget(entry.table, key) == value then return nil end
    local path = path_of(entry.path, key)
    return not (may.fields and may.fields[path]) and path or nil
  end
  for key, value in next, entry.fields do
    local path = differs(key, value)
    if path then return path end
  end
  for key, value in next, entry.table do
    local path = entry.fields[key] == nil and is_noted(key, value) and differs(key, nil)
    if path then return path end
  end
end

local VALUES = "the values of the model's parameters"

local function changed_tensor(entry, may)
  local ok, version = pcall(core.version, entry.tensor)
  if not ok then return string.format("`%s` of the model: it was closed", entry.name) end
  local requires_grad = entry.tensor.requires_grad
  if requires_grad ~= entry.requires_grad and not may.freezing then
    return string.format("`%s` of the model: requires_grad is %s now", entry.name, requires_grad)
  end
  if version ~= entry.version then return VALUES end
end

--- Describe what changed since a snapshot; nil if nothing did.
---@param noted table
---@return string?
function M.change(noted)
  for _, entry in ipairs(noted.tables) do
    local path = changed_field(entry, noted.may)
    if path then return string.format("`%s` of the model", path) end
  end
  local only -- the tensor whose values have changed, if it is one; the parameters of an optimizer share a version
  for _, entry in ipairs(noted.tensors) do
    local change = changed_tensor(entry, noted.may)
    if change and change ~= VALUES or change and only then return change end
    only = only or change and entry.name
  end
  if only then return string.format("the values of `%s` of the model", only) end
  for _, name in ipairs(check.sorted_names(SETTINGS)) do
    if SETTINGS[name]() ~= noted.settings[name] then return string.format("bam.%s", name) end
  end
end

return M
