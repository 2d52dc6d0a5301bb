-- Branch-Attend-Mix with shared keys and values (BAM §4.1), beside BTX on the same data.
-- The demo of version 0.1.0, kept as it was for `make bits RECIPE=tests/bits/demo.lua`.
local bam = require "bam"

local opt = bam.options { scale = "demo" } -- the sizes; --scale and --set change them
local text = bam.corpus.debian { vocab = opt.vocab }

-- 1. One dense seed.
local lr = bam.schedule.cosine(opt.lr)
local seed = bam.train { name = "seed", model = bam.models.parallel(opt.model),
                         data = text:sample { general = 1 }, tokens = opt.tokens.seed, lr = lr }

-- 2. Branch: a copy of it continues on each domain, at half the learning rate.
local dense = { seed } -- the order of the experts, everywhere
for _, domain in ipairs { "law", "math", "code" } do
  dense[#dense + 1] = bam.train { name = "experts/" .. domain, model = seed,
                                  data = text:sample { [domain] = 0.9, general = 0.1 },
                                  tokens = opt.tokens.expert, lr = lr:scaled(0.5) }
end

-- 3. Mix them, then train on all domains equally.
local function mixture(name, attention)
  return bam.train { name = name,
                     model = bam.mix { experts = dense, attention = attention, ffn = { top_k = 1 },
                                       load_balance = 0.01, z_loss = 0.001 },
                     data = text:sample { general = 1, law = 1, math = 1, code = 1 },
                     tokens = opt.tokens.mixture, lr = bam.schedule.cosine(opt.mixture_lr) }
end

local btx = mixture("btx", { experts = "mean" })
local mixed = mixture("bam-kv-shared", { kv = "shared", routing = "soft" })

bam.compare { dense, btx, mixed, on = text.heldout, base = btx } -- the paper's Table 1
