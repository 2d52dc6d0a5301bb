-- Printing of tensors: a line with dtype, shape and device, then the values in aligned columns. Long dimensions are
-- abbreviated in the middle, so that at most 1000 elements are shown.
local core = require "bam.core"

local M = {}

local MOST = 1000
local GAP = {} -- marks omitted positions

-- The number of positions to show at each end of a dimension so that the total stays within MOST; nil means all.
local function edge_for(shape, count)
  if count <= MOST then return nil end
  for edge = 3, 2, -1 do
    local shown = 1
    for _, size in ipairs(shape) do shown = shown * math.min(size, 2 * edge) end
    if shown <= MOST then return edge end
  end
  return 1
end

-- The values as nested lists; with an `edge`, only positions near both ends of long dimensions.
local function collect(x, edge)
  if not edge then return x:totable() end
  if x.ndim == 0 then return x:item() end
  local list, n = {}, #x
  local short = n <= 2 * edge
  for i = 1, short and n or edge do list[i] = collect(x[i], edge) end
  if short then return list end
  list[edge + 1] = GAP
  for i = n - edge + 1, n do list[#list + 1] = collect(x[i], edge) end
  return list
end

local function each_value(values, visit)
  if values == GAP then return end
  if type(values) ~= "table" then return visit(values) end
  for _, v in ipairs(values) do each_value(v, visit) end
end

-- Choose one format for all floats: integral, fixed or scientific.
local function float_format(values)
  local integral, largest, smallest = true, 0, math.huge
  each_value(values, function(v)
    local a = math.abs(v)
    if v ~= v or a == math.huge then return end
    integral = integral and v == math.floor(v)
    largest = math.max(largest, a)
    if a > 0 then smallest = math.min(smallest, a) end
  end)
  if integral and largest < 1e9 then return "%.0f." end
  if largest >= 1e6 or smallest < 1e-4 or largest / smallest > 1e6 then return "%.4e" end
  return "%.4f"
end

-- A function that formats one value.
local function writer(values, dtype)
  if dtype == "bool" then return tostring end
  if dtype == "u8" or dtype == "i32" or dtype == "i64" then
    return function(v) return string.format("%d", v) end
  end
  local format = float_format(values)
  return function(v)
    if v ~= v then return "nan" end
    if math.abs(v) == math.huge then return v > 0 and "inf" or "-inf" end
    return string.format(format, v)
  end
end

local COLUMNS = 80

-- A row of values, on as many lines as it needs.
local function row_text(parts, depth, width)
  local fit = math.max(1, (COLUMNS - depth - 2) // (width + 1))
  local lines = {}
  for i = 1, #parts, fit do lines[#lines + 1] = table.concat(parts, " ", i, math.min(i + fit - 1, #parts)) end
  return string.format("[%s]", table.concat(lines, string.format("\n%s", string.rep(" ", depth + 1))))
end

-- Format nested lists, inside `depth` brackets.
local function layout(values, depth, write, width)
  local parts, is_row = {}, true
  for i, v in ipairs(values) do
    if v == GAP then
      parts[i] = "..."
    elseif type(v) == "table" then
      parts[i], is_row = layout(v, depth + 1, write, width), false
    else
      parts[i] = string.format("%" .. width .. "s", write(v))
    end
  end
  if is_row then return row_text(parts, depth, width) end
  return string.format("[%s]", table.concat(parts, ",\n" .. string.rep(" ", depth + 1)))
end

--- The text that print(x) shows.
---@param x tensor
---@return string
function M.text(x)
  local closed = core.closed(x)
  if closed then return string.format("tensor (%s)", closed) end
  local shape, count = x.shape, x:count()
  local title = string.format("tensor %s (%s) on %s%s", x.dtype, table.concat(shape, ", "),
                              x.device, x.requires_grad and ", requires_grad" or "")
  if count == 0 then return string.format("%s\n []", title) end
  local values = collect(x:detach(), edge_for(shape, count))
  local write, width = writer(values, x.dtype), 0
  each_value(values, function(v) width = math.max(width, #write(v)) end)
  local body = #shape == 0 and write(values) or layout(values, 1, write, math.min(width, 90))
  return string.format("%s\n %s", title, body)
end

return M
