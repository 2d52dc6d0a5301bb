-- Tables whose fields have been renamed. For one version a field can also be read under its old name; the table itself
-- has only the new one, so that pairs, JSON and comparisons see each number once.
local M = {}

local function metatable_of(renamed)
  return { __name = "table", __index = function(t, name)
    local now = renamed[name]
    return now and rawget(t, now)
  end }
end

local METRICS = metatable_of { nll = "loss", z = "z_loss" }

--- Let the record of a step, an evaluation or a loss be read under the names of version 0.1.
---@param record table
---@return table record
function M.metrics(record) return setmetatable(record, METRICS) end

--- Rename the fields of a record that an older version wrote.
---@param record table changed
---@return table record
function M.renew(record)
  record.loss, record.nll = record.loss or record.nll, nil
  record.z_loss, record.z = record.z_loss or record.z, nil
  return M.metrics(record)
end

return M
