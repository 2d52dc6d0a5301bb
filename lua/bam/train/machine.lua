-- What this machine can do, for progress and plans: its matrix product throughput, measured when training starts, and a
-- typical throughput for plans, where nothing is measured.
local core = require "bam.core"

local M = {}

local ROUNDS = 6
local SMALLEST, LARGEST = 256, 2048 -- rows and columns of a product
local LONG_ENOUGH = 1e-3            -- seconds that one takes

local function on_cpu(device) return device == "cpu" end

local function product_seconds(a, b)
  core.synchronize()
  local start = core.clock()
  core.ops.matmul(a, b)
  core.synchronize()
  return core.clock() - start
end

local function best_seconds(size)
  return core.scope(function()
    local a, b, best = core.ones(size, size), core.ones(size, size), math.huge
    core.with_grad(false, function()
      for _ = 1, ROUNDS do best = math.min(best, product_seconds(a, b)) end
    end)
    return best
  end)
end

--- Peak FLOP/s of the device: on a CPU the rate of its multiply-adds, otherwise the best of a few matrix products; the
--- faster the device, the larger.
---@return number
function M.measure_peak()
  if on_cpu(core.device()) then return core.peak() end
  local size, seconds = SMALLEST, best_seconds(SMALLEST)
  while size < LARGEST and seconds < LONG_ENOUGH do
    size = 2 * size
    seconds = best_seconds(size)
  end
  return 2 * size ^ 3 / seconds
end

-- FLOP/s of training, conservative guesses: per CPU thread, and for a GPU that computes in f32.
local TYPICAL = { baseline = 8e9, avx2 = 30e9, avx512 = 50e9 }
local TYPICAL_GPU = 10e12

--- FLOP/s that a plan may assume.
---@param device string
---@return number
function M.typical_speed(device)
  return on_cpu(device) and TYPICAL[core.isa()] * core.threads() or TYPICAL_GPU
end

-- The current device: "cpu", or the GPU's model.
local function device()
  local name = core.device()
  for _, d in ipairs(core.devices()) do
    if d.name == name then return on_cpu(name) and name or d.description end
  end
end

-- The implementation of matrix products, recorded in checkpoints. Those of version 0.1.0 name a BLAS library instead.
-- Raise the number when the bits of products change.
local PRODUCTS = "bamlua 1"

--- What the bits of a result depend on besides the settings; recorded with a run.
---@return { device: string, tf32: boolean, isa: string, products: string, threads: integer }
function M.identity()
  return { device = device(), tf32 = core.tf32(), isa = core.isa(), products = core.product_library() or PRODUCTS,
           threads = core.threads() }
end

-- ---- human-readable numbers ----

local UNITS = { { 1e18, "E" }, { 1e15, "P" }, { 1e12, "T" }, { 1e9, "G" }, { 1e6, "M" },
                { 1e3, "k" } }

--- "587 M", "1.2 G": three digits and a unit.
---@param x number
---@return string
function M.short(x)
  for _, unit in ipairs(UNITS) do
    if math.abs(x) >= unit[1] then
      local value = x / unit[1]
      local digits = value >= 100 and 0 or value >= 10 and 1 or 2
      return string.format(string.format("%%.%df %%s", digits), value, unit[2])
    end
  end
  return string.format("%d", math.floor(x + 0.5))
end

--- "0:42", "12:05", "3 h 20 min", "41 days", "27 years".
---@param seconds number
---@return string
function M.duration(seconds)
  local s = math.floor(seconds + 0.5)
  if s < 3600 then return string.format("%d:%02d", s // 60, s % 60) end
  if s < 2 * 86400 then return string.format("%d h %02d min", s // 3600, s // 60 % 60) end
  local days = s / 86400
  return days < 1000 and string.format("%.0f days", days)
    or string.format("%s years", M.short(days / 365.25))
end

return M
