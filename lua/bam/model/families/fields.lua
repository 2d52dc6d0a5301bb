-- Reading fields of a config.json. Errors name the file and the field.
local check = require "bam.util.check"
local json = require "bam.util.json"

local M = {}

---@class families.Fields
---@field label string path of the file, for messages
---@field get fun(name: string, kind: string, default?: any): any a field, null counting as absent; `kind` as in
--- check.value. Without a default the field must be there
---@field refuse fun(name: string, value: any, advice?: string) raise an error for a value that bamlua does not compute
---@field inner fun(name: string, config: table): families.Fields the fields of a table within

-- Tables as JSON, if it is short.
local function text_of(value)
  if type(value) ~= "table" then return check.describe(value) end
  local text = json.encode(value)
  return #text <= 60 and text or #value > 0 and "a list" or "an object"
end

--- The fields of a table of a config.json.
---@param config table
---@param label string its path, for messages
---@return families.Fields
function M.new(config, label)
  local f = { label = label }
  function f.get(name, kind, default)
    local value = config[name]
    if value == json.null then value = nil end
    if value == nil then
      if default == nil then check.fail("%s: `%s` is missing", label, name) end
      return default
    end
    return check.value(string.format("%s: `%s`", label, name), value, kind)
  end
  function f.refuse(name, value, advice)
    check.fail("%s: `%s` is %s, which bamlua does not compute%s", label, name, text_of(value),
               advice and string.format("; %s", advice) or "")
  end
  function f.inner(name, inside) return M.new(inside, string.format("%s: %s", label, name)) end
  return f
end

return M
