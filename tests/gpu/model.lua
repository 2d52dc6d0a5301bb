--- A roofline of every goal (tests/gpu/goals.lua), line by line: what the FLOPs, bytes and launches that are counted
--- (tests/gpu/account.lua) take at the speeds of one H200, what that allows, and what the kept windows measured.
---   bamlua tests/gpu/model.lua [DIR]
--- The speeds are those of DIR's (tests/gpu/results) ceilings where they were measured, and else what is assumed here.
local HERE = arg and arg[0] and arg[0]:match "^(.*/)" or "./"
package.path = string.format("%s../../?.lua;%s", HERE, package.path)
local account = require "tests.gpu.account"
local compare = require "tests.gpu.compare"
local goals = require "tests.gpu.goals"
local json = require "bam.util.json"
local sizes = require "tests.gpu.timing.sizes"

local M = {}

-- FLOP/s of a bf16 product of 8192 and bytes/s of a copy of 4 GB; shares of them that good kernels reach (products,
-- attention, passes over memory); seconds of a launch, when the host is behind, and of a wait.
local ASSUMED = { product = 790e12, copy = 4.3e12, products = 0.9, attention = 0.55, passes = 0.9, launch = 2e-6,
                  wait = 10e-6, bytes = 2, fp8 = 2 } -- fp8: times a bf16 product's speed

-- The row of a case; nil if it was not measured.
local function find(rows, of)
  for _, row in ipairs(rows) do
    if row.part == of.part and row.case == of.case and (not of.heads or row.heads == of.heads)
      and (not of.backend or row.backend == of.backend)
      and (not of.size or (row.model == of.size and row.kind == of.kind)) and not row.failed then
      return row
    end
  end
end

--- The speeds to calculate with.
---@param rows table[] of results
---@return table speeds and `measured`: whether the two ceilings were measured
function M.speeds(rows)
  local speeds = setmetatable({}, { __index = ASSUMED })
  local product, copy = find(rows, { part = "time ceilings", case = "product" }),
    find(rows, { part = "time ceilings", case = "copy" })
  if product and product.dtype == "bf16" then speeds.product = product.tflops * 1e12 end
  if copy then speeds.copy = copy.gbs * 1e9 end
  speeds.measured = product ~= nil and copy ~= nil
  return speeds
end

--- The seconds of a micro-step and of an update, in parts.
---@param size string
---@param kind string
---@param speeds table
---@return table
function M.step(size, kind, speeds)
  local s = sizes.of(size)
  local tokens = sizes.ROWS * s.context
  local a = account.account(s, kind, s.layers, tokens, speeds.bytes)
  local seconds = {
    products = a.products / (speeds.products * speeds.product),
    head = a.head / (speeds.products * speeds.product) + a.logits / (speeds.passes * speeds.copy),
    attention = a.attention / (speeds.attention * speeds.product),
    passes = a.passes / (speeds.passes * speeds.copy),
    launches = a.launches * speeds.launch, waits = a.waits * speeds.wait,
    update = a.update / (speeds.passes * speeds.copy),
  }
  -- Launches are hidden behind the device's work unless they take longer.
  local work = seconds.products + seconds.head + seconds.attention + seconds.passes
  seconds.micro = math.max(work, seconds.launches) + seconds.waits
  seconds.tokens_per_second = sizes.MICRO_STEPS * tokens / (sizes.MICRO_STEPS * seconds.micro + seconds.update)
  seconds.account = a
  return seconds
end

--- A micro-step of a dense model in FP8: its linear layers multiply twice as fast, and encode their operands.
---@param size string
---@param speeds table
---@return table as M.step, with `encoding`
function M.step_in_fp8(size, speeds)
  local s, t = sizes.of(size), M.step(size, "dense", speeds)
  local tokens, bytes, launches = sizes.ROWS * s.context, 0, 0
  for _, layer in ipairs(account.linear_layers(s)) do
    local a = account.fp8(tokens, layer[1], layer[2])
    bytes, launches = bytes + s.layers * a.bytes, launches + s.layers * a.launches
  end
  t.encoding = bytes / (speeds.passes * speeds.copy)
  t.launches = t.launches + launches * speeds.launch
  t.products = t.products / speeds.fp8
  t.micro = math.max(t.products + t.head + t.attention + t.passes + t.encoding, t.launches) + t.waits
  t.tokens_per_second = sizes.MICRO_STEPS * tokens / (sizes.MICRO_STEPS * t.micro + t.update)
  return t
end

local function step_line(goal, rows, speeds)
  local t = M.step(goal.size, goal.kind, speeds)
  local row = find(rows, { part = string.format("time step %s %s", goal.size, goal.kind), case = "tokens per second",
                           size = goal.size, kind = goal.kind })
  local format = "products %.0f + head %.0f + attention %.0f + passes %.0f ms, %d launches, update %.0f ms"
  local parts = string.format(format, t.products * 1e3, t.head * 1e3, t.attention * 1e3, t.passes * 1e3,
                              t.account.launches, t.update * 1e3)
  return { goal = goal.goal, wanted = goal.tokens_per_second, allowed = t.tokens_per_second,
           measured = row and row.tokens_per_second, unit = "tokens/s", parts = parts, more = true }
end

-- The same row relative to PyTorch's.
local function peer_line(goal, rows)
  local own = find(rows, { part = string.format("time step %s %s", goal.size, goal.kind), case = "tokens per second" })
  local peer = find(rows, { part = string.format("PyTorch %s %s", goal.size, goal.kind), case = "tokens per second" })
  return { goal = goal.goal .. ", over PyTorch", wanted = goal.over_peer, unit = "times", parts = "", more = true,
           measured = own and peer and own.tokens_per_second / peer.tokens_per_second }
end

-- What a goal about one op allows: the ceiling of a share is 1.
local function op_line(goal, rows, speeds)
  local row, of = find(rows, goal), goal.of and find(rows, goal.of)
  local line = { goal = goal.goal, wanted = goal.ms or goal.share or goal.times, unit = goal.ms and "ms" or "of it",
                 more = goal.share ~= nil, parts = "" }
  if goal.ms then
    local flops = 6 * 8192 * 2304 * 256000
    line.allowed = (flops / (speeds.products * speeds.product)
                    + 3 * 8192 * 256000 * speeds.bytes / (speeds.passes * speeds.copy)) * 1e3
    line.measured = row and row.ms_median
  else
    line.allowed = 1
    local field = goal.of.field
    line.measured = row and of and row[field] and of[field] and row[field] / of[field]
  end
  return line
end

local function verdict(line)
  local function good(x) return line.more == (x >= line.wanted) or x == line.wanted end
  if line.measured then return good(line.measured) and "reached" or "missed" end
  if not line.allowed then return "not measured" end
  return good(line.allowed) and "possible, not measured" or "more than this model allows"
end

--- The lines of all goals: { goal, wanted, allowed, measured?, unit, parts, verdict }.
---@param rows table[] of results
---@return table[]
function M.lines(rows)
  local speeds, lines = M.speeds(rows), {}
  for _, goal in ipairs(goals) do
    lines[#lines + 1] = (goal.size and step_line or op_line)(goal, rows, speeds)
    if goal.over_peer then lines[#lines + 1] = peer_line(goal, rows) end
  end
  for _, line in ipairs(lines) do line.verdict = verdict(line) end
  return lines
end

local function number(x) return x and string.format(x >= 100 and "%.0f" or "%.2f", x) or "-" end

if arg and arg[0] and arg[0]:find "model.lua$" then
  local directory = arg[1] or "tests/gpu/results"
  local rows = compare.newest(directory, json.read(directory .. "/index.json") or { parts = {} })
  print(string.format("ceilings %s", M.speeds(rows).measured and "as measured" or "assumed: 790 TFLOP/s, 4.3 TB/s"))
  for _, line in ipairs(M.lines(rows)) do
    print(string.format("%-58s goal %9s  model %9s  measured %9s %-9s %s", line.goal, number(line.wanted),
                        number(line.allowed), number(line.measured), line.unit, line.verdict))
    if line.parts ~= "" then print(string.format("    %s", line.parts)) end
  end
  local speeds = M.speeds(rows)
  for _, size in ipairs { "small", "large" } do
    local t, bf16 = M.step_in_fp8(size, speeds), M.step(size, "dense", speeds)
    print(string.format("%s dense in FP8: %.0f tokens/s, %.2f times bf16's; products %.0f + encoding %.0f ms", size,
                        t.tokens_per_second, t.tokens_per_second / bf16.tokens_per_second, t.products * 1e3,
                        t.encoding * 1e3))
  end
end

return M
