--- Commands and temporary files of the benchmarks.
local M = {}

function M.quote(word) return string.format("'%s'", (word:gsub("'", [['\'']]))) end

--- The first line that a command prints; nil if there is none.
function M.output_of(command)
  local pipe <close> = assert(io.popen(string.format("%s 2>/dev/null", command)))
  return pipe:read "l"
end

--- All that a command prints.
function M.all_output_of(command)
  local pipe <close> = assert(io.popen(string.format("%s 2>/dev/null", command)))
  return pipe:read "a"
end

--- A new directory that is deleted when the value is closed: its `path`.
---@return table
function M.scratch()
  local path = assert(M.output_of "mktemp -d", "bench: mktemp makes no directory")
  return setmetatable({ path = path }, {
    __close = function() os.execute(string.format("rm -rf %s", M.quote(path))) end,
  })
end

return M
