--- The parts of a window: what each runs, which sources its result depends on, and how many seconds it takes. Within
--- the stages, which follow each other, tests/gpu/queue.lua decides the order.
---
--- A part that is `soft` may be stopped without being wrong: it is slow by itself (compute-sanitizer, a model that is
--- compiled), or large. What a `peer` does says nothing about this program, and what a `trial` does is about kernels that
--- nothing uses yet: neither keeps the window from measuring. A part with `after` runs once these parts have passed.
---
--- `command(w)` gives a command of the shell, where w has program, folder, device, python, tiny, result (a file to
--- which it appends rows of JSON) and logs (a directory). `needs` names a program that must be there.
local M = {}

local KERNELS = { "kernels/*.h", "kernels/cuda/*.h", "kernels/cuda/*.cu" }
local ENGINE = { "engine/core/*.c", "engine/autograd/*.c", "engine/ops/*.c", "engine/ops/support/*.c" }

-- The sources of a part: patterns of files.
local function with(...)
  local list = {}
  for _, part in ipairs { ... } do
    if type(part) == "table" then table.move(part, 1, #part, #list + 1, list) else list[#list + 1] = part end
  end
  return list
end

local function filter(w, real) return string.format("--filter '%s'", w.tiny and "softmax/*" or real) end

-- A test program of its own, of this directory.
local function program(name, seconds)
  return { name = name, stage = "correct", seconds = seconds, needs = "folder/" .. name,
           sources = with(KERNELS, string.format("tests/gpu/%s.cu", name)),
           command = function(w) return string.format("'%s/%s'", w.folder, name) end }
end

-- compute-sanitizer makes tests about ten times slower: the smallest tests of the ops, and one tool.
local function sanitizer(tool, suites, seconds)
  return { name = tool, stage = "measure", seconds = seconds, soft = true, needs = "compute-sanitizer",
           sources = with(KERNELS, "tests/engine/*.c"),
           command = function(w)
             return string.format("compute-sanitizer --tool %s --error-exitcode 9 '%s' --op-cases %s", tool, w.program,
                                  filter(w, suites))
           end }
end

-- Kernels of attention, "mma" or "hopper": its tests, and times of both passes.
local function attention(name, kernels, seconds)
  local part = program("attention_mma", seconds)
  part.name = name
  part.command = function(w) return string.format("'%s/attention_mma' %s", w.folder, kernels) end
  return part
end
local function attention_times(name, kernels, seconds)
  return { name = name, stage = "measure", seconds = seconds, soft = true, needs = "folder/attention_mma",
           sources = with(KERNELS, "tests/gpu/attention_mma.cu"),
           command = function(w)
             return string.format("'%s/attention_mma' %s --time %d", w.folder, kernels, w.tiny and 64 or 2048)
           end }
end

local function timing(group, seconds)
  return { name = "time " .. group, stage = "measure", seconds = seconds, soft = true,
           sources = with(KERNELS, ENGINE, "tests/gpu/timings.lua", "tests/gpu/timing/*.lua"),
           command = function(w)
             return string.format("'%s' tests/gpu/timings.lua --device %s --result '%s' %s '%s'", w.program, w.device,
                                  w.result, w.tiny and "--tiny" or "", group)
           end }
end

-- A part as another one, whose ops take attention on warpgroups, once that has passed its tests.
local WARPGROUPS = { "hopper", "attention on warpgroups" }
local function on_warpgroups(name, part)
  local command = part.command
  part.name, part.trial, part.after = name, true, WARPGROUPS
  part.command = function(w) return "export BAMLUA_ATTENTION=hopper; " .. command(w) end
  return part
end

-- FP8: nothing else needs it.
local function in_fp8(part)
  part.trial, part.after = true, { "fp8", "fp8: ops" }
  return part
end

local function peer(group, seconds)
  return { name = "PyTorch " .. group, stage = "measure", seconds = seconds, soft = true, peer = true, needs = "python",
           sources = { "tests/gpu/peers.py" },
           command = function(w)
             return string.format("%s tests/gpu/peers.py --device %s --result '%s' %s '%s'", w.python, w.device,
                                  w.result, w.tiny and "--tiny" or "", group)
           end }
end

local function script(name, seconds, sources, words)
  return { name = name, stage = "correct", seconds = seconds, sources = with(KERNELS, ENGINE, sources),
           command = function(w)
             return string.format("'%s' %s", w.program, (words:gsub("%$(%w+)", w)))
           end }
end

-- A part that is left out of --tiny, since it has no smaller size.
local function large(part)
  part.large = true
  return part
end

local function trial(part)
  part.trial = true
  return part
end

M.list = {
  { name = "environment", stage = "environment", seconds = 10, sources = {},
    command = function(w)
      return string.format("%s '%s' tests/gpu/environment.lua --device %s --result '%s'",
                           "nvidia-smi 2>/dev/null;", w.program, w.device, w.result)
    end },
  program("tensor_cores", 5),
  trial(program("hopper", 5)),
  attention("attention_mma", "mma", 10),
  trial(attention("attention on warpgroups", "hopper", 10)),
  trial(program("fp8", 5)),
  { name = "op suite", stage = "correct", seconds = 120, sources = with(KERNELS, ENGINE, "tests/engine/*.c"),
    command = function(w)
      return string.format("PARTS=%d sh tests/cases/run.sh '%s' %s", w.tiny and 2 or 4, w.program,
                           w.tiny and filter(w) or "--filter '!(fp8)/*'")
    end,
    -- The tests that failed, again, with the op at fault named.
    retry = function(w, log)
      local seen, list = {}, {}
      for label in log:gmatch "\n?([%w_]+/[%w_]+)[^\n]-: FAILED " do
        if not seen[label] then list[#list + 1] = label end
        seen[label] = true
      end
      if #list == 0 then return nil end
      return string.format("BAMLUA_SYNC=1 '%s' --op-cases --filter '@(%s)'", w.program,
                           table.concat(list, "|", 1, math.min(#list, 20)))
    end },
  script("same bits", 20, "tests/gpu/hashes.lua", "tests/gpu/hashes.lua --device $device --result '$result' $size"),
  script("tensors, modules, files", 30, { "tests/gpu/devices.lua", "lua/bam/*/*.lua" }, "tests/gpu/devices.lua"),
  script("bf16: optimizers, a model", 20, { "tests/gpu/bf16.lua", "lua/bam/*/*.lua" }, "tests/gpu/bf16.lua"),
  trial(script("fp8: ops", 5, "tests/engine/test_fp8.c", "--op-cases --filter 'fp8/*'")),
  in_fp8(script("fp8: attention, a model", 10, { "tests/gpu/fp8.lua", "lua/bam/*/*.lua" }, "tests/gpu/fp8.lua")),
  large(script("graphs", 15, { "tests/gpu/graphs.lua", "lua/bam/*/*.lua" }, "tests/gpu/graphs.lua")),
  large(script("a recipe, twice and resumed", 75, { "tests/gpu/recipe.lua", "lua/bam/*/*.lua" },
               "tests/gpu/recipe.lua '$program'")),
  large(in_fp8(script("a recipe in FP8", 20, { "tests/gpu/recipe_fp8.lua", "lua/bam/*/*.lua" },
                      "tests/gpu/recipe_fp8.lua '$program'"))),
  on_warpgroups("ops on warpgroups", { stage = "correct", seconds = 20, sources = with(KERNELS, "tests/engine/*.c"),
    command = function(w)
      return string.format("sh tests/cases/run.sh '%s' --filter '%s'", w.program,
                           w.tiny and "attention/values_bf16" or "@(attention|mixture_of_attention)/*")
    end }),
  attention_times("time attention kernels", "mma", 12),
  on_warpgroups("time kernels on warpgroups", attention_times("", "hopper", 12)),
  timing("ceilings", 10), timing("products", 20), timing("algorithms", 30),
  in_fp8(timing("products in FP8", 12)), timing("attention", 35),
  on_warpgroups("time attention on warpgroups", timing("attention", 35)), timing("head", 12),
  timing("optimizer", 8), timing("norm", 6), timing("routed FFN", 15),
  timing("step small dense", 12), timing("step small btx", 15), timing("step small shared", 15),
  timing("step small own", 15), timing("step large dense", 25), in_fp8(timing("step large dense in FP8", 25)),
  timing("step large btx", 30), timing("step large shared", 40), timing("step large own", 40),
  sanitizer("memcheck", "@(softmax|reduce|sort|index|attention|mixture_of_attention|route|routed_ffn|loss|optim)/*",
            60),
  sanitizer("racecheck", "@(softmax|sort|attention|loss|optim)/*", 60),
  peer("ceilings", 20), peer("micro", 60), peer("small dense", 90), peer("large dense", 120),
  peer("small btx", 120), peer("large btx", 150), peer("small shared", 150), peer("large shared", 180),
  { name = "demo sizes beside PyTorch", stage = "measure", seconds = 240, soft = true, peer = true, needs = "python",
    sources = with(KERNELS, ENGINE, "tests/bench/*.lua", "tests/bench/*.py"),
    command = function(w)
      return string.format("BAMLUA_PEER_PYTHON=%s '%s' tests/bench/bench.lua --device %s --rounds 5 --seconds 200 %s",
                           w.python, w.program, w.device, w.tiny and "--alone --tiny 'AdamW'" or "")
    end },
}

M.STAGES = { "environment", "correct", "measure" }

return M
