-- The method after_step of routers: called once after every step that is taken, with the load of the whole batch;
-- what it changes is saved, resumed and computed again to the bit.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local small = require "tests.lua.support.small_run"
local test = require "tests.lua.support.test"

-- A bias on the scores by which experts are chosen, moved against their load after each step (Wang et al. 2024,
-- Auxiliary-Loss-Free Load Balancing, arXiv:2408.15664).
local BALANCED = [[
local Balanced = bam.nn.module "Balanced"
function Balanced:init(o)
  self.weight = bam.nn.weights.normal({ o.experts, o.width }, 0.02)
  self.bias = bam.zeros(o.experts)
  self.experts = o.experts
end
function Balanced:forward(h, batch)
  local scores = bam.linear(h, self.weight):sigmoid()
  local _, chosen = bam.topk(scores:detach() + self.bias, 1)
  local picked = bam.one_hot(chosen, self.experts):to "f32"
  local load, none = picked:view(-1, self.experts):mean(1), bam.zeros(self.experts)
  return bam.gather(scores, chosen, 3), chosen, { statistics = bam.stack({ load, none, none }, 1) }
end
function Balanced:after_step(statistics)
  for e, load in ipairs(statistics.load) do
    self.bias[e] = self.bias[e]:item() + (load < 1 / self.experts and 0.125 or -0.125)
  end
end
]]

local RECIPE = small.RECIPE:gsub("local function train", function(line) return BALANCED .. line end)
  :gsub("jitter = 0.1 }", "router = Balanced }")

local directories = {}
local cleanup <close> = setmetatable({}, { __close = function()
  for _, directory in ipairs(directories) do small.remove(directory) end
end })

local function new_run(text, flags, prefix)
  local directory = small.directory(text)
  directories[#directories + 1] = directory
  local output, fine = small.run(directory, flags, prefix)
  return directory, fine, output
end

local whole, fine, output = new_run(RECIPE)
expect.yes(fine, output)

test("the bias follows the loads that the log has", function()
  local place = small.phase(whole, "mixed")
  local bias, lines = { 0, 0 }, 0
  for line in io.lines(string.format("%s/metrics.jsonl", place)) do
    local record = bam.json.decode(line)
    if record.routing then
      expect.no(record.skipped)
      lines = lines + 1
      for _, routing in ipairs(record.routing) do
        for e, load in ipairs(routing.module == "ffn" and routing.load or {}) do
          bias[e] = bias[e] + (load < 0.5 and 0.125 or -0.125)
        end
      end
    end
  end
  expect.equal(lines, 10)
  local saved = core.load(string.format("%s/step-00000010/model.safetensors", place))
  local found
  for name, tensor in pairs(saved) do
    if name:find "bias$" then found = tensor:totable() end
  end
  expect.equal(found, bias)
end)

test("killed, audited and replayed runs give the same bits", function()
  local digests = small.digests(whole)
  local kill = "\nphase.on_step = function(record) if record.step == 5 and phase.name == 'mixed' and not os.getenv 'GO_ON' "
    .. "then os.execute('kill -9 $PPID') end end\n"
  local killed, done = new_run((RECIPE:gsub("phase.eval_tokens = 64", "%0" .. kill)))
  expect.no(done, "killed")
  local text, resumed = small.run(killed, nil, "export GO_ON=1;")
  expect.yes(resumed, text)
  small.assert_same(digests, small.digests(killed))
  local audited = new_run((RECIPE:gsub("phase.eval_tokens = 64", "%0 phase.audit_every = 2")))
  small.assert_same(digests, small.digests(audited))
  expect.contains(small.run(whole, "--audit"), "steps 10 to 10, trained again, give the same bits")
end)

test("it is called once a step, with the load of the whole batch, and not after a skipped step", function()
  local calls = {}
  local Spy = bam.nn.module "Spy"
  function Spy:init(o) self.router = bam.nn.Router(o) end
  function Spy:forward(h, batch) return self.router(h, batch) end
  function Spy:after_step(statistics)
    expect.equal(core.is_recording(), false)
    calls[#calls + 1] = statistics
  end
  local experts = {}
  for i = 1, 2 do
    experts[i] = bam.models.parallel { vocab = 16, layers = 1, width = 8, heads = 2, ffn = 8, context = 8 }:build { seed = i }
  end
  local model = bam.mix { experts = experts, attention = { kv = "shared" }, ffn = { router = Spy, top_k = 1 } }:build {
    seed = 1 }
  local opt = bam.optim.AdamW(model, { lr = 0.01 })
  local ids = bam.randint(0, 15, 4, 8)
  local batch = { ids = ids, targets = ids, tokens = 32 }
  local record = bam.loop.step(model, opt, batch, { lr = 0.01, rows = 1 })
  expect.equal(#calls, 1)
  for _, routing in ipairs(record.routing) do
    if routing.module == "ffn" then expect.equal(calls[1].load, routing.load) end
  end
  expect.close(calls[1].load[1] + calls[1].load[2], 1, 1e-6)
  bam.loop.step(model, opt, batch, { lr = 0.01, judge = function() return "no reason" end })
  expect.equal(#calls, 1)
  expect.raises("after_step: expected a model, got 3", model.after_step, 3)
end)
