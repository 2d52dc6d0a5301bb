-- Debian's text: each cleaner on a sample of its raw format, the split, near-duplicates across it,
-- caps, and the cache, which is found again and rebuilt when it is damaged.
require "bam.util.strict"
local cache = require "bam.data.debian.cache"
local clean = require "bam.data.debian.clean"
local code = require "bam.data.debian.code"
local core = require "bam.core"
local duplicates = require "bam.data.debian.duplicates"
local general = require "bam.data.debian.general"
local law = require "bam.data.debian.law"
local math_text = require "bam.data.debian.math"
local split = require "bam.data.debian.split"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

-- The names and texts of documents, one after the other.
local function show(documents)
  local lines = {}
  for i, document in ipairs(documents) do
    lines[i] = string.format("[%s] %s", document.name, document.text)
  end
  return table.concat(lines, "\n")
end

-- A sentence of n words that no other sentence shares a shingle with.
local serial = 0
local function sentence(n)
  local words = {}
  for i = 1, n do
    serial = serial + 1
    words[i] = "w" .. string.char(97 + serial // 676 % 26, 97 + serial // 26 % 26, 97 + serial % 26)
  end
  return table.concat(words, " ")
end

test("what all domains share", function()
  expect.equal(clean.ascii "\u{201C}No\u{201D} \u{2014} \u{2018}na\u{EF}ve\u{2019}\u{2026}\u{A0}\u{3C0}",
         "\"No\" -- 'naive'... \u{3C0}")
  expect.equal(table.concat(clean.paragraphs [[
  One line
  and a well-
  known other.


   -----
* first;
* second
  goes on.
(a) third
]], "|"), "One line and a well-known other.|* first;|* second goes on.|(a) third")
  expect.equal(table.concat(clean.paragraphs "as it says in\n2. of the list\r\n", "|"),
               "as it says in 2. of the list") -- no item: the sentence goes on
  expect.yes(clean.is_prose("Words and more words.", 20))
  expect.no(clean.is_prose("Words and more words.", 30))
  expect.no(clean.is_prose("x = f(1) + [2, 3] * {4}", 10))
  expect.no(clean.is_prose("The letter \u{3C0} and many other words", 10))

  local parts = {
    { name = "a", text = "aaaa" }, { name = "b", text = "bb" }, { name = "b", text = "cccccc" },
    { name = "b", text = "dd" }, { name = "e", text = "e" },
  }
  expect.equal(show(clean.gather(parts, 6, 9, "-")), "[a] aaaa\n[b] bb-cccccc\n[b] dd\n[e] e")
  expect.equal(show(clean.gather(parts, 100, 100, "")), "[a] aaaabbccccccdde")
  expect.equal(show(clean.gather({}, 6, 9, "-")), "")
  parts = { { name = "a", text = "aa" }, { name = "b", text = "bbbb" }, { name = "b", text = "c" } }
  expect.equal(show(clean.gather(parts, 8, 99, "-")), "[a] aa-bbbb\n[a] c") -- pieces of b stay together
end)

test("general", function()
  local verses = [[
Ge1:1 In the beginning.
Ge1:2 And the earth.

Ge2:1 Thus the heavens.
1Jn1:1 That which was.
]]
  expect.equal(show(general.chapters(verses:gmatch "([^\n]*)\n")),
               "[Ge1] In the beginning.\nAnd the earth.\n[Ge2] Thus the heavens.\n[1Jn1] That which was.")

  local prose = "an entry is kept when its paragraph is long enough to be read as a sentence of its "
                .. "own and has few signs beside its letters."
  local entries = general.jargon(string.format([[
   :frob: /frob/, n.

   [from a longer word] %s See also {frobnicate}.

   short.

   +------+-------+
   | a    | table |
   +------+-------+

   :empty: n.

   too short.

   :foo: interj.

   1. %s
]], prose, prose))
  expect.equal(show(entries), string.format("[frob] frob: %s See also frobnicate.\n\nfoo: 1. %s", prose, prose))
end)

test("law", function()
  local found = law.paragraphs("policy.txt.gz", [[
2. Scope of all this
====================

Every package *must* be described by its maintainer in words that are clear [2].

The copyright of this work is held by {{$self->holder}} for as long as anybody else would like.

     { "Depends" : [ 1, 2 ], "x" => 3, "and so on" : 45 }

This is a heading that happens to be rather long but ends without a stop

* a part of it may be left out where nobody will ever miss it, or
  be the worse for it;
]])
  expect.equal(show(found), "[policy.txt.gz/2. Scope of all this] Every package must be described by its "
               .. "maintainer in words that are clear.\n[policy.txt.gz/2. Scope of all this] a part of it may "
               .. "be left out where nobody will ever miss it, or be the worse for it;")
  local grant = "The licensee may copy the work, provided that this notice stays in all of the copies."
  local perl = "use strict;\npackage X;\n\nThis is the %s\n\n__DATA__\n__LICENSE__\n%s"
  expect.equal(show(law.paragraphs("X.pm", perl:format(grant, grant))), "[X.pm] " .. grant)
  expect.equal(show(law.paragraphs("None.pm", "use strict;\n\n" .. grant)), "")
  expect.equal(show(law.paragraphs("us", "Article IV\n\n" .. grant)), "[us/Article IV] " .. grant)

  local repeats = duplicates.repeats(6, 0.5)
  local first, second = sentence(20), sentence(20)
  expect.no(repeats(first))
  expect.no(repeats(second))
  expect.yes(repeats(first))
  expect.yes(repeats(first:sub(1, 60):upper() .. "!"), "case and signs do not count")
  expect.no(repeats(first:sub(1, 20) .. " " .. sentence(20)))
  expect.no(repeats "too short")
  expect.yes(repeats "too short")
end)

test("mathematics", function()
  expect.equal(math_text.comment [[ _Easy_ rule, see ~ mp and ` ( _V -> C_ ) ` .  (Contributed by
   NM, 5-Aug-1993.)  (Proof shortened by X. Y, 1-Jan-2001.)  (Important.)
   (New usage is discouraged.) ]],
         "Easy rule, see mp and ( _V -> C_ ). (Important.)")
  local database = [[
$( Propositions $) $c ( ) -> |- wff $. $v ph ps $. wph $f wff ph $.
$( Not a theorem. $) wi $a wff ( ph -> ps ) $.
${
  min $e |- ph $.
  maj $e |- ( ph
    -> ps ) $.
  $( Modus ponens.  (Contributed by NM, 30-Sep-1992.) $)
  ax-mp $a |- ps $.
$}
$( Identity. $)
id $p |- ( ph -> ph ) $= ( wi ) ABC $.
$( Identity, proved otherwise. $)
idALT $p |- ( ph -> ps ) $= ( wi ) ABCD $.
$( Identity again. $)
id2 $p |- ( ph -> ph ) $= ( wi ) ABC $.
nocomment $p |- ( ps -> ph ) $= ? $.
$( Cut off. $) last $p |- ]]
  expect.equal(show(math_text.theorems(database)),
               "[ax-mp] ax-mp: Modus ponens.\n   |- ph\n   |- ( ph -> ps )\n=> |- ps\n"
               .. "[id] id: Identity.\n   |- ( ph -> ph )")
end)

test("code", function()
  local body = ("        return self.values  # all of them\n"):rep(20)
  local method = "    def f%d(self):\n" .. body .. "\n"
  local methods = {}
  for i = 1, 12 do methods[i] = method:format(i) end
  local long = "import os\n\n\n# What it is.\n@decorated\nclass Long:\n" .. table.concat(methods)
               .. "x = '" .. ("y"):rep(300) .. "'\ndef g():   \n    return 1\n\n\n"
  local pieces = code.pieces("long.py", long)
  expect.equal(#pieces, 3)
  local whole = {}
  for i, piece in ipairs(pieces) do
    expect.equal(piece.name, "long.py")
    expect.compare(#piece.text, "<=", 8000)
    whole[i] = piece.text
  end
  expect.equal(table.concat(whole), (long:gsub("x = [^\n]*\n", ""):gsub(" +\n", "\n"):gsub("\n+$", "\n")))
  expect.matches(pieces[2].text, "^    def f%d+")
  local about = "# About f.\n" .. ("# And more about f.\n"):rep(45) .. "@decorated\n"
                .. "def f():\n" .. body
  for _, piece in ipairs(code.pieces("a.py", about:rep(30))) do
    expect.matches(piece.text, "^# About f%.")
    expect.compare(#piece.text, "<", 8000)
  end
  expect.equal(#code.pieces("short.py", "x = 1\n"), 0)
  expect.equal(#code.pieces("latin1.py", ("# caf\xE9\n"):rep(100)), 0)
end)

test("the split", function()
  local documents = {}
  for i = 1, 1000 do
    documents[i] = { name = "file" .. i // 2, text = string.format("%d %s", i, sentence(60)) }
  end
  local heldout, others = split.divide("d", documents, 0.1)
  expect.equal(#heldout + #others, 1000, #heldout)
  expect.compare(#heldout, ">", 60)
  expect.compare(#heldout, "<", 140)
  local side = {}
  for _, document in ipairs(heldout) do side[document.name] = true end
  for _, document in ipairs(others) do expect.no(side[document.name], "a file is on both sides") end

  local fewer = {} -- no document moves when others come, go, or change places
  for i = 1000, 1, -3 do fewer[#fewer + 1] = documents[i] end
  for _, document in ipairs((split.divide("d", fewer, 0.1))) do expect.yes(side[document.name]) end
  local _, remaining = split.divide("d", fewer, 0.1)
  for _, document in ipairs(remaining) do expect.no(side[document.name]) end
  local more = split.divide("d", documents, 0.2)
  expect.compare(#more, ">", #heldout)
  expect.same(more[1], heldout[1])
  expect.same(more[#heldout], heldout[#heldout])
  expect.different(split.divide("e", documents, 0.1)[1], heldout[1], "domains are divided independently")
  expect.equal(#split.divide("d", { { name = "x", text = "too short" } }, 1), 0)

  local sized = { { text = "aaaa" }, { text = "bbb" }, { text = "cc" } }
  expect.equal(#split.cap(sized, 9), 3)
  expect.equal(#split.cap(sized, 8), 2)
  expect.equal(#split.cap(sized, 3), 0)
end)

test("near-duplicates across it", function()
  local secret, formula = sentence(40), "|- ( " .. sentence(40) .. " )"
  local without = split.without { { text = secret .. "\n\n" .. sentence(30) }, { text = formula } }
  local mine, other = sentence(30), sentence(30)
  local function prefix(text, words) return text:match(("%S+ "):rep(words)) end

  expect.equal(without(mine, "prose"), mine)
  expect.equal(without(mine .. "\n\n" .. secret:upper() .. "\n" .. other, "prose"), mine .. "\n\n" .. other)
  expect.equal(without(prefix(secret, 12) .. sentence(30), "prose"):sub(1, 4), secret:sub(1, 4)) -- 5 of 35
  expect.equal(without(prefix(secret, 18) .. sentence(30), "prose"), "") -- 11 of 41
  expect.equal(without(prefix(secret, 25) .. sentence(200), "prose"), "") -- 18 in succession
  expect.different(without(prefix(secret, 20) .. sentence(200), "prose"), "")
  local twice = prefix(secret, 20) .. sentence(99) .. " " .. prefix(secret, 20) .. sentence(99)
  expect.equal(without(twice, "prose"), twice)
  expect.equal(without("a: " .. mine .. "\n   " .. formula .. "\n\nb: " .. other, "theorems"), "b: " .. other)
  local near = "c: " .. prefix(formula, 15) .. other
  expect.equal(without(near, "theorems"), near) -- runs of less than 16 are common in formulas
  expect.equal(without(mine .. "\n\n" .. secret .. "\n\n" .. other .. "\n", "code"), "")
  expect.equal(without(mine .. "\n\n" .. other .. "\n", "code"), mine .. "\n\n" .. other)
  expect.equal(without("", "prose"), "")
end)

local base = os.tmpname()
os.remove(base)
local place = base .. "/it's here/text-1"
local made, said = 0, {}
local function report(text) said[#said + 1] = text end
local function make()
  made = made + 1
  local files = { ["a.txt"] = { "one", "two" }, ["b.txt"] = { "three" } }
  return { files = files, facts = { answer = 42 } }
end
local function open()
  said = {}
  return cache.open(place, 1, { "a.txt", "b.txt" }, report, make)
end
local function read(name) return core.read_file(string.format("%s/%s", place, name)) end

test("the cache", function()
  local manifest = open()
  expect.equal(read "a.txt", "one\n<|endoftext|>\ntwo\n")
  expect.equal(made, 1)
  expect.equal(#said, 0)
  expect.equal(manifest.answer, 42)
  expect.equal(manifest.format, 1)
  expect.equal(manifest.files["a.txt"].bytes, #read "a.txt")
  expect.equal(manifest.files["a.txt"].documents, 2)
  expect.equal(open().files["b.txt"].hash, core.hash "three\n")
  expect.equal(made, 1)
  expect.equal(#said, 0)
end)

-- Damage it, and see it rebuilt, with a message.
local function expect_rebuilt(words, damage)
  local before = made
  damage()
  expect.equal(open().files["a.txt"].hash, core.hash(read "a.txt"))
  expect.equal(made, before + 1, said[1] or "no message")
  expect.equal(#said, 1, said[1] or "no message")
  expect.contains(said[1], words)
  expect.contains(said[1], place)
  expect.contains(said[1], "rebuilding it")
  open()
  expect.equal(made, before + 1)
  expect.equal(#said, 0)
end
local function overwrite(name, text) core.write_file(string.format("%s/%s", place, name), text) end

test("a damaged cache is made again, with a message", function()
  expect_rebuilt("a.txt does not have the 22 bytes", function() overwrite("a.txt", "one\n") end)
  expect_rebuilt("b.txt has changed", function() overwrite("b.txt", "threE\n") end)
  expect_rebuilt("b.txt is missing", function() os.remove(place .. "/b.txt") end)
  local no_manifest = "manifest.json is missing or cannot be read"
  expect_rebuilt(no_manifest, function() os.remove(place .. "/manifest.json") end)
  expect_rebuilt(no_manifest, function() overwrite("manifest.json", "{") end)
  expect_rebuilt(no_manifest, function() overwrite("manifest.json", "[1]") end)
  expect_rebuilt(no_manifest, function()
    overwrite("manifest.json", '{"format":2,"files":{}}')
  end)
  expect_rebuilt("a.txt does not have the nil bytes", function()
    overwrite("manifest.json", '{"format":1,"files":{"a.txt":{},"b.txt":{}}}')
  end)
  expect_rebuilt("a.txt is not described", function()
    overwrite("manifest.json", '{"format":1,"files":{}}')
  end)
end)

test("what is not ours is not deleted", function()
  overwrite("notes.txt", "mine")
  overwrite("a.txt", "")
  local fine, message = pcall(open)
  expect.no(fine, message)
  expect.contains(message, "remove it by hand")
  expect.equal(read "notes.txt", "mine")
end)

os.execute("rm -rf '" .. base .. "'")
