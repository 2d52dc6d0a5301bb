-- The metadata of a safetensors file, which bam.load gives as a second result. In m:load_state(bam.load(path)) it
-- arrives where options are expected, and is none.
local M = {}

local known = setmetatable({}, { __mode = "k" })

--- Mark a table as metadata.
---@param t table
---@return table t
function M.mark(t)
  if t then known[t] = true end
  return t
end

--- Is it metadata that was loaded?
---@param value any
---@return boolean
function M.is(value) return type(value) == "table" and known[value] == true end

return M
