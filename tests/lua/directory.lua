-- Directories and small files from a script: listing and making, staging and committing, what is
-- refused, and that a refusal leaves everything as it was.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local base = os.tmpname()
os.remove(base)

local function names(path) return table.concat(core.list_directory(path), " ") end
local function expect_names(path, list) expect.equal(names(path), list) end
local function quoted(path) return '"' .. path .. '"' end
local function shell(command, ...) assert(os.execute(command:format(...))) end

local file, dangling, long, refused
test("making and listing", function()
  core.make_directory(base .. "/a/b//c/")
  core.make_directory(base .. "/a/b/c")
  core.make_directory(base)
  core.make_directory "/"
  core.make_directory "."
  expect.yes(core.is_directory(base .. "/a/b/c"))
  expect.yes(core.is_directory(base .. "/a/"))
  expect.no(core.is_directory(base .. "/no"))
  expect.no(core.is_directory "")
  expect_names(base, "a")
  expect_names(base .. "/a/b/c", "")
  for name in ("z B a10 a9 .hidden"):gmatch "%S+" do core.write_file(base .. "/a/" .. name, "") end
  expect_names(base .. "/a", ".hidden B a10 a9 b z")
  expect.no(core.is_directory(base .. "/a/z"))
  shell("ln -s a '%s/link' && ln -s nothing '%s/dangling'", base, base)
  expect.yes(core.is_directory(base .. "/link"))
  expect.no(core.is_directory(base .. "/dangling"))
  expect_names(base .. "/link", names(base .. "/a"))
  core.make_directory(base .. "/link/b")

  file, dangling, long = base .. "/a/z", base .. "/dangling", ("n"):rep(300)
  refused = {
    { "list_directory: cannot list " .. quoted(base .. "/no") .. ": No such file or directory; check",
      core.list_directory, base .. "/no" },
    { quoted(file) .. ": Not a directory; check the name", core.list_directory, file },
    { 'cannot list "": No such file', core.list_directory, "" },
    { "list_directory: expected the path of a directory, got nothing", core.list_directory },
    { "list_directory: expected the path of a directory, got 5", core.list_directory, 5 },
    { "is_directory: the path of a directory cannot contain a zero byte", core.is_directory, "a\0b" },
    { ("make_directory: cannot make %s: %s is not a directory; move it"):format(quoted(file .. "/x"),
                                                                                quoted(file)),
      core.make_directory, file .. "/x" },
    { quoted(file) .. " is not a directory", core.make_directory, file },
    { quoted(dangling) .. " is not a directory", core.make_directory, dangling .. "/x" },
    { 'cannot make "": No such file', core.make_directory, "" },
    { "File name too long; use a shorter name", core.make_directory, base .. "/" .. long },
    { "File name too long", core.make_directory, ("/x"):rep(3000) },
    { "make_directory: the path of a directory cannot contain a zero byte", core.make_directory,
      "a\0b" },
  }
  for _, case in ipairs(refused) do expect.raises(table.unpack(case)) end
  expect_names(base, "a dangling link")
end)

test("small files", function()
  local text = ("some text\0\xff"):rep(20000)
  core.write_file(base .. "/file", text)
  expect.equal(core.read_file(base .. "/file"), text)
  expect.equal(core.read_file(base .. "/file", #text), text)
  core.write_file(base .. "/file", "")
  expect.equal(core.read_file(base .. "/file"), "")
  core.write_file(base .. "/file", "abc")
  expect.contains(core.read_file "/proc/self/status", "bamlua") -- a file whose size is said to be 0

  refused = {
    { "read_file: cannot read " .. quoted(base .. "/no") .. ": No such file or directory; check",
      core.read_file, base .. "/no" },
    { quoted(base) .. ": it is a directory; name a file in it", core.read_file, base },
    { '"/dev/null": it is a pipe or device', core.read_file, "/dev/null" },
    { "it has 3 bytes, above the limit of 2; is it the right file?", core.read_file, base .. "/file",
      2 },
    { "grew beyond the limit of 10 bytes", core.read_file, "/proc/self/status", 10 },
    { "read_file: limit: expected an integer, got the string", core.read_file, base, "5" },
    { "read_file: expected the path of a file, got nothing", core.read_file },
    { "read_file: the path of a file cannot contain a zero byte", core.read_file, "a\0b" },
    { "write_file: cannot write " .. quoted(base) .. ": it is a directory", core.write_file, base,
      "" },
    { "; create the directory first", core.write_file, base .. "/no/x", "" },
    { "write_file: expected a string to write, got nothing", core.write_file, base .. "/x" },
    { "write_file: expected a string to write, got 5", core.write_file, base .. "/x", 5 },
  }
  for _, case in ipairs(refused) do expect.raises(table.unpack(case)) end
  expect.equal(core.read_file(base .. "/file"), "abc")
end)

os.remove(base .. "/file")

-- ---- staging, committing, discarding ----

-- Stage a directory for `path` with these files.
local function stage(path, files)
  local staged = core.stage_directory(path)
  for name, contents in pairs(files) do core.write_file(staged .. "/" .. name, contents) end
  return staged
end

local model = base .. "/models/first"
local staged = core.stage_directory(model)

test("a staged directory appears when it is committed", function()
  expect.equal(staged:find(model .. ".tmp-", 1, true), 1, staged)
  expect.matches(staged, "%.tmp%-" .. ("%x"):rep(16) .. "$")
  expect_names(staged, "")
  expect.no(core.is_directory(model))
  local second = core.stage_directory(model .. "//") -- another save at the same time
  expect.different(second, staged)
  expect.equal(second:find(model .. ".tmp-", 1, true), 1)
  core.discard_directory(second)
  expect_names(base .. "/models", staged:match "[^/]+$")

  core.write_file(staged .. "/config.json", "1")
  core.write_file(staged .. "/model.safetensors", "one")
  core.commit_directory(staged, model)
  expect_names(base .. "/models", "first")
  expect_names(model, "config.json model.safetensors")
end)

local new
test("the new one takes the place of the old one, whose permissions it keeps; it may hold more", function()
  shell("chmod 750 '%s'", model)
  new = { ["config.json"] = "2", ["model.safetensors"] = "two", ["tokenizer.json"] = "{}" }
  core.commit_directory(stage(model, new), model .. "/")
  expect_names(base .. "/models", "first")
  expect_names(model, "config.json model.safetensors tokenizer.json")
  expect.equal(core.read_file(model .. "/config.json"), "2")
  shell("test $(stat -c %%a '%s') = 750", model)
end)

test("what is to replace a directory that may be private is private until then", function()
  shell("chmod 700 '%s'", model)
  staged = stage(model, new)
  shell("test $(stat -c %%a '%s') = 700", staged)
  core.commit_directory(staged, model)
  shell("test $(stat -c %%a '%s') = 700 && chmod 750 '%s'", model, model)
end)

test("a link stays one; what it leads to is replaced", function()
  shell("ln -s models/first '%s/latest'", base)
  new["config.json"] = "3"
  staged = stage(base .. "/latest", new)
  expect.equal(staged:find(model .. ".tmp-", 1, true), 1)
  core.commit_directory(staged, base .. "/latest")
  expect.equal(core.read_file(model .. "/config.json"), "3")
  shell("test -h '%s/latest'", base)
end)

test("paths relative to the current directory", function()
  local relative = stage("bamlua-test-directory", { ["a.json"] = "" })
  expect.matches(relative, "^bamlua%-test%-directory%.tmp%-%x+$")
  core.commit_directory(relative, "bamlua-test-directory")
  expect_names("bamlua-test-directory", "a.json")
  shell "rm -r bamlua-test-directory"
end)

-- ---- nothing is lost ----

-- Committing over a directory changed by `command` is refused, and changes nothing.
local function expect_kept(words, command, ...)
  shell(command, ...)
  local before = names(model)
  staged = stage(model, new)
  expect.raises(words, core.commit_directory, staged, model)
  expect.equal(names(model), before)
  expect.equal(core.read_file(model .. "/config.json"), "3")
  expect_names(staged, "config.json model.safetensors tokenizer.json")
  core.discard_directory(staged)
  expect_names(base .. "/models", "first")
end

test("committing over foreign files is refused", function()
  local advice = "; save to another path, or move it (nothing was changed)"
  expect_kept("commit_directory: cannot write " .. quoted(model) .. ': "notes.txt" in it is neither '
              .. "*.json nor *.safetensors" .. advice, "touch '%s/notes.txt'", model)
  expect_kept('"notes.json" in it would be deleted, because the new directory has no such file' .. advice,
              "cd '%s' && mv notes.txt notes.json", model)
  expect_kept('"sub.json" in it is not a regular file' .. advice,
              "cd '%s' && rm notes.json && mkdir sub.json", model)
  expect_kept('"tokenizer.json" in it is not a regular file' .. advice,
              "cd '%s' && rmdir sub.json && mv tokenizer.json ../../t && ln -s ../../t "
              .. "tokenizer.json", model)
  shell("cd '%s' && rm tokenizer.json && touch .json", model)
  expect_kept('".json" in it would be deleted', "true")
  shell("rm '%s/.json'", model)
  expect_kept('"model-notes.safetensors" in it would be deleted, because the new directory has no such file' .. advice,
              "touch '%s/model-notes.safetensors'", model) -- weights are known by their exact names
  shell("cd '%s' && mv model-notes.safetensors model-00001-of-00002.safetensors", model)

  core.commit_directory(stage(model, new), model)
  expect_names(model, "config.json model.safetensors tokenizer.json")
end)

test("what else is refused", function()
  staged = stage(model, new)
  core.make_directory(base .. "/elsewhere")
  local file_path, not_ours = base .. "/file", base .. "/x.tmp-ours-1"
  core.write_file(file_path, "text")
  core.make_directory(not_ours)
  shell("ln -s first '%s/models/l.tmp-0123456789abcdef'", base)
  local itself = "the path does not end with a directory name; add one"
  refused = {
    { "stage_directory: cannot write " .. quoted(file_path) .. ": it is not a directory; move it",
      core.stage_directory, file_path },
    { quoted(file_path) .. " is not a directory", core.stage_directory, file_path .. "/x" },
    { quoted(dangling) .. ": it is not a directory", core.stage_directory, dangling },
    { itself, core.stage_directory, "" },
    { itself, core.stage_directory, "/" },
    { itself, core.stage_directory, "." },
    { itself, core.stage_directory, base .. "/.." },
    { "File name too long", core.stage_directory, base .. "/" .. ("n"):rep(5000) },
    { "stage_directory: expected the path of a directory, got nothing", core.stage_directory },
    { "the path of a directory cannot contain a zero byte", core.stage_directory, "a\0" },
    { quoted(staged) .. " was not staged for this path; stage a directory for it first", core.commit_directory,
      staged, base .. "/elsewhere" },
    { quoted(not_ours) .. " was not staged for this path", core.commit_directory, not_ours, base .. "/y" },
    { "it is the staged directory itself; choose another path", core.commit_directory, staged, staged },
    { 'cannot open "' .. base .. '/models/no.tmp-0123456789abcdef": No such file', core.commit_directory,
      base .. "/models/no.tmp-0123456789abcdef", model },
    { 'cannot open "' .. base .. '/models/l.tmp-0123456789abcdef": Not a directory', core.commit_directory,
      base .. "/models/l.tmp-0123456789abcdef", model },
    { "commit_directory: expected the path of a staged directory, got nothing",
      core.commit_directory },
    { "commit_directory: expected the path of a directory, got nothing", core.commit_directory,
      staged },
    { "the path of a directory cannot contain a zero byte", core.commit_directory, staged, "\0" },
    { "discard_directory: cannot remove " .. quoted(model)
      .. ": it is not a staged directory; remove it by hand", core.discard_directory, model },
    { "it is not a staged directory", core.discard_directory, not_ours },
    { "it is not a staged directory", core.discard_directory, staged .. "x" },
    { "Not a directory", core.discard_directory, base .. "/models/l.tmp-0123456789abcdef" },
    { "No such file", core.discard_directory, base .. "/models/no.tmp-0123456789abcdef" },
    { "expected the path of a staged directory, got nothing", core.discard_directory },
  }
  for _, case in ipairs(refused) do expect.raises(table.unpack(case)) end
  expect.yes(core.is_directory(not_ours))
  expect.equal(core.read_file(file_path), "text")
  expect_names(model, "config.json model.safetensors tokenizer.json")
end)

test("a file that came to be where the directory should go", function()
  staged = stage(base .. "/late", { ["a.json"] = "" })
  core.write_file(base .. "/late", "text")
  expect.raises("it is not a directory; move it, or save to another path", core.commit_directory, staged, base
                .. "/late")
  expect.equal(core.read_file(base .. "/late"), "text")
end)

test("discarding deletes files and nothing else, all or none", function()
  shell("mkdir '%s/deep'", staged)
  expect.raises('"deep" in it is not a regular file; move that file, or remove the directory by hand', core.discard_directory,
                staged)
  expect_names(staged, "a.json deep")
  shell("rmdir '%s/deep' && ln -s a.json '%s/link'", staged, staged)
  expect.raises('"link" in it is not a regular file', core.discard_directory, staged)
  shell("rm '%s/link'", staged)
  core.discard_directory(staged .. "/")
  expect.no(core.is_directory(staged))
end)

test("an empty directory, and a name as long as they may be", function()
  local empty = base .. "/" .. ("e"):rep(255)
  core.make_directory(empty)
  core.commit_directory(stage(empty, new), empty)
  expect_names(empty, "config.json model.safetensors tokenizer.json")
end)

-- Any number of earlier processes may have left some.
local many = {}
for i = 1, 200 do many[i] = core.stage_directory(base .. "/many") end
for _, path in ipairs(many) do core.discard_directory(path) end

shell("rm -r '%s'", base)
