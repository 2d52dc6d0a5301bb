--- The goals on one H200 with bf16, as tests/gpu/model.lua holds them against what is possible and what was measured.
--- Tokens per second are those of optimizer steps of 8 micro-steps of 8 rows of 2048 tokens. `part` and `case` say
--- which row of a window's results measures it, and `of` which row it is relative to.
return {
  { goal = "small dense", tokens_per_second = 270000, size = "small", kind = "dense", over_peer = 1.3 },
  { goal = "small BTX", tokens_per_second = 260000, size = "small", kind = "btx", over_peer = 1.3 },
  { goal = "small BAM, shared KV", tokens_per_second = 207000, size = "small", kind = "shared", over_peer = 1.3 },
  { goal = "small BAM, KV experts", tokens_per_second = 190000, size = "small", kind = "own", over_peer = 1.3 },
  { goal = "large dense", tokens_per_second = 48000, size = "large", kind = "dense", over_peer = 1.2 },
  { goal = "large BTX", tokens_per_second = 46000, size = "large", kind = "btx", over_peer = 1.4 },
  { goal = "large BAM, shared KV", tokens_per_second = 32000, size = "large", kind = "shared", over_peer = 1.3 },
  { goal = "large BAM, KV experts", tokens_per_second = 30000, size = "large", kind = "own", over_peer = 1.3 },
  { goal = "head and loss, 8192 x 2304 x 256,000", ms = 48, part = "time head", case = "head and loss" },
  { goal = "AdamW, share of a copy's bandwidth", share = 0.93, part = "time optimizer", case = "AdamW",
    of = { part = "time ceilings", case = "copy", field = "gbs" } },
  { goal = "routed FFN, time over an equal dense FFN's", times = 1.05, part = "time routed FFN", case = "routed FFN",
    of = { part = "time routed FFN", case = "dense FFN of equal FLOPs", field = "ms_median" } },
  { goal = "attention forward, share of cuDNN's speed", share = 0.8, part = "time attention",
    case = "forward, one document", heads = 18,
    of = { part = "PyTorch micro", case = "forward, one document", backend = "cuDNN", heads = 18, field = "tflops" } },
  { goal = "attention forward and backward, share of cuDNN's speed", share = 0.7, part = "time attention",
    case = "forward and backward, one document", heads = 18,
    of = { part = "PyTorch micro", case = "forward and backward, one document", backend = "cuDNN", heads = 18,
           field = "tflops" } },
}
