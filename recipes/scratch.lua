-- A training loop by hand: what bam.train does, without phases, checkpoints and a display.
local bam = require "bam"

local opt = bam.options { scale = "demo", steps = 300 }
local described = bam.models.parallel(opt.model)
if bam.plan { name = "scratch", model = described, batch = opt.batch, context = opt.context, steps = opt.steps } then
  return -- --plan has printed its cost
end

local text = bam.corpus.debian { vocab = opt.vocab }
local model = described:build { seed = opt.seed }
model.tokenizer = text.tokenizer -- for the sample at the end
local optimizer = bam.optim.AdamW(model, { betas = { 0.9, 0.95 }, weight_decay = 0.1 })
local lr = bam.schedule.cosine(opt.lr)
local stream = text:sample { general = 1, law = 1, math = 1, code = 1 }:open {
  context = opt.context, batch = opt.batch, steps = opt.steps, seed = opt.seed }

local begun, tokens = bam.clock(), 0
for step = 1, opt.steps do
  bam.scope(function() -- releases every tensor born in the step
    local batch = stream:batch(step)
    optimizer:zero_grad()
    local loss = model:loss(batch.ids, batch.targets, {
      documents = batch.documents, positions = batch.positions, scale = 1 / batch.tokens })
    loss:backward()
    local norm = optimizer:clip(1.0)
    optimizer:step(lr:at(step, opt.steps))
    tokens = tokens + batch.tokens
    if step % 20 == 0 or step == opt.steps then
      print(string.format("step %4d   loss %.3f   gradient %.2f   %.0f tokens/s", step, loss:item(),
                          norm, tokens / (bam.clock() - begun)))
    end
  end)
end

local result = bam.evaluate(model, text.heldout)
for domain, d in pairs(result.domains) do
  print(string.format("%-8s perplexity %.2f ± %.2f   %.3f bits per byte", domain, d.perplexity,
                      d.standard_error, d.bits_per_byte))
end
print(model:sample("The ", { tokens = 60, temperature = 0.8, seed = opt.seed }))
