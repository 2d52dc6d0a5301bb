--- An ensemble of dense models (BTM, Li 2022). Each token is predicted by all models, weighted by the posterior of
--- the domains given the text so far: p(model | x₁ … xₜ) ∝ prior * p_model(x₁ … xₜ), within one document. An
--- ensemble evaluates and samples; it is not trained.
local batch = require "bam.model.batch"
local check = require "bam.util.check"
local codec = require "bam.model.codec"
local core = require "bam.core"
local description = require "bam.model.description"
local nn = require "bam.nn"
local old_fields = require "bam.util.old_fields"

local ops = core.ops

local Ensemble = nn.module "Ensemble"

local spec = { models = { "list" }, prior = { "list", optional = true } }

local function check_models(models)
  if #models == 0 then check.fail("ensemble: expected at least one model") end
  for i, model in ipairs(models) do
    if not description.is_model(model) then
      check.fail("ensemble: entry %d is %s, not a live model", i, check.describe(model))
    end
    local vocab = models[1].description.vocab
    if model.description.vocab ~= vocab then
      check.fail("ensemble: model %d has a vocabulary of %d, and model 1 of %d", i,
                 model.description.vocab, vocab)
    end
    if not codec.same(model.tokenizer_json, models[1].tokenizer_json) then
      check.fail("ensemble: model %d has another tokenizer than model 1", i)
    end
  end
end

-- Logarithms of the prior, which is uniform unless given.
local function read_prior(prior, n)
  local logs, sum = {}, 0
  if prior and #prior ~= n then
    check.fail("ensemble: %d numbers as the prior of %d models", #prior, n)
  end
  for i = 1, n do
    local share = prior and check.value("ensemble: prior", prior[i], "rate") or 1
    logs[i], sum = math.log(share), sum + share
  end
  if sum == 0 then check.fail("ensemble: the prior is 0 for all models") end
  for i = 1, n do logs[i] = logs[i] - math.log(sum) end
  return logs
end

--- bam.ensemble { models = { seed, law, math } }
---@param options { models: table[], prior?: number[] } prior is a weight per model, uniform by default
function Ensemble:init(options)
  local o = check.options("ensemble", options, spec)
  check_models(o.models)
  self.models = table.move(o.models, 1, #o.models, 1, {})
  self._log_prior = read_prior(o.prior, #o.models)
  self.tokenizer, self.tokenizer_json = o.models[1].tokenizer, o.models[1].tokenizer_json
end

-- ---- the posterior ----

-- For every token the position (from 1) of the first of its document.
local function document_starts(documents)
  local rows = documents:totable()
  for _, row in ipairs(rows) do
    local first, current = {}, nil
    for t = 1, #row do
      first[t] = t > 1 and row[t] == current and first[t - 1] or t
      current = row[t]
    end
    table.move(first, 1, #row, 1, row)
  end
  return core.tensor(rows, { dtype = "i64", device = documents.device })
end

-- The log likelihood of each token's text so far, that token included, within its document; the
-- first token of a document is given, not predicted. All [B, T].
local function evidence(model, ids, starts, options)
  local B, T = ids:size(1), ids:size(2)
  local zero = core.zeros(B, 1, { dtype = "f64", device = ids.device })
  if T == 1 then return zero end
  local none = core.full({ B, 1 }, -100, { dtype = "i64", device = ids.device })
  local following = ops.concat({ ops.narrow(ids, 2, 2, T - 1), none }, 2)
  local steps = ops.to(model:log_likelihood(ids, following, options), "f64")
  local sum = ops.concat({ zero, ops.cumsum(ops.narrow(steps, 2, 1, T - 1), 2) }, 2)
  return starts and ops.sub(sum, ops.gather(sum, starts, 2)) or sum
end

-- Log posteriors [models, B, T] of the models before each next token.
local function posterior(self, ids, options)
  local documents, starts, logs = batch.new("ensemble", ids, options).documents, nil, {}
  if documents then
    batch.check_alike("ensemble", ids, "documents", documents)
    starts = document_starts(documents)
  end
  for i, model in ipairs(self.models) do
    logs[i] = ops.add(evidence(model, ids, starts, options), self._log_prior[i])
  end
  return ops.log_softmax(ops.stack(logs, 1), 1)
end

-- f() as in evaluation, without a gradient.
local function evaluating(self, f) return core.with_grad(false, self.in_eval, self, f) end

--- The posterior of the models before each next token.
---@param ids tensor integers [B, T]
---@param options? { documents?: tensor, positions?: tensor } integers [B, T]
---@return tensor [models, B, T]
function Ensemble:posterior(ids, options)
  return evaluating(self, function() return ops.exp(posterior(self, ids, options)) end)
end

-- ---- what it predicts ----

--- The log-probability of each target.
---@param ids tensor integers [B, T]
---@param targets tensor integers [B, T]; the result is 0 where they are -100
---@param options? { documents?: tensor, positions?: tensor } integers [B, T]
---@return tensor [B, T]
function Ensemble:log_likelihood(ids, targets, options)
  return evaluating(self, function()
    local parts, logs = {}, posterior(self, ids, options)
    for i, model in ipairs(self.models) do
      parts[i] = ops.add(ops.to(model:log_likelihood(ids, targets, options), "f64"), logs[i])
    end
    return ops.logsumexp(ops.stack(parts, 1), 1)
  end)
end

--- The mean negative log-likelihood of the targets that are not -100.
---@param ids tensor integers [B, T]
---@param targets tensor integers [B, T]
---@param options? { documents?: tensor, positions?: tensor } integers [B, T]
---@return tensor loss
---@return { loss: tensor, routing: table[] } parts
function Ensemble:loss(ids, targets, options)
  local sum = ops.sum(self:log_likelihood(ids, targets, options))
  local count = ops.sum(ops.ne(targets, -100)):item()
  local loss = ops.div(ops.neg(sum), math.max(count, 1))
  return loss, old_fields.metrics { loss = loss, routing = {} }
end

--- Log-probabilities of the next token, in place of logits.
---@param ids tensor integers [B, T]
---@param options? { documents?: tensor, positions?: tensor } integers [B, T]
---@return tensor [B, T, vocab]
function Ensemble:forward(ids, options)
  return evaluating(self, function()
    local parts, logs = {}, posterior(self, ids, options)
    for i, model in ipairs(self.models) do
      local predicted = ops.to(ops.log_softmax(model(ids, options), -1), "f64")
      parts[i] = ops.add(predicted, ops.reshape(logs[i], ids:size(1), ids:size(2), 1))
    end
    return ops.logsumexp(ops.stack(parts, 1), 1)
  end)
end

--- Count the parameters: all of them are active for every token.
---@return integer total
---@return integer active
function Ensemble:count()
  local total = 0
  for _, model in ipairs(self.models) do total = total + (model:count()) end
  return total, total
end

--- FLOPs per token, summed over the models.
---@param context integer tokens of a sequence
---@return { layer: table, training: integer, palm: integer }
function Ensemble:flops(context)
  local sum = { layer = {}, training = 0, palm = 0 }
  for _, model in ipairs(self.models) do
    local f = model:flops(context)
    sum.training, sum.palm = sum.training + f.training, sum.palm + f.palm
    for name, value in pairs(f.layer) do sum.layer[name] = (sum.layer[name] or 0) + value end
  end
  return sum
end

--- Continue a text, as model:sample does.
---@param prompt string|integer[] text, or token ids
---@param options? { tokens?: integer, temperature?: number, top_k?: integer, top_p?: number, seed?: integer,
--- stop?: any }
---@return string|integer[] text for a text, ids for ids
function Ensemble:sample(prompt, options)
  return require "bam.model.sample"(self, self.models[1].description, prompt, options)
end

--- The log likelihood of each of several answers after a context, as model:score gives it.
---@param context string|integer[] text, or token ids
---@param answers table list of texts, or of lists of token ids
---@param options? { per_token?: boolean } per_token = true gives means in place of sums
---@return number[] scores
function Ensemble:score(context, answers, options)
  return require "bam.model.score"(self, self.models[1].description, context, answers, options)
end

check.methods(Ensemble, nn.is_module, "an ensemble", "m")

return Ensemble
