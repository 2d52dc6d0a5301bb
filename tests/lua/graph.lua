-- bam.graph on the CPU, where it calls its function, and option graphs of training. What it does on a GPU is tested in
-- tests/gpu/graphs.lua.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local small = require "tests.lua.support.small_run"
local test = require "tests.lua.support.test"

test("a graph on the CPU calls its function", function()
  local calls = 0
  local graph = bam.graph(function(x, factor, flag)
    calls = calls + 1
    return flag and x * factor or x, nil, x:sum()
  end)
  for i = 1, 3 do
    local y, none, sum = graph(bam.full(2, i), 3, i < 3)
    expect.equal(y, i < 3 and { 3 * i, 3 * i } or { 3, 3 })
    expect.equal(none, nil)
    expect.equal(sum:item(), 2 * i)
  end
  expect.equal(calls, 3)
  expect.equal(graph:obstacle(), "it is for GPUs")
  expect.equal(tostring(graph), "graph with 0 recordings")
  graph:close()
  expect.equal((graph(bam.ones(1), 2, true)), { 2 })
end)

test("arguments and results are checked there too", function()
  local x = bam.ones(3)
  expect.raises("graph: expected a function, got 3", bam.graph, 3)
  expect.raises("did you mean `strict`?", bam.graph, print, { strikt = true })
  local graph = bam.graph(function(y) return y end)
  expect.raises("graph: argument 1: expected a tensor, number, string, boolean or nil, got", graph, {})
  expect.raises("graph: argument 2: expected", graph, x, print)
  expect.raises("graph: result 2: expected a tensor, got 3", bam.graph(function(y) return y, 3 end), x)
  local w = bam.ones(3)
  w.requires_grad = true
  expect.raises("graph: result 1 requires a gradient", bam.graph(function(y) return y * w end), x)
  expect.raises("expected a graph", graph.close, 3)
  expect.raises("graph: cpu has no graphs", core.capture, "cpu")
end)

test("option graphs of training is honored or refused, and no part of a phase", function()
  local directory = small.directory((small.RECIPE:gsub("local function train%(phase%)", [[%0
  phase.graphs = ({ on = true, off = false })[os.getenv "GRAPHS" or ""] ]])))
  local output, fine = small.run(directory, "--only seed", "export GRAPHS=on;")
  expect.no(fine)
  expect.contains(output, "option graphs: the model is on the CPU; leave the option out")
  output, fine = small.run(directory, "--only seed", "export GRAPHS=off;")
  expect.yes(fine, output)
  output, fine = small.run(directory, "--only seed")
  expect.yes(fine, output)
  expect.equal(#core.glob(string.format("%s/runs/seed-*", directory)), 1)
  small.remove(directory)
end)
