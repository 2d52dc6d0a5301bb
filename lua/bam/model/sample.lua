-- model:sample: a plain loop, one token at a time over the whole text so far.
local check = require "bam.util.check"
local core = require "bam.core"
local description = require "bam.model.description"
local Model = require "bam.model.model"
local tokenizer = require "bam.tokenizer"

local ops = core.ops

local spec = {
  tokens = { "size", 100 }, temperature = { "rate", 1 }, top_k = { "size", optional = true },
  seed = { "integer", optional = true },
}

-- A token per byte; texts may be longer than the Lua stack.
local function bytes_of(text)
  local ids = {}
  for i = 1, #text do ids[i] = text:byte(i) end
  return ids
end

local function text_of(ids)
  local characters = {}
  for i, id in ipairs(ids) do characters[i] = string.char(id) end
  return table.concat(characters)
end

-- The model's tokenizer, which is made of its tokenizer.json when it is first needed; or nil.
local function tokenizer_of(model)
  if model.tokenizer == nil and model.tokenizer_json then
    model.tokenizer = tokenizer.parse(model.tokenizer_json, "the model's tokenizer.json")
  end
  return model.tokenizer
end

-- From text to ids and back: the model's tokenizer, else bytes.
local function codec(model, vocab)
  local own = tokenizer_of(model)
  if own then
    return function(text) return own:encode(text) end, function(ids) return own:decode(ids) end
  end
  if vocab ~= 256 then
    check.fail("sample: this model has no tokenizer, and its vocabulary of %d is not that of "
               .. "bytes; give token ids", vocab)
  end
  return bytes_of, text_of
end

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

-- Draw from softmax(logits / temperature): the largest after Gumbel noise is added.
local function draw(logits, o)
  if o.temperature == 0 then return ops.argmax(logits):item() - 1 end
  if o.top_k and o.top_k < #logits then
    local least = ops.topk(logits, o.top_k)[-1]
    logits = ops.masked_fill(logits, ops.lt(logits, least), -math.huge)
  end
  local uniform = core.rand(#logits, { dtype = logits.dtype, device = logits.device })
  local noise = ops.neg(ops.log(ops.neg(ops.log(uniform))))
  return ops.argmax(ops.add(ops.div(logits, o.temperature), noise)):item() - 1
end

local function continue(model, ids, context, o)
  for _ = 1, o.tokens do
    ids[#ids + 1] = core.scope(function() return draw(next_logits(model, ids, context), o) end)
  end
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
  check_prompt(prompt)
  local encode, decode
  if type(prompt) == "string" then encode, decode = codec(model, d.vocab) end
  local ids = encode and encode(prompt) or table.move(prompt, 1, #prompt, 1, {})
  local function run()
    core.with_grad(false, model.in_eval, model, continue, model, ids, d.context, o)
  end
  if o.seed then description.seeded(o.seed, run) else run() end
  return decode and decode(ids) or ids
end

--- Continue a text. Returns the prompt and what the model adds to it. Text is encoded and decoded by the model's
--- field `tokenizer`, which is loaded from its tokenizer.json; a model with a vocabulary of 256 and no tokenizer
--- uses bytes. Runs in evaluation mode.
---@param prompt string|integer[] text, or token ids
---@param options? { tokens?: integer, temperature?: number, top_k?: integer, seed?: integer }
---@return string|integer[] text for a text, ids for ids
function Model:sample(prompt, options)
  description.check_model("sample", self)
  return sample(self, self.description, prompt, options)
end

return sample
