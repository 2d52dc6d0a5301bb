--- Rows of the kept results beside each other: this program's, PyTorch's, and the ratio.
local json = require "bam.util.json"

local M = {}

-- What must agree for two rows to be of the same case.
local FIELDS = { "case", "model", "kind", "m", "n", "k", "heads", "kv_heads", "rows", "time", "width", "vocab" }

local function key_of(row)
  local parts = {}
  for i, field in ipairs(FIELDS) do parts[i] = tostring(row[field] or "") end
  return table.concat(parts, "|")
end

--- The rows of the newest result of each part, each with its `date`.
---@param directory string
---@param index table
---@return table[]
function M.newest(directory, index)
  local rows, files = {}, {}
  for name, entry in pairs(index.parts) do
    local path = string.format("%s/%s", directory, entry.file)
    files[path] = files[path] or json.read(path) or { parts = {} }
    for _, part in ipairs(files[path].parts) do
      for _, row in ipairs(part.name == name and part.rows or {}) do
        row.date = entry.date
        rows[#rows + 1] = row
      end
    end
  end
  return rows
end

-- How much better a is than b: of times and of rates.
local function ratio(a, b)
  if a.tokens_per_second and b.tokens_per_second then return a.tokens_per_second / b.tokens_per_second end
  if a.ms_median and b.ms_median then return b.ms_median / a.ms_median end
end

local function label(row)
  local parts = { row.case .. (row.part:match " on warpgroups$" or "") }
  for i = 2, #FIELDS do
    local value = row[FIELDS[i]]
    if value then parts[#parts + 1] = string.format("%s %s", FIELDS[i], value) end
  end
  return table.concat(parts, ", ")
end

--- Pair this program's rows with PyTorch's fastest of the same case.
---@param rows table[]
---@return { own: table, peer?: table, ratio?: number, provisional?: boolean }[]
function M.pairs(rows)
  local peers, list = {}, {}
  for _, row in ipairs(rows) do
    local key = key_of(row)
    local known = peers[key]
    if row.part:find "^PyTorch" and not row.failed and not (known and ratio(known, row) > 1) then peers[key] = row end
  end
  for _, row in ipairs(rows) do
    if not row.part:find "^PyTorch" and row.case ~= "algorithm" and (row.ms_median or row.tokens_per_second) then
      local peer = peers[key_of(row)]
      list[#list + 1] = { own = row, peer = peer, ratio = peer and ratio(row, peer),
                          provisional = peer and (peer.date ~= row.date or row.dtype ~= peer.dtype) or nil }
    end
  end
  return list
end

--- A table as lines.
---@param rows table[]
---@return string[]
function M.lines(rows)
  local lines = {}
  for _, pair in ipairs(M.pairs(rows)) do
    local own = pair.own
    local value = own.tokens_per_second and string.format("%.0f tokens/s", own.tokens_per_second)
      or string.format("%.3f ms", own.ms_median)
    local rate = own.tflops and string.format(" %.0f TFLOP/s", own.tflops)
      or own.gbs and string.format(" %.0f GB/s", own.gbs) or ""
    lines[#lines + 1] = string.format("%-70s %14s%-14s %s%s", label(own), value, rate,
                                      pair.ratio and string.format("%.2f of PyTorch", pair.ratio) or "",
                                      pair.provisional and ", provisional" or "")
  end
  table.sort(lines)
  return lines
end

return M
