-- What changes over a run: temperature, jitter and k of routers, and what is frozen. Each must act
-- at the step it is said for, and at no other.
local bam = require "bam"
local core = require "bam.core"

local ops = core.ops
local TIME, BATCH, TOTAL = 6, 4, 11

local DENSE = bam.models.parallel {
  layers = 2, width = 12, heads = 2, ffn = 10, vocab = 17, std = 0.3,
}
local experts = {}
for i = 1, 3 do experts[i] = DENSE:build { seed = i } end
bam.seed(5)
local ids, targets = bam.randint(0, 16, BATCH, TIME), bam.randint(0, 16, BATCH, TIME)

local function equal(what, got, want)
  assert(got == want, string.format("%s: %s, not %s", what, tostring(got), tostring(want)))
end

local function same(what, a, b)
  assert(a:eq(b):all():item(), string.format("%s: the values differ", what))
end

local function fails(what, f, ...)
  local ok, message = pcall(f, ...)
  assert(not ok and tostring(message):find(what, 1, true), tostring(message))
end

local function mix(options)
  options.experts = experts
  return bam.mix(options)
end

local linear = bam.schedule.linear

-- ---- temperature: the gates by hand ----

do
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
      assert((soft - (logits / warm):softmax(-1)):abs():max():item() < 1e-6, "attention's gates")
      local gates = layer.ffn.router(h)
      local best = (ops.linear(h, layer.ffn.router.weight) / cool):softmax(-1):topk(2, -1)
      assert((gates - best):abs():max():item() < 1e-6, "the FFN's gates")
    end
    equal("what was reached", model.reached.attention.temperature, warm)
  end
end

-- ---- jitter: none at the first step, as much as it says later, none in evaluation ----

do
  local model = mix { attention = { jitter = linear { from = 0, to = 0.5 } } }:build()
  local router, h = model.layers[2].attention.router, bam.randn(BATCH, TIME, 12)
  model:set_step(1, TOTAL)
  same("no jitter yet", router(h), router(h))
  model:set_step(6, TOTAL)
  equal("jitter", router.jitter, 0.25)
  equal("the FFN's", model.layers[2].ffn.router.jitter, 0)
  bam.seed(3)
  local noise = bam.rand(BATCH, TIME, 12)
  local shaken = ops.linear(h * (noise * 0.5 + 0.75), router.weight):softmax(-1)
  bam.seed(3)
  assert((router(h) - shaken):abs():max():item() < 1e-6, "jitter by hand")
  model:eval()
  same("in evaluation", router(h), router(h))
end

-- ---- k ----

do
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
    equal("k of the FFN", ffn, expected[1])
    equal("k of attention", attention, expected[2])
    assert(model:loss(ids, targets):item() > 0)
  end
  -- counted with the end of the schedule
  local fixed = mix { ffn = { top_k = 2 } }
  equal("active parameters", select(2, d:count()), (select(2, fixed:count())))
  equal("FLOPs", d:flops(64).training, fixed:flops(64).training)
  assert(tostring(d):find("top-(linear { from = 3, to = 1", 1, true), tostring(d))
  -- bounds
  local bad = mix { ffn = { top_k = bam.schedule.piecewise { { 0, 1 }, { 0.5, 5 }, { 1, 1 } } } }
    :build()
  bad:set_step(1, TOTAL)
  fails("set_step: ffn.top_k: piecewise { { 0, 1 }, { 0.5, 5 }, { 1, 1 } } gives 5 at step 6 of "
        .. "11, and there are 3 experts; it must stay within 1 .. 3", bad.set_step, bad, 6, TOTAL)
  equal("nothing has changed", bad.layers[1].ffn.router.top_k, 1)
  fails("mix: option ffn: top_k: linear { from = 1, to = 0.3, warmup = 0 } gives 0.3 at its end",
        mix, { ffn = { top_k = linear { from = 1, to = 0.3 } } })
  local cold = mix { ffn = { temperature = function(p) return 0.5 - p end } }:build()
  fails("set_step: ffn.temperature: expected a number above 0, got -0.5", cold.set_step, cold, 11,
        TOTAL)
end

-- ---- routers of one's own ----

do
  local given
  local function own(options)
    given = options
    return bam.nn.Router(options)
  end
  local model = mix { ffn = { router = own, temperature = linear { from = 4, to = 2 },
                              jitter = 0.125 } }:build()
  equal("the option temperature", given.temperature, 4)
  equal("the option jitter", given.jitter, 0.125)
  model.layers[1].ffn.router.jitter = 0.25 -- no schedule: the script's to set
  model:set_step(TOTAL, TOTAL)
  equal("a field followed", model.layers[2].ffn.router.temperature, 2)
  equal("a field left alone", model.layers[1].ffn.router.jitter, 0.25)
  local function fixed() return function(h) return h:sum(-1, true), nil end end
  fails("build: attention.temperature is a schedule, but the routers of attention have no field "
        .. "`temperature` that could follow it; give them one, or a number", function()
    mix { attention = { router = fixed, temperature = linear { from = 4, to = 2 } } }:build()
  end)
end

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
      assert(moved[kind] == nil or moved[kind] == moves, name)
      moved[kind] = moves
      equal(string.format("requires_grad of %s", name), p.requires_grad, moves)
    end
    text[step] = (moved.routers and "r" or "-") .. (moved.experts and "e" or "-")
      .. (moved.rest and "x" or "-")
  end
  return table.concat(text, " ")
end

-- Nothing before step 3 of 11.
local function early(p) return p < 0.15 end

for _, kv in ipairs { "own", "shared" } do
  local attention = { kv = kv, routing = 2 }
  local ffn = { top_k = 3 } -- every expert gets a gradient
  local function build(freeze)
    return mix { attention = attention, ffn = ffn, freeze = freeze }:build()
  end
  local late = bam.schedule.piecewise { { 0, 0 }, { 0.15, 0 }, { 0.15, 1 } }
  equal("the experts at first", moving(build { experts = early }, kind_of), "r-x r-x rex rex")
  equal("the routers later", moving(build { routers = late }, kind_of), "rex rex -ex -ex")
  equal("the rest always", moving(build { rest = true }, kind_of), "re- re- re- re-")
  equal("a number", moving(build { rest = 0, routers = 2 }, kind_of), "-ex -ex -ex -ex")
  equal("all but the routers", moving(build { experts = true, rest = early }, kind_of),
        "r-- r-- r-x r-x")
end

do -- without attention experts attention is of the rest
  local function owner(name) return name:find "attention" and "rest" or kind_of(name) end
  local model = mix { attention = { experts = "mean" }, ffn = { top_k = 3 },
                      freeze = { rest = true } }:build()
  equal("the mean's attention", moving(model, owner), "re- re- re- re-")
  local up = bam.upcycle { model = experts[1], experts = 3, ffn = { top_k = 3 },
                           freeze = { experts = early } }:build()
  equal("upcycled", moving(up, owner), "r-x r-x rex rex")
end

do -- what is not said is left to the script
  local model = mix { ffn = { top_k = 3 }, freeze = { routers = true } }:build()
  model:freeze "embed"
  model:set_step(2, TOTAL)
  assert(not model.embed.weight.requires_grad and model.head.weight.requires_grad)
  assert(not model.layers[1].ffn.router.weight.requires_grad)
end

-- ---- keys apart are the same model ----

do
  local plain = mix { attention = { kv = "shared" } }:build()
  local apart = mix { attention = { kv = "shared" }, freeze = { experts = false } }:build()
  same("logits", plain(ids), apart(ids))
  local a, b = plain.layers[2].attention, apart.layers[2].attention
  plain:loss(ids, targets):backward()
  apart:loss(ids, targets):backward()
  same("gradients of queries", a.qkv.grad:narrow(1, 1, 36), b.queries.grad)
  same("gradients of keys and values", a.qkv.grad:narrow(1, 37, 24), b.keys_values.grad)
  equal("parameters", plain:count(), apart:count())
end

-- ---- a checkpoint has the numbers that were reached ----

do
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
  equal("routing", d.attention.routing, 2)
  equal("temperature", d.attention.temperature, 1.5)
  equal("jitter", d.attention.jitter, 0.25)
  equal("top_k", d.ffn.top_k, 2)
  equal("temperature of the FFN", d.ffn.temperature, 1)
  equal("jitter of the FFN", d.ffn.jitter, 0.25)
  equal("experts are trained by now", d.freeze.experts, false)
  equal("said of the rest", d.freeze.rest, false)
  equal("not said of the routers", d.freeze.routers, nil)
  same("logits", loaded:eval()(ids), model:eval()(ids))
  equal("nothing is frozen at first", select(2, bam.nn.Module.count(loaded)),
        (bam.nn.Module.count(loaded)))
  model:set_step(1, TOTAL)
  local frozen = saved(model)
  equal("frozen so far", frozen.description.freeze.experts, true)
  assert(frozen.layers[1].attention.queries.requires_grad)
  frozen:set_step(1, 1)
  assert(not frozen.layers[1].attention.queries.requires_grad)
end

-- ---- what cannot be read ----

fails("mix: option freeze: no option `expert`; did you mean `experts`?", mix,
      { freeze = { expert = true } })
fails('mix: option freeze: experts (or true, false, a schedule): expected a finite number, got the '
      .. 'string "yes"', mix, { freeze = { experts = "yes" } })
fails("mix: option ffn: temperature: expected a number above 0, got 0", mix,
      { ffn = { temperature = 0 } })
fails("mix: option attention: jitter: expected a number from 0 to below 1, got 1", mix,
      { attention = { jitter = 1 } })
fails('mix: option ffn: jitter: expected a number or a schedule, got the string "x"', mix,
      { ffn = { jitter = "x" } })
fails("mix: option attention: expected { experts = \"mean\" }", mix,
      { attention = { experts = "mean", temperature = 2 } })

print "router schedules: ok"
