-- audit_every: a bit that flips in weights or moments between two steps, or anywhere in a step that is
-- computed twice, ends the run; and without faults nothing changes.
local bam = require "bam"
local recheck = require "bam.train.recheck"
local small = require "tests.lua.support.small_run"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local WIDTH = 8

-- A model of two layers that is trained on random numbers; `fault(step, run, time)` may do harm.
local function train(every, fault, stream)
  bam.seed(1)
  local model = bam.nn.Sequential { bam.nn.Linear(WIDTH, WIDTH), bam.nn.Linear(WIDTH, 1) }
  local run = { model = model, optimizer = bam.optim.AdamW(model, { lr = 1e-2 }),
                health = { state = {} }, stream = stream }
  local rechecked = every and recheck.new(every, run)
  for step = 1, 9 do
    local time = 0
    local function compute()
      return bam.scope(function()
        time = time + 1
        run.health.state.last = step
        run.optimizer:zero_grad()
        local loss = (model(bam.randn(4, WIDTH)) ^ 2):mean()
        loss:backward()
        if fault then fault(step, run, time) end
        run.optimizer:step()
        return { loss = loss:item() }
      end)
    end
    if rechecked then rechecked:step(step, compute) else compute() end
    if fault then fault(step, run, "after") end
  end
  return tostring(run.optimizer._buckets[1].param), run.optimizer.steps
end

local plain, steps = train()

test("without faults nothing changes", function()
  local watched, count = train(3)
  expect.equal(plain, watched, "watching changes what is trained")
  expect.equal(steps, count, "watching changes what is trained")
end)

-- Flip the lowest bit of an element of a buffer.
local function flip(buffer)
  bam.no_grad(function() buffer[3] = buffer[3]:item() * (1 + 2 ^ -23) + 1e-45 end)
end

local function expect_caught(words, fault, stream)
  local ok, message = pcall(train, 3, fault, stream)
  expect.no(ok, message)
  expect.contains(message, words)
end

test("a flipped bit ends the run", function()
  for _, buffer in ipairs { "param", "moment" } do
    expect_caught("weights or moments changed in memory between steps 4 and 5", function(step, run, when)
      local bucket = run.optimizer._buckets[1]
      if step == 4 and when == "after" then
        flip(buffer == "param" and bucket.param or bucket.state.v)
      end
    end)
  end
  for time = 1, 2 do
    expect_caught("step 6, computed twice, gave different weights or moments", function(step, run, when)
      if step == 6 and when == time then flip(run.optimizer._buckets[1].grad) end
    end)
  end
end)

local directory, other
local cleanup <close> = setmetatable({}, { __close = function()
  small.remove(directory)
  small.remove(other)
end })

test("in a phase: the same weights, and the same fingerprint", function()
  local with_audit = small.RECIPE:gsub("phase.eval_tokens = 64",
                                       [[
  phase.eval_tokens, phase.audit_every = 64, 2
  phase.on_step = function(record, model) assert(record and model:parameters()) end]])
  directory, other = small.directory(), small.directory(with_audit)
  for _, place in ipairs { directory, other } do
    local output, fine = small.run(place)
    expect.yes(fine, output)
  end
  small.assert_same(small.digests(directory), small.digests(other))
  for _, name in ipairs { "seed", "experts/law", "mixed" } do
    expect.equal(small.phase(directory, name):match "%x+$", small.phase(other, name):match "%x+$", name)
  end
  -- ---- a bit of the tokens ----

  local text = bam.corpus({ law = string.format("%s/law.txt", directory) },
                          { vocab = 280, heldout = 0.3, cache = string.format("%s/cache", directory) })
  local stream = text:sample { law = 1 }:open { context = 16, batch = 4, steps = 9 }
  expect.no(stream:fault())
  local path = string.format("%s/law.train-00001.safetensors", text:prepare().directory)
  local shard <close> = io.open(path, "r+b")
  shard:seek("end", -8)
  local byte = shard:read(1):byte()
  local function write(value)
    shard:seek("end", -8)
    shard:write(string.char(value))
    shard:flush()
  end
  write(byte ~ 1)
  expect.matches(stream:fault(), "law%.train%-00001%.safetensors was changed$")
  expect_caught("step 3: tokens differ from what was written", nil, stream)
  write(byte)
  expect.no(stream:fault())
end)

