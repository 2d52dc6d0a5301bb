-- The charts of docs/benchmarks.md, from the JSON of `make scaling`:
--
--     bamlua tests/bench/charts.lua JSON [DIRECTORY]
--
-- writes DIRECTORY/scaling-NAME.svg for every figure of which something was measured; docs by default.
local HERE = arg[0]:match "^(.*/)" or "./"
package.path = string.format("%s../../?.lua;%s", HERE, package.path)

local arguments = require "bam.util.arguments"
local chart = require "tests.bench.chart"
local core = require "bam.core"
local json = require "bam.util.json"

-- For each series bamlua's color and the other side's, which is dashed too. All are of medium lightness.
local COLORS = { { "#2f7fe0", "#d9730d" }, { "#2a9d6f", "#c0569b" } }

-- The value that is drawn of a side { median } or { bytes }.
local function value_of(point, side)
  if side.bytes then return side.bytes end
  return point.tokens / side.median
end

local function has_several_series(figure)
  for _, point in ipairs(figure.points) do
    if point.series ~= figure.points[1].series then return true end
  end
  return false
end

-- "PyTorch, eager" where no point has a compiled variant.
local function name_of_other(figure, series)
  local name, eager = nil, true
  for _, point in ipairs(figure.points) do
    if point.other and point.series == series then
      name, eager = point.other.name, eager and (point.other.variant or ""):find "eager" ~= nil
    end
  end
  return eager and string.format("%s, eager", name) or name
end

local function lines_of(figure)
  local several, lines, place, series = has_several_series(figure), {}, {}, {}
  local function add(name, color, dashed, x, y)
    if y <= 0 then return end -- memory that did not grow has no place on a logarithmic axis
    if not place[name] then
      place[name] = #lines + 1
      lines[#lines + 1] = { name = name, color = color, dashed = dashed, points = {} }
    end
    table.insert(lines[place[name]].points, { x, y })
  end
  for _, point in ipairs(figure.points) do
    if not series[point.series] then
      series.count = (series.count or 0) + 1
      series[point.series] = COLORS[(series.count - 1) % #COLORS + 1]
    end
    local colors = series[point.series]
    local prefix = several and point.series .. ", " or ""
    add(prefix .. "bamlua", colors[1], false, point.x, value_of(point, point))
    if point.other then
      local name = prefix .. name_of_other(figure, point.series)
      add(name, colors[2], true, point.x, value_of(point, point.other))
    end
  end
  return lines
end

local results, why = json.read(arg[1] or arguments.fail "charts: expected results: build/scaling.json")
if not results then arguments.fail("charts: %s", why) end
if type(results.figures) ~= "table" then
  arguments.fail("charts: %s is not a result of tests/bench/scaling.lua", arg[1])
end
local directory = arg[2] or "docs"
core.make_directory(directory)
for _, figure in ipairs(results.figures) do
  local lines = lines_of(figure)
  if #lines > 0 then
    local path = string.format("%s/scaling-%s.svg", directory, figure.name)
    core.write_file(path, chart.draw { title = figure.title, x = figure.x, y = figure.y, unit = figure.unit,
                                       lines = lines })
    print(path)
  end
end
