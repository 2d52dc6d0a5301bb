-- Subcommands: which word is one, what they print and exit with, and the one that docs/adding-a-subcommand.md adds.
-- Usage: build/bamlua tests/lua/subcommands.lua build/bamlua
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local bamlua = core.absolute(arg[1] or "build/bamlua")

local directory = os.tmpname()
os.remove(directory)
core.make_directory(directory)
local cleanup <close> = setmetatable({}, { __close = function()
  os.execute(("rm -rf '%s'"):format(directory))
end })

-- What a command line prints, and its exit code; in the directory, where $L is bamlua.
local function run(command)
  local pipe = assert(io.popen(("cd '%s' && L='%s' && { %s\n} 2>&1"):format(directory, bamlua, command)))
  local text = pipe:read("a"):gsub(bamlua:gsub("%W", "%%%0"), "bamlua")
  local _, _, code = pipe:close()
  return text, code
end

-- A command line ends with `code`, and prints the parts.
local function expect_run(command, code, ...)
  local text, got = run(command)
  expect.equal(got, code, string.format("exit code of %s, which printed:\n%s\n", command, text))
  expect.contains(text, { ... }, command)
end

test("which word is one", function()
  expect_run("$L --help", 0, "usage: bamlua [options]", "Subcommands", "  audit ", "  help ", "Options and environment")
  expect_run("$L audti x", 1, "cannot open audti", "did you mean the subcommand `audit`?")
  expect_run("$L nothing", 1, "bamlua: cannot open nothing")
  expect_run("mkdir audit && $L audit", 1, "audit: no directory given; give the directory")
  expect_run("$L audit -- audit", 1, "audit: there is no phase in audit")
  expect_run("$L ./audit", 1, "cannot read ./audit")
  expect_run("$L -- audit", 1, "cannot read audit")
  expect_run("rmdir audit; echo 'print(\"a file\", ...)' > audit && $L audit runs; rm audit", 0, "a file\truns")
  expect_run("echo 'print(5)' | $L - audit", 0, "5")
  expect_run("$L -e 'print(1)' audit --help", 0, "1\nusage: bamlua audit")
  expect_run("LUA_INIT='arg[1] = \"--help\"' $L audit runs", 0, "usage: bamlua audit")
end)

test("audit", function()
  expect_run("$L audit", 1, "audit: no directory given; give the directory of all runs or of one phase: bamlua audit runs")
  expect_run("$L audit runs", 1, "audit: runs is not a directory; give")
  expect_run("mkdir empty; $L audit empty", 1, "audit: there is no phase in empty")
  expect_run("$L audit a b", 1, "audit: expected one directory, got 2")
  expect_run("$L audit --quite empty", 1, "unknown option --quite; did you mean --quiet?")
  expect_run("$L audit --quiet=1 empty", 1, "--quiet takes no value")

  local RECIPE = [[
local bam = require "bam"
local core = require "bam.core"
local documents = {}
for i = 1, 400 do documents[i] = ("document %d of a text\n<|endoftext|>\n"):format(i) end
core.write_file("text.txt", table.concat(documents))
local opt = bam.options { lr = 1e-3 }
local text = bam.corpus({ a = "text.txt" }, { vocab = 270, cache = "cache" })
bam.train { name = "seed", data = text:sample { a = 1 }, tokens = 512, batch = 16, context = 16, lr = 1e-3,
            model = bam.models.parallel { layers = 1, width = 8, heads = 2, ffn = 8, vocab = 270 } }
]]
  core.write_file(directory .. "/recipe.lua", RECIPE)
  expect_run("$L recipe.lua", 0, "seed")
  expect_run("$L audit runs", 0, "sound", "0 problems")
  expect_run("$L audit --cache=cache runs/seed-*", 0, "sound")
  expect.equal(run "$L audit --quiet runs", "")
  for _, path in ipairs(core.glob(directory .. "/runs/seed-*/phase.json")) do
    core.write_file(path, core.read_file(path):gsub("seed", "tree", 1))
  end
  expect_run("$L audit runs", 1, "problem: ", "phase.json is missing or was changed")
  expect_run("$L audit --quiet runs", 1)
end)

test("help", function()
  expect_run("$L help", 0, "bam.nn", "Functions of bam:")
  expect_run("$L help docs", 0, "usage: bamlua docs [--check] DIRECTORY")
  expect_run("$L help audit", 0, "bam.audit(directory, options?)", "usage: bamlua audit")
  expect_run("$L help", 0, "Subcommands: audit docs help")
  expect_run("$L help matmul", 0, "bam.matmul(a, b)")
  expect_run("$L help nn.Linear", 0, "bam.nn.Linear(inputs, outputs, options?)")
  expect_run("$L help softma", 1, "help: nothing is called 'softma'", "bam.softmax")
  expect_run("$L help a b", 1, "help: expected one name, got 2")
end)

test("the one of docs/adding-a-subcommand.md", function()
  local page = core.read_file "docs/adding-a-subcommand.md"
  local blocks = {}
  for text in page:gmatch "\n```[a-z]*\n(.-)\n```" do blocks[#blocks + 1] = text end
  local file, line, session = table.unpack(blocks)
  core.make_directory(directory .. "/bam/commands")
  core.write_file(directory .. "/bam/commands/count.lua", file)
  local seed = bam.models.parallel { layers = 2, width = 16, heads = 2, ffn = 32, vocab = 16 }
  seed:build({ seed = 1 }):save(directory .. "/model")
  local name, text = line:match '^(%a+) = "(.*)",$'
  local environment = ([[export LUA_PATH='./?.lua;;' LUA_INIT='require("bam.commands").list.%s = "%s"']]):format(name, text)
  for command, output in (session .. "\n$"):gmatch "%$ bamlua ([^\n]*)\n([^$]*)%f[$]" do
    local got = run(("%s; $L %s"):format(environment, command))
    expect.equal(got, output, command)
  end
  expect_run(environment .. "; $L count --all model", 0, "embed.weight\t256", "parameters\t")
  expect_run(environment .. "; $L count --help", 0, "usage: bamlua count [--all] MODEL", "--all", "--help")
  expect_run(environment .. "; $L -e 'print(require(\"bam.commands\").describe())'", 0, "  count     " .. text)
end)
