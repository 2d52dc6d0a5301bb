-- Calls of what is written in Lua, from which random ones are bred, and whose results give the pool
-- its objects: layers, optimizers, schedules, models, tokenizers, a corpus. What has no example
-- here is called with random values alone.
local bam = require "bam"
local core = require "bam.core"

local list = {}
local function example(name, ...) list[#list + 1] = { name = name, calls = { ... } } end

local nn, schedule = bam.nn, bam.schedule
local x, ids = bam.randn(2, 3, 4), bam.randint(0, 7, 2, 3)
local SIZES = { layers = 1, width = 8, heads = 2, ffn = 8, vocab = 16, context = 8 }
local dense = bam.models.parallel(SIZES)
local batch = { ids = ids, targets = ids, tokens = 6 }

local function double(v) return v * 2 end

local linear = nn.Linear(4, 2)
example("layers", { nn.Linear, 4, 6 }, { nn.Linear, 4, 2, { bias = false } }, { nn.LayerNorm, 4 },
  { nn.Embedding, 8, 4 }, { nn.Dropout, 0.5 }, { nn.SwiGLU, { width = 4, hidden = 6 } },
  { nn.Sequential, { nn.Linear(4, 4), nn.LayerNorm(4) } }, { linear.forward, linear, x },
  { linear.to, linear, "f32" }, { linear.load_state, linear, linear:state() },
  { linear.freeze, nn.Linear(2, 2) }, { linear.unfreeze, linear }, { linear.apply, linear, print })
local attention = nn.Attention { width = 4, heads = 2 }
example("larger layers", { nn.Attention, { width = 4, heads = 2, kv_heads = 1 } },
  { attention.forward, attention, x }, { nn.Router, { width = 4, experts = 3, top_k = 2 } },
  { nn.RoutedFFN, { width = 4, hidden = 4, experts = 2 } },
  { nn.MixtureOfAttention, { width = 4, heads = 2, experts = 2, kv = "shared" } })
local adamw = bam.optim.AdamW(linear, { lr = 0.1 })
example("optimizers", { bam.optim.AdamW, nn.Linear(4, 2), { lr = 0.1, betas = { 0.9, 0.99 } } }, { adamw.clip, adamw, 1 },
  { bam.optim.SGD, nn.Linear(4, 2), { lr = 0.1, momentum = 0.9 } }, { adamw.step, adamw }, { adamw.zero_grad, adamw },
  { bam.optim.Muon, nn.Linear(4, 2), { lr = 0.1, adamw = { eps = 1e-3 } } }, { bam.optim.Lion, nn.Linear(2, 2) },
  { bam.optim.define, { name = "Fuzz", options = { lr = { "rate", 1 } }, state = { "m" },
                        update = function(p, g) return p - g end } },
  { adamw.load_state, adamw, adamw:state() })
local line = schedule.linear { from = 1, to = 0, warmup = 2 }
example("schedules", { schedule.constant, 0.5 }, { schedule.linear, { from = 1, to = 0, warmup = 2 } },
  { schedule.cosine, { peak = 1, warmup = 0.1, floor = 0.1 } }, { schedule.of, 0.5 }, { line.at, line, 2, 10 },
  { schedule.piecewise, { { 0, 1 }, { 0.5, 2 } } }, { schedule.sequence, { { 0.5, 1 }, { 0.5, line } } },
  { line.scaled, line, 2 },
  { schedule.wsd, { peak = 1, warmup = 0.1, decay = 0.2 } },
  { schedule.define, { name = "fuzz", options = { peak = { "number" } }, value = function(o, p) return o.peak * p end } },
  { schedule.digest, line, 10 }, { schedule.hash, { 1, 2 } })
example("gradients", { bam.no_grad, double, x }, { bam.enable_grad, double, x }, { bam.debug, { nan = false } },
  { bam.checkpoint, double, bam.ones(3, { requires_grad = true }) },
  { bam.custom, { forward = function(ctx, v) ctx.v = v return v * v end,
                  backward = function(ctx, g) return 2 * ctx.v * g end } },
  { bam.gradcheck, double, { bam.rand(2, { dtype = "f64", requires_grad = true }) } }, { bam.scope, double, x })
example("descriptions", { bam.models.parallel, SIZES }, { dense.build, dense, { seed = 1 } },
  { dense.count, dense }, { dense.flops, dense, 8 })
local one, two = dense:build { seed = 1 }, dense:build { seed = 2 }
example("mixtures", { bam.mix, { experts = { one, two }, attention = { kv = "shared" }, ffn = { top_k = 1 } } },
  { bam.upcycle, { model = one, experts = 2 } }, { bam.ensemble, { models = { one, two } } })
example("models", { one.loss, one, ids, ids, { scale = 1 } }, { one.log_likelihood, one, ids, ids },
  { one.forward, one, ids }, { one.sample, one, { 1, 2 }, { tokens = 3, top_k = 4 } }, { one.routing, one, ids },
  { one.set_step, one, 1, 10 }, { one.save, one, "model" }, { bam.load, "model" },
  { bam.loop.gradients, one, batch, 1 }, { bam.loop.step, one, bam.optim.AdamW(one), batch, { lr = 0.1 } })
example("json", { bam.json.decode, '{"a": [1, {}], "b": null}' }, { bam.json.encode, { a = { 1, 2 } } },
  { bam.json.array, { 1 } })
local words = bam.tokenizer.train { texts = { "abab abc abab", "ab ab abc" }, vocab = 258 }
example("tokenizers", { bam.tokenizer.train, { texts = { "abab abc abab", "ab ab abc" }, vocab = 258 } },
  { words.encode, words, "abab<|endoftext|>", { special = true } }, { words.decode, words, { 97, 98 } },
  { words.id, words, "ab" }, { words.count, words, "abab" }, { words.json, words },
  { bam.tokenizer.parse, words:json() }, { words.save, words, "tokenizer.json" },
  { bam.tokenizer.load, "tokenizer.json" }, { words.append, words, "ab", core.token_buffer() })

local function documents(text)
  local lines = {}
  for i = 1, 60 do lines[i] = text:format(i):rep(20) end
  return table.concat(lines, "\n<|endoftext|>\n") .. "\n"
end

local function corpus()
  core.write_file("law.txt", documents "The court held that %d. ")
  core.write_file("general.txt", documents "A river walked slowly %d. ")
  return bam.corpus({ law = "law.txt", general = "general.txt" }, { vocab = 270, heldout = 0.3 })
end

local function train(text)
  return bam.train { name = "seed", model = bam.models.parallel { layers = 1, width = 8, heads = 2, ffn = 8,
    vocab = 270, context = 8 }, data = text:sample { general = 1, law = 2 }, tokens = 32, lr = 0.01, batch = 2,
    context = 8, eval_tokens = 16 }
end
example("a corpus", { corpus })
list[#list].seldom = true
example("training", { function() return train(corpus()) end })
list[#list].seldom = true

return list
