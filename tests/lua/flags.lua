-- What scripts answer to flags: those with bam.options, those without, loops of their own, and sessions. Each script
-- runs as a process.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local small = require "tests.lua.support.small_run"
local test = require "tests.lua.support.test"

local PROGRAM = core.absolute(arg[1] or "build/bamlua")

local directory = small.directory()
local cleanup <close> = setmetatable({}, { __close = function() small.remove(directory) end })

local function shell(command)
  local pipe = io.popen(string.format("cd '%s' && L='%s' && { %s; } 2>&1 </dev/null", directory, PROGRAM, command))
  local output = pipe:read "a"
  return output, pipe:close() == true
end

local function write(text) core.write_file(directory .. "/recipe.lua", text) end

local function refused(flags, words)
  local output, fine = shell("$L recipe.lua " .. flags)
  expect.no(fine, output)
  expect.contains(output, words)
  expect.lacks(output, "RAN")
  expect.lacks(output, "traceback")
end

local OPTIONS = [[
local bam = require "bam"
local opt = bam.options { lr = { peak = 1e-3, floor = 0.1 }, tokens = { seed = 1, expert = 2 }, other = { seed = 3 },
                          top_k = 1, name = "x", list = { 1, 2 } }
print("RAN", opt.lr.peak, opt.top_k, opt.name)
]]

test("an option of the recipe that is given as a flag: what to type", function()
  write(OPTIONS)
  for flags, words in pairs {
    ["--top_k 3"] = "unknown flag --top_k; top_k is an option of this recipe: --set top_k=3",
    ["--top_k=3"] = "--set top_k=3", ["top_k=3"] = "--set top_k=3", ["-top_k 3"] = "--set top_k=3",
    ["--lr.peak 2e-3"] = "lr.peak is an option of this recipe: --set lr.peak=2e-3",
    ["--peak 2e-3"] = "lr.peak is an option of this recipe: --set lr.peak=2e-3",
    ["--lr 1"] = "unknown flag --lr; lr is a group of options: --set lr.floor=...",
    ["--name --plan"] = "--set name=...", ["--name -1"] = "--set name=-1",
    ["--threds 3"] = "unknown flag --threds; did you mean --threads? --help lists the flags of this recipe",
    ["--expert 3"] = "--set tokens.expert=3",
    ["word"] = "unknown flag word; --help lists", ["--lr.pea 3"] = "unknown flag --lr.pea; --help lists",
  } do refused(flags, words) end
  local output, fine = shell "$L recipe.lua --set top_k=3 --set lr.peak=2e-3"
  expect.yes(fine, output)
  expect.contains(output, "RAN\t0.002\t3\tx")
  expect.contains(shell "$L recipe.lua --help", "top_k                1")
end)

local TRAINS = [[
local bam = require "bam"
local text = bam.corpus({ law = "law.txt" }, { vocab = 280, heldout = 0.3 })
local phase = bam.train { name = "seed", data = text:sample { law = 1 }, steps = 2, lr = 1e-3, batch = 2, context = 8,
  model = bam.models.parallel { layers = 1, width = 8, heads = 1, ffn = 8, vocab = 280 } }
print("RAN", ...)
]]

test("a script that does not call bam.options: unknown flags are refused, words are its own, --help works", function()
  write(TRAINS)
  refused("--threds 3", "unknown flag --threds; did you mean --threads? --help lists the flags. This script calls no "
          .. "bam.options")
  refused("--verbose", "write local opt = bam.options { verbose = true } and type --set verbose=true, or type flags that it "
          .. "reads itself after --")
  refused("--max-lr 1e-3", "bam.options { max_lr = 1e-3 } and type --set max_lr=1e-3")
  refused("--file=a.txt", 'bam.options { file = "a.txt" } and type --set file=a.txt')
  refused("--gpu", "unknown flag --gpu; type --device cuda; --help lists the flags.")
  refused("--resume", "unknown flag --resume; a phase resumes when the script runs again;")
  refused("-v", "unknown flag -v")
  refused("--set lr=3", "--set lr: this script has no options; it does not call bam.options")
  refused("--scale demo", "--scale: this script has no options")
  expect.no(core.is_directory(directory .. "/runs"))
  local output, fine = shell "$L recipe.lua --help"
  expect.yes(fine, output)
  expect.contains(output, { "usage: bamlua recipe.lua [flags]", "--plan", "--only PHASE", "this script does not call" })
  expect.lacks(output, "--set KEY")
  expect.lacks(output, "RAN")
  output, fine = shell "$L recipe.lua -h"
  expect.yes(fine, output)
  expect.contains(output, "usage: bamlua recipe.lua [flags]", "-h")
  output, fine = shell "$L recipe.lua --cache cache --plan -- --verbose --plan 3"
  expect.yes(fine, output)
  expect.contains(output, "RAN\t--cache\tcache\t--plan\t--\t--verbose\t--plan\t3", "flags after -- are the script's")
  output, fine = shell "$L recipe.lua --cache cache word -3 --plan"
  expect.yes(fine, output)
  expect.contains(output, "RAN\t--cache\tcache\tword\t-3\t--plan")
  write("arg = { [-1] = arg[-1], [0] = arg[0] }\n" .. TRAINS:gsub("heldout = 0.3", "heldout = 0.3, cache = 'cache'"))
  output, fine = shell "$L recipe.lua --verbose"
  expect.yes(fine, output)
  expect.contains(output, "RAN\t--verbose")
end)

test("after -- bam.options refuses nothing", function()
  write(OPTIONS)
  local output, fine = shell "$L recipe.lua --set top_k=3 -- --mine 3"
  expect.yes(fine, output)
  expect.contains(output, "RAN\t0.001\t3\tx")
  write(TRAINS:gsub("local phase", "local flags = require 'bam.util.flags' print(flags.command '--only x')\nlocal phase"))
  output = shell "$L recipe.lua --cache cache --fresh --plan -- --fresh 'a b'"
  expect.contains(output, "bamlua recipe.lua --cache cache --plan --only x -- --fresh 'a b'\n", "the command to go on")
  write(OPTIONS)
  refused("--set top_k 3", '--set: expected KEY=VALUE without blanks, got the string "top_k"; type --set top_k=...')
end)

test("without a script, and from dofile, the recipe's options are its own", function()
  write(OPTIONS)
  for _, command in ipairs { "$L -e 'dofile \"recipe.lua\"'", "$L -e'dofile \"recipe.lua\"'", "$L -l recipe",
                             "echo 'dofile \"recipe.lua\"' | $L -i", "$L -i -e 'dofile \"recipe.lua\"' < /dev/null",
                             "$L -i recipe.lua < /dev/null", "echo 'dofile \"recipe.lua\"' | $L -",
                             "$L -W -l recipe -e 'dofile \"recipe.lua\"'", "cat recipe.lua | $L - --set top_k=1" } do
    local output, fine = shell(command)
    expect.yes(fine, output)
    expect.contains(output, "RAN\t0.001\t1\tx", command)
  end
  core.write_file(directory .. "/outer.lua", 'dofile "recipe.lua"')
  expect.contains(shell "$L outer.lua --set top_k=7", "RAN\t0.001\t7\tx")
  expect.contains(shell "echo 'dofile \"recipe.lua\"' | $L -i outer.lua --seed 3", "RAN\t0.001\t1\tx")
end)

test("bam.plan: a loop of one's own honors --plan, --only and --audit", function()
  write [[
local bam = require "bam"
local before = bam.memory().requests
local described = bam.models.parallel { layers = 1, width = 8, heads = 1, ffn = 8, vocab = 280 }
local skip = bam.plan { name = "mine", model = described, batch = 2, context = 8, steps = 5, optimizer = "sgd" }
print("SKIP", skip, bam.memory().requests - before)
]]
  local output = shell "$L recipe.lua --plan"
  expect.matches(output, "\nmine +%d+,%d+ .* 80 .*\nSKIP\ttrue\t0\n")
  expect.contains(shell "$L recipe.lua", "SKIP\tfalse\t0")
  expect.contains(shell "$L recipe.lua --only mine", "SKIP\tfalse")
  expect.contains(shell "$L recipe.lua --only mime", "--only: no phase is called mime; did you mean `mine`?")
  expect.contains(shell "$L recipe.lua --audit", "mine: it keeps no checkpoints")
  refused("--pln", "did you mean --plan?")
  write "local bam = require 'bam' bam.plan { name = 'x', model = 3, batch = 1, context = 1, steps = 1 } print 'RAN'"
  local said = shell "$L recipe.lua"
  expect.contains(said, "plan: option model: expected a description or a live model, got 3")
end)
