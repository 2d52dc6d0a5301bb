-- RFC 8259 case by case: what every reader of JSON must take, with its value, and what none may take.
-- Where readers may choose (numbers beyond their range, keys twice, half surrogate pairs, byte order
-- marks, depth), what bam.json chose is in the last list.
local json = require "bam.util.json"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b and math.type(a) == math.type(b)
  end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local null = json.null
local function deep(n, inner) return ("["):rep(n) .. (inner or "") .. ("]"):rep(n) end

local good = {
  -- structure and space
  { "[]", {} }, { "{}", {} }, { " [] ", {} }, { "\t\n\r [\t\n\r 1 \t\n\r, \t\n\r 2\t\n\r ]\t\n\r", { 1, 2 } },
  { "[[]   ]", { {} } }, { '[{},[]]', { {}, {} } }, { '{"a":{}}', { a = {} } }, { '[""]', { "" } },
  { '{"":0}', { [""] = 0 } }, { '{ "a" : 1 , "b" : [ ] }', { a = 1, b = {} } },
  { '{"a":[{"b":[{"c":null}]}]}', { a = { { b = { { c = null } } } } } },
  -- words
  { "null", null }, { "true", true }, { "false", false }, { "[null,true,false]", { null, true, false } },
  { '["null"]', { "null" } },
  -- integers and floats
  { "0", 0 }, { "-0", 0 }, { "-1", -1 }, { "123", 123 }, { "-9223372036854775808", math.mininteger },
  { "9223372036854775807", math.maxinteger }, { "0.0", 0.0 }, { "1.0", 1.0 }, { "-0.5", -0.5 },
  { "1e1", 10.0 }, { "1E1", 10.0 }, { "1e+1", 10.0 }, { "1E-1", 0.1 }, { "1.5e2", 150.0 },
  { "0e1", 0.0 }, { "0e+1", 0.0 }, { "1e00", 1.0 }, { "1e-07", 1e-7 }, { "123.456e78", 123.456e78 },
  { "-0.000000000000000000000000000000000000000000000000000000000000000000000000000001", -1e-78 },
  { "9223372036854775808", 2.0^63 }, { "-9223372036854775809", -2.0^63 },
  { "100000000000000000000000000000000000000000", 1e41 }, { "1e-400", 0.0 }, { "5e-324", 5e-324 },
  { "1.7976931348623157e308", 1.7976931348623157e308 }, { "[1,-2,3.5]", { 1, -2, 3.5 } },
  { "0." .. ("3"):rep(10000), 1 / 3 }, { "1" .. ("0"):rep(300), 1e300 },
  -- strings
  { '""', "" }, { '"a"', "a" }, { [["\"\\\/\b\f\n\r\t"]], "\"\\/\b\f\n\r\t" }, { [["\u0041"]], "A" },
  { [["\u00e9\u00E9"]], "éé" }, { [["\u20ac"]], "€" }, { [["\ud834\udd1e"]], "𝄞" }, { [["\uD83D\uDE00"]], "😀" },
  { [["\u0000"]], "\0" }, { [["\u0000a\u0000"]], "\0a\0" }, { [["\u001f\u007f"]], "\x1f\x7f" },
  { [["\uffff\ufffe\ufdd0"]], "\u{ffff}\u{fffe}\u{fdd0}" }, { [["\udbff\udfff"]], "\u{10ffff}" },
  { [["\\u0041"]], "\\u0041" }, { [["\\\"a"]], "\\\"a" }, { '"\x7f"', "\x7f" }, { '"é€😀"', "é€😀" },
  { '"\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}"', "\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}" },
  { '"\u{2028}\u{2029}"', "\u{2028}\u{2029}" }, { [["\u2028"]], "\u{2028}" }, { '"/* no comment */"', "/* no comment */" },
  { [["\ud7ff\ue000"]], "\u{d7ff}\u{e000}" }, { '"' .. ("x"):rep(100000) .. '"', ("x"):rep(100000) },
  { '"' .. [[\n]] .. ("é"):rep(50000) .. '"', "\n" .. ("é"):rep(50000) },
  -- keys
  { [[{"\u0061":1}]], { a = 1 } }, { [[{"\u0000":1,"":2}]], { ["\0"] = 1, [""] = 2 } },
  { '{"a":1,"A":2,"á":3}', { a = 1, A = 2, ["á"] = 3 } }, { '{"1":1}', { ["1"] = 1 } },
  { '{"__index":1,"__gc":2,"__name":"x"}', { __index = 1, __gc = 2, __name = "x" } },
  -- depth
  { deep(64), nil },
}

test("must be taken", function()
  for _, case in ipairs(good) do
    local fine, value = pcall(json.decode, case[1])
    expect.yes(fine, ("%q: %s"):format(case[1]:sub(1, 80), value))
    expect.yes(case[2] == nil or same(value, case[2]), ("%q"):format(case[1]:sub(1, 80)))
    expect.yes(same(json.decode(json.encode(value)), value), ("%q does not come back"):format(case[1]:sub(1, 80)))
  end
  expect.equal(1 / json.decode "-0.0", -math.huge)
end)

local bad = {
  -- structure
  "", " ", "[", "]", "{", "}", "[}", "{]", "[1}", '{"a":1]', "[[]", "[]]", "{}}", "[1,]", "[,1]", "[,]", "[1,,2]",
  "[1 2]", "[1:2]", "[1;2]", "{,}", '{"a"}', '{"a":}', '{"a":1,}', '{"a":1 "b":2}', '{"a" 1}', '{"a"::1}',
  '{:1}', '{1:1}', "{null:1}", "{a:1}", "{'a':1}", '{"a":1,,"b":2}', '{"a","b"}', '{"a":1}x', "[] []", "1 2",
  "[]{}", "[1]\0", "null null", "nullx", "[\"a\",", '{"a":', '{"a"', "[\xc2\xa0]", "[\u{feff}]", "[\v]", "[\f]",
  "<null>", "abc", "*", "\\", "[*]", "[-]", deep(65), ("["):rep(100000), ('{"a":'):rep(100000), "[][]",
  -- comments and the like
  "[1] // a", "/* a */ 1", "# a\n1", "[1,/**/2]", "[`a`]", "(1)",
  -- words
  "nul", "tru", "fals", "True", "NULL", "nan", "NaN", "Infinity", "-Infinity", "inf", "undefined", "[truefalse]", "truE",
  -- numbers
  "+1", "01", "-01", "00", "1.", ".5", "-.5", "-", "1e", "1e+", "1E-", "1.e1", "1.5e", "0x10", "0x", "1_000", "1,5",
  "--1", "1-1", "1+1", "[1.2.3]", "1e1.5", "1 000", "-NaN", "١", "1f", "0b1", "1a", "[-a]", "[0e]", "- 1", "1e 1",
  -- strings
  '"', '"a', "'a'", "a", '"\n"', '"\t"', '"\0"', '"\x1f"', '"\r"', [["\a"]], [["\v"]], [["\0"]], [["\x41"]], [["\'"]],
  [["\u"]], [["\u1"]], [["\u12"]], [["\u123"]], [["\u123g"]], [["\uu123"]], [["\U0041"]], [["\u-123"]], [["\u 123"]], [["\
"]], [["\"]], [["a\]], [["\ud800"]], [["\udc00"]], [["\ud800\ud800"]], [["\ud800\n"]], [["\ud800x"]], [["\udc00\ud800"]],
  [["\ud800\u"]], [["\ud800\u00]], '"\xff"', '"\xc3"', '"\xc3', '"\xc0\x80"', '"\xe0\x80\x80"', '"\xed\xa0\x80"',
  '"\xf4\x90\x80\x80"', '"\xf8\x88\x80\x80\x80"', '"\x80"', '"\xe2\x82"', '"\xf0\x9f\x98"', '"é\xe9"', "\xff", "[\xff]",
  '"a"b', '"a""b"', '{"\xff":1}', [[{"\ud8000":1}]],
}

test("must be refused", function()
  for _, text in ipairs(bad) do
    local fine, message = pcall(json.decode, text)
    expect.no(fine, ("%q was taken"):format(text:sub(1, 80)))
    expect.yes(message:find "json%.decode: JSON nested deeper than 64 at byte %d+$"
                 or message:find "json%.decode: malformed JSON at byte %d+: ",
               message)
    expect.lacks(message, "JSON_")
    expect.compare(#message, "<", 400, message)
    local at = math.tointeger(tonumber(message:match "at byte (%d+)"))
    expect.compare(at, ">=", 1, message)
    expect.compare(at, "<=", #text + 1, message) -- within the text, or where it ends
  end
end)

test("where readers may choose", function()
  for text, words in pairs {
    ['{"a":1,"a":1}'] = 'the key "a" occurs twice', ["1e400"] = "overflows a double",
    ["-1e400"] = "overflows a double", ["\u{feff}{}"] = "expected a value",
    [deep(65)] = "nested deeper than 64 at byte 65",
  } do
    local fine, message = pcall(json.decode, text)
    expect.no(fine, message)
    expect.contains(message, words)
  end
end)

test("every prefix of a text, and every byte of it in turn replaced by others: no crash, and a message", function()
  local text = [=[ {"a":[1,-2.5e+3,"\u00e9\ud83d\ude00\n",{"b":null}],"c":[true,false,[]]} ]=]
  for n = 0, #text do
    local fine = pcall(json.decode, text:sub(1, n))
    expect.equal(fine, (n >= #text - 1), n)
  end
  for i = 1, #text do
    for _, c in ipairs { "\0", '"', "\\", "{", "]", ",", "9", "e", "\xc3", "\xff" } do
      pcall(json.decode, text:sub(1, i - 1) .. c .. text:sub(i + 1))
    end
  end
end)
