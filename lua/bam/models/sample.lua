-- model:sample: a plain loop, one token at a time over the whole text so far.
local check = require "bam.check"
local core = require "bam.core"
local description = require "bam.models.description"

local ops = core.ops

local spec = {
  tokens = { "size", 100 }, temperature = { "rate", 1 }, top_k = { "size", optional = true },
  seed = { "integer", optional = true },
}

-- From text to ids and back: the model's tokenizer, else a token per byte.
local function codec(model)
  if model.tokenizer then
    return function(text) return model.tokenizer:encode(text) end,
           function(ids) return model.tokenizer:decode(ids) end
  end
  if model.description.vocab ~= 256 then
    check.fail("sample: this model has no tokenizer, and its vocabulary of %d is not that of bytes; "
               .. "give token ids", model.description.vocab)
  end
  return function(text) return { text:byte(1, -1) } end,
         function(ids) return string.char(table.unpack(ids)) end
end

-- The logits [vocab] after `ids`, of which the model sees the last that fit its context.
local function next_logits(model, ids)
  local first = math.max(1, #ids - model.description.context + 1)
  local logits = model(core.tensor({ table.move(ids, first, #ids, 1, {}) }, { dtype = "i64" }))
  return logits[{ 1, -1 }]
end

-- Draw from softmax(logits / temperature): the largest after Gumbel noise is added.
local function draw(logits, o)
  if o.temperature == 0 then return ops.argmax(logits):item() - 1 end
  if o.top_k and o.top_k < #logits then
    local least = ops.topk(logits, o.top_k)[-1]
    logits = ops.masked_fill(logits, ops.lt(logits, least), -math.huge)
  end
  local noise = ops.neg(ops.log(ops.neg(ops.log(core.rand(#logits, { dtype = logits.dtype })))))
  return ops.argmax(ops.add(ops.div(logits, o.temperature), noise)):item() - 1
end

local function continue(model, ids, o)
  for _ = 1, o.tokens do
    ids[#ids + 1] = core.scope(function() return draw(next_logits(model, ids), o) end)
  end
  return ids
end

local function check_prompt(prompt)
  local kind = type(prompt)
  if kind ~= "string" and kind ~= "table" or #prompt == 0 then
    check.fail("sample: expected a text or a list of token ids, not empty, got %s",
               check.describe(prompt))
  end
end

return function(model, prompt, options)
  local o = check.options("sample", options, spec)
  check_prompt(prompt)
  local encode, decode
  if type(prompt) == "string" then encode, decode = codec(model) end
  local ids = encode and encode(prompt) or table.move(prompt, 1, #prompt, 1, {})
  local function run() return core.with_grad(false, continue, model, ids, o) end
  if o.seed then description.seeded(o.seed, run) else run() end
  return decode and decode(ids) or ids
end
