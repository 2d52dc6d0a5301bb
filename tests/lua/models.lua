-- Models, mixing and checkpoints: what the method promises (BAM §4), and that nothing is lost on
-- the way to a directory and back. Agreement with PyTorch is in golden_mixture.lua.
local bam = require "bam"
local core = require "bam.core"
local names = require "bam.models.names"

-- Relative to the largest element where that is above 1.
local function close(what, a, b, tolerance)
  local off = (a - b):abs():max():item() / math.max(1, b:abs():max():item())
  assert(off <= tolerance, string.format("%s differ by %.2e", what, off))
end

local function equal(what, got, want)
  assert(got == want, string.format("%s: %s, not %s", what, tostring(got), tostring(want)))
end

local SCRATCH = os.tmpname()
os.remove(SCRATCH)
local cleanup <close> = setmetatable({}, { __close = function()
  os.execute(string.format("rm -rf '%s'*", SCRATCH))
end })
local function scratch(name) return string.format("%s-%s", SCRATCH, name) end

local SMALL = bam.models.parallel {
  layers = 2, width = 24, heads = 4, kv_heads = 2, ffn = 20, vocab = 31, std = 0.3,
}
local ids, targets = bam.randint(0, 30, 3, 12), bam.randint(0, 30, 3, 12)

local function dense(count)
  local list = {}
  for i = 1, count do list[i] = SMALL:build { seed = i } end
  return list
end

-- ---- counts: of the paper, without allocating anything ----

do
  local before = core.memory().peak
  local small = bam.models.parallel {
    layers = 6, width = 1024, heads = 8, ffn = 2048, vocab = 256000,
  }
  local large = bam.models.parallel {
    layers = 18, width = 2304, heads = 18, kv_heads = 6, ffn = 9216, vocab = 256000, tied = true,
  }
  local four = { small, small, small, small }
  local function counts(attention, ffn)
    local d = bam.mix { experts = four, attention = attention, ffn = ffn }
    local total, active = d:count()
    return total, active, d:flops(256).layer.total
  end
  equal("dense", small:count(), 587209728)
  equal("large dense", large:count(), 1991289600)
  local total, active, flops = counts { experts = "mean" }
  equal("BTX", total, 700480512)
  equal("BTX, active", active, 587234304)
  equal("BTX, FLOPs of a layer", flops, 21504000)
  equal("shared KV", counts { kv = "shared" }, 738253824)
  total, active, flops = counts { kv = "own" }
  equal("KV experts", total, 776002560)
  equal("KV experts, active", active, 662756352)
  equal("KV experts, FLOPs of a layer", flops, 48250880)
  flops = select(3, counts({ experts = "mean" }, { top_k = 3, extra_seed_copies = 2 }))
  equal("BTX top-3 of 6, FLOPs of a layer", flops, 46673920)
  local f = small:flops(2048)
  equal("FLOPs of training", f.training, 6 * (6 * (4 * 1024 ^ 2 + 3 * 1024 * 2048) + 1024 * 256000)
        + 6 * 6 * 2048 * 1024)
  equal("PaLM's", f.palm, f.training + 6 * 6 * 2048 * 1024)
  equal("memory taken for descriptions", core.memory().peak, before)
end

-- ---- a live model ----

do
  local model = SMALL:build { seed = 3 }
  local function sum() return model(ids):sum():item() end
  equal("the same seed", SMALL:build { seed = 3 }(ids):sum():item(), sum())
  assert(SMALL:build { seed = 4 }(ids):sum():item() ~= sum(), "another seed, the same model")
  local state = core.random_state()
  SMALL:build { seed = 9 }
  equal("the generator after a build with a seed", core.random_state()[2], state[2])
  local total = 0
  for _, p in model:named_parameters() do total = total + p:count() end
  equal("count", model:count(), total)
  equal("active", select(2, model:count()), total)
  local loss, parts = model:loss(ids, targets)
  equal("parts of a dense loss", parts.losses, nil)
  local likelihood = model:log_likelihood(ids, targets)
  close("loss and likelihood", loss, -likelihood:mean(), 1e-5)
  close("loss and cross entropy of the logits", loss, bam.cross_entropy(model(ids), targets), 1e-5)
  local some = targets:clone()
  some[{ 1, {} }] = -100
  close("ignored targets", model:loss(ids, some), -likelihood[{ { 2, 3 } }]:mean(), 1e-5)
  equal("likelihood of an ignored target", model:log_likelihood(ids, some)[1][1]:item(), 0.0)
  local scaled = model:loss(ids, targets, { scale = 1 / targets:count() })
  close("a sum times scale", scaled, loss, 1e-5)
  -- documents: the second is not influenced by the first
  local documents = bam.tensor({ { 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1 } }):expand(3, 12)
  local positions = bam.tensor({ { 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6 } }):expand(3, 12)
  close("a document by itself",
        model(ids, { documents = documents, positions = positions })[{ {}, { 6, 12 } }],
        model(ids[{ {}, { 6, 12 } }]), 1e-5)
end

-- ---- a description cannot be changed, and reads as plain data ----

do
  local d = bam.mix { experts = dense(2), freeze = { experts = true } }
  local function refused(part, name)
    local ok, message = pcall(function() part[name] = 3 end)
    assert(not ok and message:find(string.format("%s: a ", name), 1, true), message)
    assert(message:find("model description cannot be changed; make a new one", 1, true), message)
  end
  for _, name in ipairs { "layers", "attention", "anything" } do refused(d, name) end
  refused(d.ffn, "hidden")
  refused(d.attention, "routing")
  refused(d.freeze, "experts")
  refused(d:build().description, "layers")
  refused(SMALL, "layers")
  local names_read, settings = {}, 0
  for name in pairs(d) do names_read[name] = true end
  for _ in pairs(d.ffn) do settings = settings + 1 end
  assert(names_read.layers and names_read.attention and settings > 3)
  equal("a field read", d.layers, 2)
  equal("a field that is not there", d.nothing, nil)
  equal("a nested one", d.freeze.experts, true)
  equal("a part printed", tostring(d.freeze), "{ experts = true }")
  equal("how many are mixed", #d.sources, 2)
  local text = tostring(d)
  assert(text:find("2 layers", 1, true) and text:find("freeze experts: true", 1, true), text)
end

-- ---- N copies of one seed ----

local function copies(options)
  local seed = SMALL:build { seed = 5 }
  options.experts = { seed, seed, seed }
  return seed, bam.mix(options):build()
end

for _, kv in ipairs { "own", "shared" } do
  local seed, mixed = copies { attention = { kv = kv }, ffn = { top_k = 2, renormalise = true } }
  local h = bam.randn(3, 12, 24)
  for i, layer in ipairs(mixed.layers) do
    close("attention of copies", layer.attention(h), seed.layers[i].attention(h), 1e-6)
    close("FFN of copies", layer.ffn(h), seed.layers[i].ffn(h), 1e-6)
  end
  close("logits of copies", mixed(ids), seed(ids), 1e-5)
  for _, name in ipairs { "embed.weight", "norm.weight", "head.weight" } do -- to the bit
    assert(mixed:state()[name]:eq(seed:state()[name]):all():item(), name)
  end
end

do -- without renormalising, the FFN's result is multiplied by the gates' sum
  local seed, mixed = copies { attention = { experts = "mean" }, ffn = { top_k = 3 } }
  close("all experts, gates not renormalised", mixed(ids), seed(ids), 1e-5)
  local up = bam.upcycle { model = seed, experts = 3, ffn = { top_k = 3 } }
  equal("upcycled", up:count(), bam.mix { experts = { seed, seed, seed },
                                          attention = { experts = "mean" } }:count())
  close("sparse upcycling", up:build()(ids), seed(ids), 1e-5)
end

-- ---- forced one-hot routing gives dense model i with the merged parts ----

-- A router that sends everything to one expert.
local function only(i)
  return function(options)
    return function(h)
      local one = bam.ones(h:size(1), h:size(2), 1, { dtype = h.dtype })
      assert(options.layer and options.experts)
      return one, bam.full({ h:size(1), h:size(2), 1 }, i, { dtype = "i64" })
    end
  end
end

for _, kv in ipairs { "own", "shared" } do
  local experts = dense(3)
  for i = 1, 3 do
    local mixed = bam.mix { experts = experts, attention = { kv = kv, router = only(i) },
                            ffn = { router = only(i) } }:build()
    -- dense model i, with what is no expert's merged
    local single = SMALL:build()
    for _, entry in ipairs(names.list(SMALL)) do
      local merged = entry.kind ~= "attention" and entry.kind ~= "ffn"
        or kv == "shared" and (entry.name:find "k_proj" or entry.name:find "v_proj")
      local sum = bam.zeros(entry.shape, { dtype = "f64" })
      for _, m in ipairs(experts) do sum = sum + names.read(entry, m):to "f64" end
      names.write(entry, single, merged and sum / 3 or names.read(entry, experts[i]))
    end
    close("one-hot routing", mixed(ids), single(ids), 1e-5)
  end
end

-- ---- building is deterministic and leaves the experts alone ----

do
  local experts = dense(4)
  local before = experts[2]:state()["layers.1.attention.qkv"]:clone()
  local d = bam.mix { experts = experts, attention = { kv = "shared" }, seed = 7 }
  local a, b = d:build(), d:build()
  for name, tensor in pairs(a:state()) do
    assert(tensor:eq(b:state()[name]):all():item(),
           string.format("%s differs between two builds", name))
  end
  local c = d:build { seed = 8 }
  local first, other = a.layers[1].ffn, c.layers[1].ffn
  assert(not other.router.weight:eq(first.router.weight):any():item(), "routers")
  assert(other.down:eq(first.down):all():item(), "another seed, other experts")
  a:loss(ids, targets):backward()
  assert(before:eq(experts[2]:state()["layers.1.attention.qkv"]):all():item())
  assert(not a.description.sources, "a built mixture keeps its experts alive")
end

-- ---- the auxiliary losses ----

do
  local mixed = bam.mix { experts = dense(3), attention = { routing = 2 }, load_balance = 0.5,
                          z_loss = 0.25, aux_tokens = 12 }:build()
  local loss, parts = mixed:loss(ids, targets)
  local sum = parts.losses:totable()
  assert(math.abs(loss:item() - parts.nll:item() - 0.5 * sum[1] - 0.25 * sum[2]) < 1e-5)
  equal("routers with losses", #parts.routing, 4)
  local record = parts.routing[2]
  equal("layer", record.layer, 1)
  equal("module", record.module, "ffn")
  close("shares of the assignments", record.statistics[1]:sum(), bam.tensor(1.0), 1e-6)
  -- micro-batches of whole groups: the same gradients as all at once
  local whole = {}
  loss:backward()
  for name, p in mixed:named_parameters() do whole[name], p.grad = p.grad:clone(), nil end
  for b = 1, 3 do
    local part = { b, b }
    local options = { scale = 1 / targets:count(), share = 1 / 3 }
    mixed:loss(ids[{ part }], targets[{ part }], options):backward()
  end
  for name, p in mixed:named_parameters() do close(name, p.grad, whole[name], 1e-5) end
  local soft = bam.mix { experts = dense(2) }:build()
  local _, soft_parts = soft:loss(ids, targets)
  equal("losses of a soft attention router", soft_parts.routing[1].losses, nil)
  close("what the routers do", soft:routing(ids)[4].statistics, soft_parts.routing[4].statistics, 0)
  local scheduled = bam.mix { experts = dense(2),
                              load_balance = bam.schedule.linear { from = 1, to = 0 } }:build()
  scheduled:set_step(6, 11)
  equal("a scheduled coefficient", scheduled.load_balance, 0.5)
  local falling = bam.mix { experts = dense(2), z_loss = function(p) return 0.5 - p end }:build()
  local ok, message = pcall(falling.set_step, falling, 10, 10)
  assert(not ok and message:find("set_step: z_loss: expected a number of at least 0, got -0.5", 1,
                                 true), message)
  -- jitter shakes in training only
  soft.layers[1].ffn.router.jitter = 0.3
  assert(soft(ids):ne(soft(ids)):any():item(), "jitter does nothing")
  soft:eval()
  assert(soft(ids):eq(soft(ids)):all():item(), "jitter outside training")
end

-- ---- checkpoints ----

local function same_weights(a, b)
  for name, tensor in pairs(a:state()) do
    assert(tensor:eq(b:state()[name]):all():item(), string.format("%s has changed", name))
  end
end

do
  local experts = dense(3)
  local variants = {
    { attention = { kv = "own", routing = 2, renormalise = true },
      ffn = { top_k = 2, renormalise = true } },
    { attention = { kv = "shared" }, load_balance = 0.125, z_loss = 0, aux_tokens = 36 },
    { attention = { experts = "mean" }, ffn = { top_k = 3, extra_seed_copies = 2 } },
  }
  for i, options in ipairs(variants) do
    options.experts = experts
    local model = bam.mix(options):build()
    local directory = scratch(string.format("mixture%d/deep", i))
    model:save(directory, { shard_bytes = i == 2 and 5000 or nil })
    local loaded = bam.load(directory)
    same_weights(model, loaded)
    equal("loss of a loaded mixture", loaded:loss(ids, targets):item(),
          model:loss(ids, targets):item())
    equal("description", tostring(loaded.description), tostring(model.description))
    model:save(directory) -- over what is there, shards too
    same_weights(model, bam.load(directory))
    local half = scratch(string.format("half%d", i))
    model:save(half, { dtype = "bf16" })
    close("bf16", bam.load(half)(ids), model(ids), 0.5)
    equal("dtype", bam.load(half, { dtype = "f64" }).embed.weight.dtype, "f64")
  end
  -- experts from directories, live, and a phase, with a tokenizer that goes along
  local list = {}
  for i, model in ipairs(experts) do
    model.tokenizer_json = '{"model": {}}'
    list[i] = scratch(string.format("expert%d", i))
    model:save(list[i])
  end
  local phase = { description = SMALL, load = function() return experts[3] end }
  local a, b = bam.mix { experts = list }:build(), bam.mix { experts = experts }:build()
  same_weights(a, b)
  equal("the tokenizer", a.tokenizer_json, '{"model": {}}')
  for _, model in ipairs(experts) do model.tokenizer_json = nil end
  same_weights(b, bam.mix { experts = { experts[1], experts[2], phase } }:build())
  a:save(scratch "tokenizer")
  assert(core.read_file(string.format("%s/tokenizer.json", scratch "tokenizer")):find "model")
end

-- ---- training goes on with the same bits after saving and loading ----

do
  local function train(model, optimizer, steps)
    local losses = {}
    for step = 1, steps do
      losses[step] = bam.scope(function()
        optimizer:zero_grad()
        local loss = model:loss(ids, targets, { scale = 1 / targets:count() })
        loss:backward()
        optimizer:clip(1)
        optimizer:step()
        return loss:item()
      end)
    end
    return losses
  end
  local model = bam.mix { experts = dense(3), attention = { kv = "shared" } }:build()
  local optimizer = bam.optim.AdamW(model, { lr = 0.01 })
  local first = train(model, optimizer, 12)
  assert(first[12] < first[1] - 0.1, "the loss does not fall")
  model:save(scratch "resume")
  bam.save(scratch "optim", optimizer:state())
  local expected = train(model, optimizer, 5)
  local loaded = bam.load(scratch "resume")
  local again = bam.optim.AdamW(loaded, { lr = 0.01 })
  again:load_state((bam.load(scratch "optim")))
  for step, loss in ipairs(train(loaded, again, 5)) do
    equal("resumed loss", loss, expected[step])
  end
  -- nothing is asked of the system once sizes are known
  collectgarbage() -- what loading and the steps left to Lua's collector does not count
  local before = core.memory().system_requests
  if core.memory().cached then
    train(loaded, again, 5)
    equal("requests to the system after the first steps", core.memory().system_requests, before)
  end
end

-- ---- the merge report ----

do
  local experts = dense(2)
  local twin = SMALL:build { seed = 1 }
  bam.no_grad(function() twin.layers[1].attention.qkv:mul_(2) end)
  local d = bam.mix { experts = { experts[1], experts[1], twin }, attention = { experts = "mean" },
                      ffn = { top_k = 3 } }
  local report = d:report { data = { text = bam.concat({ ids, targets[{ {}, { 12, 12 } }] }, 2) } }
  equal("experts but the seed", #report.experts, 2)
  for _, row in ipairs(report.experts[1].drift) do
    equal(row.module, row.relative_norm, 0.0)
    assert(math.abs(row.cosine - 1) < 1e-12)
  end
  local moved = {}
  for _, row in ipairs(report.experts[2].drift) do
    if row.relative_norm > 0 then moved[#moved + 1] = row end
  end
  equal("modules that moved", #moved, 1)
  equal("the one that moved", moved[1].module, "layer 1 attention")
  assert(moved[1].relative_norm < 1 and moved[1].cosine > 0.9)
  local shifted = bam.concat({ ids[{ {}, { 2, 12 } }], targets[{ {}, { 12, 12 } }] }, 2)
  local _, parts = d:build():loss(ids, shifted)
  assert(math.abs(report.losses.text - parts.nll:item()) < 1e-6)
  for _, words in ipairs { "layer 2 ffn", "loss at step 0" } do
    assert(tostring(report):find(words, 1, true), words)
  end
end

-- ---- BTM: the ensemble of the dense models ----

do
  local experts = dense(3)
  local ensemble = bam.ensemble { models = experts, prior = { 0.5, 0.25, 0.25 } }
  local documents = bam.tensor {
    { 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1 }, { 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4 },
    { 0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 9 },
  }
  local options = { documents = documents }
  local got = ensemble:log_likelihood(ids, targets, options)
  -- the definition, one token at a time
  local logs, rows, where_to = {}, ids:totable(), targets:totable()
  for i, model in ipairs(experts) do
    logs[i] = model(ids, options):log_softmax(-1):to "f64":totable()
  end
  local cuts = documents:totable()
  for b = 1, 3 do
    local weight = { 0.5, 0.25, 0.25 }
    for t = 1, 12 do
      if t > 1 then
        for i = 1, 3 do
          weight[i] = cuts[b][t] ~= cuts[b][t - 1] and (i == 1 and 0.5 or 0.25)
            or weight[i] * math.exp(logs[i][b][t - 1][rows[b][t] + 1])
        end
      end
      local total, chance = 0, 0
      for i = 1, 3 do
        total = total + weight[i]
        chance = chance + weight[i] * math.exp(logs[i][b][t][where_to[b][t] + 1])
      end
      local off = math.abs(got[b][t]:item() - math.log(chance / total))
      assert(off < 1e-5, "the ensemble's likelihood")
    end
  end
  close("loss", ensemble:loss(ids, targets, options), -got:mean(), 1e-9)
  close("its distribution", ensemble(ids, options):exp():sum(-1), bam.ones(3, 12), 1e-5)
  local picked = ensemble(ids, options):gather((targets + 1):unsqueeze(-1), -1):squeeze(-1)
  close("its distribution and its likelihood", picked, got, 1e-5)
  close("one model", bam.ensemble { models = { experts[1] } }:log_likelihood(ids, targets),
        experts[1]:log_likelihood(ids, targets), 1e-6)
  equal("parameters", ensemble:count(), 3 * SMALL:count())
end

-- ---- sampling ----

do
  local bytes = bam.models.parallel { layers = 1, width = 16, heads = 2, ffn = 16, vocab = 256 }
  local model = bytes:build { seed = 1 }
  local text = model:sample("The ", { tokens = 20, seed = 3 })
  assert(#text == 24 and text:sub(1, 4) == "The ")
  equal("the same seed", model:sample("The ", { tokens = 20, seed = 3 }), text)
  assert(model:sample("The ", { tokens = 20, seed = 4 }) ~= text)
  local greedy = SMALL:build { seed = 2 }
  local best = greedy:sample({ 1, 2, 3 }, { tokens = 4, temperature = 0 })
  equal("greedy", best[4], greedy(bam.tensor { { 1, 2, 3 } })[{ 1, -1 }]:argmax():item() - 1)
  equal("the best of one", table.concat(greedy:sample({ 1, 2, 3 }, { tokens = 4, top_k = 1 }), " "),
        table.concat(best, " "))
  equal("a prompt longer than the Lua stack", #model:sample(("a"):rep(1200000), { tokens = 1 }),
        1200001)
  local both = bam.ensemble { models = { model, bytes:build { seed = 2 } } }
  equal("an ensemble's sample", #both:sample("The ", { tokens = 3 }), 7)
end

do -- with the tokenizer that was saved beside it
  local tokenizer = require "bam.tokenizer"
  local own = tokenizer.train { texts = { ("the cat sat on the mat "):rep(20) }, vocab = 262 }
  local model = bam.models.parallel { layers = 1, width = 16, heads = 2, ffn = 16, vocab = 262 }
    :build { seed = 1 }
  model.tokenizer_json = own:json()
  model:save(scratch "speaks")
  local loaded = bam.load(scratch "speaks")
  equal("before it is needed", loaded.tokenizer, nil)
  local text = loaded:sample("the cat", { tokens = 5, seed = 1 })
  equal("a sample of text", text, own:decode(model:sample(own:encode "the cat",
                                                          { tokens = 5, seed = 1 })))
  assert(tokenizer.is(loaded.tokenizer))
  local both = bam.ensemble { models = { loaded } }
  equal("an ensemble's", both:sample("the", { tokens = 1 }):sub(1, 3), "the")
  local count = { encode = function() return { 7 } end, decode = function(_, list) return #list end }
  loaded.tokenizer = count
  equal("one that was set", loaded:sample("x", { tokens = 2 }), 3)
  model.tokenizer_json = "{}"
  local ok, message = pcall(model.sample, model, "x")
  assert(not ok and message:find("the model's tokenizer.json: ", 1, true), message)
end

print "models: ok"
