-- Schedules: values at known points, worked out by hand, and what wrong options say.
local schedule = require "bam.util.schedule"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local function near(got, want, what) expect.close(got, want, 1e-12, what) end

local function fails(words, f, ...)
  local arguments = table.pack(...)
  local message = expect.raises(words, function()
    local _ = f(table.unpack(arguments, 1, arguments.n)) -- no tail call: this line is to blame
  end)
  expect.matches(message, "^[^:]*schedule.lua:%d+: ")
end

local flat = schedule.constant(0.5)

test("constants, with and without warm-up", function()
  near(flat:at(1, 10), 0.5)
  near(flat(10, 10), 0.5)
  local warm = schedule.constant { value = 2, warmup = 4 }
  for step, value in ipairs { 0.5, 1, 1.5, 2, 2, 2 } do
    near(warm(step, 6), value, "warm-up in steps")
  end
  local share = schedule.constant { value = 1, warmup = 0.25 }
  for step, value in ipairs { 0.5, 1, 1, 1, 1, 1, 1, 1 } do
    near(share(step, 8), value, "warm-up as a share")
  end
  near(schedule.constant { value = 1, warmup = 100 }(2, 4), 0.5, "a warm-up longer than the run")
end)

test("linear: from at the first step, to at the last; the rest of the run after a warm-up", function()
  local line = schedule.linear { from = 1, to = 0 }
  for step, value in ipairs { 1, 0.75, 0.5, 0.25, 0 } do near(line(step, 5), value, "linear") end
  near(line(1, 1), 1, "a run of one step")
  local ramp = schedule.linear { from = 4, to = 2, warmup = 2 }
  for step, value in ipairs { 2, 4, 3.5, 3, 2.5, 2 } do
    near(ramp(step, 6), value, "linear after warm-up")
  end
end)

local cosine = schedule.cosine { peak = 1, floor = 0.1 }

test("cosine: the peak at the end of the warm-up, half-way down in the middle, the floor at the end", function()
  near(cosine(1, 101), 1)
  near(cosine(51, 101), 0.55)
  near(cosine(26, 101), 0.1 + 0.9 * 0.5 * (1 + math.sqrt(0.5)))
  near(cosine(101, 101), 0.1)
  local warmed = schedule.cosine { peak = 8, warmup = 0.2, floor = 0.25 }
  near(warmed(1, 20), 2)
  near(warmed(4, 20), 8)
  near(warmed(12, 20), 5)
  near(warmed(20, 20), 2)
end)

test("piecewise: lines between points, jumps where two share a progress, constant outside", function()
  local pieces = schedule.piecewise { { 0.25, 1 }, { 0.5, 3 }, { 0.5, 10 }, { 0.75, 0 } }
  for step, value in ipairs { 1, 1, 1, 2, 10, 5, 0, 0, 0 } do
    near(pieces(step, 9), value, "piecewise")
  end
end)

test("sequences: each part sees its own steps", function()
  local parts = schedule.sequence { { 0.4, schedule.linear { from = 1, to = 4 } }, { 0.2, 7 },
                                    { 0.4, function(p) return -p end } }
  for step, value in ipairs { 1, 2, 3, 4, 7, 7, 0, -1 / 3, -2 / 3, -1 } do
    near(parts(step, 10), value, "sequence")
  end
  near(parts(1, 1), 7, "a sequence shorter than its parts")
end)

test("scaling, numbers, functions, what of() leaves alone", function()
  near(cosine:scaled(0.5)(51, 101), 0.275)
  near(cosine:scaled(0.5):scaled(4)(101, 101), 0.2)
  near(schedule.of(3)(1, 7), 3)
  near(schedule.of(function(p) return p * p end)(3, 5), 0.25)
  expect.same(schedule.of(cosine), cosine)
  near(flat:at(2.0, 10.0), 0.5, "integral floats")
end)

test("they print what they are", function()
  expect.equal(tostring(flat), "0.5")
  expect.equal(tostring(cosine:scaled(0.5)), "cosine { peak = 1, warmup = 0, floor = 0.1 } * 0.5")
  expect.equal(tostring(schedule.sequence { { 0.5, 1 }, { 0.5, 2 } }), "sequence { { 0.5, 1 }, { 0.5, 2 } }")
  expect.matches(tostring(schedule.of(function() return 1 end)), "^function .*schedule.lua:%d+$")
end)

test("bad input", function()
  fails("schedule.cosine: no option `warmpu`; did you mean `warmup`?", schedule.cosine,
        { peak = 1, warmpu = 0.1 })
  fails("schedule.cosine: option `peak` is missing: a finite number", schedule.cosine,
        { floor = 0.1 })
  fails("schedule.cosine: option floor: expected a number from 0 to 1, got 2", schedule.cosine,
        { peak = 1, floor = 2 })
  fails("schedule.cosine: expected a table of options, got 3", schedule.cosine, 3)
  fails("2.5 is neither a share below 1 nor a whole number of steps", schedule.constant,
        { value = 1, warmup = 2.5 })
  fails("option warmup: expected a number of at least 0, got -1", schedule.linear,
        { from = 0, to = 1, warmup = -1 })
  fails('schedule.constant: value: expected a finite number, got the string "1"', schedule.constant,
        "1")
  fails("schedule.constant: value: expected a finite number, got nan", schedule.constant,
        math.abs(0 / 0))
  fails("schedule.piecewise: point 2: progress 0.1 comes after 0.5; sort the points",
        schedule.piecewise,
        { { 0.5, 1 }, { 0.1, 2 } })
  fails("schedule.piecewise: point 1: progress: expected a number from 0 to 1, got 5",
        schedule.piecewise, { { 5, 1 } })
  fails("expected a list of points { progress, value }, got none", schedule.piecewise, {})
  fails("the shares of the parts add up to 0.9; they must add up to 1", schedule.sequence,
        { { 0.5, 1 }, { 0.4, 1 } })
  fails("schedule: expected a number, a schedule or a function of progress, got a table", schedule.of,
        {})
  fails("schedule: step: expected an integer of at least 1, got 0", flat.at, flat, 0, 10)
  fails("schedule: step 11 is beyond the last step, 10", flat.at, flat, 11, 10)
  fails("schedule: total: expected an integer of at least 1, got nil", flat.at, flat, 1)
  fails("gave nil at step 1 of 2; it must return a number", schedule.of(function() end).at,
        schedule.of(function() end), 1, 2)
  fails("bam.schedule has no `cosin`; did you mean `cosine`?", function() return schedule.cosin end)
end)

test("digests are of numbers and schedules", function()
  fails("schedule.hash: entry 2 is a string", function() schedule.hash { 1, ("x"):rep(50) } end)
  fails("schedule.hash: numbers: expected a list, got 3", schedule.hash, 3)
  fails("schedule.digest: expected a schedule, got 3", schedule.digest, 3, 1)
  fails("schedule.digest: total: expected an integer of at least 1, got 0", schedule.digest, schedule.of(1), 0)
end)

test("warm-up, stable, decay", function()
  local wsd = schedule.wsd { peak = 4, warmup = 2, decay = 0.4, floor = 0.25 }
  for step, value in ipairs { 2, 4, 4, 4, 4, 4, 3.25, 2.5, 1.75, 1 } do near(wsd(step, 10), value) end
  local root = schedule.wsd { peak = 1, decay = 4, shape = "sqrt" }
  for step, value in ipairs { 1, 1, 0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75), 0 } do near(root(step, 6), value) end
  near(schedule.wsd { peak = 1, decay = 2, shape = "cosine" }(9, 10), 0.5)
  near(schedule.wsd { peak = 1, decay = 100 }(5, 10), 0.5, "a decay longer than the run")
  near(schedule.wsd { peak = 3, decay = 0 }(10, 10), 3, "no decay")
  expect.equal(tostring(wsd), 'wsd { peak = 4, warmup = 2, decay = 0.4, floor = 0.25, shape = "linear" }')
  fails('schedule.wsd: option shape: expected "linear", "sqrt" or "cosine", got "exp"', schedule.wsd,
        { peak = 1, shape = "exp" })
  fails("schedule.wsd: option decay: 1.5 is neither a share below 1 nor a whole number", schedule.wsd,
        { peak = 1, decay = 1.5 })
end)

test("kinds of a script's own", function()
  local root = schedule.define {
    name = "inverse_root", options = { peak = { "number" }, timescale = { "size", 1, doc = "steps" } },
    value = function(o, _, step) return o.peak * math.sqrt(o.timescale / math.max(step, o.timescale)) end,
  }
  local lr = root { peak = 2, timescale = 4, warmup = 4 }
  for step, value in ipairs { 0.5, 1, 1.5, 2 } do near(lr(step, 64), value) end
  near(lr(16, 64), 1)
  near(lr:scaled(3)(64, 64), 1.5)
  expect.equal(tostring(lr), "inverse_root { peak = 2, warmup = 4, timescale = 4 }")
  expect.equal(schedule.is(lr), true)
  near(schedule.sequence { { 0.5, root { peak = 1 } }, { 0.5, 7 } }(4, 16), 0.5, "in a sequence")
  local first, second = root { peak = 2, timescale = 4 }, root { peak = 2, timescale = 5 }
  expect.equal(schedule.digest(first, 9).digest, schedule.digest(root { peak = 2.0, timescale = 4 }, 9).digest)
  expect.different(schedule.digest(first, 9).digest, schedule.digest(second, 9).digest)
  fails("schedule.inverse_root: no option `peek`; did you mean `peak`?", root, { peek = 1 })
  fails("schedule.inverse_root: option `peak` is missing", root, {})
  local broken = schedule.define { name = "broken", options = {}, value = function() end }
  fails("schedule: broken { warmup = 0 } gave nil at step 1 of 2; it must return a number", broken({}).at, broken {}, 1, 2)
  fails("schedule.define: mine: options.a: expected { kind, default }", schedule.define,
        { name = "mine", options = { a = { "numbr" } }, value = print })
  fails("schedule.define: mine: single: there is no option `a`", schedule.define,
        { name = "mine", options = {}, value = print, single = "a" })
  fails("schedule.define: no option `valu`; did you mean `value`?", schedule.define, { name = "mine", valu = 1 })
end)
