-- metrics.jsonl of a phase: one line per step, and one per evaluation, with the field `eval`. On resume, lines after
-- the checkpoint's step are cut off.
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"
local old_fields = require "bam.util.old_fields"

local M = {}

local Metrics = {} -- methods
local metatable = { __name = "metrics", __index = Metrics }

--- Call visit(line) for each line of a log, including its newline, until visit returns true or the log ends.
---@param path string
---@param visit fun(line: string): boolean?
function M.each_line(path, visit)
  local file, why = io.open(path, "rb")
  if not file then check.fail("cannot read %s", why) end
  local line, reason = file:read "L"
  while line and not visit(line) do line, reason = file:read "L" end
  file:close()
  if not line and reason then check.fail("cannot read %s: %s", path, reason) end
end

-- The number of bytes up to the end of the last line of `step`.
local function length_until(path, step)
  if not core.file_info(path) then return nil end
  local kept = 0
  M.each_line(path, function(line)
    local at = tonumber(line:match '^{.*"step":(%d+).*}\n$')
    if not at or at > step then return true end -- nothing after a cut or damaged line is kept
    kept = kept + #line
  end)
  return kept
end

--- Read the log in a phase's directory, up to a line that is cut or damaged.
---@param place string
---@return table[] records of steps and evaluations in order, with the names of this version
function M.read(place)
  local records = {}
  M.each_line(string.format("%s/metrics.jsonl", place), function(line)
    local fine, record = core.try(json.decode, line)
    if not fine or type(record) ~= "table" then return true end
    records[#records + 1] = old_fields.renew(record)
  end)
  return records
end

--- Open the log in a phase's directory, to continue after `step`.
---@param place string
---@param step integer
---@return table
function M.open(place, step)
  local path = string.format("%s/metrics.jsonl", place)
  local bytes = length_until(path, step)
  if bytes then core.truncate_file(path, bytes) end
  return setmetatable({ path = path, lines = {} }, metatable)
end

--- Add a record of plain data.
---@param record table
function Metrics:add(record)
  table.insert(self.lines, json.encode(record))
  if #self.lines >= 20 then self:flush() end
end

--- Write the added records, and wait until they are on disk.
---@return { bytes: integer, digest: string }? size and digest of the file, nil if there is none
function Metrics:seal()
  self:flush()
  local info = core.file_info(self.path)
  if not info then return nil end
  core.sync_file(self.path)
  return { bytes = info.size, digest = core.hash_file(self.path) }
end

--- Write the added records.
function Metrics:flush()
  if #self.lines > 0 then
    table.insert(self.lines, "")
    core.append_file(self.path, table.concat(self.lines, "\n"))
    self.lines = {}
  end
end

return M
