--- Line charts as SVG, on logarithmic axes. Colors are of medium lightness and there is no background, so that a
--- chart can be read on light and on dark pages. Every line is named at its right end, in its color.
local figures = require "tests.bench.figures"

local M = {}

local WIDTH, HEIGHT = 760, 380
local LEFT, RIGHT, TOP, BOTTOM = 74, 500, 54, 324 -- the plot
local LABEL_GAP = 18                              -- least distance of the names of lines
local INK = "#808080"
local FAINT = 'stroke="#808080" stroke-opacity="0.25"'

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

local function escape(text) return (text:gsub('[&<>"]', ENTITIES)) end

-- A value on the x axis: 8192, 32k
local function plain(x) return x % 1000 == 0 and figures.short(x) or string.format("%d", x) end

-- The largest of 1, 2, 5, 10, 20, ... at or below `value`, and the smallest at or above it.
local function rounded(value)
  local power = 10 ^ math.floor(math.log(value, 10))
  local below, above = power, 10 * power
  for _, step in ipairs { 1, 2, 5, 10 } do
    if step * power <= value * (1 + 1e-9) then below = step * power end
    if step * power >= value * (1 - 1e-9) then above = math.min(above, step * power) end
  end
  return below, above
end

-- Ticks from the one below the lowest value to the one above the highest; powers of ten if these are too many.
local function ticks_around(low, high)
  local first, last = rounded(low), select(2, rounded(high))
  if first == last then last = 2 * first end
  local all, tens, value = {}, {}, first
  while value <= last * (1 + 1e-9) do
    all[#all + 1] = value
    local power = 10 ^ math.floor(math.log(value, 10) + 1e-9)
    local lead = math.floor(value / power + 0.5)
    if lead == 1 then tens[#tens + 1] = value end
    value = lead == 2 and 5 * power or lead == 1 and 2 * power or 10 * power
  end
  return #all > 10 and tens or all, first, last
end

-- A function from values to positions, logarithmic.
local function scale(low, high, from, to)
  if low == high then low, high = low / 2, high * 2 end
  local factor = (to - from) / math.log(high / low)
  return function(value) return from + factor * math.log(value / low) end
end

-- All x in order, each once, and the least and greatest y.
local function extent(lines)
  local xs, seen, low, high = {}, {}, math.huge, 0
  for _, line in ipairs(lines) do
    for _, point in ipairs(line.points) do
      local x, y = point[1], point[2]
      if not seen[x] then xs[#xs + 1], seen[x] = x, true end
      low, high = math.min(low, y), math.max(high, y)
    end
  end
  table.sort(xs)
  return xs, low, high
end

-- Positions of names, moved apart where they would overlap, in the order of `wanted`.
local function spread_labels(wanted)
  local order, place = {}, {}
  for i in ipairs(wanted) do order[i] = i end
  table.sort(order, function(a, b) return wanted[a] < wanted[b] end)
  local last = -math.huge
  for _, i in ipairs(order) do
    last = math.max(wanted[i], last + LABEL_GAP)
    place[i] = last
  end
  return place
end

local function new_drawing()
  local parts = {}
  local function add(format, ...) parts[#parts + 1] = string.format(format, ...) end
  local function text(x, y, anchor, color, words, more)
    add('<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s"%s>%s</text>', x, y, anchor, color, more or "", escape(words))
  end
  return parts, add, text
end

local function draw_axes(chart, xs, ticks, to_x, to_y, add, text)
  for _, value in ipairs(ticks) do
    local y = to_y(value)
    add('<path d="M%d %.1fH%d" %s/>', LEFT, y, RIGHT, FAINT)
    text(LEFT - 8, y + 4, "end", INK, figures.short(value, chart.unit))
  end
  for _, value in ipairs(xs) do
    add('<path d="M%.1f %dv5" stroke="%s"/>', to_x(value), BOTTOM, INK)
    text(to_x(value), BOTTOM + 20, "middle", INK, plain(value))
  end
  add('<path d="M%d %dH%d" stroke="%s"/>', LEFT, BOTTOM, RIGHT, INK)
  text((LEFT + RIGHT) / 2, BOTTOM + 42, "middle", INK, chart.x)
  text(LEFT, 18, "start", INK, chart.title, ' font-weight="bold"')
  text(LEFT, TOP - 15, "start", INK, chart.y)
end

local function draw_line(line, to_x, to_y, label_y, add, text)
  local path = {}
  for i, point in ipairs(line.points) do
    local x, y = to_x(point[1]), to_y(point[2])
    path[i] = string.format("%.1f,%.1f", x, y)
    add('<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>', x, y, line.color)
  end
  add('<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>', table.concat(path, " "), line.color,
      line.dashed and ' stroke-dasharray="6 4"' or "")
  local last = line.points[#line.points]
  add('<path d="M%.1f %.1fL%d %.1f" %s/>', to_x(last[1]) + 5, to_y(last[2]), RIGHT + 14, label_y, FAINT)
  text(RIGHT + 18, label_y + 4, "start", line.color, line.name)
end

--- Draw a chart.
---@param chart table { title, x: name of the axis, y: name of the axis, unit?: of y's ticks, lines: a list of { name,
--- color, dashed, points: a list of { x, y } with positive numbers, sorted by x } }, with at least one point
---@return string svg
function M.draw(chart)
  local xs, low, high = extent(chart.lines)
  local ticks, first, last = ticks_around(low, high)
  local to_x = scale(xs[1], xs[#xs], LEFT + 12, RIGHT - 6)
  local to_y = scale(first, last, BOTTOM, TOP)
  local parts, add, text = new_drawing()
  add('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" '
      .. 'font-family="sans-serif" font-size="13">', WIDTH, HEIGHT, WIDTH, HEIGHT)
  add("<title>%s</title>", escape(chart.title))
  draw_axes(chart, xs, ticks, to_x, to_y, add, text)
  local wanted = {}
  for i, line in ipairs(chart.lines) do wanted[i] = to_y(line.points[#line.points][2]) end
  local places = spread_labels(wanted)
  for i, line in ipairs(chart.lines) do draw_line(line, to_x, to_y, places[i], add, text) end
  add "</svg>"
  return table.concat(parts, "\n") .. "\n"
end

return M
