--- The live model of a description: embedding, parallel blocks (BAM §3.1), a norm and a head. A
--- dense model and a mixture are the same module with other layers inside.
local batch = require "bam.models.batch"
local check = require "bam.check"
local core = require "bam.core"
local count = require "bam.models.count"
local description = require "bam.models.description"
local freeze = require "bam.models.freeze"
local knobs = require "bam.models.knobs"
local likelihood = require "bam.models.likelihood"
local nn = require "bam.nn"
local stepping = require "bam.models.step"

local ops = core.ops

-- ---- one block ----

local Block = nn.module "Block"

-- Deviation of output projections at first: a block's two add to the residual stream of all layers.
local function out_std(d, o) return o.std / math.sqrt(2 * d.layers) end

-- `now` are the numbers of the knobs.
local function make_attention(d, layer, o, now)
  local a = d.attention
  return nn.MixtureOfAttention {
    width = d.width, heads = d.heads, kv_heads = d.kv_heads, head_width = d.head_width,
    experts = a.experts, kv = a.kv, routing = now.attention.routing, renormalise = a.renormalise,
    temperature = now.attention.temperature, jitter = now.attention.jitter,
    keys_apart = freeze.keys_apart(d), router = a.router, layer = layer, aux_tokens = d.aux_tokens,
    rope_base = d.rope_base, std = o.std, out_std = out_std(d, o), dtype = o.dtype }
end

local function make_ffn(d, layer, o, now)
  local f = d.ffn
  if f.experts == 1 then
    return nn.SwiGLU { width = d.width, hidden = f.hidden, std = o.std, out_std = out_std(d, o),
                       dtype = o.dtype }
  end
  return nn.RoutedFFN {
    width = d.width, hidden = f.hidden, experts = f.experts, top_k = now.ffn.top_k,
    renormalise = f.renormalise, temperature = now.ffn.temperature, jitter = now.ffn.jitter,
    router = f.router, layer = layer, aux_tokens = d.aux_tokens, std = o.std,
    out_std = out_std(d, o), dtype = o.dtype }
end

function Block:init(d, layer, o, now)
  self.norm = nn.LayerNorm(d.width, { bias = false, eps = d.eps, dtype = o.dtype })
  self.attention = make_attention(d, layer, o, now)
  self.ffn = make_ffn(d, layer, o, now)
end

-- x is the residual stream before the last block's `branch` was added to it; that happens in the
-- norm.
function Block:forward(x, branch, pass)
  local h
  if branch then h, x = self.norm(x, branch) else h = self.norm(x) end
  return x, self.attention(h, pass) + self.ffn(h, pass)
end

-- ---- the model ----

local Model = nn.module "Model"

local spec = { dtype = { "dtype", "f32" }, std = { "rate", optional = true } }

--- models.Model(description), with random weights, which bam's generator draws. Write
--- description:build() instead: it gives a mixture its experts' weights. `std` stands in for the
--- description's; with 0 nothing but routers is drawn.
---@param d table description
---@param options? { dtype?: "f32"|"f64", std?: number }
function Model:init(d, options)
  if not description.is(d) then
    check.fail("models.Model: expected a description, got %s", check.describe(d))
  end
  local o = check.options("models.Model", options, spec)
  o.std = o.std or d.std
  local vectors = { std = o.std, dtype = o.dtype }
  d = description.copy(d)
  self.description = d
  local now = knobs.at("build", d, 1, 1)
  self.embed = nn.Embedding(d.vocab, d.width, vectors)
  self.layers = {}
  for layer = 1, d.layers do self.layers[layer] = Block(d, layer, o, now) end
  self.norm = nn.LayerNorm(d.width, { bias = false, eps = d.eps, dtype = o.dtype })
  if not d.tied then self.head = nn.Embedding(d.vocab, d.width, vectors) end
  stepping.begin(self, now)
end

local function check_self(what, self)
  if description.is_model(self) then return end
  check.fail("%s: expected a model, got %s; call methods with a colon: model:%s(...)", what,
             check.describe(self), what)
end

--- Bring what changes over a run to a step of it: the coefficients of the auxiliary losses, what is
--- scheduled of the routers (their fields temperature, jitter and top_k), and what is frozen. The
--- field `reached` has all these numbers. A model is built at the first step, but with everything
--- trainable: make its optimiser before this, as one cannot train what was frozen when it was made.
---@param step integer from 1
---@param total integer
function Model:set_step(step, total)
  check_self("set_step", self)
  stepping.set(self, step, total)
end

-- The normalised residual stream after all blocks, times logit_scale: logits are a product away.
local function hidden(self, ids, pass)
  local x, branch = self.embed(ids), nil
  for _, layer in ipairs(self.layers) do x, branch = layer(x, branch, pass) end
  local h, scale = self.norm(x, branch), self.description.logit_scale
  return scale == 1 and h or ops.mul(h, scale)
end

local function head_weight(self) return (self.head or self.embed).weight end

--- Logits of the token after each one.
---@param ids tensor integers [B, T], from 0
---@param options? { documents?: tensor, positions?: tensor } integers [B, T] as for bam.attention
---@return tensor logits [B, T, vocab]
function Model:forward(ids, options)
  check_self("forward", self)
  return ops.linear(hidden(self, ids, batch.new("model", ids, options)), head_weight(self))
end

-- f(...) as in evaluation, without a gradient.
local function evaluating(self, f, ...) return core.with_grad(false, self.in_eval, self, f, ...) end

--- What the routers do with a text, as in evaluation, without a gradient: a list of { layer, module, statistics,
--- losses }, see nn.Router; module is "attention" or "ffn".
---@param ids tensor integers [B, T]
---@param options? { documents?: tensor, positions?: tensor }
---@return table[]
function Model:routing(ids, options)
  check_self("routing", self)
  local pass = batch.new("routing", ids, options)
  evaluating(self, hidden, self, ids, pass)
  return pass.routing
end

-- alpha * load balance + beta * z of all routers that have losses; nil when there is none.
local function auxiliary(self, routing)
  local sum
  for _, record in ipairs(routing) do
    if record.losses then sum = sum and ops.add(sum, record.losses) or record.losses end
  end
  if not sum then return nil end
  local coefficients = core.tensor({ self.load_balance, self.z_loss },
                                   { dtype = sum.dtype, device = sum.device })
  return ops.sum(ops.mul(sum, coefficients)), sum
end

local loss_spec = {
  documents = batch.spec.documents, positions = batch.spec.positions,
  scale = { "number", optional = true }, share = { "rate", 1 },
  ignore_index = { "integer", -100 },
}

---@class models.LossOptions
---@field documents? tensor integers [B, T]
---@field positions? tensor integers [B, T]
---@field scale? number
---@field share? number default 1
---@field ignore_index? integer default -100

--- The loss to train: the mean negative log likelihood of the targets, plus load_balance and z_loss
--- times the auxiliary losses summed over layers (BAM §4.2). Tokens whose target does not count are
--- padding: they are in neither. For gradients collected over several calls give `scale`, 1 /
--- (targets of the whole batch that count), which makes it a sum times scale, and `share`, these
--- targets' part of the batch's that count: the factor of the auxiliary losses.
---@param ids tensor integers [B, T], from 0
---@param targets tensor integers [B, T]; those equal to ignore_index, -100, do not count
---@param options? models.LossOptions
---@return tensor loss
---@return { nll: tensor, losses?: tensor, routing: table[] } parts losses: [2], load balance and z
function Model:loss(ids, targets, options)
  check_self("loss", self)
  local o = check.options("loss", options, loss_spec)
  local pass = batch.new("loss", ids, { documents = o.documents, positions = o.positions })
  batch.check_alike("loss", ids, "targets", targets)
  pass.mask = description.is_mixture(self.description) and ops.ne(targets, o.ignore_index) or nil
  local nll = ops.linear_cross_entropy(hidden(self, ids, pass), head_weight(self), targets,
                                       { ignore_index = o.ignore_index, scale = o.scale })
  local extra, losses = auxiliary(self, pass.routing)
  if extra and o.share ~= 1 then extra = ops.mul(extra, o.share) end
  return extra and ops.add(nll, extra) or nll,
         { nll = nll, losses = losses, routing = pass.routing }
end

--- The log probability of each target, as in evaluation whatever the model's mode; nothing is
--- recorded.
---@param ids tensor integers [B, T]
---@param targets tensor integers [B, T]; where they are -100 the result is 0
---@param options? { documents?: tensor, positions?: tensor }
---@return tensor [B, T]
function Model:log_likelihood(ids, targets, options)
  check_self("log_likelihood", self)
  local pass = batch.new("log_likelihood", ids, options)
  batch.check_alike("log_likelihood", ids, "targets", targets)
  return evaluating(self, function()
    local h = ops.reshape(hidden(self, ids, pass), -1, self.description.width)
    local flat = ops.reshape(ops.contiguous(targets), -1)
    return ops.reshape(likelihood(h, head_weight(self), flat), targets.shape)
  end)
end

--- Parameters: all, and those that one token uses.
---@return integer total
---@return integer active
function Model:count()
  check_self("count", self)
  return count.parameters(self.description)
end

--- FLOPs per token, as description:flops tells them.
---@param context integer
---@return { layer: table, training: integer, palm: integer }
function Model:flops(context)
  check_self("flops", self)
  return self.description:flops(context)
end

--- Write the model as a checkpoint directory: config.json, model.safetensors (in shards with an
--- index when longer than `shard_bytes`), tokenizer.json if it has one, and what other programs need
--- to use it: tokenizer_config.json, generation_config.json, a chat template that it came with. The
--- directory appears as a whole or not at all. A dense model is a CohereForCausalLM checkpoint. A
--- weight beyond what the dtype holds is an error.
---@param directory string
---@param options? { dtype?: "f32"|"f64"|"bf16"|"f16", shard_bytes?: integer }
function Model:save(directory, options)
  check_self("save", self)
  require("bam.models.checkpoint").save(self, directory, options)
end

--- Continue a text: the prompt and what the model adds to it. Text is read and written by the
--- model's field `tokenizer`, an object with methods encode and decode, which is made of its
--- tokenizer.json when it is first needed; a model without one, with a vocabulary of 256, takes
--- bytes. It runs as in evaluation, whatever the model's mode.
---@param prompt string|integer[] text, or token ids
---@param options? { tokens?: integer, temperature?: number, top_k?: integer, seed?: integer }
---@return string|integer[] of the prompt's kind
function Model:sample(prompt, options)
  check_self("sample", self)
  return require "bam.models.sample"(self, self.description, prompt, options)
end

return Model
