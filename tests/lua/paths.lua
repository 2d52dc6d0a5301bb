-- Paths and small changes from a script: patterns, what is at a path, absolute paths, links,
-- appending, cutting, deleting, and what killed processes left.
-- Usage: build/bamlua tests/lua/paths.lua build/bamlua
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local bamlua = arg[1] or "build/bamlua"

local base = os.tmpname()
os.remove(base)
core.make_directory(base)
base = core.absolute(base)

local function expect_names(path, list)
  local names = table.concat(core.list_directory(path), " ")
  expect.equal(names, list)
end

local function shell(command, ...) assert(os.execute(command:format(...))) end
local function quoted(path) return '"' .. path .. '"' end
local function at(name) return base .. "/" .. name end

local function is_root()
  local pipe = io.popen "id -u"
  local user = pipe:read "l"
  pipe:close()
  return user == "0"
end

test("patterns", function()
  core.make_directory(at "law/sub")
  core.make_directory(at "math")
  local names = "law/b.txt law/a.txt law/B.txt law/.hid.txt law/f[1].txt law/f1.txt math/c.txt"
  for name in names:gmatch "%S+" do
    core.write_file(at(name), name)
  end
  shell("ln -s nowhere '%s'", at "law/dangling.txt")

  local function expect_glob(pattern, list)
    local found = {}
    for i, path in ipairs(core.glob(at(pattern))) do found[i] = path:sub(#base + 2) end
    expect.equal(table.concat(found, " "), list)
  end

  expect_glob("law/*.txt", "law/B.txt law/a.txt law/b.txt law/dangling.txt law/f1.txt law/f[1].txt")
  expect_glob("*/[a-c].txt", "law/a.txt law/b.txt math/c.txt")
  expect_glob("law/?.txt", "law/B.txt law/a.txt law/b.txt")
  expect_glob("law/.*.txt", "law/.hid.txt")
  expect_glob("law/a.txt", "law/a.txt")
  expect_glob("law/f[1].txt", "law/f1.txt")
  core.remove_file(at "law/f1.txt")
  expect_glob("law/f[1].txt", "law/f[1].txt")
  expect_glob("law/dangling.txt", "law/dangling.txt")
  expect_glob("law/none*", "")
  expect_glob("law/none", "")
  expect_glob("law/a.txt/*", "")
  expect_glob("l*", "law")
  expect.equal(#core.glob "", 0)
  expect_glob("no/*.txt", "")
  expect.raises("glob: expected the path of files, perhaps with * in it, got 5", core.glob, 5)
  if is_root() then
    print "skip: root may read every directory"
  else
    shell("mkdir -m 0 '%s'", at "secret")
    expect.raises("Permission denied", core.glob, at "secret/*")
    expect.raises("Permission denied", core.glob, at "*/*.txt")
    expect.raises("file_info: cannot look at", core.file_info, at "secret/x")
    shell("rmdir '%s'", at "secret")
  end
end)

test("what is at a path", function()
  local info = core.file_info(at "law/a.txt")
  expect.equal(info.kind, "file")
  expect.equal(info.size, 9)
  expect.equal(math.type(info.size), "integer")
  expect.close(info.modified, os.time(), 600)
  expect.equal(math.type(info.modified), "float")
  expect.different(core.file_info(at "law/b.txt").inode, info.inode)
  shell("touch -d '2001-02-03 04:05:06.5 UTC' '%s'", at "law/a.txt")
  expect.equal(core.file_info(at "law/a.txt").modified, 981173106.5)
  shell("ln -s a.txt '%s'", at "law/link")
  expect.equal(core.file_info(at "law/link").inode, info.inode)
  expect.equal(core.file_info(at "law").kind, "directory")
  expect.equal(core.file_info("/dev/null").kind, "other")
  for _, name in ipairs { "no", "no/x", "law/a.txt/x", "law/dangling.txt" } do
    expect.equal(core.file_info(at(name)), nil)
    expect.equal(select("#", core.file_info(at(name))), 0)
  end
  expect.equal(core.file_info "", nil)
  expect.raises("file_info: cannot look at", core.file_info, ("x"):rep(300))
end)

local function expect_absolute(path, wanted)
  local got = core.absolute(path)
  expect.equal(got, wanted)
end

local pipe = io.popen "pwd -P"

test("absolute paths", function()
  local here = pipe:read "l"
  pipe:close()
  expect_absolute(".", here)
  expect_absolute("a/./b//c/", here .. "/a/b/c")
  expect_absolute("no/../x", here .. "/x")
  expect_absolute("/", "/")
  expect_absolute("//", "/")
  expect_absolute("/..", "/")
  expect_absolute("/../../no", "/no")
  expect_absolute("/no/../..", "/")
  shell("ln -s law/sub '%s'", at "short")
  expect_absolute(at "short", at "law/sub")
  expect_absolute(at "short/..", at "law")
  expect_absolute(at "short/../new/x", at "law/new/x")
  expect_absolute(at "new/../short/y", at "law/sub/y")
  expect_absolute(at "law/a.txt/x", at "law/a.txt/x")
  shell("ln -s loop '%s'", at "loop")
  expect.raises("absolute: cannot find " .. quoted(at "loop") .. ": Too many levels of symbolic links",
                core.absolute, at "loop")
  expect.raises('cannot find "": No such file', core.absolute, "")
  expect.raises("File name too long", core.absolute, ("x/"):rep(3000))
end)

local latest
test("links", function()
  core.make_directory(at "runs")
  latest = at "runs/latest"
  core.link("first", latest)
  core.link("second", latest)
  core.link("../law", latest)
  expect.equal(core.absolute(latest), at "law")
  expect_names(at "runs", "latest")
  core.write_file(at "runs/file", "text")
  core.make_directory(at "runs/directory")
  for _, name in ipairs { "file", "directory" } do
    expect.raises(("link: cannot link %s: it exists and is not a link; move it"):format( quoted(at("runs/" .. name))),
                  core.link, "x", at("runs/" .. name))
  end
  expect.equal(core.read_file(at "runs/file"), "text")
  expect_names(at "runs", "directory file latest")
  expect.raises("the path does not end with a name", core.link, "x", at "runs/")
  expect.raises("No such file or directory", core.link, "x", at "no/link")
  expect.raises("No such file or directory", core.link, "", at "runs/empty")
  expect.raises("link: expected the path of a link, got nothing", core.link, "x")
end)

local log = at "log"

test("appending and cutting", function()
  core.append_file(log, "one\n")
  core.append_file(log, "two\0\n")
  core.append_file(log, "")
  expect.equal(core.read_file(log), "one\ntwo\0\n")
  core.truncate_file(log, 4)
  expect.equal(core.read_file(log), "one\n")
  core.truncate_file(log, 4)
  core.append_file(log, "more\n")
  expect.equal(core.read_file(log), "one\nmore\n")
  expect.raises(("truncate_file: cannot truncate %s: it has 9 bytes, and cannot get 10"):format(quoted(log)), core.truncate_file,
                log, 10)
  expect.raises("it has 9 bytes, and cannot get -1", core.truncate_file, log, -1)
  expect.raises("truncate_file: size: expected an integer, got nothing", core.truncate_file, log)
  expect.raises("No such file", core.truncate_file, at "no", 0)
  expect.no(core.file_info(at "no"))
  expect.raises("append_file: cannot append to " .. quoted(at "law") .. ": Is a directory", core.append_file,
                at "law", "x")
  expect.raises("it is not a regular file", core.append_file, "/dev/null", "x")
  shell("ln -s log '%s' && ln -s no '%s'", at "to_log", at "to_nothing")
  for _, name in ipairs { "to_log", "to_nothing" } do
    expect.raises("append_file: cannot append to " .. quoted(at(name)) .. ": it is a symbolic link",
                  core.append_file, at(name), "x")
    expect.raises("cannot truncate " .. quoted(at(name)) .. ": it is a symbolic link", core.truncate_file, at(name), 0)
  end
  expect.no(core.file_info(at "no"))
  expect.equal(core.read_file(log), "one\nmore\n")
  expect.raises("append_file: expected a string to append, got 5", core.append_file, log, 5)
  expect.raises("No such file or directory", core.append_file, at "no/log", "x")
end)

--- What a process says that may write files of at most half a KB.
local function limited(script)
  local from = io.popen(("ulimit -f 1; '%s' -e '%s' 2>&1"):format(bamlua, script))
  local text = from:read "a"
  from:close()
  return text
end

local said
test("a limit of file sizes is reported", function()
  core.write_file(log, ("x"):rep(500))
  said = limited(('require "bam.core".append_file("%s", ("y"):rep(600))'):format(log))
  expect.contains(said, "File too large; raise the limit")
  expect.equal(core.read_file(log), ("x"):rep(500))
end)

test("on a file system of 8 KB, in a mount namespace that ends with the process", function()
  core.make_directory(at "small")
  core.write_file(at "full.lua", [[
  local core = require "bam.core"
  core.write_file("log", "start")
  print(pcall(core.append_file, "log", ("x"):rep(20000)))
  print(core.read_file "log")
  pcall(core.write_file, "fill", ("x"):rep(5000))
  pcall(core.append_file, "fill", ("x"):rep(4000))
  print(core.lock "lock", select(2, core.lock "lock"))]])
  local unshare = "unshare -rm sh -c 'mount -t tmpfs -o size=8k tmpfs \"%s\" && cd \"%s\" && %s' 2>&1"
  if os.execute(unshare:format(at "small", at "small", "true") .. " >&2") then
    pipe = io.popen(unshare:format(at "small", at "small",
      ("\"%s\" ../full.lua"):format(core.absolute(bamlua))))
    said = pipe:read "a"
    pipe:close()
    expect.contains(said, "No space left on device; free some space")
    expect.contains(said, "\nstart\nlock\t")
  else
    print "skip: no file system of our own to fill"
  end
  core.remove_directory(at "small")
end)

test("deleting", function()
  core.remove_file(log)
  core.remove_file(log)
  core.remove_file(latest)
  expect.yes(core.is_directory(at "law"))
  expect.raises(("remove_file: cannot remove %s: it is a directory"):format(quoted(at "law")), core.remove_file,
                at "law")
  shell("mkfifo '%s'", at "pipe")
  expect.raises("it is not a regular file", core.remove_file, at "pipe")
  expect.raises("Not a directory", core.remove_file, at "math/c.txt/x")

  expect.raises(('remove_directory: cannot remove %s: "dangling.txt" in it is not a regular'):format( quoted(at "law")),
                core.remove_directory, at "law")
  expect.yes(core.file_info(at "law/a.txt"))
  core.link("math", at "to_math")
  expect.raises("remove_directory: cannot remove", core.remove_directory, at "to_math")
  core.write_file(at "math/d.bin", "x")
  core.remove_directory(at "math/")
  expect.no(core.file_info(at "math"))
  expect.raises("No such file or directory", core.remove_directory, at "math")
  expect.raises("the path does not end with a directory name", core.remove_directory, "")
  expect.raises("the path does not end with a directory name", core.remove_directory, at "law/..")
end)

-- ---- what killed processes left ----

local place = at "place"
core.make_directory(place)
local function make(name) core.write_file(string.format("%s/%s", place, name), "x") end
local function name_of(name, number) return string.format("%s.tmp-%016x", name, number or 1) end

local kept
test("what nobody holds goes: files, links and directories, whatever their names begin with", function()
  for number, name in ipairs { "a", "a", "", "b.tmp-c", name_of "nested" } do make(name_of(name, number)) end
  core.make_directory(string.format("%s/%s", place, name_of "model"))
  make(string.format("%s/weights", name_of "model"))
  core.link("x", string.format("%s/%s", place, name_of "link"))
  -- What is called otherwise stays.
  kept = { name_of "a" .. ".txt", "a.tmp-0123", "a.tmp-0123456789abcdeF", "a.tmp-0123456789abcdef0", ".tmp" }
  for _, name in ipairs(kept) do make(name) end
  expect.equal(core.remove_staged(place), 7)
  expect.equal(core.remove_staged(place), 0)
  table.sort(kept)
  expect_names(place, table.concat(kept, " "))
end)

test("what is being written stays: by this process, or by another one, until that is killed", function()
  local staged = core.stage_directory(place .. "/mine")
  expect.matches(staged, "mine%.tmp%-%x+$")
  expect.equal(core.staged_for(staged:match "[^/]+$"), "mine", staged)
  local child = io.popen(string.format([[exec '%s' -e '
  local core = require "bam.core"
  core.stage_directory "%s/theirs"
  core.write_file("%s/ready", io.open("/proc/self/stat"):read "a")
  io.read "a"']], bamlua, place, base), "w")
  while not core.file_info(at "ready") do core.sleep(0.005) end
  expect.equal(core.remove_staged(place), 0)
  core.discard_directory(staged)
  shell("kill -9 %d", core.read_file(at "ready"):match "%d+")
  child:close()
  expect.equal(core.remove_staged(place), 1)
  expect_names(place, table.concat(kept, " "))
end)

test("a directory that was replaced, by a process that was killed before it could delete it, goes too", function()
  core.make_directory(string.format("%s/%s/sub", place, name_of "model"))
  expect.raises('"sub" in it is not a regular file', core.remove_staged, place)
  expect.raises("remove_staged: cannot list", core.remove_staged, at "no")
end)

shell("rm -rf '%s'", base)
