-- The helpers of these tests themselves: that every expectation fails when it should, and says why; and that a script
-- with failing cases reports each of them.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

-- Plain asserts here: expect cannot vouch for itself. `f(...)` must fail, its message equal to `message`.
local function fails(message, f, ...)
  local fine, got = pcall(f, ...)
  if fine then error(string.format("did not fail; wanted: %s", message), 2) end
  if got ~= message then error(string.format("got:\n%s\nwant:\n%s", got, message), 2) end
end

local function f64(list) return bam.tensor(list, { dtype = "f64" }) end

test("equal compares numbers, strings, nil and booleans", function()
  expect.equal(1, 1.0)
  expect.equal("a", "a")
  expect.equal(nil, nil)
  fails("got 1, want 2", expect.equal, 1, 2)
  fails("the sum: got 1, want 2", expect.equal, 1, 2, "the sum")
  fails('got 1, want "1"', expect.equal, 1, "1")
  fails("got nil, want false", expect.equal, nil, false)
  fails("got 0.10000000000000001, want 0.20000000000000001", expect.equal, 0.1, 0.2)
  assert(not pcall(expect.equal, 0 / 0, 0 / 0), "NaN equals nothing")
end)

test("equal shows where long strings differ", function()
  local a = string.rep("line\n", 100)
  fails('differs at byte 501, line 101:\n  got  ..."line\\nline\\nline\\nline\\nline\\nline\\nline\\nline\\nx"\n'
        .. '  want ..."line\\nline\\nline\\nline\\nline\\nline\\nline\\nline\\ny"', expect.equal, a .. "x", a .. "y")
end)

test("equal compares tables by entries", function()
  expect.equal({ 1, { a = "b" } }, { 1, { a = "b" } })
  fails("[2][\"a\"]: got \"c\", want \"b\"\n  got  { 1, { a = \"c\" } }\n  want { 1, { a = \"b\" } }",
        expect.equal, { 1, { a = "c" } }, { 1, { a = "b" } })
  fails("[2]: got 2, want nothing\n  got  { 1, 2 }\n  want { 1 }", expect.equal, { 1, 2 }, { 1 })
  fails("[2]: got nil, want 2\n  got  { 1 }\n  want { 1, 2 }", expect.equal, { 1 }, { 1, 2 })
end)

test("equal compares tensors by dtype, shape and elements", function()
  expect.equal(f64 { 1, 2 }, f64 { 1, 2 })
  expect.equal(f64 { { 1, 2 } }, { { 1, 2 } })
  fails("got tensor f64 (2): 1 2, want tensor f32 (2): 1 2", expect.equal, f64 { 1, 2 },
        bam.tensor({ 1, 2 }, { dtype = "f32" }))
  fails("got tensor f64 (1, 2): 1 2, want tensor f64 (2): 1 2", expect.equal, f64 { { 1, 2 } }, f64 { 1, 2 })
  fails("[2]: got 3, want 2\n  got  tensor f64 (2): 1 3\n  want { 1, 2 }", expect.equal, f64 { 1, 3 }, { 1, 2 })
  fails("got 1, want tensor f64 (1): 1", expect.equal, 1, f64 { 1 })
  fails("got tensor f64 (9): 0 0 0 0 0 0 0 0 ..., want nil", expect.equal, bam.zeros(9, { dtype = "f64" }), nil)
  assert(not pcall(expect.equal, f64 { 0 / 0 }, f64 { 0 / 0 }), "NaN equals nothing")
end)

test("same wants the very object, different another value", function()
  local x = f64 { 1 }
  expect.same(x, x)
  fails("another object: got tensor f64 (1): 1, want tensor f64 (1): 1", expect.same, x, f64 { 1 })
  expect.different({ 1 }, { 2 })
  fails("got { 1 }, want something else", expect.different, { 1 }, { 1 })
end)

test("close allows the tolerance and no more", function()
  expect.close(1, 1.5, 0.5)
  expect.close(1 / 0, 1 / 0, 0)
  expect.close(f64 { { 1, 2 }, { 3, 4 } }, { 1, 2, 3, 4.5 }, 0.5)
  expect.close({ 1, { 2 } }, { 1, 2 }, 0)
  fails("got 1, want 2, tolerance 0.5", expect.close, 1, 2, 0.5)
  fails("x: element 2: got 3, want 2, tolerance 0", expect.close, f64 { 1, 3 }, { 1, 2 }, 0, "x")
  fails("got 2 elements, want 1", expect.close, f64 { 1, 3 }, { 1 }, 9)
  fails("[1]: got 1, want 2\n  got  { 1, 2 }\n  want { 2 }", expect.close, f64 { { 1, 2 } }, f64 { 1, 2 }, 9)
  fails("got nil, want 1, tolerance 9", expect.close, nil, 1, 9)
  assert(not pcall(expect.close, 0 / 0, 0 / 0, 1), "NaN is close to nothing")
  assert(not pcall(expect.close, f64 { 0 / 0 }, { 1 }, 1), "nor as an element")
  assert(not pcall(expect.close, 1, 1), "without a tolerance")
end)

test("contains, lacks and matches read text", function()
  expect.contains("100% sure", "0% s")
  expect.contains("one two", { "one", "two" })
  fails('"." is not in:\nabc', expect.contains, "abc", ".")
  fails('"three" is not in:\none two', expect.contains, "one two", { "one", "three" })
  fails('"a" is not in:\nnil', expect.contains, nil, "a")
  expect.lacks("abc", ".")
  fails('"b" must not be in:\nabc', expect.lacks, "abc", "b")
  fails('"b" must not be in:\nnil', expect.lacks, nil, "b")
  expect.matches("abc", "^%a+$")
  fails('nothing matches "%d" in:\nabc', expect.matches, "abc", "%d")
end)

test("raises wants an error about the words", function()
  assert(expect.raises("no", error, "well, no", 0) == "well, no")
  fails('the error: "yes" is not in:\nno', expect.raises, "yes", error, "no", 0)
  fails('no error, want one about "no"; returned 3', expect.raises, "no", function() return 3 end)
  fails('no error, want one about "no"; returned nothing', expect.raises, "no", function() end)
end)

test("compare, yes and no", function()
  expect.compare(1, "<", 2)
  expect.compare(2, ">=", 2)
  expect.yes(0)
  expect.no(nil)
  fails("got 2, want < 2", expect.compare, 2, "<", 2)
  fails("the loss: got 3, want <= 2", expect.compare, 3, "<=", 2, "the loss")
  fails("there: got nil, want yes", expect.yes, nil, "there")
  fails("got 1, want no", expect.no, 1)
  assert(not pcall(expect.compare, 0 / 0, "<", 1) and not pcall(expect.compare, 0 / 0, ">=", 1), "NaN has no order")
end)

-- ---- scripts ----

local temporary = os.tmpname()
local path = string.format("%s.lua", temporary)

-- Run a script of cases; its output, and whether its exit code is 0.
local function run(body, picked)
  core.write_file(path, body)
  local program = arg[1] or "build/bamlua"
  local pipe = io.popen(string.format("BAMLUA_TEST_CASES='%s' %s %s 2>&1", picked or "", program, path))
  local output = pipe:read("a"):gsub("/[^ ]*/", ""):gsub("lua_[^./:]*", "X")
  return output, pipe:close() == true
end

local HEAD = 'local expect, test = require "tests.lua.support.expect", require "tests.lua.support.test"\n'
local PLANTED = HEAD .. [[
local function helper(x) expect.equal(x, 2) end
test("first", function() helper(1) end)
test("second", function() end)
test("third", function() local x = nil; x() end)
test("fourth", function() test.skip "no time" end)
]]

test("a script reports each failing case and goes on", function()
  local output, fine = run(PLANTED)
  expect.no(fine, "the exit code")
  expect.equal(output, table.concat({
    "FAILED X/first: got 1, want 2", "  at X.lua:2, called from X.lua:3",
    "FAILED X/third: X.lua:5: attempt to call a nil value (local 'x')", "  at X.lua:5",
    "skip X/fourth: no time", "X: 1 passed, 2 failed, 1 skipped", "",
  }, "\n"))
end)

test("cases are picked by name", function()
  local output, fine = run(PLANTED, "*/se?ond")
  expect.yes(fine, output)
  expect.equal(output, "X: 1 passed, 0 failed\n")
  output, fine = run(PLANTED, "*/fir*")
  expect.no(fine, output)
  expect.contains(output, "0 passed, 1 failed")
  expect.equal(run(PLANTED, "*/irst"), "X: 0 passed, 0 failed\n", "globs are of whole names")
end)

test("a script that passes nothing by mistake fails", function()
  local output, fine = run(HEAD)
  expect.no(fine, output)
  expect.contains(output, "it has no cases")
  output, fine = run(HEAD .. 'test("a", function() end) test("a", function() end)')
  expect.no(fine, output)
  expect.contains(output, 'there are two cases "a"')
  output, fine = run(HEAD .. 'test("a", function() test("b", function() end) end)')
  expect.no(fine, output)
  expect.contains(output, 'the case "b" is within the case "a"')
  output, fine = run(HEAD .. 'test("a", function() end) error "outside"')
  expect.no(fine, output)
  expect.contains(output, "outside")
end)

test("the script of docs/testing.md runs", function()
  local script = core.read_file "docs/testing.md":match "\n```lua fragment\n(.-)```"
  local output, fine = run(script, "")
  expect.yes(fine, output)
  expect.equal(output, "X: 1 passed, 0 failed\n")
end)

os.remove(path)
os.remove(temporary)
