-- model:explain: a text with the loss of each of its tokens.
local check = require "bam.util.check"
local codec = require "bam.model.codec"
local core = require "bam.core"
local description = require "bam.model.description"
local Model = require "bam.model.model"

local ops = core.ops

local IGNORED = -100

local spec = { documents = { "tensor", optional = true }, positions = { "tensor", optional = true },
               rows = { "size", 1 }, tokens = { "size", 100 } }

-- ---- what is given ----

-- Token ids as a tensor [B, T].
local function tensor_of(model, what, value)
  if check.is_tensor(value) then
    if value.dtype ~= "i64" and value.dtype ~= "i32" and value.dtype ~= "u8" then
      check.fail("explain: %s: token ids are integers, got a tensor of %s", what, value.dtype)
    end
    if value.ndim == 1 then return ops.reshape(value, { 1, value:size(1) }) end
    if value.ndim == 2 then return value end
  elseif type(value) == "table" and not getmetatable(value) and #value > 0 then
    local device = model.embed.weight.device
    return core.tensor(type(value[1]) == "table" and value or { value }, { dtype = "i64", device = device })
  end
  return check.fail("explain: %s: expected a text, a list of token ids, or a tensor [T] or [B, T] of them, got %s",
                    what, check.describe(value))
end

-- A text follows the token that texts begin with in training.
local function ids_of_text(model, text)
  local ids = codec.of("explain", model, model.description.vocab):encode(text)
  local first = codec.first(model)
  return first and table.move(ids, 1, #ids, 2, { first }) or ids
end

-- The targets of a sequence itself: at each token the next one.
local function next_tokens(ids)
  local B, T = ids:size(1), ids:size(2)
  if T < 2 then check.fail("explain: expected at least two tokens, since the first is not predicted, got %d", T) end
  return ops.narrow(ids, 2, 1, T - 1), ops.narrow(ids, 2, 2, T - 1), B
end

-- ---- what is printed ----

-- A token's text in quotes on one line. Bytes that are not UTF-8 are written as \xe2.
local function quoted(text)
  local escapes = { ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ["\\"] = "\\\\", ['"'] = '\\"' }
  local shown = text:gsub('[%c\\"]', function(c) return escapes[c] or string.format("\\x%02x", c:byte()) end)
  if not utf8.len(shown) then
    shown = shown:gsub("[\x80-\xff]", function(c) return string.format("\\x%02x", c:byte()) end)
  end
  return string.format('"%s"', shown)
end

local function show(words, id)
  if id == IGNORED then return "-" end
  local text = words and id >= 0 and words:token(id)
  return text and quoted(text) or tostring(id)
end

local LINE = "%8s  %-24s %s"

local function print_row(words, ids, targets, losses, limit)
  print(LINE:format("loss", "target", "after"))
  local sum, count = 0, 0
  for t, target in ipairs(targets) do
    local counts = target ~= IGNORED
    if counts then sum, count = sum + losses[t], count + 1 end
    if t <= limit then
      local loss = counts and string.format("%.3f", losses[t]) or ""
      print((LINE:format(loss, show(words, target), show(words, ids[t])):gsub(" +$", "")))
    end
  end
  if #targets > limit then print(string.format("... %d more tokens; option tokens shows more", #targets - limit)) end
  if count == 0 then return print "no targets" end
  print(string.format("loss %.3f per token, perplexity %.3f, %d tokens", sum / count, math.exp(sum / count), count))
end

---@class models.ExplainOptions
---@field documents? tensor integers [B, T], as in a batch
---@field positions? tensor integers [B, T]
---@field rows? integer rows that are printed, 1 by default
---@field tokens? integer tokens per row that are printed, 100 by default

--- Print a text with the loss of each token: what was to be predicted, after which token, and how surprising it was, in
--- nats. With `targets` any pairs, such as those of a training batch: targets that are shifted wrongly show at once. A
--- text follows the token that texts begin with in training. Runs in evaluation mode.
---
---   model:explain "the river sings"
---   model:explain(batch.ids, batch.targets, { documents = batch.documents, positions = batch.positions })
---@param ids string|integer[]|tensor text, or token ids, also [B, T]
---@param targets? integer[]|tensor the next token of each by default; -100 does not count
---@param options? models.ExplainOptions
---@return tensor losses [B, T], 0 where the target is -100
function Model:explain(ids, targets, options)
  description.check_model("explain", self)
  local o = check.options("explain", options, spec)
  if type(ids) == "string" then
    if targets ~= nil then check.fail "explain: a text is given, so there are no other targets; give token ids" end
    ids = ids_of_text(self, ids)
  end
  ids = tensor_of(self, "ids", ids)
  if targets == nil then ids, targets = next_tokens(ids) else targets = tensor_of(self, "targets", targets) end
  local losses = ops.neg(self:log_likelihood(ids, targets, { documents = o.documents, positions = o.positions }))
  local rows = { ids:totable(), targets:totable(), losses:totable() }
  local words = codec.find(self, self.description.vocab)
  for row = 1, math.min(o.rows, #rows[1]) do print_row(words, rows[1][row], rows[2][row], rows[3][row], o.tokens) end
  return losses
end
