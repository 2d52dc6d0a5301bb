--- Rows of results: one JSON object per line of the file --result, written at once, so that those of a part that is
--- stopped are kept.
local json = require "bam.util.json"
local settings = require "tests.bench.settings"

local M = {}

--- Read the command line of a part.
---@param list string[]
---@param more? string[][] further flags
---@return table options
function M.options(list, more)
  local flags = { { "device", "NAME", "cuda by default" }, { "result", "FILE", "append rows of JSON to it" },
                  { "tiny", "", "make every size small" } }
  table.move(more or {}, 1, #(more or {}), #flags + 1, flags)
  return settings.read(list, flags, { device = "cuda" }, "NAME")
end

--- Append a row and print it.
---@param options table of M.options
---@param row table
function M.add(options, row)
  local line = json.encode(json.finite(row))
  print(line)
  if not options.result then return end
  local file <close> = assert(io.open(options.result, "a"))
  file:write(line, "\n")
end

return M
