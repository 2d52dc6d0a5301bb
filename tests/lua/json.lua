-- JSON for scripts: every kind of value there and back, texts and values that are refused and what
-- the errors say, and mutated texts.
local json = require "bam.util.json"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

-- Decode and encode again.
local function again(text, indent)
  return json.encode(json.decode(text), indent and { indent = indent })
end

local function expect_same(text) expect.equal(again(text), text) end

test("every kind of value", function()
  local t = json.decode [[ { "object": {"a": {}}, "array": [1, [], "two"], "true": true,
  "false": false, "null": null, "integer": -12, "float": 1.0, "small": 25e-1,
  "text": "\u00e9\ud83d\ude00\n\"\\\/" } ]]
  expect.equal(next(t.object.a), nil)
  expect.equal(getmetatable(t.object), nil)
  expect.equal(#t.array, 3)
  expect.equal(t.array[1], 1)
  expect.equal(#t.array[2], 0)
  expect.equal(t.array[3], "two")
  expect.equal(t["true"], true)
  expect.equal(t["false"], false)
  expect.same(t.null, json.null)
  expect.equal(math.type(t.integer), "integer")
  expect.equal(t.integer, -12)
  expect.equal(math.type(t.float), "float")
  expect.equal(t.float, 1)
  expect.equal(t.small, 2.5)
  expect.equal(t.text, 'é😀\n"\\/')

  expect.equal(tostring(json.null), "null")
  expect.equal(type(json.null), "userdata")
  expect.different(json.null, nil)
  expect.same(json.decode "[null]"[1], json.null)
  expect.equal(tostring(json.array { 1, 2 }), "json.array of 2")
end)

test("strings may hold zero bytes, and integers beyond 64 bits are floats, as in Lua's own text", function()
  expect.equal(json.decode '"[\\u0000-\\u007f]"', "[\0-\x7f]")
  expect.equal(json.decode '{"\\u0000": 1}'["\0"], 1)
  expect_same '{"a\\u0000":"\\u0000\\u0000b"}'
  for text, value in pairs { ["9223372036854775808"] = 2^63, ["-9223372036854775809"] = -2^63,
                             ["1000000000000000019884624838656"] = 1e30, ["18446744073709551615"] = 2^64 } do
    local got = json.decode(string.format('{"model_max_length": %s}', text)).model_max_length
    expect.equal(got, value, text)
    expect.equal(math.type(got), "float", text)
  end
  expect.equal(math.type(json.decode "-0"), "integer")
  expect.equal(1 / json.decode "-0.0", -math.huge)

  for _, text in ipairs { '{}', '[]', '{"a":[]}', '[{}]', '[[],{},[[]]]', '[true,false,null]',
                          '[9223372036854775807,-9223372036854775808]', '[1.0,-0.0,0.1,1e+300]',
                          '["é😀","\\b\\t\\n\\f\\r\\"\\\\\\u0001\\u001f"]', '{"":0,"a":1,"b":2}',
                          '{"a":{"b":{"c":[1,2,[3]]}}}', "[\"\x7f\"]" } do
    expect_same(text)
  end
end)

test("keys are sorted by their bytes, whatever order they came in", function()
  expect.equal(again '{"b": 1, "a": 2, "B": 3, "aa": 4, "é": 5}', '{"B":3,"a":2,"aa":4,"b":1,"é":5}')
  expect.equal(again('{"b": [1, {"c": []}], "a": {}}', 2), [[
{
  "a": {},
  "b": [
    1,
    {
      "c": []
    }
  ]
}]])
  expect.equal(json.encode({ 1, { a = 2 } }, { indent = 0 }), '[1,{"a":2}]')
end)

test("lists, marked and not; positions may be floats in a script, Lua makes integers of them", function()
  expect.equal(json.encode {}, "{}")
  expect.equal(json.encode(json.array {}), "[]")
  expect.equal(json.encode { 1, "a", json.null }, '[1,"a",null]')
  expect.equal(json.encode { [2.0] = "b", [1] = "a" }, '["a","b"]')
  local list = {}
  expect.same(json.array(list), list)
  expect.same(json.array(list), list)
  list[1] = { x = list[2] }
  expect.equal(json.encode(list), "[{}]")
  local shared = { 1 }
  expect.equal(json.encode { shared, shared }, "[[1],[1]]")
end)

test("a value alone is JSON too", function()
  for _, text in ipairs { "42", "-1.5", '"é"', "true", "false", "null", " 7 " } do
    expect.equal(again(text), text:gsub(" ", ""), text)
  end
  expect.same(json.decode "null", json.null)
  expect.equal(json.encode(1.0), "1.0")
  expect.equal(json.encode(7), "7")
  expect.equal(json.encode "é", '"é"')
  expect.equal(json.encode(json.null), "null")
  expect.equal(json.encode(true), "true")
end)

test("numbers", function()
  math.randomseed(20240815)

  local function expect_number(x)
    local y = json.decode(json.encode { x })[1]
    expect.equal(y, x, json.encode { x })
    expect.equal(math.type(y), math.type(x), json.encode { x })
  end

  for _, x in ipairs { 0.1, 1 / 3, 2^53, 2^63, -2^63, 1e15, 1e16, 1e17, 123456789012345678, 5e-324,
                       2.2250738585072014e-308, 1.7976931348623157e308, 0x1.fffffffffffffp-3 } do
    expect_number(x)
  end
  for _ = 1, 5000 do
    local x = string.unpack("d", string.pack("j", math.random(0)))
    if x == x and math.abs(x) < math.huge then expect_number(x) end
    expect_number(math.random(0))
    expect_number(math.random(-1000, 1000) / 64)
  end
  expect.compare(1 / json.decode(json.encode { -0.0 })[1], "<", 0)
  expect.equal(json.encode { 0.02, 1e-5, 10000, 10000.0 }, "[0.02,1e-05,10000,10000.0]")
end)

local function nested(n) return ("["):rep(n) .. ("]"):rep(n) end

test("texts that are refused", function()
  expect_same(nested(64))

  local texts = {
    { "JSON nested deeper than 64 at byte 65", nested(65) },
    { "JSON nested deeper than 64 at byte 65", ("["):rep(100000) },
    { "malformed JSON at byte 1: expected a value; the text ends there", "" },
    { 'malformed JSON at byte 4: expected a value, got "]"', "[1,]" },
    { 'json.decode: the key "a" occurs twice in an object; the second is at byte 8', '{"a":1,"a":2}' },
    { 'the key "a" occurs twice in an object; the second is at byte 13', '{"b":{"a":1,"\\u0061":2}}' },
    { "malformed JSON at byte 2: the number overflows a double", "[1e999]" },
    { "malformed JSON at byte 2: the number overflows a double", "[" .. ("9"):rep(400) .. "]" },
    { 'malformed JSON at byte 5: expected the end of the text, got "x"', "[1] x" },
    { "malformed JSON at byte 3: the string is not valid UTF-8", "[\"\xff\"]" },
    { "malformed JSON at byte 3: a control character in a string must be escaped", "[\"\0\"]" },
    { "malformed JSON at byte 3: expected an escape such as", "[\"\\ud800\"]" },
    { 'malformed JSON at byte 2: expected a value or ], got "NaN]"', "[NaN]" },
    { "malformed JSON at byte 2: expected a key in quotes or }", "{a: 1}" },
    { "malformed JSON at byte 5: expected the end of the text", "[1] \0" },
    { 'malformed JSON at byte 4: expected a comma or ], got "2]"', "[1 2]" },
    { "malformed JSON at byte 7: expected a comma or }; the text ends there", '{"a":1' },
    { 'malformed JSON at byte 5: expected a colon, got "1}"', '{"a"1}' },
    { "malformed JSON at byte 3: the text ends inside a string", '"a' },
    { "json.decode: expected a string of JSON, got nil" },
    { "json.decode: expected a string of JSON, got 12", 12 },
  }
  for _, case in ipairs(texts) do expect.raises(case[1], json.decode, case[2]) end
end)

-- What would take gigabytes is refused before anything is built; what real files hold is not.
local function taken(f, ...)
  collectgarbage() collectgarbage "stop"
  local before = collectgarbage "count"
  local fine, result = pcall(f, ...)
  local kilobytes = collectgarbage "count" - before
  collectgarbage "restart"
  return fine, result, kilobytes
end

test("texts that would take gigabytes are refused", function()
  local many = "[" .. ("[],"):rep(10000000) .. "0]"
  local fine, message, kilobytes = taken(json.decode, many)
  expect.no(fine, message)
  expect.contains(message, "the text holds 10000002 values, above the limit of 10000000")
  expect.compare(kilobytes, "<", 100)
  fine, message, kilobytes = taken(json.decode, many .. "x") -- malformed at the very end
  expect.no(fine, message)
  expect.matches(message, "malformed JSON at byte 30000004")
  expect.compare(kilobytes, "<", 100, message)
  many = nil
end)

test("values that are refused", function()
  local cycle = { a = { b = {} } }
  cycle.a.b[1] = cycle.a
  local deep = {}
  for _ = 1, 63 do deep = { deep } end
  expect.equal(#json.encode(deep), 128)
  local holds = "; JSON holds tables, strings, numbers, true, false and json.null"

  local values = {
    { "json.encode: `layers[2].name` is a function" .. holds, { layers = { 1, { name = print } } } },
    { "json.encode: the value is a function" .. holds, print },
    { "json.encode: the value is nil" .. holds },
    { "json.encode: `[2]` is a userdata" .. holds, { 1, io.stdout } },
    { "json.encode: `w` is a tensor; encode x:totable()", { w = core.zeros(2) } },
    { "json.encode: `a[1]` is NaN; JSON has only finite numbers; use json.null", { a = { 0 / 0 } } },
    { "json.encode: `a[1]` is infinite; JSON has", { a = { -1 / 0 } } },
    { "json.encode: `a.b[1]` is a table that contains itself", cycle },
    { "` is nested deeper than 64; flatten it", { deep } },
    { "json.encode: `x` is a list with holes; put json.null there", { x = { 1, nil, 3 } } },
    { "json.encode: `x` has both names and positions as keys", { x = { 1, a = 2 } } },
    { "json.encode: `x` has 1.5 as a key", { x = { [1.5] = 2 } } },
    { "json.encode: `x` has 0 as a key", { x = { [0] = 2 } } },
    { "json.encode: `x` has true as a key", { x = { [true] = 2 } } },
    { "json.encode: `x` is marked by json.array, but has names", { x = json.array { a = 1 } } },
    { "json.encode: `[\"a b\"]` is not UTF-8 at byte 2", { ["a b"] = "x\xff" } },
    { "json.encode: `a[1]` is not UTF-8 at byte 1", { a = { "\xed\xa0\x80" } } }, -- a surrogate
    { "json.encode: `a` is not UTF-8 at byte 1", { a = "\xc0\x80" } }, -- too long for what it is
    { "json.encode: `a` is not UTF-8 at byte 1", { a = "\xf4\x90\x80\x80" } }, -- beyond Unicode
    { "json.encode: `a` is not UTF-8 at byte 3", { a = "ab\xc3" } }, -- cut short
    { "json.encode: `a` has a key that is not UTF-8 at byte 1", { a = { ["\xff"] = 1 } } },
  }
  for _, case in ipairs(values) do expect.raises(case[1], json.encode, case[2]) end

  expect.raises("json.encode: no option `indnt`; did you mean `indent`?", json.encode, 1, { indnt = 2 })
  expect.raises("json.encode: indent: expected 0 to 16, got 17", json.encode, {}, { indent = 17 })
  expect.raises("json.array: expected a table, got 5", json.array, 5)
  expect.raises("json.array: expected a plain list", json.array, setmetatable({}, {}))
  expect.raises("bam.json has no `decod`; did you mean `decode`?", function() return json.decod end)
end)

test("mutated texts", function()
  local seeds = {
    '{"model_type":"bam","layers":[1,2.5,-3e-2,[],{}],"tied":true,"id":null,"x":"\\u00e9\\n"}',
    '[{"a":[[[[]]]],"b":{"c":{"d":"\\ud83d\\ude00"}}},0,-1,1e10,"é😀",false]',
    nested(64),
  }
  local pieces = { "{", "}", "[", "]", '"', ",", ":", "\\", "\\u", "\0", "\xff", "\xc3", "e", "-",
                   ".", "0", "9", "null", "true", '{"a":1}', "1e999", " ", "\n" }

  local function mutate(text)
    local i = math.random(0, #text)
    local j = math.min(#text, i + math.random(0, 4))
    local how = math.random(4)
    if how == 1 then return text:sub(1, i) .. pieces[math.random(#pieces)] .. text:sub(i + 1) end
    if how == 2 then return text:sub(1, i) .. text:sub(j + 1) end
    if how == 3 then return text:sub(1, j) .. text:sub(i + 1) end
    return text:sub(1, i) .. string.char(math.random(0, 255)) .. text:sub(i + 2)
  end

  local read = 0
  for k = 1, 6000 do
    local text = seeds[k % #seeds + 1]
    for _ = 1, math.random(1, 4) do text = mutate(text) end
    local ok, value = pcall(json.decode, text)
    expect.yes(ok or type(value) == "string", text)
    if ok then
      read = read + 1
      expect_same(json.encode(value)) -- whatever can be decoded can be encoded
    end
  end
  expect.compare(read, ">", 100)
end)

test("finite: numbers that JSON cannot represent are left out", function()
  local value = { a = 1 / 0, b = { 0 / 0, 2 }, c = "x", d = -1 / 0, e = true }
  expect.equal(json.finite(value), { b = { nil, 2 }, c = "x", e = true })
  expect.equal(json.encode(json.finite(json.array { 1.5 })), "[1.5]")
  expect.equal(json.finite(math.huge), nil)
end)
