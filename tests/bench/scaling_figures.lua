--- What `make scaling` measures: figures, each with points. A point is a training step of some size, for its tokens/s,
--- or with `memory` for the memory that it needs.
local models = require "tests.bench.models"

local BAM = { kv = "shared", routing = "soft" }
local BTX = { experts = "mean" }

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

--- The figures.
---@param threads integer the most that are used
---@param tiny? boolean at sizes that only show that all of it runs
---@return table[]
return function(threads, tiny)
  local function pick(full, small) return tiny and small or full end
  local width = pick(128, 32)
  local list = {}
  local function new(...)
    list[#list + 1] = figure(...)
    return list[#list]
  end

  local f = new("width", "Training step of a dense model, 2 layers, 2048 tokens", "width")
  for _, w in ipairs(pick({ 64, 128, 256, 512, 1024 }, { 32, 64 })) do
    add(f, "dense", w, sizes(w, tiny and { vocab = 64, batch = 2, length = 8 }))
  end

  local tokens = pick(8192, 32)
  f = new("context", "Training step of a dense model, 2 layers, width 128, 8192 tokens", "context (tokens)")
  for _, T in ipairs(pick({ 256, 512, 1024, 2048, 4096, 8192 }, { 8, 16 })) do
    add(f, "dense", T, sizes(width, { batch = tokens // T, length = T, vocab = pick(2048, 64) }))
  end

  f = new("experts", "Training step of mixtures, 2 layers, width 128, 2048 tokens", "experts")
  for _, N in ipairs(pick({ 2, 4, 8, 16 }, { 2, 3 })) do
    local more = { experts = N, vocab = pick(2048, 64), length = pick(256, 8) }
    more.mixing = BTX
    add(f, "BTX", N, sizes(width, more))
    more.mixing = BAM
    add(f, "BAM, shared KV", N, sizes(width, more))
  end

  f = new("threads", "Training step of a dense model, 2 layers, width 512, 2048 tokens", "threads")
  for _, count in ipairs(powers_to(threads)) do
    add(f, "dense", count, sizes(pick(512, 32), tiny and { vocab = 64, length = 8 }), count)
  end

  local memory = { y = "peak resident memory, beyond the program's", unit = "B" }
  f = new("memory-context", "Training step of a dense model, 2 layers, width 128, one sequence", "context (tokens)",
          memory)
  for _, T in ipairs(pick({ 512, 1024, 2048, 4096, 8192 }, { 8, 16 })) do
    add(f, "dense", T, sizes(width, { batch = 1, length = T, vocab = pick(2048, 64) }))
  end

  f = new("memory-vocabulary", "Training step of a dense model, 2 layers, width 128, 2048 tokens", "vocabulary", memory)
  for _, V in ipairs(pick({ 2000, 8000, 32000, 128000, 256000 }, { 64, 128 })) do
    add(f, "dense", V, sizes(width, { vocab = V, length = pick(256, 8) }))
  end
  return list
end
