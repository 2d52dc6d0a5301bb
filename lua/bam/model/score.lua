-- model:score: the log likelihoods of several answers to one context, for multiple choice.
local check = require "bam.util.check"
local codec = require "bam.model.codec"
local core = require "bam.core"
local description = require "bam.model.description"
local Model = require "bam.model.model"

local ops = core.ops

local TOKENS_AT_ONCE = 4096
local IGNORED = -100

-- The token ids of a context or answer that is a text or a list of ids.
local function ids_of(what, model, vocab, value)
  if type(value) == "string" then return codec.of("score", model, vocab):encode(value) end
  if type(value) ~= "table" or getmetatable(value) then
    check.fail("score: %s: expected a text or a list of token ids, got %s", what, check.describe(value))
  end
  check.list(string.format("score: %s", what), value)
  for _, id in ipairs(value) do check.value(string.format("score: %s: token id", what), id, "count") end
  return value
end

-- The context's tokens, after the one that a text begins with.
local function context_of(model, vocab, value)
  local ids = ids_of("context", model, vocab, value)
  local first = type(value) == "string" and codec.first(model)
  if first and ids[1] ~= first then ids = table.move(ids, 1, #ids, 2, { first }) end
  if #ids == 0 then
    check.fail "score: context: expected at least one token, since the model does not say how a text begins"
  end
  return ids
end

-- A row of tokens: inputs, and the targets among them, of which only the answer's count.
local function row_of(context, answer, limit, i)
  local all = table.move(answer, 1, #answer, #context + 1, table.move(context, 1, #context, 1, {}))
  local first = math.max(1, #all - limit) -- the last `limit` tokens are predicted from as many
  if first > #context then
    check.fail("score: answer %d has %d tokens, and the model a context of %d", i, #answer, limit)
  end
  local row = { ids = {}, targets = {}, count = #answer }
  for at = first, #all - 1 do
    row.ids[#row.ids + 1] = all[at]
    row.targets[#row.targets + 1] = at >= #context and all[at + 1] or IGNORED
  end
  return row
end

-- The log likelihoods of rows, padded to one length.
local function score_rows(model, rows, device)
  local longest, ids, targets = 0, {}, {}
  for _, row in ipairs(rows) do longest = math.max(longest, #row.ids) end
  for i, row in ipairs(rows) do
    ids[i], targets[i] = {}, {}
    for t = 1, longest do ids[i][t], targets[i][t] = row.ids[t] or 0, row.targets[t] or IGNORED end
  end
  return core.scope(function()
    local o = { dtype = "i64", device = device }
    local logs = model:log_likelihood(core.tensor(ids, o), core.tensor(targets, o))
    return ops.sum(ops.to(logs, "f64"), 2):totable()
  end)
end

local function device_of(model) return (model.models and model.models[1] or model).embed.weight.device end

--- What Model:score does, also for an ensemble of models.
---@param model table gives log likelihoods
---@param d table the description of the model, or of one model of the ensemble
---@param context string|integer[]
---@param answers table
---@param options? table
---@return number[]
local function score(model, d, context, answers, options)
  local o = check.options("score", options, { per_token = { "boolean", false } })
  if type(answers) ~= "table" or check.list("score: answers", answers) == 0 then
    check.fail("score: answers: expected a list of texts or of lists of token ids, got %s",
               type(answers) == "table" and "an empty list" or check.describe(answers))
  end
  local before, rows, scores = context_of(model, d.vocab, context), {}, {}
  for i, answer in ipairs(answers) do
    local ids = ids_of(string.format("answer %d", i), model, d.vocab, answer)
    if #ids == 0 then check.fail("score: answer %d is empty", i) end
    rows[i] = row_of(before, ids, d.context, i)
  end
  local longest = 0
  for _, row in ipairs(rows) do longest = math.max(longest, #row.ids) end
  local at_once = math.max(1, TOKENS_AT_ONCE // longest)
  for first = 1, #rows, at_once do
    local part = table.move(rows, first, math.min(first + at_once - 1, #rows), 1, {})
    table.move(score_rows(model, part, device_of(model)), 1, #part, first, scores)
  end
  for i, row in ipairs(o.per_token and rows or {}) do scores[i] = scores[i] / row.count end
  return scores
end

--- The log likelihood of each of several answers after a context, for multiple choice: the largest is the most likely.
--- Context and answers are encoded separately, so an answer begins with a space where the text has one. A context that
--- is a text follows the token that texts begin with in training; of a long one only the last tokens count, as many as
--- the model's context has room for. Runs in evaluation mode.
---
---   local scores = model:score("The capital of France is", { " Paris", " Rome" })
---@param context string|integer[] text, or token ids
---@param answers table list of texts, or of lists of token ids
---@param options? { per_token?: boolean } per_token = true gives means in place of sums, for answers of different
--- lengths
---@return number[] scores the sum of ln p over the tokens of each answer
function Model:score(context, answers, options)
  description.check_model("score", self)
  return score(self, self.description, context, answers, options)
end

return score
