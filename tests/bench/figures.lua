--- Figures of the benchmarks and their words: medians, ratios, and how times and rates are written. A `record` is a
--- case of the JSON of `make bench`; docs/benchmarks.md lists its fields.
local M = {}

function M.median(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  local half = (#sorted + 1) // 2
  return (sorted[half] + sorted[#sorted + 1 - half]) / 2
end

local function spread(list) return math.min(table.unpack(list)), math.max(table.unpack(list)) end

--- Complete a record: medians, the ratio with its range, the share of what is possible.
---@param record table
---@return table record
function M.summarize(record)
  local own, other = record.seconds, record.other
  record.median = M.median(own)
  if other then
    local ratios = {}
    for i, seconds in ipairs(own) do ratios[i] = other.seconds[i] / seconds end
    local low, high = spread(ratios)
    other.median = M.median(other.seconds)
    record.ratio = { median = M.median(ratios), low = low, high = high }
  end
  local work = record.flops or record.bytes
  if record.possible and work then record.share = work / record.median / record.possible end
  return record
end

local UNITS = { { 1, "s" }, { 1e-3, "ms" }, { 1e-6, "µs" } }

-- The unit of a time, and the format of a number in it with three digits.
local function unit_of(seconds)
  local unit = UNITS[#UNITS]
  for i = #UNITS, 1, -1 do
    if seconds >= UNITS[i][1] then unit = UNITS[i] end
  end
  local number = seconds / unit[1]
  return unit, number >= 100 and "%.0f" or number >= 10 and "%.1f" or "%.2f"
end

--- "2.31 ms"
function M.duration(seconds)
  local unit, number = unit_of(seconds)
  return string.format("%s %s", string.format(number, seconds / unit[1]), unit[2])
end

--- "2.31 ms (2.28–2.55)", from the rounds
function M.duration_and_range(list)
  local middle, low, high = M.median(list), spread(list)
  local unit, number = unit_of(middle)
  return string.format(string.format("%s %%s (%s–%s)", number, number, number), middle / unit[1], unit[2],
                       low / unit[1], high / unit[1])
end

--- "1.26 (1.18–1.30)", or "" without another side; `mark` goes around the median, as "**" in Markdown
function M.ratio(record, mark)
  local ratio = record.ratio
  if not ratio then return "" end
  return string.format("%s%.2f%s (%.2f–%.2f)", mark or "", ratio.median, mark or "", ratio.low, ratio.high)
end

--- "77 %", or "" where what is possible is not known
function M.share(record) return record.share and string.format("%.0f %%", 100 * record.share) or "" end

local PREFIXES = { { 1e9, "G" }, { 1e6, "M" }, { 1e3, "k" } }

--- "20k", or with a unit "20 kB": three digits at most.
---@param value number
---@param unit? string
---@return string
function M.short(value, unit)
  local factor, prefix = 1, ""
  for i = #PREFIXES, 1, -1 do
    if value >= PREFIXES[i][1] then factor, prefix = PREFIXES[i][1], PREFIXES[i][2] end
  end
  local number = value / factor
  local digits = string.format(number >= 100 and "%.0f" or "%.3g", number)
  return unit and string.format("%s %s%s", digits, prefix, unit) or digits .. prefix
end

local function speed(record)
  local seconds = record.median
  if record.tokens then return string.format("%.1fk tokens/s", record.tokens / seconds / 1e3) end
  if record.flops then return string.format("%.0f GFLOP/s", record.flops / seconds / 1e9) end
  local rate = record.bytes and record.bytes / seconds
  if rate then return string.format(rate < 1e9 and "%.0f MB/s" or "%.1f GB/s", rate / (rate < 1e9 and 1e6 or 1e9)) end
  return ""
end

--- "182 GFLOP/s, 77 %", "31 GB/s", "52k tokens/s", or "" for a case without such a figure
function M.rate(record)
  return record.share and string.format("%s, %s", speed(record), M.share(record)) or speed(record)
end

return M
