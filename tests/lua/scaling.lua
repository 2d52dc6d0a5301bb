-- The measurement behind `make scaling` at tiny sizes, and its charts. A shell script stands in for PyTorch, and no
-- time is looked at.
-- Usage: build/bamlua tests/lua/scaling.lua build/bamlua
local bam = require "bam"
local chart = require "tests.bench.chart"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local figures = require "tests.bench.figures"
local shell = require "tests.bench.shell"
local test = require "tests.lua.support.test"
local bamlua = core.absolute(arg[1] or "build/bamlua")

local scratch <close> = shell.scratch()
local function file(name) return string.format("%s/%s", scratch.path, name) end

-- What a command prints, errors included, and its exit code.
local function run(format, ...)
  local pipe = assert(io.popen(string.format("{ %s; } 2>&1", string.format(format, ...))))
  local text = pipe:read "a"
  return text, select(3, pipe:close())
end

-- A stand-in for Python with PyTorch: a step takes half a second and 3 MB, and a case is named after its options.
core.write_file(file "python", [[
#!/bin/sh
case $* in *--version*) echo "PyTorch 9.9.9+fake"; exit;; *--memory*) echo 3000000; exit;; esac
while read -r word kind rest; do
  case "$word" in
    case) echo "ready $kind";;
    run) echo 0.5;;
    end) echo ended;;
  esac
done
]])
os.execute(string.format("chmod +x %s", shell.quote(file "python")))

local function measure(words)
  local text, code = run("BAMLUA_PEER_PYTHON=%s %s tests/bench/scaling.lua --tiny --seconds 3600 --json %s %s",
                         shell.quote(file "python"), shell.quote(bamlua), file "scaling.json", words)
  return text, code, code == 0 and bam.json.decode(core.read_file(file "scaling.json"))
end

local function draw(results)
  core.write_file(file "drawn.json", bam.json.encode(results))
  return run("%s tests/bench/charts.lua %s %s", shell.quote(bamlua), file "drawn.json", file "charts")
end

-- ---- measuring ----

test("every figure has its points, of both sides", function()
  local text, code, results = measure "--rounds 2"
  expect.equal(code, 0, text)
  expect.equal(results.finished, true)
  expect.equal(results.pytorch, "9.9.9+fake")
  local points, named = {}, {}
  for _, figure in ipairs(results.figures) do
    points[figure.name], named[figure.name] = #figure.points, figure.points
    for _, point in ipairs(figure.points) do
      if figure.unit == "B" then
        expect.compare(point.bytes, ">=", 0)
        expect.equal(point.other, { name = "PyTorch", variant = "eager", bytes = 3000000 })
      else
        expect.equal(#point.seconds, 2)
        expect.equal(point.other.seconds, { 0.5, 0.5 })
        expect.equal(point.other.variant, string.format("threads=%d", point.threads))
        expect.equal(point.tokens, point.sizes[6] * point.sizes[7])
      end
    end
  end
  local threads = points.threads
  expect.equal(points, { width = 2, context = 2, experts = 4, threads = threads, ["memory-context"] = 2,
                         ["memory-vocabulary"] = 2 })
  expect.equal(named.threads[1].threads, 1)
  expect.equal(named.threads[threads].threads, core.threads())
  local experts = named.experts
  for i, point in ipairs(experts) do
    expect.equal(point.series, i % 2 == 1 and "BTX" or "BAM, shared KV")
    expect.equal(point.sizes[11], point.x, "experts of the FFN")
  end
  expect.equal(experts[1].sizes[9], 1, "BTX merges attention")
  expect.equal(experts[2].sizes[9], 2, "BAM has experts of attention")
  text = draw(results)
  for name in pairs(points) do expect.contains(text, string.format("scaling-%s.svg", name)) end
end)

test("without time left a point is left out, and the rest is kept", function()
  local script = string.format([[
    local measure = require "tests.bench.measure"
    local core = require "bam.core"
    local case, late = measure.case, 0
    local clock = core.clock
    function core.clock() return clock() + late end
    function measure.case(...) late = 4000 return case(...) end
    arg = { [-1] = %q, [0] = "tests/bench/scaling.lua", "--tiny", "--alone", "--seconds", "3600", "--json", %q, "width" }
    dofile "tests/bench/scaling.lua"]], bamlua, file "late.json")
  local text, code = run("%s -e %s", shell.quote(bamlua), shell.quote(script))
  expect.equal(code, 0, text)
  expect.contains(text, "no time left")
  local results = bam.json.decode(core.read_file(file "late.json"))
  expect.equal(#results.figures[1].points, 1)
  expect.equal(results.finished, false)
end)

test("what cannot be measured or drawn is refused", function()
  local text, code = measure "nothing"
  expect.equal(code, 1)
  expect.contains(text, 'scaling: no figure has "nothing" in its name, as a Lua pattern')
  text, code = draw { cases = {} }
  expect.equal(code, 1)
  expect.contains(text, "is not a result of tests/bench/scaling.lua")
  expect.contains(run("%s tests/bench/charts.lua", shell.quote(bamlua)), "expected results: build/scaling.json")
end)

-- ---- charts ----

test("numbers of axes are short", function()
  for value, text in pairs { [5] = "5", [500] = "500", [20000] = "20k", [1500000] = "1.5M", [999] = "999" } do
    expect.equal(figures.short(value), text)
  end
  expect.equal(figures.short(2e7, "B"), "20 MB")
  expect.equal(figures.short(3, "B"), "3 B")
end)

-- A chart whose lines have these points.
local function chart_of(...)
  local lines = {}
  for i, points in ipairs { ... } do
    lines[i] = { name = string.format("line %d", i), color = "#123456", dashed = i == 2, points = points }
  end
  return chart.draw { title = "A & B <c>", x = "width", y = "tokens/s", lines = lines }
end

-- The corners of each line.
local function corners(svg)
  local list = {}
  for text in svg:gmatch '<polyline points="([^"]*)"' do
    local line = {}
    for x, y in text:gmatch "([%d.-]+),([%d.-]+)" do line[#line + 1] = { tonumber(x), tonumber(y) } end
    list[#list + 1] = line
  end
  return list
end

test("equal factors are equal distances, and more is higher", function()
  local svg = chart_of({ { 64, 100 }, { 128, 1000 }, { 256, 10000 } }, { { 64, 10000 }, { 256, 100 } })
  local a, b = table.unpack(corners(svg))
  expect.equal(#a, 3)
  expect.close(a[2][1] - a[1][1], a[3][1] - a[2][1], 0.11, "x")
  expect.close(a[1][2] - a[2][2], a[2][2] - a[3][2], 0.11, "y")
  expect.compare(a[2][2], "<", a[1][2])
  expect.equal({ b[1][1], b[1][2] }, { a[1][1], a[3][2] })
  expect.equal(select(2, svg:gsub("stroke%-dasharray", "")), 1, "one line is dashed")
end)

test("everything is inside of the chart, also a single point and equal values", function()
  for _, svg in ipairs { chart_of { { 4, 7 } }, chart_of { { 1, 3 }, { 2, 3 } }, chart_of { { 1, 10 }, { 2, 100 } },
                         chart_of { { 2000, 3 }, { 256000, 9.99e11 } } } do
    local width, height = svg:match 'viewBox="0 0 (%d+) (%d+)"'
    for _, line in ipairs(corners(svg)) do
      for _, at in ipairs(line) do
        expect.yes(at[1] > 0 and at[1] < tonumber(width) and at[2] > 0 and at[2] < tonumber(height), svg)
      end
    end
    expect.lacks(svg, "nan")
    expect.lacks(svg, "inf")
  end
end)

test("names, ticks and titles are text, escaped, and do not overlap", function()
  local svg = chart_of({ { 64, 100 }, { 32000, 1000 } }, { { 64, 100 }, { 32000, 1001 } })
  for _, text in ipairs { "A &amp; B &lt;c&gt;", ">64<", ">32k<", ">100<", ">1k<", ">width<", ">tokens/s<" } do
    expect.contains(svg, text)
  end
  local first, second = svg:match 'y="([%d.]+)"[^>]*>line 1<', svg:match 'y="([%d.]+)"[^>]*>line 2<'
  expect.compare(math.abs(first - second), ">=", 13)
  local open = {}
  for slash, tag, attributes in svg:gmatch "<(/?)(%a+)([^>]*)>" do
    if slash == "/" then
      expect.equal(table.remove(open), tag, "elements are closed in order")
    elseif attributes:sub(-1) ~= "/" then
      open[#open + 1] = tag
    end
  end
  expect.equal(open, {}, "elements left open")
end)

test("lines are those of the series and sides, without what a logarithmic axis cannot show", function()
  local function figure(name, ...)
    return { name = name, title = name, x = "x", y = "y", points = { ... } }
  end
  local text, code = draw { figures = {
    figure("one", { series = "dense", x = 1, bytes = 10, other = { name = "PyTorch", variant = "eager", bytes = 20 } }),
    figure("two", { series = "BTX", x = 1, tokens = 10, median = 2 }, { series = "BAM", x = 1, tokens = 10, median = 5 },
           { series = "BAM", x = 2, tokens = 10, median = 5, other = { name = "PyTorch", variant = "loop eager", median = 1 } },
           { series = "BAM", x = 4, tokens = 10, median = 5, other = { name = "PyTorch", variant = "compiled", median = 1 } }),
    figure("zero", { series = "dense", x = 1, bytes = 0 }),
  } }
  expect.equal(code, 0, text)
  expect.equal(text, string.format("%s/scaling-one.svg\n%s/scaling-two.svg\n", file "charts", file "charts"))
  local one, two = core.read_file(file "charts/scaling-one.svg"), core.read_file(file "charts/scaling-two.svg")
  expect.contains(one, ">bamlua<")
  expect.contains(one, ">PyTorch, eager<")
  expect.contains(two, ">BTX, bamlua<")
  expect.contains(two, ">BAM, bamlua<")
  expect.contains(two, ">BAM, PyTorch<", "one of its points is compiled")
  expect.lacks(two, "BTX, PyTorch")
end)
