-- The reader of text files: documents and their lines against a plain reading in Lua, long
-- documents in parts, compressed files whole and damaged, JSON lines, and what it says about
-- everything else.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local base = os.tmpname()
local made = {}

--- Write a file of this name; its path.
local function file(name, bytes)
  local path = base .. "-" .. name
  local handle = assert(io.open(path, "wb"))
  expect.yes(handle:write(bytes))
  handle:close()
  made[path] = true
  return path
end

--- All documents of a file: { text, line, continues }.
local function read(path, options)
  local reader <close> = core.text_open(path, options)
  local list = {}
  while true do
    local text, line, continues = reader:next()
    if not text then
      expect.equal(reader:next(), nil, "there is something after the end")
      return list
    end
    list[#list + 1] = { text, line, continues }
  end
end

local function expect_documents(list, wanted)
  expect.equal(#list, #wanted, ("%d documents, not %d"):format(#list, #wanted))
  for i, document in ipairs(wanted) do
    for k = 1, 3 do
      expect.equal(list[i][k], document[k], ("document %d: %q, not %q"):format(i,
                     tostring(list[i][k]):sub(1, 100), tostring(document[k]):sub(1, 100)))
    end
  end
end

local function quoted(path) return '"' .. path .. '"' end

-- ---- files made by hand: gzip with stored blocks, zstd with raw ones ----

local function crc32(bytes)
  local crc = 0xffffffff
  for i = 1, #bytes do
    crc = crc ~ bytes:byte(i)
    for _ = 1, 8 do crc = crc >> 1 ~ (0xedb88320 & -(crc & 1)) end
  end
  return ~crc & 0xffffffff
end

local function gzip(bytes)
  return "\x1f\x8b\8\0\0\0\0\0\0\3\1" .. ("<I2I2"):pack(#bytes, ~#bytes & 0xffff) .. bytes
    .. ("<I4I4"):pack(crc32(bytes), #bytes)
end

local ZSTD = "\x28\xb5\x2f\xfd\0"
local WINDOW_128K, WINDOW_128M, WINDOW_256M = "\x38", "\x88", "\x90"

local function zstd_block(kind, size, bytes, last)
  return ("<I3"):pack((last and 1 or 0) | kind << 1 | size << 3) .. bytes
end

local function zstd(bytes, window)
  return ZSTD .. (window or WINDOW_128K) .. zstd_block(0, #bytes, bytes, true)
end

--- `blocks` times 128 KB of one letter, in four bytes each.
local function bomb(blocks, letter, window)
  return ZSTD .. (window or WINDOW_128K) .. zstd_block(1, 1 << 17, letter):rep(blocks)
    .. zstd_block(0, 0, "", true)
end

local S = "<|endoftext|>"

local text
test("plain text", function()
  expect_documents(read(file("a.txt", "")), {})
  expect_documents(read(file("a.txt", "one")), { { "one", 1 } })
  expect_documents(read(file("a.txt", "one\ntwo\r\n")), { { "one\ntwo\r\n", 1 } })
  expect_documents(read(file("a.txt", "\xef\xbb\xbfone\xef\xbb\xbf\xff\n")), { { "one\xef\xbb\xbf\xff\n", 1 } })
  expect_documents(read(file("a.txt", "\n\n")), { { "\n\n", 1 } })
  expect_documents(read(file("a.txt", S)), {})
  expect_documents(read(file("a.txt", S .. "\n\n" .. S .. "\n")), { { "\n", 2 } })
  expect_documents(read(file("a.txt", "a\n" .. S .. "\nb\nc\n" .. S .. "\r\n" .. S .. "\nd")),
                   { { "a\n", 1 }, { "b\nc\n", 3 }, { "d", 7 } })
  local near = "a" .. S .. "\n " .. S .. "\n" .. S .. " x\n" .. S:sub(1, -2) .. "\n"
  expect_documents(read(file("a.txt", near .. S)), { { near, 1 } })
  expect_documents(read(file("a.txt", "a\n---\nb\n" .. S .. "\n"), { separator = "---" }),
    { { "a\n", 1 }, { "b\n" .. S .. "\n", 3 } })
  for _, blanks in ipairs { " ", "\t", "  \r", " \f\v \t", (" "):rep(1000) } do
    for _, after in ipairs { "\nb", "" } do
      expect_documents(read(file("a.txt", "a\n" .. S .. blanks .. after)),
                       { { "a\n", 1 }, after ~= "" and { "b", 3 } or nil })
    end
  end
  text = "a\n" .. S .. (" "):rep(1001) .. "\nb"
  expect_documents(read(file("a.txt", text)), { { text, 1 } })
  expect_documents(read(file("any", "{}\n")), { { "{}\n", 1 } })
  expect_documents(read(file("z.txt", ("a"):rep(4096) .. "\0")), { { ("a"):rep(4096) .. "\0", 1 } })
end)

--- What reader:next() should give, by splitting the whole text.
local function oracle(whole)
  local documents, begin, line, from = {}, 1, 1, 1
  local function add(last)
    if last >= begin then documents[#documents + 1] = { whole:sub(begin, last), from } end
  end
  for at, body, stop in whole:gmatch "()([^\n]*)()\n?" do
    if at > #whole then break end
    if body:gsub("%s+$", "") == S then
      add(at - 1)
      begin, from = stop + 1, line + 1
    end
    line = line + 1
  end
  add(#whole)
  return documents
end

test("plain text is split like a plain oracle does", function()
  math.randomseed(7)
  for round = 1, 60 do
    local lines = {}
    for i = 1, math.random(round * 5) do
      local kind = math.random(6)
      if kind == 1 then
        lines[i] = S .. ({ "", "", "\r", " ", "\t \r" })[math.random(5)]
      elseif kind == 2 then
        lines[i] = S:sub(1, math.random(#S)) .. ("x"):rep(math.random(0, 2))
      else
        lines[i] = ("w \t"):rep(math.random(0, 3000) // (kind == 3 and 1 or 100))
      end
    end
    local lines_text = table.concat(lines, "\n") .. (math.random(2) == 1 and "\n" or "")
    expect_documents(read(file("r.txt", lines_text)), oracle(lines_text))
  end
end)

-- ---- parts of long documents ----

local PART = 16000000

--- The parts of a text, which has no separators; checked where they must be.
local function check_parts(whole, options)
  local list, line, at = read(file("long.txt", whole), options), 1, 1
  for i, part in ipairs(list) do
    expect.equal(part[1], whole:sub(at, at + #part[1] - 1), "a part is wrong")
    expect.equal(part[2], line, "a part is wrong")
    expect.equal((part[3] == true), (i < #list))
    expect.compare(#part[1], "<=", PART)
    line = line + select(2, part[1]:gsub("\n", ""))
    at = at + #part[1]
  end
  expect.equal(at, #whole + 1, "something is missing")
  return list
end

test("long documents are cut into parts", function()
  local parts = check_parts(("word "):rep(PART // 5))
  expect.equal(#parts, 1)
  parts = check_parts(("word "):rep(PART // 5) .. "x" .. ("y"):rep(1000))
  expect.equal(#parts, 2)
  expect.equal(#parts[1][1], PART)
  parts = check_parts(("some words\r\n \n\n"):rep(2300000) .. "end\n")
  expect.equal(#parts, 3)
  expect.no(parts[2][1]:find "^\n")
  parts = check_parts(("some words\n \n\n"):rep(2500000) .. "end\n")
  expect.equal(#parts, 3)
  for i = 1, 2 do
    expect.matches(parts[i][1], "s$")
    expect.matches(parts[i + 1][1], "^\n")
    expect.compare(#parts[i][1], ">", PART - 20)
  end
  parts = check_parts(("é"):rep(PART // 2 - 1) .. "a" .. ("é"):rep(1000))
  expect.equal(#parts, 2)
  expect.equal(#parts[1][1], PART - 1) -- no half of a character
end)

test("blanks after a separator at the edge of a part, be they cut off from the newline", function()
  for _, blanks in ipairs { 0, 3, 999, 1000 } do
    local long = ("line\n"):rep(PART // 5 - 1)
    local list = read(file("long.txt", long .. "xy" .. "\n" .. S .. (" "):rep(blanks) .. "\nnext"))
    expect.equal(#list, 2)
    expect.equal(list[1][1], long .. "xy\n")
    expect.equal(list[2][1], "next")
  end
end)

local list
test("a separator behind a cut still counts, text that a cut leaves at the beginning does not", function()
  text = ("line\n"):rep(PART // 5 + 10) .. S .. "\n" .. "next"
  list = read(file("long.txt", text))
  expect.equal(#list, 3)
  expect.yes(list[1][3])
  expect.no(list[2][3])
  expect.equal(list[2][1]:sub(-5), "line\n")
  expect.equal(list[3][1], "next")
  expect.equal(list[3][2], PART // 5 + 12)
  text = ("line\n"):rep(PART // 5 - 4)
  expect_documents(read(file("long.txt", text .. S .. "\n" .. ("more\n"):rep(1000))),
                   { { text, 1 }, { ("more\n"):rep(1000), PART // 5 - 2 } })
  text = ("x"):rep(PART) .. S .. "\nmore"
  list = read(file("long.txt", text))
  expect.equal(#list, 2)
  expect.equal(#list[1][1], PART)
  expect.equal(list[2][1], S .. "\nmore")
  expect.equal(list[2][2], 1)
end)

local two = "one\n" .. S .. "\ntwo\n"

local path
test("compressed", function()
  local both = { { "one\n", 1 }, { "two\n", 3 } }
  for name, compress in pairs { gz = gzip, zst = zstd } do
    expect_documents(read(file("a.txt." .. name, compress(two))), both)
    expect_documents(read(file("a.txt." .. name, compress "")), {})
    local members = compress "one\n<|end" .. compress "" .. compress(two:sub(10))
    expect_documents(read(file("a." .. name, members)), both)
    expect_documents(read(file("a.jsonl." .. name, compress '{"text": "é"}')), { { "é", 1 } })
    local whole = compress(two)
    for size = 1, #whole - 1 do
      expect.raises("its compressed data is truncated; download it again", read,
                    file("cut." .. name, whole:sub(1, size)))
    end
    path = file("a." .. name, "")
    expect.raises(("cannot read %s: it is empty and lacks even a header"):format(quoted(path)), read, path)
    path = file("a." .. name, two)
    local format = name == "gz" and "gzip" or "zstd"
    expect.raises(("%s:1: its %s data is damaged ("):format(quoted(path), format), read, path)
    expect.raises("data is damaged (", read, file("a." .. name, whole .. "garbage"))
  end
  path = file("a.txt.gz", gzip(two):sub(1, -9) .. "\0\0\0\0" .. ("<I4"):pack(#two))
  expect.raises(quoted(path) .. ":1: its gzip data is damaged (incorrect data check); download it again", read, path)
end)

test("a block that is larger than what the reader has room for, at the very end of the file", function()
  local block = zstd_block(1, 1 << 17, "a", true)
  expect_documents(read(file("a.zst", ZSTD .. WINDOW_128K .. block)), { { ("a"):rep(1 << 17), 1 } })
end)

test("what the usual programs make, if they are here", function()
  for name, program in pairs { gz = "gzip", zst = "zstd" } do
    local words = {}
    for i = 1, 60000 do words[i] = ("word %d\n"):format(i * 7919 % 1000) end
    text = table.concat(words)
    path = file("long.txt", text)
    local ran = os.execute(("%s -c '%s' > '%s.%s' 2>/dev/null"):format(program, path, path, name))
    made[path .. "." .. name] = true
    if ran then
      list = read(path .. "." .. name)
      expect.equal(#list, 1)
      expect.equal(list[1][1], text)
    else
      print(("skip: no %s to compress with"):format(program))
    end
  end
end)

--- The most memory that this process has had, in MB.
local function peak()
  return tonumber(io.open("/proc/self/status"):read("a"):match "VmHWM:%s*(%d+)") / 1000
end

collectgarbage()

local size, reader
test("compressed bombs take little memory", function()
  local before = peak()
  size, reader = 0, core.text_open(file("bomb.txt.zst", bomb(2000, "a")))
  for part in reader.next, reader do
    size = size + #part
    part = nil
    collectgarbage()
  end
  expect.equal(size, 2000 << 17)
  expect.compare(peak() - before, "<", 100, ("%d MB more"):format(peak() - before))
  path = file("bomb.jsonl.zst", bomb(600, "a"))
  expect.raises(quoted(path) .. ":1: the line is longer than 64 MB; a .jsonl has one object per line", read, path)
  expect_documents(read(file("w.zst", zstd("a", WINDOW_128M))), { { "a", 1 } })
  expect.raises("decompressing it needs more than 128 MB; compress it without --long", read,
    file("w.zst", zstd("a", WINDOW_256M)))
end)

test("JSON lines", function()
  expect_documents(read(file("a.jsonl", "")), {})
  expect_documents(read(file("a.jsonl", "\n \r\n\t\n")), {})
  text = '\xef\xbb\xbf{"text": "a\\nb\\u0000\\u00e9"}\n\n{"x": {}, "text": "' .. S
    .. '"}\r\n{"text": ""}\n{"n": 123456789012345678901, "text": "z"}'
  expect_documents(read(file("a.jsonl", text)), { { "a\nb\0é", 1 }, { S, 3 }, { "z", 5 } })
  expect_documents(read(file("a.jsonl", '{"body": "b", "text": 5}\n'), { field = "body" }), { { "b", 1 } })
  expect_documents(read(file("a.jsonl", '{"b\\u006fdy": "b", "x": [1, {"body": 2}], "x": 1e300}'), { field = "body" }),
                   { { "b", 1 } }) -- what other fields hold is nobody's matter
  expect_documents(read(file("a.jsonl", '{"text": "a\\nb\\n"}\n{"text": "c"}\n{"text": "d\\"e"}')),
                   { { "a\nb\n", 1 }, { "c", 2 }, { 'd"e', 3 } }) -- lines of the file are counted
  for _, number in ipairs { "1.5", "-2e3", ("0.%s"):format(("3"):rep(1000)) } do -- at the very end of the file
    expect.raises("expected an object with the field \"text\", got a number", read, file("a.jsonl", number))
  end
  -- A record costs little more than its text, whatever it is full of.
  local function most_memory() -- in KB, of this process so far
    local status <close> = io.open "/proc/self/status"
    return tonumber(status:read "a":match "VmHWM:%s*(%d+) kB")
  end
  local memory_before = most_memory()
  expect_documents(read(file("a.jsonl", '{"text": "a", "x": [' .. ("[],"):rep(1000000) .. "0]}")), { { "a", 1 } })
  expect.compare(most_memory() - memory_before, "<", 40000)
  text = ("x"):rep(300000)
  expect_documents(read(file("a.jsonl", ('{"text": "%s"}\n'):format(text):rep(3))),
                   { { text, 1 }, { text, 2 }, { text, 3 } })

  for words, bad in pairs {
    ['the object has no field "text"; it has "body", "id"'] = '{"body": "b", "id": 1}',
    ['the object has no field "text"; it has none'] = "{}",
    ['the field "text" is a number, not a string'] = '{"text": 1.5}',
    ['the field "text" is null, not a string'] = '{"text": null}',
    ['the field "text" is an array, not a string'] = '{"text": []}',
    ['expected an object with the field "text", got an array'] = '["text"]',
    ["malformed JSON at byte 12: the text ends inside a string"] = '{"text": "a',
    ["malformed JSON at byte 14"] = '{"text": "a"}}',
    ["malformed JSON at byte "] = "text",
    ["malformed JSON at byte 11: the string is not valid UTF-8"] = '{"text": "\xff"}',
    ['the field "text" occurs twice'] = '{"text": "a", "x": {"text": 1}, "te\\u0078t": "b"}',
    ["JSON nested deeper than 64 at byte 70"] = '{"a": ' .. ("["):rep(64),
    ['it has "' .. ("k"):rep(100) .. '", "b1", "b2", "b3", "b4", "b5", "b6"'] =
      '{"' .. ("k"):rep(100) .. '": 0, "b1": 0, "b2": 0, "b3": 0, "b4": 0, "b5": 0, "b6": 0}',
    ['2' .. ("k"):rep(150) .. '", ...'] =
      ('{"1%s": 0, "2%s": 0, "3%s": 0, "4": 0}'):gsub("%%s", ("k"):rep(150)),
  } do
    path = file("b.jsonl", '{"text": "first"}\n\n' .. bad .. "\n")
    expect.raises(quoted(path) .. ":3: ", read, path)
    expect.raises(words, read, path)
  end
end)

-- Fields within fields.
local function field(line, name) return read(file("a.jsonl", line), { field = name }) end

test("fields within fields", function()
  expect_documents(field('{"doc": {"text": "a", "id": 1}, "text": 5}', "doc.text"), { { "a", 1 } })
  expect_documents(field('{"a": {"b": {"c": "z"}}}', "a.b.c"), { { "z", 1 } })
  expect_documents(field('{"doc.text": "a", "doc": {"id": 1}}', "doc.text"), { { "a", 1 } })
  expect_documents(field('{"a.": "a"}', "a."), { { "a", 1 } })
  expect_documents(field('{"": {"": "a"}}', "."), { { "a", 1 } })
  for words, case in pairs {
    ['has both a field "doc.text" and one within another'] =
      { '{"doc.text": "a", "doc": {"text": "b"}}', "doc.text" },
    ['the object has no field "text"; it has "id"'] = { '{"doc": {"id": 1}}', "doc.text" },
    ['the object has no field "doc.text"; it has "dok"'] = { '{"dok": {"text": "a"}}', "doc.text" },
    ['the object has no field "doc.text"; it has "doc"'] = { '{"doc": "text"}', "doc.text" },
    ['the field "doc.text" is null, not a string'] = { '{"doc": {"text": null}}', "doc.text" },
  } do
    expect.raises(words, field, case[1], case[2])
  end
end)

local object, array = '{"text": "a", "n": 1}\n', '[{"text": "a"}]\n'

test("JSON lines under other names, and what is ambiguous", function()
  for _, name in ipairs { "x.json", "x.ndjson", "x.JSONL", "x.jsonlines", "x.Json", "x.NDJSON" } do
    for _, blank in ipairs { "", "\xef\xbb\xbf", "\n \n", "  " } do
      local line = select(2, blank:gsub("\n", "")) + 1
      expect_documents(read(file(name, blank .. object:rep(2))), { { "a", line }, { "a", line + 1 } })
    end
    expect_documents(read(file(name, " \n")), {})
    expect_documents(read(file(name .. ".gz", gzip(object))), { { "a", 1 } })
    expect_documents(read(file(name .. ".ZST", zstd(object))), { { "a", 1 } })
  end
  expect_documents(read(file("x.json", ('{"text": "%s"}\n'):format(("y"):rep(200000)))),
                   { { ("y"):rep(200000), 1 } })
  for _, contents in ipairs { array, '{\n"text": "a"\n}\n', "text\n", '"text"\n', "{}\n", "{a}\n",
                              '{"text": "a"}\ntext\n' } do
    expect.raises("its name says JSON, but", read, file("x.json", contents))
    expect_documents(read(file("x.json", contents), { format = "text" }), { { contents, 1 } })
  end
  expect.raises("it holds one array", read, file("x.json", array))
  for _, name in ipairs { "x.txt", "x", "x.jsonl.part", "x.text" } do
    local place = quoted(base .. "-" .. name)
    expect.raises(("the format of %s is ambiguous: it holds JSON lines, but its name says plain text; "
                   .. 'set format = "jsonl" or "text"'):format(place), read, file(name, object))
    expect.raises("it holds JSON lines", read, file(name .. ".gz", gzip("\n" .. object:rep(3))))
    expect_documents(read(file(name, object), { format = "text" }), { { object, 1 } })
    expect_documents(read(file(name, object), { format = "jsonl" }), { { "a", 1 } })
    for _, contents in ipairs { object .. "no object\n", "{\n", "{} {}\n", "{a}\n" .. object,
                                array, "{" .. ("x"):rep(100000) } do
      expect_documents(read(file(name, contents)), { { contents, 1 } })
    end
  end
  expect.raises("malformed JSON", read, file("x.jsonl", "text\n"))
  expect.raises('option format: expected "jsonl" or "text", got the string "json"', read, path,
                { format = "json" })
  for name, compress in pairs { gz = gzip, zst = zstd } do
    local what = ("it holds compressed data, but its name does not end in .%s"):format(name)
    expect.raises(what, read, file("x.txt", compress(two)))
    expect.raises(what, read, file("x.jsonl", compress(object)))
    expect.raises(what, read, file("x.txt." .. name, compress(compress(two))))
  end
  for name, wanted in pairs { ["a.txt"] = "text", ["a.JSONL.gz"] = "jsonl.gz", ["a.json"] = "json",
                              [".json"] = "text", ["a.NDJSON.ZST"] = "jsonl.zst", ["b/json"] = "text",
                              ["a.gz"] = "text.gz" } do
    expect.equal(("%s%s"):format(core.text_name(name)), wanted, name)
  end
end)

local function read_skipping(contents, options)
  local records <close> = core.text_open(file("bad.jsonl", contents), options or { skip_bad = true })
  local good = {}
  for document, line in records.next, records do good[#good + 1] = { document, line } end
  return good, records:skipped()
end

test("bad records, skipped and counted", function()
  local list_of_good, skipped, fault = read_skipping(
    '{"text": "a"}\n{"text": 5}\n[]\n{"text": "b"}\n{"text": "\xff"}\n\n{}\nx\n{"text": "c"}\n{"te')
  expect_documents(list_of_good, { { "a", 1 }, { "b", 4 }, { "c", 9 } })
  expect.equal(skipped, 6, fault)
  expect.equal(fault, quoted(base .. "-bad.jsonl") .. ':2: the field "text" is a number, not a string')
  list_of_good, skipped, fault = read_skipping(('{"text": "%s"}\n{"text": "b"}\n'):format(
    ("x"):rep(65000000)))
  expect_documents(list_of_good, { { "b", 2 } })
  expect.equal(skipped, 1)
  expect.contains(fault, "longer than 64 MB")
  list_of_good, skipped = read_skipping(object)
  expect.equal(#list_of_good, 1)
  expect.equal(skipped, 0)
  expect.raises("option skip_bad: expected true or false, got 1", read, path, { skip_bad = 1 })
  expect.raises("is truncated", read, file("cut.jsonl.gz", gzip(object:rep(9)):sub(1, -20)),
                { skip_bad = true })
end)

test("everything else", function()
  path = file("a.txt", "ab\0")
  expect.raises(("text_open: cannot read %s: byte 3 is zero, so it is not text"):format(quoted(path)), read, path)
  expect.raises("byte 6 is zero", read, file("a.txt", "\xef\xbb\xbfab\0"))
  expect.raises("byte 4096 is zero", read, file("a.txt", ("a"):rep(4095) .. "\0"))
  expect.raises(('text_open: cannot read "%s-no": No such file'):format(base), read, base .. "-no")
  expect.raises('cannot read "/tmp": it is a directory; name a file in it', read, "/tmp")
  expect.raises("it is a pipe or device", read, "/dev/null")
  expect.raises("text_open: expected the path of a text file, got nothing", core.text_open)
  expect.raises("text_open: expected a table of options, got 5", core.text_open, path, 5)
  expect.raises("text_open: no option `fields`; did you mean `field`?", read, path, { fields = "a" })
  expect.raises("text_open: option field: expected a string, got 5", read, path, { field = 5 })
  expect.raises("option separator: expected 1 to 1000 bytes of one line", read, path, { separator = "" })
  expect.raises("option separator: expected 1 to 1000", read, path, { separator = "a\nb" })

  path = file("b.jsonl", '{"text": "a"}\n{}\n')
  reader = core.text_open(path)
  expect.equal(tostring(reader), "text reader")
  expect.equal(reader:next(), "a")
  expect.raises("no field", reader.next, reader)
  expect.raises("next: the text reader is closed", reader.next, reader)
  expect.equal(tostring(reader), "text reader (closed)")
  reader:close()
  expect.raises("expected a text reader, got a table", reader.next, {})
  expect.raises("expected a text reader, got a FILE*", reader.close, io.stdout)
  for _ = 1, 200 do core.text_open(path) end -- the collector closes them
  collectgarbage()

  for name in pairs(made) do os.remove(name) end
end)

os.remove(base)
