-- The settings that a phase wrote down, and how those of several phases differ.
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"

local M = {}

-- Every plain value in `t` by its path: { ["model.layers"] = "3", ... }.
local function flatten(t, prefix, out)
  for name, value in pairs(t) do
    local path = prefix and string.format("%s.%s", prefix, name) or tostring(name)
    if type(value) == "table" then flatten(value, path, out) else out[path] = tostring(value) end
  end
  return out
end

--- What a phase wrote about itself: { digest, name, settings }; nil when there is nothing, or it is
--- damaged: the digest is that of the settings.
---@param directory string
---@return { digest: string, name: string, settings: table }?
function M.phase(directory)
  local value = json.read(string.format("%s/phase.json", directory))
  local fine = type(value) == "table" and type(value.settings) == "table"
    and value.digest == core.hash(json.encode(value.settings)) and value.settings.name == value.name
  return fine and value or nil
end

--- The settings in a phase's directory, by path; nil when there is nothing to read.
---@param directory string
---@return table<string, string>?
function M.read(directory)
  local value = M.phase(directory)
  return value and flatten(value.settings, nil, {})
end

-- The part of a directory's name, or of a phase's, that says what it does.
local function role(name) return (name:gsub("%-%x%x%x%x%x%x%x%x$", "")) end

local function difference(a, b)
  local known, lines = {}, {}
  for _, side in ipairs { a.settings, b.settings } do
    for path in pairs(side) do known[path] = true end
  end
  for _, path in ipairs(check.sorted_names(known)) do
    local x, y = a.settings[path], b.settings[path]
    if x ~= y then
      lines[#lines + 1] = string.format("  %s: %s, %s", path, x or "nothing", y or "nothing")
    end
  end
  return lines
end

--- How entries { name, settings } of the same role differ, as lines.
---@param entries table[]
---@return string[]
function M.differences(entries)
  local first, lines = {}, {}
  for _, entry in ipairs(entries) do
    local name = role(entry.name)
    local before = first[name]
    if entry.settings and before then
      lines[#lines + 1] = string.format("%s and %s differ in", before.name, entry.name)
      table.move(difference(before, entry), 1, 1000, #lines + 1, lines)
    elseif entry.settings then
      first[name] = entry
    end
  end
  return lines
end

return M
