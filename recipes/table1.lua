-- The paper's Table 1, with the rows of Tables 5 and 6 after --set ablations=true: every mixture on
-- BTX's data (DM), and on BTX's compute (CM), over several seeds, and their spread.
local bam = require "bam"

local opt = bam.options { scale = "demo", seeds = { 1, 2, 3 }, ablations = false }
local text = bam.corpus.debian { vocab = opt.vocab }
local lr = bam.schedule.cosine(opt.lr)

local function train(phase)
  phase.lr = phase.lr or bam.schedule.cosine(opt.mixture_lr)
  return bam.train(phase)
end

local function rows(s)
  local seed = train { name = "seed", seed = s, model = bam.models.parallel(opt.model), lr = lr,
                       data = text:sample { general = 0.85, law = 0.05, math = 0.05, code = 0.05 },
                       tokens = opt.tokens.seed }
  local dense = { seed }
  for _, domain in ipairs { "law", "math", "code" } do
    dense[#dense + 1] = train { name = "experts/" .. domain, seed = s, model = seed,
                                data = text:sample { [domain] = 0.9, general = 0.1 },
                                tokens = opt.tokens.expert, lr = lr:scaled(0.5) }
  end

  local list, btx = { dense }, nil
  local function add(name, attention, matched, ffn)
    local model = bam.mix { experts = dense, attention = attention, ffn = ffn or { top_k = 1 },
                            load_balance = 0.01, z_loss = 0.001 }
    local cost = model:flops(opt.context).training
    local share = matched == "compute" and btx.description:flops(opt.context).training / cost or 1
    list[#list + 1] = train { name = name, seed = s, model = model,
                              data = text:sample { general = 1, law = 1, math = 1, code = 1 },
                              tokens = opt.tokens.mixture * share }
    return list[#list]
  end
  btx = add("btx", { experts = "mean" })
  add("bam-kv-experts", { kv = "own" })
  add("bam-kv-experts-cm", { kv = "own" }, "compute")
  add("bam-kv-shared", { kv = "shared" })
  add("bam-kv-shared-cm", { kv = "shared" }, "compute")
  if opt.ablations then
    add("bam-top2-attention-cm", { kv = "own", routing = 2 }, "compute")
    add("bam-top1-attention-cm", { kv = "own", routing = 1 }, "compute")
    add("btx-top3-of-6", { experts = "mean" }, "data", { top_k = 3, extra_seed_copies = 2 })
  end
  return bam.compare { list, on = text.heldout, base = btx, name = "results-" .. s }
end

local PAPER = { -- its averages to BTX's
  seed = 13.91 / 10.72, ["experts/code"] = 15.70 / 10.72, ["experts/law"] = 37.40 / 10.72,
  ["experts/math"] = 20.12 / 10.72, btx = 1, ["bam-kv-experts"] = 9.70 / 10.72,
  ["bam-kv-experts-cm"] = 10.00 / 10.72, ["bam-kv-shared"] = 10.32 / 10.72,
  ["bam-kv-shared-cm"] = 10.46 / 10.72, ["bam-top2-attention-cm"] = 1,
  ["bam-top1-attention-cm"] = 10.81 / 10.72,
}
local tables = {}
for i, s in ipairs(opt.seeds) do tables[i] = rows(s) end
bam.spread(tables, { reference = PAPER })
