--- What `make scaling` measures: figures, each with points. A point is a training step of some size, for its tokens/s,
--- or for the memory that it needs where the figure's unit is bytes.
local models = require "tests.bench.models"

-- Sizes of a model of that width, in the proportions of the demo's.
local function sizes(width, more)
  local of = { layers = 2, width = width, heads = math.max(1, width // 32), ffn = width * 11 // 4, vocab = 2048,
               batch = 8, length = 256, update = true }
  for key, value in pairs(more or {}) do of[key] = value end
  return of
end

-- 1, 2, 4, ... and `last`
local function powers_to(last)
  local list, value = {}, 1
  while value < last do
    list[#list + 1] = value
    value = 2 * value
  end
  list[#list + 1] = last
  return list
end

local function figure(name, title, x, more)
  local new = { name = name, title = title, x = x, y = "tokens/s", points = {} }
  for key, value in pairs(more or {}) do new[key] = value end
  return new
end

local function add(to, series, x, of, threads)
  table.insert(to.points, { series = series, x = x, threads = threads, case = models.case(series, of) })
end

local MEMORY = { y = "peak resident memory, beyond the program's", unit = "B" }

-- Each is a function of whether sizes are tiny, and gives a figure.

local function memory_against_context(tiny)
  local f = figure("memory-context", "Training step of a dense model, 2 layers, width 128, one sequence",
                   "context (tokens)", MEMORY)
  for _, T in ipairs(tiny and { 8, 16 } or { 512, 1024, 2048, 4096, 8192 }) do
    add(f, "dense", T, sizes(tiny and 32 or 128, { batch = 1, length = T, vocab = tiny and 64 or 2048 }))
  end
  return f
end

local function memory_against_vocabulary(tiny)
  local f = figure("memory-vocabulary", "Training step of a dense model, 2 layers, width 128, 2048 tokens", "vocabulary",
                   MEMORY)
  for _, V in ipairs(tiny and { 64, 128 } or { 2000, 8000, 32000, 128000, 256000 }) do
    add(f, "dense", V, sizes(tiny and 32 or 128, { vocab = V, length = tiny and 8 or 256 }))
  end
  return f
end

local function speed_against_width(tiny)
  local f = figure("width", "Training step of a dense model, 2 layers, 2048 tokens", "width")
  for _, width in ipairs(tiny and { 32, 64 } or { 64, 128, 256, 512, 1024 }) do
    add(f, "dense", width, sizes(width, tiny and { vocab = 64, batch = 2, length = 8 }))
  end
  return f
end

local function speed_against_context(tiny)
  local f = figure("context", "Training step of a dense model, 2 layers, width 128, 8192 tokens", "context (tokens)")
  local tokens = tiny and 32 or 8192
  for _, T in ipairs(tiny and { 8, 16 } or { 256, 512, 1024, 2048, 4096, 8192 }) do
    add(f, "dense", T, sizes(tiny and 32 or 128, { batch = tokens // T, length = T, vocab = tiny and 64 or 2048 }))
  end
  return f
end

local function speed_against_experts(tiny)
  local f = figure("experts", "Training step of mixtures, 2 layers, width 128, 2048 tokens", "experts")
  for _, N in ipairs(tiny and { 2, 3 } or { 2, 4, 8, 16 }) do
    for _, mixture in ipairs { { "BTX", { experts = "mean" } },
                               { "BAM, shared KV", { kv = "shared", routing = "soft" } } } do
      add(f, mixture[1], N, sizes(tiny and 32 or 128, { experts = N, mixing = mixture[2], vocab = tiny and 64 or 2048,
                                                        length = tiny and 8 or 256 }))
    end
  end
  return f
end

local function speed_against_threads(tiny, threads)
  local f = figure("threads", "Training step of a dense model, 2 layers, width 512, 2048 tokens", "threads")
  for _, count in ipairs(powers_to(threads)) do
    add(f, "dense", count, sizes(tiny and 32 or 512, tiny and { vocab = 64, length = 8 }), count)
  end
  return f
end

--- The figures. Memory comes first: it needs less than its share of the time, and leaves the rest to the others.
---@param threads integer the most that are used
---@param tiny? boolean at sizes that only show that all of it runs
---@return table[]
return function(threads, tiny)
  local list = {}
  for i, make in ipairs { memory_against_context, memory_against_vocabulary, speed_against_width, speed_against_context,
                          speed_against_experts, speed_against_threads } do
    list[i] = make(tiny, threads)
  end
  return list
end
