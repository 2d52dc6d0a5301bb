-- The documentation is true: every Lua block of README.md and of docs/*.md runs as it stands there, and prints what
-- the page says. tests/lua/support/pages.lua has the conventions. Pages whose code another script runs, as those of
-- the how-tos, say so: "run by `tests/lua/NAME.lua`". Links lead to files.
-- Usage: build/bamlua tests/lua/docs.lua build/bamlua
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local pages = require "tests.lua.support.pages"
local test = require "tests.lua.support.test"

local PROGRAM = core.absolute(arg[1] or "build/bamlua")

-- The script that runs a page's code in place of this one.
local function tester_of(page)
  local path = page.text:match "run by%s+`(tests/lua/[%w_]+%.lua)`"
  if not path then return nil end
  expect.contains(core.read_file(path), page.path, string.format("%s, which %s names", path, page.path))
  return path
end

local function exists(path)
  if path:find "[*?]" then return #core.glob(path) > 0 end
  return core.file_info(path) or core.is_directory((path:gsub("/$", "")))
end

local function check_links(page)
  for target in page.text:gmatch "%]%(([^)%s]+)%)" do
    local path = target:gsub("#.*$", "")
    if path ~= "" and not path:find "^%a+:" then
      local directory = page.path:match "^(.*/)[^/]*$" or ""
      expect.yes(exists(directory .. path), string.format("%s links to %s, which is there", page.path, target))
    end
  end
end

local ROOMS = { engine = true, kernels = true, lua = true, recipes = true, tests = true, docs = true }

-- Paths of the repository that a page names, in `code` and in diagrams. Words in capitals stand for any name.
local function check_paths(page)
  for path in page.text:gmatch "[%w_]+/[%w_/.*-]+" do
    path = path:gsub("[.-]+$", "")
    if ROOMS[path:match "^[^/]*"] and not path:find "%f[%w]%u+%f[%W]" then
      expect.yes(exists(path), string.format("%s names %s, which is there", page.path, path))
    end
  end
end

local TARGETS, MAKEFILE = {}, core.read_file "Makefile"
for name in MAKEFILE:gmatch "%f[^\n\0]([%l-]+):[^=]" do TARGETS[name] = true end
for name in MAKEFILE:gmatch "\n(deps%-%l+)_packages" do TARGETS[name] = true end

local function check_commands(page)
  for _, pattern in ipairs { "`make ([%l-]+)", "\n    make ([%l-]+)", ", make ([%l-]+)" } do
    for name in page.text:gmatch(pattern) do
      expect.yes(TARGETS[name], string.format("%s names `make %s`, a command of the Makefile", page.path, name))
    end
  end
end

local paths = core.glob "docs/*.md"
table.insert(paths, 1, "README.md")
for _, path in ipairs(paths) do
  local page = pages.read(path)
  test(string.format("%s: links, paths and commands", path), function()
    check_links(page)
    check_commands(page)
    if not tester_of(page) then check_paths(page) end -- a how-to names the files that it adds
  end)
  if not tester_of(page) then
    for _, block in ipairs(page.blocks) do
      test(string.format("%s:%d", path, block.line), function() pages.run(block, PROGRAM) end)
    end
  end
end

test("the index of docs/ has every page", function()
  local index = core.read_file "docs/README.md"
  for _, path in ipairs(core.glob "docs/*.md") do
    local name = path:match "[^/]*$"
    if name ~= "README.md" then expect.contains(index, string.format("](%s)", name)) end
  end
end)

test("the README fits two screens", function()
  local _, lines = core.read_file "README.md":gsub("\n", "")
  expect.compare(lines, "<=", 150)
end)

-- ---- the runner notices what is wrong ----


local function in_scratch(f)
  return function()
    local path = os.tmpname()
    os.remove(path)
    core.make_directory(path)
    local cleanup <close> = setmetatable({}, { __close = function()
      os.execute(string.format("rm -rf '%s'", path))
    end })
    local page = string.format("%s/page.md", path)
    f(function(text)
      core.write_file(page, text)
      return pages.read(page).blocks
    end)
  end
end

test("wrong output, errors and lost files are noticed", in_scratch(function(blocks_of)
  local wrong = {
    ["but the page says"] = "```lua\nprint(1)\n```\nprints\n```text\n2\n```\n",
    ["oh no"] = "```lua\nerror 'oh no'\n```\n",
    ["raised no error"] = "```lua error\nlocal x = 1\n```\n```text\nbad\n```\n",
    ["is not in"] = "```lua error\nerror 'good'\n```\n```text\nbad\n```\n",
    ["expected"] = "```lua fragment\nlocal = 1\n```\n",
    ["no such kind of block"] = "```lua elsewhere\nlocal x = 1\n```\n",
  }
  for message, text in pairs(wrong) do
    expect.raises(message, function() pages.run(blocks_of(text)[1], PROGRAM) end)
  end
  expect.raises("but the page says", function()
    pages.run(blocks_of("```console\n$ build/bamlua -i\n> 1 + 1\n3\n```\n")[1], PROGRAM)
  end)
end))

test("lost links, paths and commands are noticed", function()
  local function page(text) return { path = "docs/planted.md", text = text } end
  check_links(page "[fine](README.md#documentation), [far](https://example.org/x)")
  expect.raises("links to lost.md", check_links, page "[lost](lost.md)")
  check_paths(page "`engine/ops/list.h`, `engine/ops/*.c`, `tests/lua/NAME.lua`")
  expect.raises("names engine/lost.c", check_paths, page "see `engine/lost.c`.")
  check_commands(page "`make test`, or `make deps-test`")
  expect.raises("names `make tests`", check_commands, page "`make tests`")
end)
