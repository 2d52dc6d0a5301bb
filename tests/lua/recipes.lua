-- Every recipe, planned at all sizes and run at a tiny one: what --plan prints is the paper's, it
-- allocates nothing, and the recipes end with a table. Recipes stay short.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local PROGRAM = core.absolute(arg[1] or "build/bamlua")
local PHASED = { "bam_kv_shared", "bam_kv_experts", "btx", "table1" }

local directory = os.tmpname()
os.remove(directory)
core.make_directory(directory)
local cleanup <close> = setmetatable({}, { __close = function()
  os.execute(string.format("rm -rf '%s'", directory))
end })

local function run(recipe, flags)
  local command = string.format("'%s' tests/lua/support/run_recipe.lua '%s' recipes/%s.lua %s",
                                PROGRAM, directory, recipe, flags)
  local pipe = io.popen(string.format("%s --out '%s/runs' --cache '%s/cache' 2>&1", command,
                                      directory, directory))
  local output = pipe:read "a"
  assert(pipe:close(), output)
  return output
end

test("their length", function()
  for _, path in ipairs(core.glob "recipes/*.lua") do
    local lines = select(2, core.read_file(path):gsub("\n", "\n"))
    expect.compare(lines, "<=", 60, string.format("%s has %d lines; a recipe has 60 at most", path, lines))
  end
end)

test("their plans", function()
  for _, recipe in ipairs(PHASED) do
    for _, scale in ipairs { "demo", "590m", "2b" } do
      local output = run(recipe, string.format("--plan --scale %s", scale))
      expect.contains(output, "together")
      expect.contains(output, "memory: 0 requests")
    end
  end
  local plan = run("table1", "--plan --scale 590m --set seeds=1")
  for _, count in ipairs { "587,209,728", "700,480,512", "738,253,824", "776,002,560" } do
    expect.contains(plan, count)
  end
  expect.contains(run("table1", "--plan --scale 2b --set seeds=1"), "1,991,289,600")
  local by_hand = run("scratch", "--plan")
  expect.contains(by_hand, { "scratch", "memory: 0 requests" })
  expect.contains(run("scratch", "--plan --scale 590m"), "587,209,728")
  expect.no(core.is_directory(directory .. "/runs"))
  expect.no(core.is_directory(directory .. "/cache"))
end)

test("running them", function()
  local WORDS = { code = "def return self for in range print None", math = "sum of x equals two pi",
                  general = "the river sings in the green house",
                  law = "party shall void the clause" }

  for domain, text in pairs(WORDS) do
    for _, name in ipairs { domain, domain .. ".heldout" } do
      local parts = {}
      for i = 1, 60 do parts[i] = string.format("%s %d %s\n", text, i * 7919 % 97, text:reverse()) end
      core.write_file(string.format("%s/%s.txt", directory, name),
                      table.concat(parts, "<|endoftext|>\n"))
    end
  end

  local SIZES = "--set vocab=280 --set batch=4 --set context=16 --set model.layers=1 "
    .. "--set model.width=16 --set model.heads=2 --set model.ffn=16 "
  local TOKENS = "--set tokens.seed=256 --set tokens.expert=128 --set tokens.mixture=192 "

  expect.contains(run("bam_kv_shared", SIZES .. TOKENS), "bam-kv-shared")
  local output = run("bam_kv_experts", SIZES .. TOKENS)
  expect.lacks(output, "seed  done", "phases are shared by recipes")
  expect.lacks(output, "btx  done", "phases are shared by recipes")
  expect.contains(run("btx", SIZES .. TOKENS .. "--set top_k=2 --set extra_seed_copies=1"), "btx  done")
  output = run("table1", SIZES .. TOKENS .. "--set seeds=1,2 --set ablations=true")
  for _, row in ipairs { "btx-top3-of-6 ", "bam-top1-attention-cm ", "mean over seeds" } do
    expect.contains(output, row)
  end
  output = run("scratch", SIZES .. "--set steps=20")
  expect.contains(output, "step   20")
  expect.contains(output, "bits per byte")
end)

