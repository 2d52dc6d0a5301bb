--- bam.train: one phase of a recipe. It trains a model until its tokens are used up, saves checkpoints, and resumes
--- from the newest one when it is called again with the same settings.
local budget = require "bam.train.budget"
local check = require "bam.util.check"
local checkpoint = require "bam.model.checkpoint"
local closure_hash = require "bam.model.fingerprint.closure_hash"
local flags = require "bam.util.flags"
local learns = require "bam.model.learns"
local optimizer_choice = require "bam.train.optimizer_choice"
local options = require "bam.train.options"
local overrides = require "bam.train.overrides"
local phase = require "bam.train.phase"
local run_dir = require "bam.train.run_dir"
local plan = require "bam.train.plan"
local precision = require "bam.train.precision"
local schedule = require "bam.util.schedule"

local M = {}

-- ---- options ----

local spec = overrides.add_to {
  name = { "string" },
  model = { "any", expects = "a description such as bam.models.parallel { ... }, a phase, a directory or a model" },
  data = { "any", expects = "text to train on, such as corpus:sample { law = 1 }" },
  tokens = { "positive", optional = true }, steps = { "size", optional = true },
  continue = { "any", optional = true },
  lr = { "any", expects = "a number, or a schedule such as bam.schedule.cosine { peak = 1e-3 }" },
  batch = { "size", optional = true }, rows = { "size", optional = true }, context = { "size", optional = true },
  seed = { "count", optional = true }, dtype = { "string", optional = true }, clip = { "positive", 1 },
  max_grad_ratio = { "positive", 10, was = "spike" },
  optimizer = { "any", optional = true }, betas = { "list", optional = true }, eps = { "positive", optional = true },
  weight_decay = { "rate", optional = true }, eval_every = { "count", optional = true },
  eval_tokens = { "size", 2048 }, save_every = { "size", optional = true },
  audit_every = { "size", optional = true }, graphs = { "boolean", optional = true },
  on_step = { "callable", optional = true }, on_eval = { "callable", optional = true },
}

-- An option of this call, or of bam.options, or `default`.
local function from_options(o, name, default, kind)
  if o[name] ~= nil then return o[name] end
  local value = options.get(name)
  return value and check.value(string.format("train: options.%s", name), value, kind or "size")
    or default
end

local function read_schedule(value)
  if type(value) ~= "number" and type(value) ~= "function" and not schedule.is(value) then
    check.fail("train: option lr: expected a number, a schedule or a function of progress, got %s",
               check.describe(value))
  end
  return schedule.of(value)
end

-- The steps of this phase, without those of a run that it continues: option steps, or tokens in whole steps.
local function read_steps(o)
  if o.steps and o.tokens then check.fail "train: options steps and tokens are both given; give one of them" end
  if o.steps then return o.steps end
  if o.tokens and 2 * o.tokens < o.batch * o.context then
    print(string.format("warning: %s: %g tokens are less than half of one step, which has %d rows of %d tokens; it "
                        .. "trains one step. Options batch and context change that", o.name, o.tokens, o.batch,
                        o.context))
  end
  if not o.tokens then check.fail "train: how long? Give `tokens`, the number of tokens to train on, or `steps`" end
  return math.max(1, math.floor(o.tokens / (o.batch * o.context) + 0.5))
end

local DATA_HINTS = {
  string = '; files are read by text = bam.corpus({ mine = "%s" }, { vocab = 8192 })',
  ["a bam.text"] = "; say how much of each domain, text:sample { law = 0.9, general = 0.1 }",
  ["a bam.heldout"] = ", which is never trained on: bam.evaluate and bam.compare take it",
}

local function check_data(data, d)
  local got = check.describe(data)
  local fine = type(data) == "table" and got ~= "a bam.heldout" and check.is_callable(check.field(data, "open"))
    and check.is_callable(check.field(data, "identity"))
  if not fine then
    check.fail("train: option data: expected the result of text:sample { domain = weight }, got %s%s", got,
               DATA_HINTS[got] or type(data) == "string" and string.format(DATA_HINTS.string, data) or "")
  end
  local text = data.text
  if text and text.vocab > d.vocab then
    check.fail("train: the text has a vocabulary of %d, and the model one of %d", text.vocab,
               d.vocab)
  end
end

-- Options betas, eps and weight_decay belong to AdamW. With option optimizer, give them among its options.
local function read_optimizer(o)
  local given = { "adamw" }
  for _, name in ipairs { "betas", "eps", "weight_decay" } do
    if o[name] ~= nil and o.optimizer ~= nil then
      check.fail('train: option %s: give it to the optimizer: optimizer = { "adamw", %s = ... }', name, name)
    end
    given[name] = o[name]
  end
  return optimizer_choice.read(o.optimizer == nil and given or o.optimizer)
end


local function read(given)
  local o = check.options("train", given, spec)
  o.name, o.lr, o.optimizer = run_dir.check_name(o.name), read_schedule(o.lr), read_optimizer(o)
  o.start = require("bam.train.start").read(o)
  o.description = overrides.apply(o.start.description, o)
  o.batch = from_options(o, "batch", 16)
  o.context = from_options(o, "context", math.min(o.description.context, 2048))
  o.dtype = precision.check(from_options(o, "dtype", flags.get().dtype or "f32", "string"))
  o.seed = from_options(o, "seed", flags.get().seed or 1, "count")
  check_data(o.data, o.description)
  local own_steps = read_steps(o)
  o.steps = o.start.before + own_steps
  o.eval_every = o.eval_every or math.max(1, (own_steps + 3) // 4)
  o.rows, o.split_counts = budget.micro_batch(o.description, o.batch, o.context, from_options(o, "rows"), o.dtype)
  learns.check(string.format("train: phase %s", o.name), o.description, o.steps)
  return o
end

-- ---- the phase ----

-- Everything that the final weights depend on, as plain data; not device, threads or logging.
local function settings_of(o)
  local optimizer, id = o.optimizer:settings(), o.start.identity()
  return {
    format = 1, name = o.name, steps = o.steps, batch = o.batch, context = o.context,
    model = o.description:identity(o.steps), parent = id.parent, start = id.start,
    continue = require("bam.train.continued").settings(o.start), data = o.data:identity(o.steps),
    lr = schedule.digest(o.lr, o.steps), seed = o.seed,
    generation = o.start.generation, clip = o.clip, spike = o.max_grad_ratio, betas = optimizer.betas,
    eps = optimizer.eps, weight_decay = optimizer.weight_decay, optimizer = optimizer.optimizer,
    rows = o.split_counts and o.rows or nil, dtype = o.dtype ~= "f32" and o.dtype or nil,
    patches = closure_hash.patches(),
  }
end

local function new_phase(o)
  return phase.new {
    name = o.name, description = o.description, steps = o.steps, before = o.start.before, seed = o.seed,
    step_tokens = o.batch * o.context, batch = o.batch, context = o.context, generation = o.start.generation,
    flops = 1.0 * o.batch * o.context * o.description:flops(o.context).training,
    own = checkpoint.own_of(o.description),
    settings = function() return settings_of(o) end,
  }
end

---@class bam.TrainOptions
---@field name string name of the phase; "experts/law" is in a directory "experts"
---@field model any a description; or what has weights to go on from: a phase (its final ones), a live model (as it is
--- now; the phase trains a copy), or the directory of a model (of Hugging Face's too), of a checkpoint or of a phase
---@field data table text:sample { domain = weight }
---@field tokens? number tokens to train on, rounded to whole steps
---@field steps? integer steps to train, in place of tokens
---@field lr number|schedule learning rate
---@field continue? "weights"|"optimizer"|"run" what else is taken over from a phase or checkpoint: nothing but its
--- weights (default); the optimizer's state too; or the run goes on: its steps are counted on, so that schedules and
--- data continue, and `tokens` or `steps` are those that are added
---@field freeze? bam.Freeze what is frozen, in place of what the model says; {} nothing
---@field load_balance? number|schedule coefficient of the load-balance loss, in place of the model's
---@field z_loss? number|schedule coefficient of the z loss, in place of the model's
---@field temperature? number|schedule|table of all routers, or { attention = ..., ffn = ... }, in place of the model's
---@field jitter? number|schedule|table of the routers, likewise
---@field routing? "soft"|integer|schedule of attention experts, in place of the model's
---@field top_k? integer|schedule FFN experts per token, in place of the model's
---@field batch? integer rows per step; the option `batch`, or 16, by default
---@field rows? integer rows of a micro-batch, whose activations are in memory at a time: a divisor of batch; the
--- option `rows`, or as many as fit into 1 GB, by default. Where the auxiliary losses are balanced over all tokens of a
--- micro-batch (aux_group_size = 0) it changes what is learned, and the phase's fingerprint
---@field context? integer tokens per row; the option `context`, or the model's, by default
---@field seed? integer the option `seed`, or 1, by default
---@field dtype? "f32"|"bf16"|"fp8" what weights and activations are computed in; the option `dtype`, the flag --dtype,
--- or "f32", by default. "bf16" takes a device that computes in it (CUDA). Sums, gradients of weights, norms'
--- statistics, routers and losses stay f32, and the optimizer updates f32 masters of the weights. "fp8" is bf16 with
--- the products of linear layers in FP8, on a GPU of compute capability 8.9 or newer; see m:fp8()
---@field clip? number largest gradient norm, 1 by default
---@field max_grad_ratio? number a step is skipped if its gradient norm exceeds clip and this many times the running
--- mean, 10 by default; three skips in a row end the run if the loss has risen too
---@field optimizer? string|table name, "adamw" (default), "lion", "muon" or "sgd", or with options: { "muon",
--- momentum = 0.9 }; or, in place of the name, a result of bam.optim.define
---@field betas? number[] of AdamW, { 0.9, 0.95 } by default; with `optimizer`, betas, eps and weight_decay are
--- among its options
---@field eps? number of AdamW, 1e-8 by default
---@field weight_decay? number of AdamW, on matrices, 0.1 by default
---@field eval_every? integer steps between evaluations, a quarter of the run by default; 0: none
---@field eval_tokens? integer tokens per domain of such an evaluation, 2048 by default
---@field save_every? integer steps between checkpoints; once a minute by default
---@field audit_every? integer compute every n-th step twice, re-read its tokens, and check weights and moments
--- between steps: wrong bits of memory, processor or disk end the run. About 1 / n slower; the weights are the
--- same. Off by default
---@field graphs? boolean run the micro-steps of a dense model on a GPU as CUDA graphs (bam.graph), which takes less
--- time of the host and gives the same bits. By default where it is possible; true: an error where it is not, as for
--- mixtures, which wait for the rows of their experts
---@field on_step? fun(record: table, model: table) called after every step, to look and log
---@field on_eval? fun(result: table, model: table) called after every evaluation, to look and log

--- Train a phase, or resume it; a finished phase is only looked up. It is kept in runs/NAME-XXXXXXXX, where the
--- digits are a fingerprint of everything that defines it: metrics.jsonl, phase.json (the settings), checkpoints
--- step-N and best.
---
--- A line of metrics.jsonl, and the record of on_step, has step, loss (nats per token, without auxiliary losses), lr,
--- norm (of the gradient, before clipping), tokens_per_second; for mixtures load_balance and z_loss (the auxiliary
--- losses before their coefficients, summed over layers) and routing: per
--- router layer, module, and per expert load (share of assignments), gate (mean) and entropy (mean of -p ln p).
--- `skipped` says why a step was skipped. Evaluations have `eval`: perplexity and bits_per_byte by domain.
---
--- Only the settings determine the weights: a callback that changes the model, a schedule that depends on more than
--- the progress, and a router whose code or state changes during the phase are errors. Callbacks have random
--- numbers of their own.
---
--- Evaluations use held-out text of the domains that are trained on. With --plan a phase is only described; with
--- --only NAME all others are skipped; with --audit nothing new is trained, but what exists is checked and the last
--- steps are trained again, which must give the same bits.
---@param given bam.TrainOptions
---@return bam.Phase
function M.train(given)
  options.apply()
  local o = read(given)
  local this, flag = new_phase(o), flags.get()
  if flag.plan then
    plan.phase(this, budget.bytes(o.description, o.rows * o.context, o.optimizer, o.dtype, flag.device))
    plan.note_products(this, o.dtype, o.rows * o.context)
  elseif flag.audit then
    require("bam.train.retrace").phase(this, o)
  elseif not flag.only or flag.only == o.name then
    require("bam.train.trainer").run(this, o)
  end
  plan.note(this)
  return this
end

return M
