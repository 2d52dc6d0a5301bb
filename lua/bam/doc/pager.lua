-- Printing of many lines: through the pager of the user where the terminal is too small for them.
local core = require "bam.core"

local M = {}

local function quoted(text) return string.format("'%s'", text:gsub("'", "'\\''")) end

-- Show a text with $PAGER, or less. Returns whether that worked. The pager reads a file: a pipe would end the program
-- by SIGPIPE when the user leaves the pager.
local function page(text)
  local path = os.tmpname()
  local file = io.open(path, "w")
  if not file then return false end
  file:write(text)
  file:close()
  local worked = os.execute(string.format('LESS="${LESS-FRX}" ${PAGER:-less} %s', quoted(path)))
  os.remove(path)
  return worked == true
end

--- Print lines. On a terminal with fewer rows, by $PAGER (less by default; none if it is empty).
---@param lines string[]
function M.print(lines)
  local text = string.format("%s\n", table.concat(lines, "\n"))
  local terminal = core.terminal "stdout"
  local fits = not terminal or terminal.rows == 0 or #lines < terminal.rows
  if not fits and os.getenv "PAGER" ~= "" then
    io.stdout:flush()
    if page(text) then return end
  end
  io.write(text)
end

return M
