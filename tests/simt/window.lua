-- The window kit, tried end to end over the shim, at tiny sizes: a device that works, one that fails, one that hangs,
-- one that lies, and one that is there for no time. A shell script stands in for PyTorch's Python.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local shell = require "tests.bench.shell"
local test = require "tests.lua.support.test"

local program = core.absolute(arg[1])
local scratch <close> = shell.scratch()
local folder = scratch.path .. "/carry"

core.make_directory(folder)
for _, name in ipairs { "bamlua", "tensor_cores", "hopper", "fp8" } do
  os.execute(string.format("ln -s %s %s/%s", shell.quote((program:gsub("[^/]*$", name))), folder, name))
end
core.write_file(folder .. "/attention_mma", "#!/bin/sh\necho 1 passed, 0 failed\n") -- which takes its time
os.execute(string.format("chmod +x %s/attention_mma", folder))
core.write_file(folder .. "/commit", "0123abc\n")

-- A Python that knows the cases of the norms, and nothing else.
local python = scratch.path .. "/python"
core.write_file(python, [[#!/bin/sh
while test $# -gt 1; do test "$1" = --result && result=$2; shift; done
test "$1" = micro || { echo "1 passed, 0 failed"; exit 0; }
echo '{"part": "PyTorch micro", "case": "layer_norm", "dtype": "bf16", "rows": 64, "width": 64, "ms_median": 1}' >>"$result"
echo '{"part": "PyTorch micro", "case": "cut sho' >>"$result"
echo "1 passed, 0 failed"
]])
os.execute(string.format("chmod +x %s", python))

local runs = 0

-- Run a window; its results, what it printed, its exit code and its directory.
local function window(settings, flags, seconds)
  runs = runs + 1
  local out = string.format("%s/out%d", scratch.path, runs)
  core.make_directory(out)
  local pipe = io.popen(string.format(
    "unset BAMLUA_TEST_DEVICE; BAMLUA_SIMT=1 OUT=%s %s sh tests/gpu/window.sh %s %d --tiny --python %s %s 2>&1", out,
    settings, folder, seconds or 100000, python, flags))
  local text = pipe:read "a"
  local _, _, code = pipe:close()
  return bam.json.read(out .. "/results.json"), text, code, out
end

local function status_of(results)
  local list = {}
  for _, part in ipairs(results.parts) do list[part.name] = part.status end
  return list
end

local function part_of(results, name)
  for _, part in ipairs(results.parts) do
    if part.name == name then return part end
  end
end


test("a device that works: everything runs, and the results say so", function()
  local results, text, code, out = window("", "")
  expect.matches(text, "\n%d+ passed, 0 failed\n$")
  expect.equal(code, 0, text)
  local last
  for _, part in ipairs(results.parts) do
    local is_large = part.name:find "recipe" or part.name == "graphs"
    local wanted = part.name:find "check$" and "missing" or is_large and "left out" or "ok"
    expect.equal(part.status, wanted, part.name .. ": " .. (part.tail or ""))
    last = part.stage
  end
  expect.equal(last, "measure")
  expect.equal(results.commit, "0123abc")
  expect.equal(#part_of(results, "PyTorch micro").rows, 1, "a row that was cut short is left out")
  expect.equal(part_of(results, "environment").rows[1].device, "SIMT shim, compute capability 9.0, 4 multiprocessors")
  for _, row in ipairs(part_of(results, "same bits").rows) do expect.equal(row.other_bits, 0, row.case) end
  for _, name in ipairs { "time products", "time algorithms", "time attention", "time step large own" } do
    for _, row in ipairs(part_of(results, name).rows) do expect.no(row.failed, row.failed) end
  end
  local step, algorithms = part_of(results, "time step small dense").rows, part_of(results, "time algorithms").rows
  for row, name in pairs { [3] = "", [5] = ", graphs", [7] = ", tuned" } do
    expect.equal(step[row].case, "tokens per second" .. name)
    expect.compare(step[row].tokens_per_second, ">", 0)
  end
  expect.equal(step[4].obstacle, nil)
  local all = algorithms[#algorithms]
  expect.equal({ all.case, all.products, all.plain }, { "algorithms", #algorithms - 1, 0 })
  expect.compare(all.products, ">", 20)
  expect.contains(core.read_file(out .. "/log.txt"), "== op suite")
end)

test("a device that fails: no times, and the op at fault", function()
  local results, text, code = window("BAMLUA_SIMT_FAIL_LATE=softmax_rows", "")
  expect.equal(code, 1)
  local status = status_of(results)
  expect.equal(status.environment, "ok")
  expect.equal(status["op suite"], "failed")
  expect.contains(part_of(results, "op suite").again, "softmax: cuda:0: softmax_rows")
  expect.no(status["time ceilings"], text)
  expect.contains(text, "nothing more is measured")
end)

test("kernels on trial that fail: they are not measured, the others are", function()
  local results, _, code = window("BAMLUA_SIMT_PLAIN=1", "--only 'p[pgt]'")
  expect.equal(code, 1)
  expect.equal(status_of(results), { hopper = "failed", ["attention on warpgroups"] = "ok",
                                     ["ops on warpgroups"] = "left out", ["time kernels on warpgroups"] = "left out",
                                     ["time attention on warpgroups"] = "left out", ["time optimizer"] = "ok",
                                     ["bf16: optimizers, a model"] = "ok" })
  expect.equal(part_of(results, "ops on warpgroups").reason, "needs: hopper, attention on warpgroups")
end)

test("no device: nothing else is tried", function()
  local results, _, code = window("BAMLUA_SIMT_DEVICES=0", "")
  expect.equal(code, 1)
  expect.equal(#results.parts, 1)
  expect.contains(results.parts[1].tail, "finds no GPU")
end)

test("a device that hangs: the part is stopped, the others run", function()
  local results = window("BAMLUA_SIMT_HANG=softmax_rows", "--only '[sb][ui][it]' --limit 20")
  expect.contains(part_of(results, "op suite").reason, "stopped after")
  expect.equal(part_of(results, "op suite").status, "timeout")
  expect.equal(part_of(results, "same bits").status, "ok")
  results = window("BAMLUA_SIMT_HANG=normalise_rows", "--only '^time [nc]' --limit 8")
  expect.equal(status_of(results), { ["time ceilings"] = "ok", ["time norm"] = "timeout" })
  expect.equal(results.failed, 0, "a measurement that takes too long is no fault")
end)

test("a device that lies: values and repeated bits show it", function()
  local results, _, code = window("BAMLUA_SIMT_LIE=softmax_rows", "--only suite")
  expect.equal(code, 1)
  expect.equal(status_of(results)["op suite"], "failed")
  results = window("BAMLUA_SIMT_LIE=normalise_rows", "--only bits")
  expect.equal(status_of(results)["same bits"], "failed")
end)

test("no time: everything is left out, and that is no success", function()
  local results, text, code = window("", "", 1)
  expect.equal(code, 1)
  for _, part in ipairs(results.parts) do
    expect.yes(part.status == "left out" or part.status == "missing", part.name .. " " .. part.status)
  end
  expect.matches(text, "\n0 passed, 0 failed\n$")
end)

-- ---- what is kept ----

local queue = require "tests.gpu.queue"

test("the queue: never run, changed, oldest", function()
  local source = scratch.path .. "/source"
  core.write_file(source, "1")
  local function part(name) return { name = name, sources = { source } } end
  local last = part "after others"
  last.after = { "never", "elsewhere" }
  local list = { last, part "old", part "never", part "changed", part "failed", part "older" }
  local hash = queue.hash(last)
  local known = { old = { status = "ok", sources = hash, date = "2026-02" }, changed = { status = "ok", sources = "x", date = "2026-03" },
                  failed = { status = "failed", sources = hash, date = "2026-04" },
                  older = { status = "ok", sources = hash, date = "2026-01" } }
  local names = {}
  for i, p in ipairs(queue.sort(list, known)) do names[i] = p.name end
  expect.equal(names, { "never", "failed", "changed", "older", "old", "after others" })
  core.write_file(source, "2")
  expect.no(queue.hash(list[1]) == hash, "a change of a source")
end)

-- The numbers of heads in a list of pairs, in Lua or Python, of the file's only line with the pattern.
local function heads_of(path, pattern)
  local numbers = {}
  for number in core.read_file(path):match(pattern):gmatch "%d+" do numbers[#numbers + 1] = tonumber(number) end
  return numbers
end

test("attention is measured in PyTorch's shapes", function()
  local own = heads_of("tests/gpu/timing/ops.lua", "for _, heads in (.-) do\n")
  expect.equal(own, heads_of("tests/gpu/peers.py", "for heads, kv_heads in (.-):\n"))
  expect.compare(#own, ">=", 10)
end)

test("the model: a line per goal, before and after it was measured", function()
  local model = require "tests.gpu.model"
  local function lines(rows)
    local by_goal = {}
    for _, line in ipairs(model.lines(rows)) do by_goal[line.goal] = line end
    return by_goal
  end
  local before = lines {}
  for name, line in pairs(before) do
    expect.yes(line.verdict == "possible, not measured" or line.verdict == "not measured", name .. ": " .. line.verdict)
  end
  local function step(kind, x)
    return { part = "time step large " .. kind, case = "tokens per second", model = "large", kind = kind,
             tokens_per_second = x }
  end
  local after = lines {
    { part = "time ceilings", case = "product", dtype = "bf16", tflops = 400 },
    { part = "time ceilings", case = "copy", gbs = 4000 }, step("dense", 48001), step("btx", 45999),
    { part = "PyTorch large dense", case = "tokens per second", tokens_per_second = 24000.5 },
    { part = "time head", case = "head and loss", ms_median = 48.5 },
    { part = "time optimizer", case = "AdamW", gbs = 3800 },
  }
  expect.equal(after["large dense"].verdict, "reached")
  expect.equal(after["large dense, over PyTorch"].measured, 2)
  expect.equal(after["large BTX"].verdict, "missed")
  expect.equal(after["large BAM, KV experts"].verdict, "more than this model allows")
  expect.equal(after["head and loss, 8192 x 2304 x 256,000"].verdict, "missed")
  expect.equal(after["AdamW, share of a copy's bandwidth"].measured, 0.95)
  expect.equal(after["AdamW, share of a copy's bandwidth"].verdict, "reached")
end)

local function merge(words)
  local pipe = io.popen(string.format("%s tests/gpu/merge.lua %s 2>&1", shell.quote(program), words))
  local text = pipe:read "a"
  return text, select(3, pipe:close())
end

test("merging what was measured of products: a file for --tune", function()
  local directory, path = scratch.path .. "/tables", scratch.path .. "/two.json"
  local function algorithm(product, digit)
    return { part = "time algorithms", case = "algorithm", machine = "H, cuBLASLt 13.1.0", product = product, rank = 2,
             algorithm = digit:rep(128), ms_median = 1.5, first_ms = 2, gain = 4 / 3 }
  end
  for _, from in ipairs { { "2026-01-01T00:00:00Z", { algorithm("a", "1") } },
                            { "2026-01-02T00:00:00Z", { algorithm("a", "2"), algorithm("b", "3") } } } do
    core.write_file(path, bam.json.encode { date = from[1], parts = {
      { name = "time algorithms", status = "ok", seconds = 1, sources = "a", rows = from[2] } } })
    local text, code = merge(string.format("%s %s", path, directory))
    expect.equal(code, 0, text)
  end
  local list = require("bam.train.algorithm_table").read(directory .. "/algorithms.json", "H, cuBLASLt 13.1.0")
  expect.equal(#list, 2)
  expect.equal({ list[1].product, list[1].algorithm, list[1].ms, list[2].product }, { "a", ("1"):rep(128), 1.5, "b" })
end)

test("merging results, and ratios", function()
  local directory, path = scratch.path .. "/kept", scratch.path .. "/one.json"
  local function row(part, ms, dtype) return { part = part, case = "norm", rows = 8, dtype = dtype, ms_median = ms } end
  local function results(date, status, list)
    core.write_file(path, bam.json.encode { date = date, parts = list, tiny = nil })
    return list, status
  end
  results("2026-01-01T00:00:00Z", "ok", {
    { name = "time norm", status = "ok", seconds = 1, sources = "a", rows = { row("time norm", 2, "bf16") } },
    { name = "PyTorch micro", status = "left out" } })
  local text, code = merge(string.format("%s %s", path, directory))
  expect.equal(code, 0, text)
  expect.contains(text, "1 parts of 2026-01-01T00:00:00Z")
  results("2026-01-02T00:00:00Z", "ok", {
    { name = "PyTorch micro", status = "ok", seconds = 1, sources = "b",
      rows = { row("PyTorch micro", 3, "bf16"), row("PyTorch micro", 1.5, "bf16") } } })
  text = merge(string.format("%s %s", path, directory))
  expect.contains(text, "0.75 of PyTorch, provisional")
  local index = bam.json.read(directory .. "/index.json")
  expect.equal(index.parts["time norm"].date, "2026-01-01T00:00:00Z")
  expect.equal(index.parts["PyTorch micro"].sources, "b")
  core.write_file(path, bam.json.encode { date = "2026", parts = {}, tiny = true })
  text, code = merge(path)
  expect.equal(code, 1)
  expect.contains(text, "tiny")
  text, code = merge(scratch.path .. "/nothing.json")
  expect.equal(code, 1)
  expect.contains(text, "is not a window's results")
end)
