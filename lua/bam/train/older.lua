-- Phases trained by an older version. A phase's directory is named after its fingerprint. If a new version computes
-- fingerprints differently, it does not find the old directory and trains the phase again; the user is warned.
local core = require "bam.core"
local written = require "bam.train.settings"

local M = {}

--- The version of the fingerprint, stored in phase.json. Raise it when equal settings get another fingerprint. Version
--- 0.1.0 had 1 and did not store it.
M.FINGERPRINT = 2

local COMPARED = { "name", "steps", "batch", "context", "seed", "generation" }

local function is_alike(a, b)
  for _, key in ipairs(COMPARED) do
    if a[key] ~= b[key] then return false end
  end
  return true
end

--- Find a phase of an older version next to `directory` with the same name, seed and sizes.
---@param directory string NAME-XXXXXXXX
---@param settings table of the phase
---@return string? directory of the older one
function M.find(directory, settings)
  local stem = directory:match "^(.*)%-%x%x%x%x%x%x%x%x$"
  local parent, name = stem:match "^(.*)/([^/]*)$"
  for _, other in ipairs(core.list_directory(parent)) do
    local path = string.format("%s/%s", parent, other)
    if path ~= directory and other:match "^(.*)%-%x%x%x%x%x%x%x%x$" == name then
      local record = written.phase(path)
      if record and (record.fingerprint or 1) < M.FINGERPRINT and is_alike(record.settings, settings) then
        return path
      end
    end
  end
end

return M
