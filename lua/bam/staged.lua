-- Directories that appear whole or not at all: they are filled beside their place, and renamed.
local core = require "bam.core"

local M = {}

--- Fill a new directory by `write(staged)` and let it appear at `path`. On an error nothing of it
--- is left, and what is at `path` stays as it was.
---@param path string
---@param write fun(staged: string)
function M.replace(path, write)
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

return M
