-- model:sample: a plain loop, one token at a time over the whole text so far.
local check = require "bam.util.check"
local codec = require "bam.model.codec"
local core = require "bam.core"
local description = require "bam.model.description"
local Model = require "bam.model.model"

local ops = core.ops

local spec = {
  tokens = { "size", 100 }, temperature = { "rate", 1 }, top_k = { "size", optional = true },
  top_p = { "positive", optional = true },
  seed = { "integer", optional = true }, stop = { "any", optional = true },
}

-- Of a model, or of the first of an ensemble's.
local function device_of(model)
  return (model.models and model.models[1] or model).embed.weight.device
end

-- The logits [vocab] after `ids`, of which the model sees the last `context`.
local function next_logits(model, ids, context)
  local first = math.max(1, #ids - context + 1)
  local row = core.tensor({ table.move(ids, first, #ids, 1, {}) },
                          { dtype = "i64", device = device_of(model) })
  local logits = model(row)
  return logits[{ 1, -1 }]
end

-- The logits of the most likely tokens whose probabilities together reach top_p (Holtzman 2020); others are -inf.
local function nucleus(logits, top_p)
  local sorted = ops.sort(logits, -1, true)
  local probabilities = ops.softmax(sorted, -1)
  local before = ops.sub(ops.cumsum(probabilities, -1), probabilities)
  local kept = math.max(1, ops.sum(ops.lt(before, top_p)):item())
  return ops.masked_fill(logits, ops.lt(logits, sorted[kept]), -math.huge)
end

-- Draw from softmax(logits / temperature): the largest after Gumbel noise is added. A model may have more tokens than
-- its tokenizer, which are never drawn as text.
local function draw(logits, o)
  if o.known and o.known < #logits then logits = ops.narrow(logits, 1, 1, o.known) end
  if o.temperature == 0 then return ops.argmax(logits):item() - 1 end
  if o.top_k and o.top_k < #logits then
    local least = ops.topk(logits, o.top_k)[-1]
    logits = ops.masked_fill(logits, ops.lt(logits, least), -math.huge)
  end
  logits = ops.div(logits, o.temperature)
  if o.top_p then logits = nucleus(logits, o.top_p) end
  local uniform = core.rand(#logits, { dtype = logits.dtype, device = logits.device })
  local noise = ops.neg(ops.log(ops.neg(ops.log(uniform))))
  return ops.argmax(ops.add(logits, noise)):item() - 1
end

local function continue(model, ids, context, o)
  for _ = 1, o.tokens do
    local id = core.scope(function() return draw(next_logits(model, ids, context), o) end)
    if o.stop[id] then return end
    ids[#ids + 1] = id
  end
end

-- The set of tokens that end the text: option stop, or the end-of-text tokens of the model.
local function read_stop(model, value)
  if value == nil then return codec.ends(model) end
  local set = {}
  if value == false then return set end
  for _, id in ipairs(type(value) == "table" and value or { value }) do
    set[check.value("sample: option stop (a token id, a list of them, or false)", id, "count")] = true
  end
  return set
end

local function check_prompt(prompt)
  local kind = type(prompt)
  if kind ~= "string" and kind ~= "table" or #prompt == 0 then
    check.fail("sample: expected a text or a list of token ids, not empty, got %s",
               check.describe(prompt))
  end
  if kind == "string" then return end
  check.list("sample: the token ids", prompt)
  for _, id in ipairs(prompt) do check.value("sample: token id", id, "count") end
end

--- What Model:sample does, also for an ensemble of models.
---@param model table gives logits for ids
---@param d table the description of the model, or of one model of the ensemble
---@param prompt string|integer[]
---@param options? table
---@return string|integer[]
local function sample(model, d, prompt, options)
  local o = check.options("sample", options, spec)
  if o.top_p and o.top_p > 1 then check.fail("sample: option top_p: expected a number from 0 to 1, got %g", o.top_p) end
  check_prompt(prompt)
  o.stop = read_stop(model, o.stop)
  local words = type(prompt) == "string" and codec.of("sample", model, d.vocab)
  o.known = words and words.vocab
  local ids = words and words:encode(prompt) or table.move(prompt, 1, #prompt, 1, {})
  local function run()
    core.with_grad(false, model.in_eval, model, continue, model, ids, d.context, o)
  end
  if o.seed then description.seeded(o.seed, run) else run() end
  return words and words:decode(ids) or ids
end

--- Continue a text. Returns the prompt and what the model adds to it, up to the end of the text, whose token is left
--- out. Text is encoded and decoded by the model's field `tokenizer`; a model with a vocabulary of 256 and no tokenizer
--- uses bytes. Runs in evaluation mode.
---@param prompt string|integer[] text, or token ids
---@param options? { tokens?: integer, temperature?: number, top_k?: integer, top_p?: number, seed?: integer,
--- stop?: any } at most 100 tokens by default; `top_k` draws from the k most likely tokens, `top_p` from the fewest
--- whose probabilities reach it; `stop` is the token id that ends the text, or a list of them, by default the model's
--- own; false goes on after it
---@return string|integer[] text for a text, ids for ids
function Model:sample(prompt, options)
  description.check_model("sample", self)
  return sample(self, self.description, prompt, options)
end

return sample
