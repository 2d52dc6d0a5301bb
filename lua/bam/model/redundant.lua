-- Tensors of a checkpoint that its model has no place for and does not need: a copy of a tied
-- embedding as lm_head.weight, which merged and converted models often hold, and the inv_freq buffers
-- of old versions of transformers. They may be there when they say what the model says.
local check = require "bam.util.check"
local core = require "bam.core"
local frequencies = require "bam.nn.frequencies"

local ops = core.ops
local M = {}

local EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
local PIECE = 1 << 20 -- elements that are compared at once

-- Do two stored tensors hold the same values?
local function same_values(a, b)
  if check.shape(a.shape) ~= check.shape(b.shape) then return false end
  local rows = math.max(1, PIECE // math.max(1, a.shape[2] or 1))
  for first = 1, #a, rows do
    local last = math.min(#a, first + rows - 1)
    local same = core.scope(function()
      return ops.all(ops.eq(ops.to(a:read(first, last), "f64", "cpu"),
                            ops.to(b:read(first, last), "f64", "cpu"))):item()
    end)
    if not same then return false end
  end
  return true
end

local function check_head(label, d, tensors)
  if d.tied and same_values(tensors[HEAD], tensors[EMBEDDING]) then return true end
  if d.tied then
    check.fail("%s: `%s` differs from `%s`, and its config.json says that they are one "
               .. "(tie_word_embeddings); set that to false", label, HEAD, EMBEDDING)
  end
end

-- The rotary frequencies, which follow from the base: rounded to bf16 at worst.
local function check_frequencies(label, d, name, stored)
  local half = (d.rope_width or d.head_width) // 2
  local values = #stored.shape == 1 and #stored == half
    and ops.to(stored:read(), "f64", "cpu"):totable()
  for i, expected in ipairs(frequencies.list(d.rope_base, 2 * half, d.rope)) do
    if not values or not (math.abs(values[i] - expected) <= 0.01 * expected) then
      check.fail("%s: `%s` is not what its config.json says: %d rotary frequencies of base %g; "
                 .. "correct rope_theta, or remove the tensor", label, name, half, d.rope_base)
    end
  end
  return true
end

--- May a checkpoint hold the tensor `name`, for which the model has no place? Raises when it says
--- something else than the model.
---@param label string the checkpoint, for messages
---@param d table description
---@param tensors table<string, bam.StoredTensor> all of them
---@param name string
---@return boolean?
function M.allows(label, d, tensors, name)
  if name == HEAD then return check_head(label, d, tensors) end
  if name:find "%.rotary_emb%.inv_freq$" then
    return check_frequencies(label, d, name, tensors[name])
  end
end

return M
