-- Models, mixing and checkpoints: what the method promises (BAM §4), and that nothing is lost on
-- the way to a directory and back. Agreement with PyTorch is in golden_mixture.lua.
local bam = require "bam"
local core = require "bam.core"
local params = require "bam.model.params"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

-- Relative to the largest element where that is above 1.
local function close(a, b, tolerance, what)
  local off = (a - b):abs():max():item() / math.max(1, b:abs():max():item())
  expect.compare(off, "<=", tolerance, string.format("%s differ by %.2e", what, off))
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

test("counts: of the paper, without allocating anything", function()
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
  expect.equal(small:count(), 587209728, "dense")
  expect.equal(large:count(), 1991289600, "large dense")
  local total, active, flops = counts { experts = "mean" }
  expect.equal(total, 700480512, "BTX")
  expect.equal(active, 587234304, "BTX, active")
  expect.equal(flops, 21504000, "BTX, FLOPs of a layer")
  expect.equal(counts { kv = "shared" }, 738253824, "shared KV")
  total, active, flops = counts { kv = "own" }
  expect.equal(total, 776002560, "KV experts")
  expect.equal(active, 662756352, "KV experts, active")
  expect.equal(flops, 48250880, "KV experts, FLOPs of a layer")
  flops = select(3, counts({ experts = "mean" }, { top_k = 3, extra_seed_copies = 2 }))
  expect.equal(flops, 46673920, "BTX top-3 of 6, FLOPs of a layer")
  local f = small:flops(2048)
  expect.equal(f.training, 6 * (6 * (4 * 1024 ^ 2 + 3 * 1024 * 2048) + 1024 * 256000) + 6 * 6 * 2048 * 1024,
               "FLOPs of training")
  expect.equal(f.palm, f.training + 6 * 6 * 2048 * 1024, "PaLM's")
  expect.equal(core.memory().peak, before, "memory taken for descriptions")
end)

test("a live model", function()
  local model = SMALL:build { seed = 3 }
  local function sum() return model(ids):sum():item() end
  expect.equal(SMALL:build { seed = 3 }(ids):sum():item(), sum(), "the same seed")
  expect.different(SMALL:build { seed = 4 }(ids):sum():item(), sum(), "another seed, the same model")
  local state = core.random_state()
  SMALL:build { seed = 9 }
  expect.equal(core.random_state()[2], state[2], "the generator after a build with a seed")
  local total = 0
  for _, p in model:named_parameters() do total = total + p:count() end
  expect.equal(model:count(), total, "count")
  expect.equal(select(2, model:count()), total, "active")
  local loss, parts = model:loss(ids, targets)
  expect.equal(parts.losses, nil, "parts of a dense loss")
  local likelihood = model:log_likelihood(ids, targets)
  close(loss, -likelihood:mean(), 1e-5, "loss and likelihood")
  close(loss, bam.cross_entropy(model(ids), targets), 1e-5, "loss and cross entropy of the logits")
  local some = targets:clone()
  some[{ 1, {} }] = -100
  close(model:loss(ids, some), -likelihood[{ { 2, 3 } }]:mean(), 1e-5, "ignored targets")
  expect.equal(model:log_likelihood(ids, some)[1][1]:item(), 0.0, "likelihood of an ignored target")
  local scaled = model:loss(ids, targets, { scale = 1 / targets:count() })
  close(scaled, loss, 1e-5, "a sum times scale")
  -- documents: the second is not influenced by the first
  local documents = bam.tensor({ { 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1 } }):expand(3, 12)
  local positions = bam.tensor({ { 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6 } }):expand(3, 12)
  close(model(ids, { documents = documents, positions = positions })[{ {}, { 6, 12 } }],
        model(ids[{ {}, { 6, 12 } }]), 1e-5, "a document by itself")
end)

test("a description cannot be changed, and reads as plain data", function()
  local d = bam.mix { experts = dense(2), freeze = { experts = true } }
  local function refused(part, name)
    local ok, message = pcall(function() part[name] = 3 end)
    expect.no(ok, message)
    expect.contains(message, string.format("%s: a ", name))
    expect.contains(message, "model description cannot be changed; make a new one")
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
  expect.yes(names_read.layers)
  expect.yes(names_read.attention)
  expect.compare(settings, ">", 3)
  expect.equal(d.layers, 2, "a field read")
  expect.equal(d.nothing, nil, "a field that is not there")
  expect.equal(d.freeze.experts, true, "a nested one")
  expect.equal(tostring(d.freeze), "{ experts = true }", "a part printed")
  expect.equal(#d.sources, 2, "how many are mixed")
  local text = tostring(d)
  expect.contains(text, "2 layers")
  expect.contains(text, "freeze experts: true")
end)

local function copies(options)
  local seed = SMALL:build { seed = 5 }
  options.experts = { seed, seed, seed }
  return seed, bam.mix(options):build()
end

test("N copies of one seed", function()
  for _, kv in ipairs { "own", "shared" } do
    local seed, mixed = copies { attention = { kv = kv }, ffn = { top_k = 2, renormalize = true } }
    local h = bam.randn(3, 12, 24)
    for i, layer in ipairs(mixed.layers) do
      close(layer.attention(h), seed.layers[i].attention(h), 1e-6, "attention of copies")
      close(layer.ffn(h), seed.layers[i].ffn(h), 1e-6, "FFN of copies")
    end
    close(mixed(ids), seed(ids), 1e-5, "logits of copies")
    for _, name in ipairs { "embed.weight", "norm.weight", "head.weight" } do -- to the bit
      expect.equal(mixed:state()[name], seed:state()[name], name)
    end
  end

  do -- without renormalising, the FFN's result is multiplied by the gates' sum
    local seed, mixed = copies { attention = { experts = "mean" }, ffn = { top_k = 3 } }
    close(mixed(ids), seed(ids), 1e-5, "all experts, gates not renormalized")
    local up = bam.upcycle { model = seed, experts = 3, ffn = { top_k = 3 } }
    expect.equal(up:count(), bam.mix { experts = { seed, seed, seed }, attention = { experts = "mean" } }:count(),
                 "upcycled")
    close(up:build()(ids), seed(ids), 1e-5, "sparse upcycling")
  end
end)

-- ---- forced one-hot routing gives dense model i with the merged parts ----

-- A router that sends everything to one expert.
local function only(i)
  return function(options)
    return function(h)
      local one = bam.ones(h:size(1), h:size(2), 1, { dtype = h.dtype })
      expect.yes(options.layer)
      expect.yes(options.experts)
      return one, bam.full({ h:size(1), h:size(2), 1 }, i, { dtype = "i64" })
    end
  end
end

test("routed to one expert alone, a mixture is that model", function()
  for _, kv in ipairs { "own", "shared" } do
    local experts = dense(3)
    for i = 1, 3 do
      local mixed = bam.mix { experts = experts, attention = { kv = kv, router = only(i) },
                              ffn = { router = only(i) } }:build()
      -- dense model i, with what is no expert's merged
      local single = SMALL:build()
      for _, entry in ipairs(params.list(SMALL)) do
        local merged = entry.kind ~= "attention" and entry.kind ~= "ffn"
          or kv == "shared" and (entry.name:find "k_proj" or entry.name:find "v_proj")
        local sum = bam.zeros(entry.shape, { dtype = "f64" })
        for _, m in ipairs(experts) do sum = sum + params.read(entry, m):to "f64" end
        params.write(entry, single, merged and sum / 3 or params.read(entry, experts[i]))
      end
      close(mixed(ids), single(ids), 1e-5, "one-hot routing")
    end
  end
end)

test("building is deterministic and leaves the experts alone", function()
  local experts = dense(4)
  local before = experts[2]:state()["layers.1.attention.qkv"]:clone()
  local d = bam.mix { experts = experts, attention = { kv = "shared" }, seed = 7 }
  local a, b = d:build(), d:build()
  for name, tensor in pairs(a:state()) do
    expect.equal(tensor, b:state()[name], string.format("%s differs between two builds", name))
  end
  local c = d:build { seed = 8 }
  local first, other = a.layers[1].ffn, c.layers[1].ffn
  expect.no(other.router.weight:eq(first.router.weight):any():item(), "routers")
  expect.equal(other.down, first.down, "another seed, other experts")
  a:loss(ids, targets):backward()
  expect.equal(before, experts[2]:state()["layers.1.attention.qkv"])
  expect.no(a.description.sources, "a built mixture keeps its experts alive")
end)

test("the auxiliary losses", function()
  local mixed = bam.mix { experts = dense(3), attention = { routing = 2 }, load_balance = 0.5,
                          z_loss = 0.25, aux_group_size = 12 }:build()
  local loss, parts = mixed:loss(ids, targets)
  local sum = parts.losses:totable()
  expect.compare(math.abs(loss:item() - parts.loss:item() - 0.5 * sum[1] - 0.25 * sum[2]), "<", 1e-5)
  expect.equal(#parts.routing, 4, "routers with losses")
  local record = parts.routing[2]
  expect.equal(record.layer, 1, "layer")
  expect.equal(record.module, "ffn", "module")
  close(record.statistics[1]:sum(), bam.tensor(1.0), 1e-6, "shares of the assignments")
  -- micro-batches of whole groups: the same gradients as all at once
  local whole = {}
  loss:backward()
  for name, p in mixed:named_parameters() do whole[name], p.grad = p.grad:clone(), nil end
  for b = 1, 3 do
    local part = { b, b }
    local options = { scale = 1 / targets:count(), share = 1 / 3 }
    mixed:loss(ids[{ part }], targets[{ part }], options):backward()
  end
  for name, p in mixed:named_parameters() do close(p.grad, whole[name], 1e-5, name) end
  local soft = bam.mix { experts = dense(2) }:build()
  local _, soft_parts = soft:loss(ids, targets)
  expect.equal(soft_parts.routing[1].losses, nil, "losses of a soft attention router")
  close(soft:routing(ids)[4].statistics, soft_parts.routing[4].statistics, 0, "what the routers do")
  local scheduled = bam.mix { experts = dense(2),
                              load_balance = bam.schedule.linear { from = 1, to = 0 } }:build()
  scheduled:set_step(6, 11)
  expect.equal(scheduled.load_balance, 0.5, "a scheduled coefficient")
  local falling = bam.mix { experts = dense(2), z_loss = function(p) return 0.5 - p end }:build()
  local ok, message = pcall(falling.set_step, falling, 10, 10)
  expect.no(ok, message)
  expect.contains(message, "set_step: z_loss: expected a number of at least 0, got -0.5")
  -- jitter shakes in training only
  soft.layers[1].ffn.router.jitter = 0.3
  expect.yes(soft(ids):ne(soft(ids)):any():item(), "jitter does nothing")
  soft:eval()
  expect.equal(soft(ids), soft(ids), "jitter outside training")
end)

local function same_weights(a, b)
  for name, tensor in pairs(a:state()) do
    expect.equal(tensor, b:state()[name], string.format("%s has changed", name))
  end
end

test("checkpoints", function()
  local experts = dense(3)
  local variants = {
    { attention = { kv = "own", routing = 2, renormalize = true },
      ffn = { top_k = 2, renormalize = true } },
    { attention = { kv = "shared" }, load_balance = 0.125, z_loss = 0, aux_group_size = 36 },
    { attention = { experts = "mean" }, ffn = { top_k = 3, extra_seed_copies = 2 } },
  }
  for i, options in ipairs(variants) do
    options.experts = experts
    local model = bam.mix(options):build()
    local directory = scratch(string.format("mixture%d/deep", i))
    model:save(directory, { shard_bytes = i == 2 and 5000 or nil })
    local loaded = bam.load(directory)
    same_weights(model, loaded)
    expect.equal(loaded:loss(ids, targets):item(), model:loss(ids, targets):item(), "loss of a loaded mixture")
    expect.equal(tostring(loaded.description), tostring(model.description), "description")
    model:save(directory) -- over what is there, shards too
    same_weights(model, bam.load(directory))
    local half = scratch(string.format("half%d", i))
    model:save(half, { dtype = "bf16" })
    close(bam.load(half)(ids), model(ids), 0.5, "bf16")
    expect.equal(bam.load(half, { dtype = "f64" }).embed.weight.dtype, "f64", "dtype")
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
  expect.equal(a.tokenizer_json, '{"model": {}}', "the tokenizer")
  for _, model in ipairs(experts) do model.tokenizer_json = nil end
  same_weights(b, bam.mix { experts = { experts[1], experts[2], phase } }:build())
  a:save(scratch "tokenizer")
  expect.contains(core.read_file(string.format("%s/tokenizer.json", scratch "tokenizer")), "model")
end)

test("training goes on with the same bits after saving and loading", function()
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
  expect.compare(first[12], "<", first[1] - 0.1, "the loss does not fall")
  model:save(scratch "resume")
  bam.save(scratch "optim", optimizer:state())
  local expected = train(model, optimizer, 5)
  local loaded = bam.load(scratch "resume")
  local again = bam.optim.AdamW(loaded, { lr = 0.01 })
  again:load_state((bam.load(scratch "optim")))
  for step, loss in ipairs(train(loaded, again, 5)) do
    expect.equal(loss, expected[step], "resumed loss")
  end
  -- nothing is asked of the system once sizes are known
  collectgarbage() -- what loading and the steps left to Lua's collector does not count
  local before = core.memory().system_requests
  if core.memory().cached then
    train(loaded, again, 5)
    expect.equal(core.memory().system_requests, before, "requests to the system after the first steps")
  end
end)

test("the merge report", function()
  local experts = dense(2)
  local twin = SMALL:build { seed = 1 }
  bam.no_grad(function() twin.layers[1].attention.qkv:mul_(2) end)
  local d = bam.mix { experts = { experts[1], experts[1], twin }, attention = { experts = "mean" },
                      ffn = { top_k = 3 } }
  local report = d:report { data = { text = bam.concat({ ids, targets[{ {}, { 12, 12 } }] }, 2) } }
  expect.equal(#report.experts, 2, "experts but the seed")
  for _, row in ipairs(report.experts[1].drift) do
    expect.equal(row.relative_norm, 0.0, row.module)
    expect.close(row.cosine, 1, 1e-12)
  end
  local moved = {}
  for _, row in ipairs(report.experts[2].drift) do
    if row.relative_norm > 0 then moved[#moved + 1] = row end
  end
  expect.equal(#moved, 1, "modules that moved")
  expect.equal(moved[1].module, "layer 1 attention", "the one that moved")
  expect.compare(moved[1].relative_norm, "<", 1)
  expect.compare(moved[1].cosine, ">", 0.9)
  local shifted = bam.concat({ ids[{ {}, { 2, 12 } }], targets[{ {}, { 12, 12 } }] }, 2)
  local _, parts = d:build():loss(ids, shifted)
  expect.close(report.losses.text, parts.loss:item(), 1e-6)
  for _, words in ipairs { "layer 2 ffn", "loss at step 0" } do
    expect.contains(tostring(report), words, words)
  end
end)

test("BTM: the ensemble of the dense models", function()
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
      expect.compare(off, "<", 1e-5, "the ensemble's likelihood")
    end
  end
  close(ensemble:loss(ids, targets, options), -got:mean(), 1e-9, "loss")
  close(ensemble(ids, options):exp():sum(-1), bam.ones(3, 12), 1e-5, "its distribution")
  local picked = ensemble(ids, options):gather((targets + 1):unsqueeze(-1), -1):squeeze(-1)
  close(picked, got, 1e-5, "its distribution and its likelihood")
  close(bam.ensemble { models = { experts[1] } }:log_likelihood(ids, targets),
        experts[1]:log_likelihood(ids, targets), 1e-6, "one model")
  expect.equal(ensemble:count(), 3 * SMALL:count(), "parameters")
end)

test("sampling", function()
  do
    local bytes = bam.models.parallel { layers = 1, width = 16, heads = 2, ffn = 16, vocab = 256 }
    local model = bytes:build { seed = 1 }
    local text = model:sample("The ", { tokens = 20, seed = 3 })
    expect.equal(#text, 24)
    expect.equal(text:sub(1, 4), "The ")
    expect.equal(model:sample("The ", { tokens = 20, seed = 3 }), text, "the same seed")
    expect.different(model:sample("The ", { tokens = 20, seed = 4 }), text)
    local greedy = SMALL:build { seed = 2 }
    local best = greedy:sample({ 1, 2, 3 }, { tokens = 4, temperature = 0 })
    expect.equal(best[4], greedy(bam.tensor { { 1, 2, 3 } })[{ 1, -1 }]:argmax():item() - 1, "greedy")
    expect.equal(table.concat(greedy:sample({ 1, 2, 3 }, { tokens = 4, top_k = 1 }), " "),
                 table.concat(best, " "), "the best of one")
    expect.equal(#model:sample(("a"):rep(1200000), { tokens = 1 }), 1200001, "a prompt longer than the Lua stack")
    local both = bam.ensemble { models = { model, bytes:build { seed = 2 } } }
    expect.equal(#both:sample("The ", { tokens = 3 }), 7, "an ensemble's sample")
  end

  do -- with the tokenizer that was saved beside it
    local tokenizer = require "bam.tokenizer"
    local own = tokenizer.train { texts = { ("the cat sat on the mat "):rep(20) }, vocab = 262 }
    local model = bam.models.parallel { layers = 1, width = 16, heads = 2, ffn = 16, vocab = 262 }
      :build { seed = 1 }
    model.tokenizer_json = own:json()
    model:save(scratch "speaks")
    local loaded = bam.load(scratch "speaks")
    expect.equal(loaded.tokenizer:json(), own:json(), "it is there")
    local text = loaded:sample("the cat", { tokens = 5, seed = 1 })
    expect.equal(text, own:decode(model:sample(own:encode "the cat", { tokens = 5, seed = 1 })),
                 "a sample of text")
    expect.yes(tokenizer.is(loaded.tokenizer))
    local both = bam.ensemble { models = { loaded } }
    expect.equal(both:sample("the", { tokens = 1 }):sub(1, 3), "the", "an ensemble's")
    local count = { encode = function() return { 7 } end, decode = function(_, list) return #list end }
    loaded.tokenizer = count
    expect.equal(loaded:sample("x", { tokens = 2 }), 3, "one that was set")
    model.tokenizer_json = "{}"
    local ok, message = pcall(model.sample, model, "x")
    expect.no(ok, message)
    expect.contains(message, "the model's tokenizer.json: ")
  end
end)

