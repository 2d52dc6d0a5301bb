-- Training and evaluation mode: what build and bam.load give, and what evaluates whatever the mode
-- is, leaving every module's own as it was, also after errors and interrupts.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local SIZES = { layers = 2, width = 16, heads = 2, ffn = 16, vocab = 256, context = 32 }
local dense = bam.models.parallel(SIZES)

-- A mixture whose routers shake what they read, and balance over groups of 8 tokens.
local function mixture(router)
  return bam.mix { experts = { dense:build { seed = 1 }, dense:build { seed = 2 } }, seed = 5,
                   attention = { routing = 1, jitter = 0.5, router = router },
                   ffn = { top_k = 1, jitter = 0.5 }, aux_group_size = 8 }:build()
end

local function modes(model)
  local list = {}
  for name, m in model:named_modules() do list[#list + 1] = string.format("%s %s", name, m.training) end
  return table.concat(list, "\n")
end

bam.seed(3)
local ids, targets = bam.randint(0, 255, 1, 13), bam.randint(0, 255, 1, 13) -- 8 does not divide 13

local CALLS = {
  sample = function(m) return m:sample("hello", { tokens = 4, temperature = 0 }) end,
  log_likelihood = function(m) return table.concat(m:log_likelihood(ids, targets)[1]:totable(), " ") end,
  routing = function(m)
    local texts = {}
    for i, r in ipairs(m:routing(ids)) do texts[i] = table.concat(r.statistics[2]:totable(), " ") end
    return table.concat(texts, "\n")
  end,
}

local model = mixture()

test("what build and load give", function()
  expect.yes(model.training, "build: training mode")
  expect.no(modes(model):find "false", "build: training mode")
  local directory = os.tmpname()
  os.remove(directory)
  model:save(directory)
  local loaded = bam.load(directory)
  core.remove_directory(directory)
  expect.no(modes(loaded):find "true", "load: evaluation mode")
  expect.equal(loaded(ids), loaded(ids))
end)

test("what evaluates, whatever the mode is", function()
  model = mixture()
  model.layers[1].ffn:eval() -- modes of their own
  for name, call in pairs(CALLS) do
    local before, first = modes(model), call(model)
    for _ = 1, 3 do expect.equal(call(model), first, name) end
    expect.equal(modes(model), before, name)
    expect.equal(call(mixture():eval()), first, name)
  end
end)

test("training is as it was: jitter acts, and groups must fit", function()
  local even = bam.randint(0, 255, 1, 16)
  local function loss() return model:loss(even, even):item() end
  expect.different(loss(), loss(), "jitter")
  expect.no(pcall(model.loss, model, ids, targets), "groups of 8 in 13 tokens")
end)

local faulty

local before
test("errors and interrupts", function()
  do
    local fault = false
    faulty = mixture(function()
      return function(h)
        if fault then error "a fault" end
        return core.ones({ h:size(1), h:size(2), 2 })
      end
    end)
    fault = true
  end
  before = modes(faulty)
  for name, call in pairs(CALLS) do
    local fine, message = pcall(call, faulty)
    expect.no(fine, name)
    expect.matches(message, "a fault", name)
    expect.equal(modes(faulty), before, name)
  end
end)

test("an error after any number of instructions, as Ctrl-C makes it", function()
  model = mixture()
  before = modes(model)
  for name, call in pairs(CALLS) do
    local count = 1
    local fine
    repeat
      fine = pcall(function()
        debug.sethook(function()
          debug.sethook()
          error("interrupted", 0)
        end, "", count)
        call(model)
        debug.sethook()
      end)
      expect.equal(modes(model), before, string.format("%s after %d instructions", name, count))
      count = count + 1 + count // 40
    until fine
  end
end)

test("an ensemble's models", function()
  local ensemble = bam.ensemble { models = { mixture(), mixture() } }
  before = modes(ensemble)
  for _, name in ipairs { "sample", "log_likelihood" } do
    expect.equal(CALLS[name](ensemble), CALLS[name](ensemble), name)
  end
  expect.equal(ensemble(ids), ensemble(ids))
  expect.equal(ensemble:loss(ids, targets):item(), ensemble:loss(ids, targets):item())
  expect.equal(modes(ensemble), before)
end)

test("in_eval", function()
  local gave = table.pack(model:in_eval(function(...)
    expect.no(modes(model):find "true")
    return select("#", ...), ...
  end, 1, nil))
  expect.equal(gave.n, 3)
  expect.equal(gave[1], 2)
  expect.equal(gave[2], 1)
  expect.equal(modes(model), modes(mixture()))
end)

