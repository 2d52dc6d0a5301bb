--- Schedules: numbers that change over a run, such as learning rates and loss coefficients. s:at(step, total), or
--- s(step, total), is the value at a step; steps count from 1 to `total`. Progress is 0 at the first step and 1 at
--- the last. A warm-up rises linearly to the full value; it is a share of the run if below 1, otherwise a number of
--- steps.
local check = require "bam.check"
local core = require "bam.core"

local M = {}

---@class schedule
local Schedule = {}
local metatable = { __name = "schedule", __index = Schedule }

local function new(text, value)
  return setmetatable({ text = text, value = value }, metatable)
end

--- Is `x` a schedule?
---@param x any
---@return boolean
function M.is(x) return getmetatable(x) == metatable end

function metatable:__tostring() return self.text end
function metatable:__call(step, total) return self:at(step, total) end

--- The value at a step.
---@param step integer from 1
---@param total integer number of steps
---@return number
function Schedule:at(step, total)
  total = check.value("schedule: total", total, "size")
  step = check.value("schedule: step", step, "size")
  if step > total then check.fail("schedule: step %d is past the last, %d", step, total) end
  return self.value(step, total)
end

--- The same schedule with every value multiplied by `factor`.
---@param factor number
---@return schedule
function Schedule:scaled(factor)
  factor = check.value("schedule: factor", factor, "number")
  return new(string.format("%s * %g", self.text, factor),
             function(step, total) return factor * self.value(step, total) end)
end

local function progress(step, total) return total > 1 and (step - 1) / (total - 1) or 0.0 end

local function check_warmup(what, warmup)
  if warmup >= 1 and not math.tointeger(warmup) then
    check.fail("%s: option warmup: %g is neither a share below 1 nor a whole number of steps", what,
               warmup)
  end
end

-- The warm-up, then rest(progress through what is left), where rest(0) is the full value.
local function warmed(warmup, rest)
  return function(step, total)
    local steps = warmup < 1 and math.floor(warmup * total + 0.5) or math.min(warmup, total)
    if step <= steps then return rest(0.0) * (step / steps) end
    local first = math.max(steps, 1)
    return rest(total > first and (step - first) / (total - first) or 0.0)
  end
end

--- A constant value, optionally after a warm-up.
---@param value number|{ value: number, warmup?: number } warmup is 0 by default
---@return schedule
function M.constant(value)
  if type(value) ~= "table" then
    value = { value = check.value("schedule.constant: value", value, "number") }
  end
  local o = check.options("schedule.constant", value,
                          { value = { "number" }, warmup = { "rate", 0 } })
  check_warmup("schedule.constant", o.warmup)
  local text = o.warmup == 0 and "%g" or "constant { value = %g, warmup = %g }"
  return new(string.format(text, o.value, o.warmup),
             warmed(o.warmup, function() return o.value end))
end

--- A straight line from one value to another.
---@param options { from: number, to: number, warmup?: number } warmup is 0 by default
---@return schedule
function M.linear(options)
  local o = check.options("schedule.linear", options,
                          { from = { "number" }, to = { "number" }, warmup = { "rate", 0 } })
  check_warmup("schedule.linear", o.warmup)
  local function line(p) return o.from * (1 - p) + o.to * p end
  return new(string.format("linear { from = %g, to = %g, warmup = %g }", o.from, o.to, o.warmup),
             warmed(o.warmup, line))
end

--- Half a cosine from `peak` down to `floor` * `peak`.
---@param options { peak: number, warmup?: number, floor?: number } warmup and floor are 0 by default
---@return schedule
function M.cosine(options)
  local o = check.options("schedule.cosine", options,
                          { peak = { "number" }, warmup = { "rate", 0 }, floor = { "share", 0 } })
  check_warmup("schedule.cosine", o.warmup)
  local function wave(p)
    return o.peak * (o.floor + (1 - o.floor) * 0.5 * (1 + math.cos(math.pi * p)))
  end
  return new(string.format("cosine { peak = %g, warmup = %g, floor = %g }", o.peak, o.warmup,
                           o.floor),
             warmed(o.warmup, wave))
end

-- The value at progress p of checked points.
local function interpolate(points, p)
  local last = 0
  for i, point in ipairs(points) do
    if point[1] <= p then last = i end
  end
  local a, b = points[last], points[last + 1]
  if not a then return b[2] end
  if not b then return a[2] end
  local t = (p - a[1]) / (b[1] - a[1])
  return a[2] * (1 - t) + b[2] * t
end

local function check_pair(what, pair)
  local n = check.list(what, pair)
  if n ~= 2 then check.fail("%s: expected two entries, got %d", what, n) end
end

--- Straight lines between points { progress, value }. Two points with the same progress make a jump. The value is
--- constant before the first point and after the last.
---@param points number[][]
---@return schedule
function M.piecewise(points)
  if check.list("schedule.piecewise: points", points) == 0 then
    check.fail "schedule.piecewise: expected a list of points { progress, value }, got none"
  end
  local copy, texts = {}, {}
  for i, point in ipairs(points) do
    local what = string.format("schedule.piecewise: point %d", i)
    check_pair(what, point)
    copy[i] = { check.value(string.format("%s: progress", what), point[1], "share"),
                check.value(string.format("%s: value", what), point[2], "number") }
    if i > 1 and copy[i][1] < copy[i - 1][1] then
      check.fail("%s: progress %g comes after %g; sort the points", what, copy[i][1],
                 copy[i - 1][1])
    end
    texts[i] = string.format("{ %g, %g }", copy[i][1], copy[i][2])
  end
  return new(string.format("piecewise { %s }", table.concat(texts, ", ")),
             function(step, total) return interpolate(copy, progress(step, total)) end)
end

-- Shares and schedules of a sequence, checked; the text of each.
local function read_sequence(parts)
  local copy, texts, sum = {}, {}, 0
  for i, part in ipairs(check.value("schedule.sequence: parts", parts, "list")) do
    local what = string.format("schedule.sequence: part %d", i)
    check_pair(what, part)
    copy[i] = { check.value(string.format("%s: share", what), part[1], "share"), M.of(part[2]) }
    texts[i] = string.format("{ %g, %s }", copy[i][1], copy[i][2])
    sum = sum + copy[i][1]
  end
  if math.abs(sum - 1) > 1e-6 then
    check.fail("schedule.sequence: the shares of the parts add up to %g; they must to 1", sum)
  end
  return copy, texts
end

--- Schedules one after another, each over its share of the run: { { 0.2, a }, { 0.8, b } }.
---@param parts table[] pairs of a share and a schedule (or a number, or a function of progress)
---@return schedule
function M.sequence(parts)
  local copy, texts = read_sequence(parts)
  return new(string.format("sequence { %s }", table.concat(texts, ", ")), function(step, total)
    local share, before = 0, 0
    for i, part in ipairs(copy) do
      share = share + part[1]
      local last = i == #copy and total or math.floor(share * total + 0.5)
      if step <= last then return part[2].value(step - before, last - before) end
      before = last
    end
  end)
end

-- A function of progress, its results checked.
local function from_function(f, convert)
  local info = debug.getinfo(f, "S")
  local text = string.format("function %s:%d", info.short_src, info.linedefined)
  return new(text, function(step, total)
    local value = f(progress(step, total))
    if convert then value = convert(value) end
    if type(value) ~= "number" or value ~= value then
      check.fail("schedule: %s gave %s at step %d of %d; it must give a number", text,
                 check.describe(value), step, total)
    end
    return value
  end)
end

--- Convert to a schedule: a number is constant, a function is called with the progress, a schedule is returned as
--- it is.
---@param x number|function|schedule
---@param convert? fun(value: any): any applied to the results of a function
---@return schedule
function M.of(x, convert)
  if M.is(x) then return x end
  if type(x) == "number" then return M.constant(x) end
  if type(x) == "function" then return from_function(x, convert) end
  return check.fail("schedule: expected a number, a schedule or a function of progress, got %s",
                    check.describe(x))
end

local PACKED = 128 -- numbers packed at once

--- A hash of a list of numbers, such as the values of a schedule.
---@param numbers number[]
---@return string hex
function M.hash(numbers)
  local parts = {}
  for first = 1, #numbers, PACKED do
    local last = math.min(first + PACKED - 1, #numbers)
    local format = string.format("<%s", ("d"):rep(last - first + 1))
    parts[#parts + 1] = string.pack(format, table.unpack(numbers, first, last))
  end
  return core.hash(table.concat(parts))
end

--- A schedule as data: a hash of its values at every step of a run.
---@param s schedule
---@param total integer steps of the run
---@return { first: number, last: number, digest: string }
function M.digest(s, total)
  local numbers = {}
  for step = 1, total do numbers[step] = s:at(step, total) end
  return { first = numbers[1], last = numbers[total], digest = M.hash(numbers) }
end

return check.guard(M, "bam.schedule")
