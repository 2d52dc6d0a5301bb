-- What changes over a run: temperature, jitter and k of routers, and what is frozen. Each must act
-- at the step it is said for, and at no other.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local ops = core.ops
local TIME, BATCH, TOTAL = 6, 4, 11

local DENSE = bam.models.parallel {
  layers = 2, width = 12, heads = 2, ffn = 10, vocab = 17, std = 0.3,
}
local experts = {}
for i = 1, 3 do experts[i] = DENSE:build { seed = i } end
bam.seed(5)
local ids, targets = bam.randint(0, 16, BATCH, TIME), bam.randint(0, 16, BATCH, TIME)

local function mix(options)
  options.experts = experts
  return bam.mix(options)
end

local linear = bam.schedule.linear

test("temperature: the gates by hand", function()
  local model = mix {
    attention = { kv = "shared", temperature = linear { from = 1, to = 3 } },
    ffn = { top_k = 2, temperature = function(p) return 2 - p end },
  }:build()
  local h = bam.randn(BATCH, TIME, 12)
  for _, step in ipairs { 1, 6, TOTAL } do
    model:set_step(step, TOTAL)
    local warm, cool = 1 + 2 * (step - 1) / 10, 2 - (step - 1) / 10
    for _, layer in ipairs(model.layers) do
      local soft = layer.attention.router(h)
      local logits = ops.linear(h, layer.attention.router.weight)
      expect.compare((soft - (logits / warm):softmax(-1)):abs():max():item(), "<", 1e-6, "attention's gates")
      local gates = layer.ffn.router(h)
      local best = (ops.linear(h, layer.ffn.router.weight) / cool):softmax(-1):topk(2, -1)
      expect.compare((gates - best):abs():max():item(), "<", 1e-6, "the FFN's gates")
    end
    expect.equal(model.reached.attention.temperature, warm, "what was reached")
  end
end)

test("jitter: none at the first step, as much as it says later, none in evaluation", function()
  local model = mix { attention = { jitter = linear { from = 0, to = 0.5 } } }:build()
  local router, h = model.layers[2].attention.router, bam.randn(BATCH, TIME, 12)
  model:set_step(1, TOTAL)
  expect.equal(router(h), router(h), "no jitter yet")
  model:set_step(6, TOTAL)
  expect.equal(router.jitter, 0.25, "jitter")
  expect.equal(model.layers[2].ffn.router.jitter, 0, "the FFN's")
  bam.seed(3)
  local noise = bam.rand(BATCH, TIME, 12)
  local shaken = ops.linear(h * (noise * 0.5 + 0.75), router.weight):softmax(-1)
  bam.seed(3)
  expect.compare((router(h) - shaken):abs():max():item(), "<", 1e-6, "jitter by hand")
  model:eval()
  expect.equal(router(h), router(h), "in evaluation")
end)

test("k", function()
  local d = mix { attention = { routing = linear { from = 3, to = 1 } },
                  ffn = { top_k = function(p) return p < 0.45 and 1 or 2 end } }
  local model = d:build()
  local h = bam.randn(BATCH, TIME, 12)
  local function choices(step)
    model:set_step(step, TOTAL)
    local attention = model.layers[1].attention.router(h)
    return model.layers[1].ffn.router(h):size(-1), attention:gt(0):to("i64"):sum(-1)[1][1]:item()
  end
  for step, expected in pairs { [1] = { 1, 3 }, [3] = { 1, 3 }, [5] = { 1, 2 }, [6] = { 2, 2 },
                                [9] = { 2, 1 }, [11] = { 2, 1 } } do
    local ffn, attention = choices(step)
    expect.equal(ffn, expected[1], "k of the FFN")
    expect.equal(attention, expected[2], "k of attention")
    expect.compare(model:loss(ids, targets):item(), ">", 0)
  end
  -- counted with the end of the schedule
  local fixed = mix { ffn = { top_k = 2 } }
  expect.equal(select(2, d:count()), (select(2, fixed:count())), "active parameters")
  expect.equal(d:flops(64).training, fixed:flops(64).training, "FLOPs")
  expect.contains(tostring(d), "top-(linear { from = 3, to = 1")
  -- bounds
  local bad = mix { ffn = { top_k = bam.schedule.piecewise { { 0, 1 }, { 0.5, 5 }, { 1, 1 } } } }
    :build()
  bad:set_step(1, TOTAL)
  expect.raises("set_step: ffn.top_k: piecewise { { 0, 1 }, { 0.5, 5 }, { 1, 1 } } gives 5 at step 6 of "
                .. "11, and there are 3 experts; it must stay within 1 .. 3", bad.set_step, bad, 6, TOTAL)
  expect.equal(bad.layers[1].ffn.router.top_k, 1, "nothing has changed")
  expect.raises("mix: option ffn: top_k: linear { from = 1, to = 0.3, warmup = 0 } gives 0.3 at its end",  mix,
                { ffn = { top_k = linear { from = 1, to = 0.3 } } })
  local cold = mix { ffn = { temperature = function(p) return 0.5 - p end } }:build()
  expect.raises("set_step: ffn.temperature: expected a number above 0, got -0.5", cold.set_step, cold, 11,
                TOTAL)
end)

test("routers of one's own", function()
  local given
  local function own(options)
    given = options
    return bam.nn.Router(options)
  end
  local model = mix { ffn = { router = own, temperature = linear { from = 4, to = 2 },
                              jitter = 0.125 } }:build()
  expect.equal(given.temperature, 4, "the option temperature")
  expect.equal(given.jitter, 0.125, "the option jitter")
  model.layers[1].ffn.router.jitter = 0.25 -- no schedule: the script's to set
  model:set_step(TOTAL, TOTAL)
  expect.equal(model.layers[2].ffn.router.temperature, 2, "a field followed")
  expect.equal(model.layers[1].ffn.router.jitter, 0.25, "a field left alone")
  local function fixed() return function(h) return h:sum(-1, true), nil end end
  expect.raises("build: attention.temperature is a schedule, but the routers of attention have no field "
        .. "`temperature` that could follow it; give them one, or a number", function()
    mix { attention = { router = fixed, temperature = linear { from = 4, to = 2 } } }:build()
  end)
end)

-- ---- what is frozen ----

local function kind_of(name)
  if name:find "router" then return "routers" end
  if name:find "%.ffn%." or name:find "attention%.out" or name:find "attention%.queries"
    or name:find "attention%.qkv" then
    return "experts"
  end
  return "rest"
end

local function snapshot(model)
  local values = {}
  for name, p in model:named_parameters() do values[name] = p:clone() end
  return values
end

-- One step of AdamW, whose moments and decay move whatever it touches.
local function advance(model, optimizer, step)
  model:set_step(step, TOTAL)
  bam.scope(function()
    optimizer:zero_grad()
    model:loss(ids, targets):backward()
    optimizer:clip(1)
    optimizer:step(0.01)
  end)
end

-- Which kinds move at steps 1 .. 4; every tensor of a kind must, or none of it may.
local function moving(model, owner)
  local optimizer, text = bam.optim.AdamW(model), {}
  for step = 1, 4 do
    local before, moved = snapshot(model), {}
    advance(model, optimizer, step)
    for name, p in model:named_parameters() do
      local kind, moves = owner(name), not p:eq(before[name]):all():item()
      expect.yes(moved[kind] == nil or moved[kind] == moves, name)
      moved[kind] = moves
      expect.equal(p.requires_grad, moves, string.format("requires_grad of %s", name))
    end
    text[step] = (moved.routers and "r" or "-") .. (moved.experts and "e" or "-")
      .. (moved.rest and "x" or "-")
  end
  return table.concat(text, " ")
end

-- Nothing before step 3 of 11.
local function early(p) return p < 0.15 end

test("a key frozen in the beginning gets nothing before its step", function()
  for _, kv in ipairs { "own", "shared" } do
    local attention = { kv = kv, routing = 2 }
    local ffn = { top_k = 3 } -- every expert gets a gradient
    local function build(freeze)
      return mix { attention = attention, ffn = ffn, freeze = freeze }:build()
    end
    local late = bam.schedule.piecewise { { 0, 0 }, { 0.15, 0 }, { 0.15, 1 } }
    expect.equal(moving(build { experts = early }, kind_of), "r-x r-x rex rex", "the experts at first")
    expect.equal(moving(build { routers = late }, kind_of), "rex rex -ex -ex", "the routers later")
    expect.equal(moving(build { rest = true }, kind_of), "re- re- re- re-", "the rest always")
    expect.equal(moving(build { rest = 0, routers = 2 }, kind_of), "-ex -ex -ex -ex", "a number")
    expect.equal(moving(build { experts = true, rest = early }, kind_of), "r-- r-- r-x r-x",
                 "all but the routers")
  end

  do -- without attention experts attention is of the rest
    local function owner(name) return name:find "attention" and "rest" or kind_of(name) end
    local model = mix { attention = { experts = "mean" }, ffn = { top_k = 3 },
                        freeze = { rest = true } }:build()
    expect.equal(moving(model, owner), "re- re- re- re-", "the mean's attention")
    local up = bam.upcycle { model = experts[1], experts = 3, ffn = { top_k = 3 },
                             freeze = { experts = early } }:build()
    expect.equal(moving(up, owner), "r-x r-x rex rex", "upcycled")
  end

  do -- what is not said is left to the script
    local model = mix { ffn = { top_k = 3 }, freeze = { routers = true } }:build()
    model:freeze "embed"
    model:set_step(2, TOTAL)
    expect.no(model.embed.weight.requires_grad)
    expect.yes(model.head.weight.requires_grad)
    expect.no(model.layers[1].ffn.router.weight.requires_grad)
  end
end)

test("keys apart are the same model", function()
  local plain = mix { attention = { kv = "shared" } }:build()
  local apart = mix { attention = { kv = "shared" }, freeze = { experts = false } }:build()
  expect.equal(plain(ids), apart(ids), "logits")
  local a, b = plain.layers[2].attention, apart.layers[2].attention
  plain:loss(ids, targets):backward()
  apart:loss(ids, targets):backward()
  expect.equal(a.qkv.grad:narrow(1, 1, 36), b.queries.grad, "gradients of queries")
  expect.equal(a.qkv.grad:narrow(1, 37, 24), b.keys_values.grad, "gradients of keys and values")
  expect.equal(plain:count(), apart:count(), "parameters")
end)

test("a checkpoint has the numbers that were reached", function()
  local path = os.tmpname()
  os.remove(path)
  local function saved(model)
    model:save(path)
    local loaded = bam.load(path)
    os.execute(string.format("rm -r '%s'", path))
    return loaded
  end
  local model = mix {
    attention = { kv = "shared", routing = linear { from = 1, to = 3 }, jitter = 0.25,
                  temperature = linear { from = 1, to = 2 } },
    ffn = { top_k = linear { from = 3, to = 1 }, jitter = linear { from = 0, to = 0.5 } },
    freeze = { experts = early, rest = false },
  }:build()
  model:set_step(6, TOTAL)
  local loaded = saved(model)
  local d = loaded.description
  expect.equal(d.attention.routing, 2, "routing")
  expect.equal(d.attention.temperature, 1.5, "temperature")
  expect.equal(d.attention.jitter, 0.25, "jitter")
  expect.equal(d.ffn.top_k, 2, "top_k")
  expect.equal(d.ffn.temperature, 1, "temperature of the FFN")
  expect.equal(d.ffn.jitter, 0.25, "jitter of the FFN")
  expect.equal(d.freeze.experts, false, "experts are trained by now")
  expect.equal(d.freeze.rest, false, "said of the rest")
  expect.equal(d.freeze.routers, nil, "not said of the routers")
  expect.equal(loaded:eval()(ids), model:eval()(ids), "logits")
  expect.equal(select(2, bam.nn.Module.count(loaded)), (bam.nn.Module.count(loaded)),
               "nothing is frozen at first")
  model:set_step(1, TOTAL)
  local frozen = saved(model)
  expect.equal(frozen.description.freeze.experts, true, "frozen so far")
  expect.yes(frozen.layers[1].attention.queries.requires_grad)
  frozen:set_step(1, 1)
  expect.no(frozen.layers[1].attention.queries.requires_grad)
end)

test("what cannot be read", function()
  expect.raises("mix: option freeze: no option `expert`; did you mean `experts`?", mix,
                { freeze = { expert = true } })
  expect.raises('mix: option freeze: experts (or true, false, a schedule): expected a finite number, got the '
                .. 'string "yes"', mix, { freeze = { experts = "yes" } })
  expect.raises("mix: option ffn: temperature: expected a number above 0, got 0", mix,
                { ffn = { temperature = 0 } })
  expect.raises("mix: option attention: jitter: expected a number from 0 to below 1, got 1", mix,
                { attention = { jitter = 1 } })
  expect.raises('mix: option ffn: jitter: expected a number or a schedule, got the string "x"', mix,
                { ffn = { jitter = "x" } })
  expect.raises("mix: option attention: expected { experts = \"mean\" }", mix,
                { attention = { experts = "mean", temperature = 2 } })
end)

