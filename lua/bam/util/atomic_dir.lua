-- Directories that appear atomically: they are filled under a temporary name beside their path, and renamed.
local core = require "bam.core"

local M = {}

--- Fill a new directory by `write(staged)` and publish it at `path`, replacing what was there. On an error the staged
--- directory is deleted and `path` is unchanged.
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

--- Delete leftovers of earlier writers in `directory`, for those names that `owns` accepts. The caller must hold the
--- lock under which these names are written, so that no writer is alive.
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
