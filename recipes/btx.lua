-- Branch-Train-MiX, what BAM is measured by: FFN experts, and the mean of everything else.
local bam = require "bam"

local opt = bam.options { scale = "demo", top_k = 1, extra_seed_copies = 0 }
local text = bam.corpus.debian { vocab = opt.vocab }
local lr = bam.schedule.cosine(opt.lr)

local seed = bam.train { name = "seed", model = bam.models.parallel(opt.model),
                         data = text:sample { general = 0.85, law = 0.05, math = 0.05, code = 0.05 },
                         tokens = opt.tokens.seed, lr = lr }

local dense = { seed }
for _, domain in ipairs { "law", "math", "code" } do
  dense[#dense + 1] = bam.train { name = "experts/" .. domain, model = seed,
                                  data = text:sample { [domain] = 0.9, general = 0.1 },
                                  tokens = opt.tokens.expert, lr = lr:scaled(0.5) }
end

local btx = bam.train {
  name = "btx",
  model = bam.mix { experts = dense, attention = { experts = "mean" },
                    ffn = { top_k = opt.top_k, extra_seed_copies = opt.extra_seed_copies },
                    load_balance = 0.01, z_loss = 0.001 },
  data = text:sample { general = 1, law = 1, math = 1, code = 1 },
  tokens = opt.tokens.mixture, lr = bam.schedule.cosine(opt.mixture_lr),
}

bam.compare { dense, btx, on = text.heldout }
