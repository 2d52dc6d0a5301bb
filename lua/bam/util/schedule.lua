--- Schedules: numbers that change over a run, such as learning rates and loss coefficients. s:at(step, total), or
--- s(step, total), is the value at a step; steps count from 1 to `total`. Progress is 0 at the first step and 1 at
--- the last. A warm-up rises linearly to the full value; it is a share of the run if below 1, otherwise a number of
--- steps.
local check = require "bam.util.check"
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
  if step > total then check.fail("schedule: step %d is beyond the last step, %d", step, total) end
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

-- ---- kinds of schedules ----

local Kind = { __name = "kind of schedule" } -- metatable
local code_of = setmetatable({}, { __mode = "k" }) -- by kind: { value, check }; only bam calls them

-- A number of steps, which is given as a share of the run if it is below 1.
local function steps_of(given, total)
  return given < 1 and math.floor(given * total + 0.5) or math.min(given, total)
end

local function check_steps(what, name, given)
  if given >= 1 and not math.tointeger(given) then
    check.fail("%s: option %s: %g is neither a share below 1 nor a whole number of steps", what, name, given)
  end
end

local function check_result(text, value, step, total)
  if type(value) ~= "number" or value ~= value then
    check.fail("schedule: %s gave %s at step %d of %d; it must return a number", text, check.describe(value), step,
               total)
  end
  return value
end

-- The values: a warm-up, then value(o, progress through the remaining steps), where the value at 0 is the full value.
local function values_of(kind, text, o)
  local f = code_of[kind].value
  local function value(p, step, total) return check_result(text, f(o, p, step, total), step, total) end
  return function(step, total)
    local steps = steps_of(o.warmup, total)
    if step <= steps then return value(0.0, steps, total) * (step / steps) end
    local first = math.max(steps, 1)
    return value(total > first and (step - first) / (total - first) or 0.0, step, total)
  end
end

local function show(value)
  if type(value) == "number" then return string.format("%g", value) end
  return type(value) == "string" and string.format("%q", value) or tostring(value)
end

-- "cosine { peak = 1, warmup = 0, floor = 0.1 }": required options first, then the warm-up, then the others.
local function text_of(kind, o)
  if kind.single and o.warmup == 0 and #kind.order == 2 then return show(o[kind.single]) end
  local parts = {}
  for _, name in ipairs(kind.order) do
    if o[name] ~= nil then parts[#parts + 1] = string.format("%s = %s", name, show(o[name])) end
  end
  return string.format("%s { %s }", kind.name, table.concat(parts, ", "))
end

--- Create a schedule of this kind.
---@param options table
---@return schedule
function Kind:__call(options)
  local what = string.format("schedule.%s", self.name)
  if self.single and type(options) ~= "table" then
    local name = string.format("%s: %s", what, self.single)
    options = { [self.single] = check.value(name, options, self.options[self.single][1]) }
  end
  local o = check.options(what, options, self.options)
  check_steps(what, "warmup", o.warmup)
  if code_of[self].check then code_of[self].check(what, o) end
  local text = text_of(self, o)
  return new(text, values_of(self, text, o))
end

function Kind:__tostring() return string.format("schedule %s", self.name) end

--- The entry of help() and of the reference.
---@return table comment
---@return string[] parameters
function Kind:__doc()
  local text, class = {}, string.format("schedule.%sOptions", self.name)
  for line in self.doc:gmatch "[^\n]+" do text[#text + 1] = line end
  if #text == 0 then text[1] = "A kind of schedule made by bam.schedule.define." end
  local kind = self.single and string.format("%s|number", class) or class
  return { text = text, fields = {}, options = { class = class, names = self.order, rules = self.options },
           params = { { name = "options", type = kind, text = "" } },
           returns = { { type = "schedule", text = "" } } }, { "options" }
end

local WARMUP = { "rate", 0, doc = "a linear rise to the full value: a share of the run if below 1, otherwise steps" }

-- The names of the options in display order.
local function order_of(options)
  local needed, others = {}, {}
  for _, name in ipairs(check.sorted_names(options)) do
    local list = options[name][2] == nil and not options[name].optional and needed or others
    if name ~= "warmup" then list[#list + 1] = name end
  end
  needed[#needed + 1] = "warmup"
  return table.move(others, 1, #others, #needed + 1, needed)
end

local kind_spec = { name = { "string" }, doc = { "string", "" }, options = { "table", {} }, value = { "callable" },
                    check = { "callable", optional = true }, single = { "string", optional = true } }

---@class schedule.Definition
---@field name string for messages and printing
---@field doc? string text for help()
---@field options? table { name = { kind, default, doc = "..." } }, as in bam.optim.define; `warmup` is added
---@field value fun(o: table, progress: number, step: integer, total: integer): number value after the warm-up;
--- progress is 0 at the end of the warm-up, which rises to that value, and 1 at the last step
---@field check? fun(what: string, o: table) raises an error if options contradict each other
---@field single? string the option that a number in place of the options sets

--- Define a kind of schedule. Calling the result creates schedules. The fingerprint of a phase covers a schedule by its
--- values at all steps.
---
---   local step_down = bam.schedule.define {
---     name = "step_down", options = { high = { "number" }, low = { "number" } },
---     value = function(o, progress) return progress < 0.5 and o.high or o.low end,
---   }
---   local lr = step_down { high = 1e-3, low = 1e-4, warmup = 0.03 }
---@param what schedule.Definition
---@return table kind
function M.define(what)
  local kind = check.options("schedule.define", what, kind_spec)
  local options = { warmup = WARMUP }
  for name, rule in pairs(kind.options) do
    check.rule(string.format("schedule.define: %s", kind.name), name, rule)
    options[name] = rule
  end
  if kind.single and not kind.options[kind.single] then
    check.fail("schedule.define: %s: single: there is no option `%s`", kind.name, kind.single)
  end
  kind.options, kind.order = options, order_of(options)
  code_of[kind], kind.value, kind.check = { value = kind.value, check = kind.check }, nil, nil
  return setmetatable(kind, Kind)
end

M.constant = M.define {
  name = "constant", doc = "A constant value, optionally after a warm-up: constant(0.1), or with options.",
  options = { value = { "number" } }, single = "value",
  value = function(o) return o.value end,
}

M.linear = M.define {
  name = "linear", doc = "A straight line from one value to another.",
  options = { from = { "number" }, to = { "number" } },
  value = function(o, p) return o.from * (1 - p) + o.to * p end,
}

M.cosine = M.define {
  name = "cosine", doc = "Half a cosine from `peak` down to `floor` * `peak`.",
  options = { peak = { "number" }, floor = { "share", 0, doc = "a share of the peak" } },
  value = function(o, p)
    return o.peak * (o.floor + (1 - o.floor) * 0.5 * (1 + math.cos(math.pi * p)))
  end,
}

-- The remaining fraction of the way down to the floor, after a fraction of the decay.
local DECAYS = {
  linear = function(p) return 1 - p end,
  sqrt = function(p) return 1 - math.sqrt(p) end,
  cosine = function(p) return 0.5 * (1 + math.cos(math.pi * p)) end,
}

-- Hu et al. 2024, MiniCPM, arXiv:2404.06395; the decay "sqrt" is of Hägele et al. 2024, arXiv:2405.18392.
M.wsd = M.define {
  name = "wsd",
  doc = "Warm-up, stable, decay: constant at `peak` up to the last part of the run, then down to `floor` * `peak`.",
  options = { peak = { "number" },
              decay = { "rate", 0.2, doc = "its length: a share of the run if below 1, otherwise steps" },
              floor = { "share", 0, doc = "a share of the peak" },
              shape = { "string", "linear", doc = '"linear", "sqrt" or "cosine"' } },
  check = function(what, o)
    check_steps(what, "decay", o.decay)
    if not DECAYS[o.shape] then
      check.fail('%s: option shape: expected "linear", "sqrt" or "cosine", got "%s"', what, o.shape)
    end
  end,
  value = function(o, _, step, total)
    local decay = steps_of(o.decay, total)
    local into = step - (total - decay)
    if into <= 0 then return o.peak end
    return o.peak * (o.floor + (1 - o.floor) * DECAYS[o.shape](into / decay))
  end,
}

-- ---- schedules of lists and functions ----

-- Interpolate checked points at progress p.
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
--- constant before the first point and after the last one.
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

-- Check the shares and schedules of a sequence; also returns a text for each.
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
    check.fail("schedule.sequence: the shares of the parts add up to %g; they must add up to 1", sum)
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

-- A function of progress whose results are checked.
local function from_function(f, convert)
  local info = debug.getinfo(f, "S")
  local text = string.format("function %s:%d", info.short_src, info.linedefined)
  return new(text, function(step, total)
    local value = f(progress(step, total))
    if convert then value = convert(value) end
    return check_result(text, value, step, total)
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
  for i, x in ipairs(check.value("schedule.hash: numbers", numbers, "list")) do
    if type(x) ~= "number" then check.fail("schedule.hash: entry %d is %s, not a number", i, check.describe(x)) end
  end
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
  if not M.is(s) then check.fail("schedule.digest: expected a schedule, got %s", check.describe(s)) end
  for step = 1, check.value("schedule.digest: total", total, "size") do numbers[step] = s:at(step, total) end
  return { first = numbers[1], last = numbers[total], digest = M.hash(numbers) }
end

return check.guard(M, "bam.schedule")
