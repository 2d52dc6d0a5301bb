--- The live model of a description: embedding, parallel blocks (BAM §3.1), a norm and a head. A dense
--- model and a mixture are the same module with other layers inside.
local check = require "bam.check"
local core = require "bam.core"
local nn = require "bam.nn"
local count = require "bam.models.count"
local schedule = require "bam.schedule"

local ops = core.ops

-- ---- one block ----

local Block = nn.module "Block"

-- Deviations of the weights at first: output projections add up over 2 layers' branches per block.
local function deviations(d)
  local std = d.std or 0
  return std, std / math.sqrt(2 * d.layers)
end

local function make_attention(d, layer, dtype)
  local a, std, out_std = d.attention, deviations(d)
  return nn.MixtureOfAttention {
    width = d.width, heads = d.heads, kv_heads = d.kv_heads, head_width = d.head_width,
    experts = a.experts, kv = a.kv, routing = a.routing, renormalise = a.renormalise,
    router = a.router, layer = layer, aux_tokens = d.aux_tokens, rope_base = d.rope_base,
    std = std, out_std = out_std, dtype = dtype }
end

local function make_ffn(d, layer, dtype)
  local f, std, out_std = d.ffn, deviations(d)
  if f.experts == 1 then
    return nn.SwiGLU { width = d.width, hidden = f.hidden, std = std, out_std = out_std,
                       dtype = dtype }
  end
  return nn.RoutedFFN { width = d.width, hidden = f.hidden, experts = f.experts, top_k = f.top_k,
                        renormalise = f.renormalise, router = f.router, layer = layer,
                        aux_tokens = d.aux_tokens, std = std, out_std = out_std, dtype = dtype }
end

function Block:init(d, layer, dtype)
  self.norm = nn.LayerNorm(d.width, { bias = false, eps = d.eps, dtype = dtype })
  self.attention, self.ffn = make_attention(d, layer, dtype), make_ffn(d, layer, dtype)
end

--- x is the residual stream before the last block's `branch` was added to it; that happens in the norm.
function Block:forward(x, branch, batch)
  local h
  if branch then h, x = self.norm(x, branch) else h = self.norm(x) end
  return x, self.attention(h, batch) + self.ffn(h, batch)
end

-- ---- the model ----

local Model = nn.module "Model"

--- models.Model(description): with random weights; bam's generator draws them. description:build() calls
--- it.
---@param d table description
---@param options? { dtype?: string }
function Model:init(d, options)
  local dtype = options and options.dtype or "f32"
  local head = { std = d.std, dtype = dtype }
  self.description, self.dtype = d, dtype
  self.embed = nn.Embedding(d.vocab, d.width, head)
  self.layers = {}
  for layer = 1, d.layers do self.layers[layer] = Block(d, layer, dtype) end
  self.norm = nn.LayerNorm(d.width, { bias = false, eps = d.eps, dtype = dtype })
  if not d.tied then self.head = nn.Embedding(d.vocab, d.width, head) end
  self:set_step(1, 1)
end

--- Bring what changes over a run, the coefficients of the auxiliary losses, to a step of it.
---@param step integer from 1
---@param total integer
function Model:set_step(step, total)
  local d = self.description
  self.load_balance = schedule.of(d.load_balance):at(step, total)
  self.z_loss = schedule.of(d.z_loss):at(step, total)
end

local batch_spec = { documents = { "any", optional = true }, positions = { "any", optional = true } }

-- The table of one forward pass, which routers see too.
local function new_batch(what, options)
  local o = check.options(what, options, batch_spec)
  return { documents = o.documents, positions = o.positions, routing = {} }
end

local function check_ids(what, ids)
  if not check.is_tensor(ids) or ids.ndim ~= 2 then
    check.fail("%s: expected token ids [batch, time], got %s", what, check.describe(ids))
  end
end

-- The normalised residual stream after all blocks, times logit_scale: logits are a product away.
local function hidden(self, ids, batch)
  local x, branch = self.embed(ids), nil
  for _, layer in ipairs(self.layers) do x, branch = layer(x, branch, batch) end
  local h = branch and (self.norm(x, branch)) or self.norm(x)
  local scale = self.description.logit_scale
  return scale == 1 and h or ops.mul(h, scale)
end

local function head_weight(self) return (self.head or self.embed).weight end

--- Logits of the token after each one.
---@param ids tensor integers [B, T], from 0
---@param options? { documents?: tensor, positions?: tensor } integers [B, T]; see bam.attention, bam.rope
---@return tensor logits [B, T, vocab]
function Model:forward(ids, options)
  check_ids("model", ids)
  return ops.linear(hidden(self, ids, new_batch("model", options)), head_weight(self))
end

--- What the routers do with a text, without a gradient: a list of { layer, module, statistics, losses }, see
--- nn.Router; module is "attention" or "ffn".
---@param ids tensor integers [B, T]
---@param options? { documents?: tensor, positions?: tensor }
---@return table[]
function Model:routing(ids, options)
  check_ids("routing", ids)
  local batch = new_batch("routing", options)
  core.with_grad(false, hidden, self, ids, batch)
  return batch.routing
end

-- alpha * load balance + beta * z of all routers that have losses; nil when there is none.
local function auxiliary(self, routing)
  local sum
  for _, record in ipairs(routing) do
    if record.losses then sum = sum and ops.add(sum, record.losses) or record.losses end
  end
  if not sum then return nil end
  local coefficients = core.tensor({ self.load_balance, self.z_loss }, { dtype = sum.dtype })
  return ops.sum(ops.mul(sum, coefficients)), sum
end

local loss_spec = {
  documents = batch_spec.documents, positions = batch_spec.positions,
  scale = { "number", optional = true }, share = { "positive", 1 },
  ignore_index = { "integer", -100 },
}

--- The loss to train: the mean negative log likelihood of the targets, plus load_balance and z_loss times
--- the auxiliary losses summed over layers (BAM §4.2). For gradients collected over several calls give
--- `scale`, 1 / (targets of the whole batch that count), which makes it a sum times scale, and `share`,
--- the part of the batch's tokens that these are: the factor of the auxiliary losses.
---@param ids tensor integers [B, T], from 0
---@param targets tensor integers [B, T]; those equal to ignore_index, -100, do not count
---@param options? { documents?: tensor, positions?: tensor, scale?: number, share?: number, ignore_index?: integer }
---@return tensor loss
---@return { nll: tensor, losses?: tensor, routing: table[] } parts losses: [2], load balance and z
function Model:loss(ids, targets, options)
  local o = check.options("loss", options, loss_spec)
  check_ids("loss", ids)
  local batch = new_batch("loss", { documents = o.documents, positions = o.positions })
  local nll = ops.linear_cross_entropy(hidden(self, ids, batch), head_weight(self), targets,
                                       { ignore_index = o.ignore_index, scale = o.scale })
  local extra, losses = auxiliary(self, batch.routing)
  if extra and o.share ~= 1 then extra = ops.mul(extra, o.share) end
  return extra and ops.add(nll, extra) or nll,
         { nll = nll, losses = losses, routing = batch.routing }
end

local CHUNK_BYTES = 100e6 -- of logits at once

--- Log probabilities of tokens, without a gradient and without ever holding all logits.
---@param h tensor [tokens, width] times logit_scale
---@param weight tensor [vocab, width]
---@param targets tensor integers [tokens], within the vocabulary
---@return tensor [tokens]
local function log_likelihoods(h, weight, targets)
  local rows, parts = h:size(1), {}
  local chunk = math.max(1, math.floor(CHUNK_BYTES / (8 * weight:size(1))))
  for from = 1, rows, chunk do
    local n = math.min(chunk, rows - from + 1)
    local logits = ops.linear(ops.narrow(h, 1, from, n), weight)
    local at = ops.add(ops.reshape(ops.narrow(targets, 1, from, n), n, 1), 1)
    parts[#parts + 1] = ops.reshape(ops.gather(ops.log_softmax(logits, -1), at, -1), n)
  end
  return ops.concat(parts, 1)
end

--- The log probability of each target, for evaluating: nothing is recorded.
---@param ids tensor integers [B, T]
---@param targets tensor integers [B, T]; where they are -100 the result is 0
---@param options? { documents?: tensor, positions?: tensor }
---@return tensor [B, T]
function Model:log_likelihood(ids, targets, options)
  check_ids("log_likelihood", ids)
  check_ids("log_likelihood", targets)
  local batch = new_batch("log_likelihood", options)
  return core.with_grad(false, function()
    local h = ops.reshape(hidden(self, ids, batch), -1, self.description.width)
    local flat = ops.reshape(ops.contiguous(targets), -1)
    local counts = ops.ne(flat, -100)
    local result = log_likelihoods(h, head_weight(self), ops.where(counts, flat, 0))
    return ops.reshape(ops.where(counts, result, 0), targets.shape)
  end)
end

--- Parameters: all, and those that one token uses.
---@return integer total
---@return integer active
function Model:count() return count.parameters(self.description) end

--- FLOPs per token, as description:flops tells them.
---@param context integer
---@return { layer: table, training: integer, palm: integer }
function Model:flops(context) return self.description:flops(context) end

--- Write the model as a checkpoint directory: config.json, model.safetensors (in shards with an index when
--- longer than `shard_bytes`), tokenizer.json if it has one. The directory appears as a whole or not at
--- all. A dense model is a CohereForCausalLM checkpoint.
---@param directory string
---@param options? { dtype?: "f32"|"f64"|"bf16"|"f16", shard_bytes?: integer }
function Model:save(directory, options)
  require("bam.models.checkpoint").save(self, directory, options)
end

--- Continue a text: the prompt and what the model adds to it.
---@param prompt string|integer[] text, or token ids
---@param options? { tokens?: integer, temperature?: number, top_k?: integer, seed?: integer }
---@return string|integer[] of the prompt's kind
function Model:sample(prompt, options)
  return require("bam.models.sample")(self, prompt, options)
end

return Model
