-- The sizes that --scale selects (paper: Tables 8 and 9, §5.1): a model, its vocabulary and context, sequences per
-- step (batch) and per micro-batch (rows; by default what fits into 1 GB), what is computed in (dtype, f32 by default),
-- tokens per phase, held-out tokens per domain for comparisons (all by default), and the learning rates of the seed and
-- of the mixture.
return {
  -- Two CPU cores, a few minutes.
  demo = {
    vocab = 2048, context = 128, batch = 16,
    model = { layers = 3, width = 128, heads = 4, ffn = 256, context = 128 },
    tokens = { seed = 8e5, expert = 4e5, mixture = 4e5 }, compare_tokens = 32768,
    lr = { peak = 3e-3, warmup = 0.03, floor = 0.1 },
    mixture_lr = { peak = 3e-3, warmup = 0.03, floor = 0.1 },
  },
  -- The paper's small models: 1 M tokens per step.
  ["590m"] = {
    vocab = 256000, context = 2048, batch = 512, rows = 8, dtype = "bf16",
    model = { layers = 6, width = 1024, heads = 8, ffn = 2048, context = 2048 },
    tokens = { seed = 400e9, expert = 100e9, mixture = 100e9 },
    lr = { peak = 1.2e-4, warmup = 1500, floor = 0.1 },
    mixture_lr = { peak = 1.2e-4, warmup = 1500, floor = 0.1 },
  },
  -- The paper's large models: 4 M tokens per step.
  ["2b"] = {
    vocab = 256000, context = 2048, batch = 2048, rows = 8, dtype = "bf16",
    model = { layers = 18, width = 2304, heads = 18, kv_heads = 6, ffn = 9216, tied = true,
              context = 2048 },
    tokens = { seed = 750e9, expert = 100e9, mixture = 100e9 },
    lr = { peak = 1e-2, warmup = 2000, floor = 0.03 },
    mixture_lr = { peak = 1e-4, warmup = 1000, floor = 0.1 },
  },
}
