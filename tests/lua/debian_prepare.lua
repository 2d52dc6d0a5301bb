-- Debian's text, the real thing: files of installed packages, and out of packages that are not; and
-- the whole preparation, where the packages are installed: sizes, and that no passage of the
-- held-out text is trained on.
-- Usage: build/bamlua tests/lua/debian_prepare.lua build/bamlua
require "bam.util.strict"
local core = require "bam.core"
local debian = require "bam.data.debian"
local packages = require "bam.data.debian.packages"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local bamlua = arg[1] or "build/bamlua"
local base = os.tmpname()
os.remove(base)
core.make_directory(base)

local function shell(format, ...) return os.execute(string.format(format, ...)) end

test("quoting", function()
  local hostile = "a b'c\"$(touch " .. base .. "/evil)`x`\\"
  local pipe <close> = assert(io.popen("printf %s " .. packages.quote(hostile)))
  expect.equal(pipe:read "a", hostile)
end)

-- ---- packages that are not installed ----
-- Stand-ins for dpkg-query, which knows no package, and apt-get, which builds the package that it
-- should download or fails.

local function program(name, text)
  core.write_file(string.format("%s/bin/%s", base, name), "#!/bin/sh\n" .. text)
  shell("chmod +x '%s/bin/%s'", base, name)
end

core.make_directory(base .. "/bin")
program("dpkg-query", "exit 1\n")
program("apt-get", [[
mkdir -p p/DEBIAN p/usr/share/doc/x
printf 'Package: x\nVersion: 1.2-3\nArchitecture: all\n' > p/DEBIAN/control
printf 'Maintainer: x <x@x>\nDescription: x\n' >> p/DEBIAN/control
echo "text of $*" | gzip > p/usr/share/doc/x/x.txt.gz
dpkg-deb --build p x_1.2-3_all.deb
]])
core.write_file(base .. "/use.lua", [[
local packages = require "bam.data.debian.packages"
local core = require "bam.core"
local cache = arg[1]
do
  local store <close> = packages.open(cache, print)
  local found = store:find({ "x" }, "/x%.txt%.gz$")
  print(#found.names, found.names[1], store.versions.x)
  print(store:read(found, found.names[1]))
  print(#store:find({ "x" }, "^usr/share/doc/x/").names) -- no second download
  print(pcall(store.find, store, { "x" }, "nothing"))
end
print("left", #core.list_directory(cache))
]])

-- What a script prints that finds those stand-ins.
local function run(cache)
  core.make_directory(cache)
  local command = string.format("PATH=%s/bin:$PATH %s %s/use.lua %s 2>&1", base,
                                packages.quote(bamlua), base, packages.quote(cache))
  local out <close> = assert(io.popen(command))
  return out:read "a"
end

local function expect_output(output, ...)
  for _, words in ipairs { ... } do
    expect.contains(output, words, string.format("%q is not in what was printed:\n%s", words, output))
  end
end

test("packages are downloaded and unpacked", function()
  local odd = base .. "/-it's an $odd place"
  if shell "command -v dpkg-deb >/dev/null" then
    expect_output(run(odd), "downloading x\n1\tusr/share/doc/x/x.txt.gz\t1.2-3\n"
                  .. "text of download -q x\n\n1\nfalse\t", "hold no file like nothing", "left\t0\n")
    program("apt-get", "echo 'E: Unable to locate package x' >&2\nexit 100\n")
    expect_output(run(odd), "the text of the packages x is not on this machine and could not be "
                  .. "downloaded (E: Unable to locate package x)", "apt-get update && apt-get install")
    expect.equal(#core.list_directory(odd), 0)
  else
    test.skip "there is no dpkg-deb to unpack with"
  end
end)

local NEEDED = "bible-kjv bible-kjv-text jargon-text debian-policy doc-debian miscfiles "
               .. "libsoftware-license-perl base-files metamath-databases libpython3.11-stdlib"

-- The real text's cases need its packages.
local function need_packages()
  if not shell("dpkg-query --show %s >/dev/null 2>&1", NEEDED) then
    test.skip "not all packages of the real text are installed (make deps)"
  end
end

local text
test("all of it", function()
  need_packages()
  local lines = {}
  local function report(line) lines[#lines + 1] = line end
  text = debian.prepare(base .. "/cache", report)
  expect.equal(text.directory, base .. "/cache/debian-1")
  expect.compare(#lines, ">=", 8)
  lines = {}
  local again = debian.prepare(base .. "/cache", report)
  expect.equal(#lines, 0)
  expect.equal(again.domains.law.bytes.train, text.domains.law.bytes.train)
  expect.equal(#core.list_directory(base .. "/cache"), 1, "something was left behind")
end)

-- The paragraphs of at least 200 bytes in a text, or lines, as a set.
local function passages(content)
  local set, count = {}, 0
  for paragraph in (content .. "\n\n"):gmatch "(.-)\n\n+" do
    for line in (paragraph .. "\n"):gmatch "(.-)\n" do
      for _, passage in ipairs { line, paragraph } do
        if #passage >= 200 and not set[passage] then set[passage], count = true, count + 1 end
      end
    end
  end
  return set, count
end

test("the real text: sizes, no held-out passage in training", function()
  need_packages()
  local train, heldout = {}, {}
  for name, domain in pairs(text.domains) do
    train[name], heldout[name] = core.read_file(domain.train), core.read_file(domain.heldout)
    expect.equal(#train[name], domain.bytes.train)
    expect.equal(#heldout[name], domain.bytes.heldout)
    local _, separators = train[name]:gsub("\n<|endoftext|>\n", "")
    expect.equal(separators + 1, domain.documents.train)
    expect.compare(domain.bytes.heldout, ">=", 100e3)
    expect.compare(domain.bytes.heldout, "<", 300e3)
    expect.yes(name == "law" and domain.bytes.train > 400e3 or domain.bytes.train > 3.95e6)
    expect.compare(domain.bytes.train, "<", 4.1e6)
    expect.yes(utf8.len(train[name]))
  end
  for _, heldout_text in pairs(heldout) do
    local secret, count = passages(heldout_text)
    expect.compare(count, ">", 100)
    for name, train_text in pairs(train) do
      for passage in pairs((passages(train_text))) do
        expect.no(secret[passage], string.format("held out, and trained on in %s: %s", name, passage))
      end
    end
  end
  expect.matches(train.general, "the LORD")
  expect.matches(train.general, "hacker")
  expect.matches(train.law, "licen[cs]e")
  expect.matches(train.law, "constitution")
  expect.matches(train.law, "package")
  expect.lacks((train.math .. heldout.math), "(Contributed by")
  expect.no(train.code:find(("[^\n]"):rep(301)))
  expect.no((train.general .. train.law .. train.math):find "[^\n\32-\126]")
end)

shell("rm -rf '%s'", base)
