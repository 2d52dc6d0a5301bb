-- Directories that appear whole or not at all: they are filled beside their place, and renamed.
local core = require "bam.core"

local M = {}

--- Fill a new directory by `write(staged)` and let it appear at `path`. On an error nothing of it
--- is left, and what is at `path` stays as it was.
---@param path string
---@param write fun(staged: string)
function M.write(path, write)
  local staged = core.stage_directory(path)
  local ok, message = pcall(function()
    write(staged)
    core.commit_directory(staged, path)
  end)
  if not ok then
    pcall(core.discard_directory, staged)
    error(message, 0)
  end
end

--- Delete what is staged in `directory` for the names that `owns` says yes to, whoever wrote it: the
--- caller holds the lock under which these are written, so that their writers are gone.
---@param directory string
---@param owns fun(name: string): boolean?
function M.sweep(directory, owns)
  for _, name in ipairs(core.list_directory(directory)) do
    local final = core.staged_for(name)
    if final and owns(final) then
      local path = string.format("%s/%s", directory, name)
      if core.is_directory(path) then core.discard_directory(path) else core.remove_file(path) end
    end
  end
end

return M
