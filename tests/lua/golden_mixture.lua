-- Mixtures against an independent PyTorch implementation that loops over experts
-- (tests/golden/mixture.py): four dense models are mixed here and there, and loss, logits and every
-- gradient compared; f64 to rounding, f32 to its precision. And CohereForCausalLM directories
-- written by transformers (tests/golden/cohere.py) give transformers' logits.
local bam = require "bam"
local params = require "bam.model.params"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local HERE = string.format("%s/../golden", arg[0]:match "^(.*)/[^/]*$" or ".")
local golden = bam.load(string.format("%s/mixture.safetensors", HERE))

local DENSE = bam.models.parallel {
  layers = 2, width = 16, heads = 4, kv_heads = 2, ffn = 8, vocab = 19,
}

local VARIANTS = {
  btx = { attention = { experts = "mean" } },
  bam_shared = { attention = { kv = "shared", routing = "soft" } },
  bam_own = { attention = { kv = "own", routing = "soft" } },
  bam_top1 = { attention = { kv = "own", routing = 1 } },
  bam_top2 = { attention = { kv = "own", routing = 2 } },
  btx_top3 = { attention = { experts = "mean" }, ffn = { top_k = 3, extra_seed_copies = 2 } },
}

local function part(...) return golden[table.concat({ ... }, ".")] end

-- ---- building ----

local function dense_model(i, dtype)
  local model = DENSE:build { dtype = dtype }
  for _, entry in ipairs(params.list(DENSE)) do
    params.write(entry, model, part("dense", i, entry.name))
  end
  return model
end

-- Means are rounded to f32 there, also for f64. The routers' weights are the golden ones; a smaller
-- mixture uses the first rows.
local function prepare(model)
  for _, entry in ipairs(params.list(model.description)) do
    params.write(entry, model, params.read(entry, model):to "f32")
    if entry.kind == "router" then
      local rows = part("router", entry.router_of, entry.layer - 1):narrow(1, 1, entry.shape[1])
      params.write(entry, model, rows:contiguous())
    end
  end
end

local function mixture(variant, dtype)
  local experts = {}
  for i = 1, 4 do experts[i] = dense_model(i - 1, dtype) end
  local options = VARIANTS[variant]
  local model = bam.mix { experts = experts, attention = options.attention, ffn = options.ffn,
                          load_balance = 0.01, z_loss = 0.001 }:build { dtype = dtype }
  prepare(model)
  return model
end

-- ---- comparing ----

local function largest(x) return x:count() == 0 and 0 or x:abs():max():item() end

-- Relative to the largest element, or to 1e-3: some gradients are 0 but for rounding (keys that
-- only a document's first token attends to).
local function close(got, want, tolerance, what)
  local off = largest(got:detach():to "f64" - want) / math.max(largest(want), 1e-3)
  expect.compare(off, "<=", tolerance,
                 string.format("%s: off by %.2e of its largest element, %.0e allowed", what, off, tolerance))
end

local function number(got, want, tolerance, what)
  local off = math.abs(got - want) / math.abs(want)
  expect.compare(off, "<=", tolerance,
                 string.format("%s: %.12g, PyTorch had %.12g (%.1e apart)", what, got, want, off))
end

-- The gradient of each tensor by its checkpoint name: the same views as of the weights.
local function gradients(model)
  local list = {}
  local parameters = {}
  for _, p in ipairs(model:parameters()) do
    parameters[p.name], p.tensor.requires_grad = p.tensor, false
  end
  -- the gradients take the weights' places, to be viewed alike
  for name, tensor in pairs(parameters) do
    expect.yes(tensor.grad, string.format("%s got no gradient", name))
    tensor:copy_(tensor.grad)
  end
  for _, entry in ipairs(params.list(model.description)) do
    list[entry.name] = params.read(entry, model)
  end
  return list
end

local function compare(variant, dtype, tolerance)
  local what = string.format("%s in %s", variant, dtype)
  local model = mixture(variant, dtype)
  local options = { documents = golden.documents, positions = golden.positions }
  local logits = bam.no_grad(model, golden.tokens, options)
  close(logits, part(variant, "logits"), tolerance, string.format("%s: logits", what))
  local loss, parts = model:loss(golden.tokens, golden.targets, options)
  number(loss:item(), part(variant, "loss"):item(), tolerance, string.format("%s: loss", what))
  number(parts.loss:item(), part(variant, "nll"):item(), tolerance, string.format("%s: nll", what))
  for i, name in ipairs { "load_balance", "z_loss" } do
    number(parts.losses[i]:item(), part(variant, name):item(), tolerance, string.format("%s: %s", what, name))
  end
  loss:backward()
  local got, count = gradients(model), 0
  for name, value in pairs(got) do
    close(value, part(variant, "grad", name), tolerance, string.format("%s: gradient of %s", what, name))
    count = count + 1
  end
  local stored = 0
  for name in pairs(golden) do
    if name:find(string.format("%s.grad.", variant), 1, true) == 1 then stored = stored + 1 end
  end
  expect.equal(count, stored, string.format("%s: %d gradients, PyTorch has %d", what, count, stored))
end

test("mixtures agree with PyTorch", function()
  for dtype, tolerance in pairs { f64 = 1e-9, f32 = 1e-4 } do
    close(dense_model(0, dtype)(golden.tokens, { documents = golden.documents, positions = golden.positions }),
          part("logits", "dense"), tolerance, "dense logits")
    for variant in pairs(VARIANTS) do bam.scope(compare, variant, dtype, tolerance) end
  end
end)

test("directories of transformers", function()
  for _, name in ipairs { "cohere", "cohere_untied" } do
    local directory = string.format("%s/%s", HERE, name)
    local expected = bam.load(string.format("%s/expected.safetensors", directory))
    local model = bam.load(directory)
    close(model(expected.ids), expected.logits:to "f64", 1e-5, name)
    local again = os.tmpname()
    os.remove(again)
    model:save(again)
    close(bam.load(again)(expected.ids), expected.logits:to "f64", 1e-5, string.format("%s, saved again", name))
    os.execute(string.format("rm -r '%s'", again))
  end
end)

print "golden mixtures: six variants and two Cohere checkpoints agree"
