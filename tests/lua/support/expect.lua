-- What tests expect. Every function takes what the test got first, then what it wants, and last, where one helps, a
-- text that says which of several things it was. A failure prints both values, tensors and long strings shortened.
local show = require "tests.lua.support.show"

local M = {}

-- Raise the failure. The caller of test() adds the lines of the test that led here.
local function fail(what, format, ...)
  local message = string.format(format, ...)
  error(what ~= nil and string.format("%s: %s", tostring(what), message) or message, 0)
end

local compare -- (got, want, same, path): where two values first differ and how, or nil

local function compare_tables(got, want, same, path)
  for key, value in pairs(want) do
    local difference = compare(got[key], value, same, string.format("%s[%s]", path, show.value(key)))
    if difference then return difference end
  end
  for key, value in pairs(got) do
    if want[key] == nil then
      return string.format("%s[%s]: got %s, want nothing", path, show.value(key), show.value(value))
    end
  end
end

local function compare_tensors(got, want, same, path)
  if not show.is_tensor(got) then return string.format("%s: %s", path, show.pair(got, want)) end
  if got.dtype ~= want.dtype or table.concat(got.shape, ",") ~= table.concat(want.shape, ",") then
    return string.format("%s: %s", path, show.pair(got, want))
  end
  return compare(got:totable(), want:totable(), same, path)
end

function compare(got, want, same, path)
  if show.is_tensor(want) then return compare_tensors(got, want, same, path) end
  if show.is_tensor(got) and type(want) == "table" then got = got:totable() end
  if type(got) == "table" and type(want) == "table" and not rawequal(got, want) then
    return compare_tables(got, want, same, path)
  end
  if not same(got, want) then return string.format("%s: %s", path, show.pair(got, want)) end
end

local function equals(a, b) return a == b end

-- The same without the path when the values themselves differ, not a part of them.
local function difference_of(got, want, same)
  local difference = compare(got, want, same, "")
  if not difference then return nil end
  if difference:sub(1, 2) == ": " then return difference:sub(3) end
  return string.format("%s\n  got  %s\n  want %s", difference, show.value(got), show.value(want))
end

--- `got` equals `want`: tables by their entries, a tensor by dtype, shape and elements, a tensor and a list by the
--- elements alone, everything else as `==` does. NaN equals nothing.
function M.equal(got, want, what)
  local difference = difference_of(got, want, equals)
  if difference then fail(what, "%s", difference) end
end

--- `got` is the very object `want`, not another with the same contents.
function M.same(got, want, what)
  if not rawequal(got, want) then fail(what, "another object: %s", show.pair(got, want)) end
end

--- `got` differs from `other`, by the rules of equal.
function M.different(got, other, what)
  if not difference_of(got, other, equals) then fail(what, "got %s, want something else", show.value(got)) end
end

local function flat(x)
  if show.is_tensor(x) then return x:flatten():totable() end
  local list = {}
  for _, value in ipairs(x) do
    if type(value) == "table" then table.move(flat(value), 1, #flat(value), #list + 1, list)
    else list[#list + 1] = value end
  end
  return list
end

local function check_close(got, want, tolerance, what)
  local fine = math.type(got) and math.type(want) and (got == want or math.abs(got - want) <= tolerance)
  if not fine then fail(what, "%s, tolerance %s", show.pair(got, want), show.value(tolerance)) end
end

--- Numbers `got` and `want` are at most `tolerance` apart, in absolute terms; of tensors and lists every element, in
--- row-major order: a flat list may stand for a tensor of the same number of elements. NaN is close to nothing.
function M.close(got, want, tolerance, what)
  if math.type(tolerance) == nil then error("expect.close: the tolerance is no number", 2) end
  if math.type(want) then return check_close(got, want, tolerance, what) end
  local a, b = flat(got), flat(want)
  if show.is_tensor(got) and show.is_tensor(want) then M.equal(got.shape, want.shape, what) end
  if #a ~= #b then fail(what, "got %d elements, want %d", #a, #b) end
  for i = 1, #b do
    check_close(a[i], b[i], tolerance, string.format("%selement %d", what and string.format("%s: ", what) or "", i))
  end
end

--- `text` contains `words`, taken literally; with a list of words, each of them.
function M.contains(text, words, what)
  for _, word in ipairs(type(words) == "table" and words or { words }) do
    if type(text) ~= "string" or not text:find(word, 1, true) then
      fail(what, "%s is not in:\n%s", show.value(word), tostring(text))
    end
  end
end

--- `text` does not contain `words`.
function M.lacks(text, words, what)
  if type(text) ~= "string" or text:find(words, 1, true) then
    fail(what, "%s must not be in:\n%s", show.value(words), tostring(text))
  end
end

--- `text` matches the Lua pattern.
function M.matches(text, pattern, what)
  if type(text) ~= "string" or not text:find(pattern) then
    fail(what, "nothing matches %s in:\n%s", show.value(pattern), tostring(text))
  end
end

--- f(...) raises an error whose message contains `words`. Returns the message.
---@return string
function M.raises(words, f, ...)
  local results = table.pack(pcall(f, ...))
  if results[1] then
    fail(nil, "no error, want one about %s; returned %s", show.value(words),
         results.n > 1 and show.value(results[2]) or "nothing")
  end
  local message = tostring(results[2])
  M.contains(message, words, "the error")
  return message
end

local HOLDS = {
  ["<"] = function(a, b) return a < b end, ["<="] = function(a, b) return a <= b end,
  [">"] = function(a, b) return a > b end, [">="] = function(a, b) return a >= b end,
}

--- An order holds: expect.compare(loss, "<", 2).
function M.compare(got, order, bound, what)
  if not HOLDS[order](got, bound) then
    fail(what, "got %s, want %s %s", show.value(got), order, show.value(bound))
  end
end

--- `value` is neither nil nor false. `what` says what it was; use it only where no other function fits.
function M.yes(value, what)
  if not value then fail(what, "got %s, want yes", tostring(value)) end
end

--- `value` is nil or false.
function M.no(value, what)
  if value then fail(what, "got %s, want no", show.value(value)) end
end

return M
