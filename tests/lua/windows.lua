-- Windows of tokens: an example to read, then random documents and windows against a plain oracle,
-- then arguments and files that are wrong.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local function i32(list) return core.tensor(list, { dtype = "i32" }) end
local function i64(list) return core.tensor(list, { dtype = "i64" }) end

local function shown(rows)
  local lines = {}
  for i, row in ipairs(rows) do lines[i] = table.concat(row, " ") end
  return table.concat(lines, " / ")
end

--- pack_windows, with each result as text.
local function pack(...)
  local texts = {}
  for i, x in ipairs { core.pack_windows(...) } do
    expect.equal(x.dtype, "i64")
    texts[i] = shown(x:totable())
  end
  return texts
end

local function expect_windows(got, wanted)
  for i, name in ipairs { "ids", "targets", "documents", "positions" } do
    expect.equal(got[i], wanted[i], ("%s: %s, not %s"):format(name, got[i], wanted[i]))
  end
  expect.equal(#got, 4)
end

local tokens, documents = i32 { 10, 11, 20, 21, 22, 30, 40, 41 }, i64 { 0, 2, 5, 6 }

test("windows of several documents", function()
  expect_windows(pack(tokens, documents, { 0, 3, 6 }, 4), { "10 11 20 21 / 21 22 30 40 / 40 41 0 0",
                   "11 20 21 22 / 22 30 40 41 / 41 -100 -100 -100", "1 1 2 2 / 1 1 2 3 / 1 1 2 2",
                   "0 1 0 1 / 0 1 0 0 / 0 1 0 1", })
  expect_windows(pack(tokens, documents, { 7 }, 1), { "41", "-100", "1", "0" })
  expect_windows(pack(tokens, documents, { 2 }, 1), { "20", "21", "1", "0" })
  expect_windows(pack(i32 { 0 }, i64 { 0 }, { 0 }, 3), { "0 0 0", "-100 -100 -100", "1 2 2", "0 0 1" })
end)

local function oracle(list, begins, starts, time)
  local rows = { {}, {}, {}, {} }
  local begin_at = { [#list] = true }
  for _, at in ipairs(begins) do begin_at[at] = true end
  for i, start in ipairs(starts) do
    local ids, targets, numbers, positions = {}, {}, {}, {}
    local number, position = 1, 0
    for t = 1, time do
      local at = start + t - 1
      if t > 1 and begin_at[at] then number, position = number + 1, 0 end
      ids[t], targets[t] = list[at + 1] or 0, list[at + 2] or -100
      numbers[t], positions[t] = number, position
      position = position + 1
    end
    rows[1][i], rows[2][i], rows[3][i], rows[4][i] = ids, targets, numbers, positions
  end
  for k = 1, 4 do rows[k] = shown(rows[k]) end
  return rows
end

test("against an oracle", function()
  math.randomseed(11)
  for _ = 1, 500 do
    local list, begins, starts = {}, { 0 }, {}
    for i = 1, math.random(60) do
      list[i] = math.random(0, 0x7fffffff)
      if i > 1 and math.random(5) == 1 then begins[#begins + 1] = i - 1 end
    end
    for i = 1, math.random(5) do starts[i] = math.random(0, #list - 1) end
    local time = math.random(20)
    expect_windows(pack(i32(list), i64(begins), starts, time), oracle(list, begins, starts, time))
  end
end)

test("from a file, in which documents of any length are found by guesses: the same", function()
  local path = os.tmpname()
  for _, skew in ipairs { 1, 3, 9 } do
    local list, begins, starts = {}, { 0 }, {}
    for i = 1, 6000 do
      list[i] = math.random(0, 0x7fffffff)
      if i > 1 and math.random() < (i / 6000)^skew then begins[#begins + 1] = i - 1 end
    end
    for i = 1, 300 do starts[i] = math.random(0, #list - 1) end
    core.save(path, { tokens = i32(list), documents = i64(begins) })
    local file = core.open_tensors(path)
    local wanted = oracle(list, begins, starts, 9)
    expect_windows(pack(file.tokens, file.documents, starts, 9), wanted)
    expect_windows(pack(i32(list), file.documents, starts, 9), wanted)
    expect_windows(pack(file.tokens, i64(begins), starts, 9), wanted)
  end
  os.remove(path)
end)

test("what is refused", function()
  local what = "pack_windows: "
  local refused = {
    { "expected a tensor of tokens, got a table", {}, documents, { 0 }, 1 },
    { "expected a tensor of documents, got nil", tokens, nil, { 0 }, 1 },
    { "expected a list of the starts of windows, got 0", tokens, documents, 0, 1 },
    { "where windows begin: expected an integer, got 0.5", tokens, documents, { 0.5 }, 1 },
    { "time: expected an integer, got nil", tokens, documents, { 0 } },
    { "expected tokens of dtype i32 and shape (n), got i64 (4)", documents, documents, { 0 }, 1 },
    { "expected documents of dtype i64 and shape (n), got i64 (2, 2)", tokens,
      i64 { { 0, 2 }, { 5, 6 } }, { 0 }, 1 },
    { "tokens must be contiguous", core.ops.flip(i32 { { 1, 2 }, { 3, 4 } })[{ {}, 1 }], documents,
      { 0 }, 1 },
    { "tokens are empty", core.zeros(0, { dtype = "i32" }), documents, { 0 }, 1 },
    { "documents are empty", tokens, core.zeros(0, { dtype = "i64" }), { 0 }, 1 },
    { "window 2 begins at 8, outside the tokens 0 to 7", tokens, documents, { 0, 8 }, 1 },
    { "window 1 begins at -1, outside", tokens, documents, { -1 }, 1 },
    { "expected windows of at least 1 token", tokens, documents, { 0 }, 0 },
    { "expected windows of at least 1 token, and at least 1 window", tokens, documents, {}, 1 },
    { "a tensor of this size overflows", tokens, documents, { 0, 1 }, math.maxinteger },
    -- what a damaged file may hold
    { "the token at 2 is -5; the file is damaged", i32 { 1, 2, -5 }, i64 { 0 }, { 0 }, 2 },
    { "document 3 begins at 2, but must begin between 3 and 7", tokens, i64 { 0, 2, 2, 6 }, { 0 },
      3 },
    { "document 3 begins at 1, but", tokens, i64 { 0, 2, 1, 6 }, { 0 }, 3 },
    { "document 2 begins at 8, but must begin between 1 and 7", tokens, i64 { 0, 8 }, { 0 }, 1 },
    { "document 2 begins at 9223372036854775807", tokens, i64 { 0, math.maxinteger }, { 7 }, 9 },
    { "the first document begins at 3, not at 0", tokens, i64 { 3, 5 }, { 0 }, 4 },
  }
  for _, case in ipairs(refused) do
    expect.raises(what .. case[1], core.pack_windows, table.unpack(case, 2, 5))
  end
end)

-- Offsets in any disorder end in an error or in numbers, never beyond what is there.
for _ = 1, 2000 do
  local begins = {}
  for i = 1, math.random(6) do
    begins[i] = ({ math.random(-3, 12), math.random(0, 7), math.mininteger, math.maxinteger })[
      math.random(4)]
  end
  pcall(core.pack_windows, tokens, i64(begins), { math.random(0, 7) }, math.random(12))
end
