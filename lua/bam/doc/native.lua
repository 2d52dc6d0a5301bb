-- What is documented in C: functions of bam.core, types and ops. See core.docs.
local comment = require "bam.doc.comment"
local core = require "bam.core"

local M = {}

local TYPES = { int = "integer", float = "number", bool = "boolean", dtype = "dtype", device = "device",
                dim = "integer", dims = "integer|integer[]", position = "integer", sizes = "integer|integer[]" }

-- A text of core.docs: { usage, name, owner, comment, separator }
local function parse(text)
  local usage, help = text:match "^(.-)\n(.*)$"
  local lines = {}
  for line in (help .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = line end
  local owner, separator, name = usage:match "^([%w_]+)(:)([%w_]+)%("
  return { usage = usage, name = name or usage:match "^([%w_.]+)", owner = owner, separator = separator or ".",
           comment = comment.parse(lines), is_call = usage:find("(", 1, true) ~= nil }
end

local function default_text(attribute)
  if attribute.required then return "" end
  local default = attribute.default
  if type(default) == "number" then default = string.format("%.14g", default) end
  if default == nil then return " = none" end
  return string.format(" = %s", default)
end

-- The parameters of an op: inputs, then attributes.
local function op_parameters(op)
  local params, shown = {}, {}
  for _, input in ipairs(op.inputs) do
    local name, optional = input:gsub("%?$", "")
    if name:find "^%.%.%." then
      params[#params + 1] = { name = "tensors", type = "tensor[]", text = "" }
      shown[#shown + 1] = "{ ... }"
    else
      params[#params + 1] = { name = name, optional = optional > 0, text = "",
                              type = optional > 0 and "tensor" or "tensor|number" }
      shown[#shown + 1] = input
    end
  end
  for _, attribute in ipairs(op.attributes) do
    local default = default_text(attribute)
    params[#params + 1] = { name = attribute.name, optional = not attribute.required, type = TYPES[attribute.kind],
                            text = default ~= "" and string.format("%s by default", default:sub(4)) or "" }
    shown[#shown + 1] = attribute.name .. default
  end
  return params, shown
end

local function op_entry(op)
  local params, shown = op_parameters(op)
  local returns = {}
  for i = 1, op.outputs do returns[i] = { type = "tensor", text = "" } end
  return { name = op.name, usage = string.format("%s(%s)", op.name, table.concat(shown, ", ")), is_op = true,
           is_call = true, separator = ".", op = op,
           comment = { text = { op.help }, params = params, returns = returns, fields = {} } }
end

local all

--- Everything: `functions`, `ops` and `topics` (types of options) are lists, `types` has lists by name, whose first
--- entry is the type itself; `by_function` has the entry of each C function. An entry has usage, name and comment.
---@return table
function M.all()
  if all then return all end
  local docs = core.docs()
  all = { functions = {}, topics = {}, ops = {}, types = {}, by_function = {} }
  for _, text in ipairs(docs.functions) do
    local entry = parse(text)
    table.insert(entry.is_call and all.functions or all.topics, entry)
    if entry.is_call then all.by_function[core[entry.name]] = entry end
  end
  for i, op in ipairs(docs.ops) do
    all.ops[i] = op_entry(op)
    all.by_function[core.ops[op.name]] = all.ops[i]
  end
  for name, texts in pairs(docs.types) do
    all.types[name] = {}
    for i, text in ipairs(texts) do all.types[name][i] = parse(text) end
  end
  for _, entry in ipairs(all.types.tensor) do
    if entry.is_call then all.by_function[core.methods[entry.name]] = entry end
  end
  return all
end

--- The documented fields of a type of options or of an object, nil if C documents no such type.
---@param name string?
---@return table[]?
function M.fields(name)
  local found = M.all()
  for _, topic in ipairs(found.topics) do
    if topic.name == name then return topic.comment.fields end
  end
  return found.types[name] and found.types[name][1].comment.fields
end

return M
