-- The stored settings of phases, and how the settings of several phases differ.
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"
local sealed = require "bam.util.sealed"

local M = {}

-- Flatten `t` to plain values by path: { ["model.layers"] = "3", ... }.
local function flatten(t, prefix, out)
  for name, value in pairs(t) do
    local path = prefix and string.format("%s.%s", prefix, name) or tostring(name)
    if type(value) == "table" then flatten(value, path, out) else out[path] = tostring(value) end
  end
  return out
end

local function path_of(directory) return string.format("%s/phase.json", directory) end

-- What version 0.1.0 stored, without a checksum.
local BEFORE = { digest = true, name = true, settings = true }

--- Write what a phase stores about itself, with a checksum.
---@param directory string
---@param record { digest: string, name: string, settings: table, fingerprint: integer }
function M.write(directory, record)
  core.write_file(path_of(directory), json.encode(sealed.seal(record, "checksum"), { indent = 2 }))
end

--- Read what a phase stored about itself. Returns nil if there is nothing, or if anything in it was changed.
---@param directory string
---@return { digest: string, name: string, settings: table, fingerprint: integer? }?
function M.phase(directory)
  local value = json.read(path_of(directory))
  local fine = sealed.check(value, "checksum", BEFORE) ~= "changed" and type(value.settings) == "table"
    and value.digest == core.hash(json.encode(value.settings)) and value.settings.name == value.name
  return fine and value or nil
end

--- The settings in a phase's directory, by path; nil if there are none.
---@param directory string
---@return table<string, string>?
function M.read(directory)
  local value = M.phase(directory)
  return value and flatten(value.settings, nil, {})
end

-- The part of a directory's name, or of a phase's name, that states its role.
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

--- Describe how the settings of entries { name, settings } with the same role differ, as lines.
---@param entries table[]
---@return string[]
function M.differences(entries)
  local first, lines = {}, {}
  for _, entry in ipairs(entries) do
    local name = role(entry.name)
    local before = first[name]
    if entry.settings and before then
      local found = difference(before, entry)
      local only_seed = #found == 1 and found[1]:find "^  seed: " -- which the table shows
      if #found > 0 and not only_seed then
        lines[#lines + 1] = string.format("%s and %s differ in", before.name, entry.name)
        table.move(found, 1, #found, #lines + 1, lines)
      end
    elseif entry.settings then
      first[name] = entry
    end
  end
  return lines
end

return M
