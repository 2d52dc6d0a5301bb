-- The cost of training: memory, and how a step is split into micro-batches. Both depend only on the settings and a
-- fixed budget, never on the machine, so that a run can move to another one.
local check = require "bam.util.check"
local footprint = require "bam.train.footprint"
local parts = require "bam.model.parts"
local precision = require "bam.train.precision"

local M = {}

local BUDGET = 1 << 30 -- bytes of activations that a micro-batch keeps for its backward pass

-- Total width of the queries, and of the keys or values.
local function widths(d)
  local queries = d.attention.experts * d.heads * d.head_width
  local sets = d.attention.kv == "own" and d.attention.experts or 1
  return queries, sets * d.kv_heads * d.head_width
end

local BYTES = { f32 = 4, bf16 = 2, fp8 = 2 } -- of an activation

-- Floats per token by which micro-batches are split. It is coarser than footprint.lua and must not change, since the
-- rows of a micro-batch may be in a run's fingerprint. Per layer: the residual, the norm, both branches and their
-- gradients, QKV twice, the result of attention, SwiGLU's halves and product.
local function floats_per_token(d)
  local queries, keys = widths(d)
  local k = type(d.ffn.top_k) == "number" and d.ffn.top_k or d.ffn.experts
  local layer = 8 * d.width + 3 * queries + 4 * keys + 4 * parts.hidden(d) * k
  return d.layers * layer + 8 * d.width
end

--- Predict the memory of training at its peak in bytes, without the program: parameters, gradients, optimizer state,
--- and what a micro-batch takes or, if that is more, the parameters of the model before the optimizer has moved them to
--- its buffer.
---@param d table description
---@param tokens integer of a micro-batch
---@param optimizer table as bam.train.optimizer_choice reads it
---@param dtype? string f32 by default; a bf16 parameter takes as much as one of f32, with the low half of its master
---@param device? string "cpu" by default
---@return integer
function M.bytes(d, tokens, optimizer, dtype, device)
  local on_device = (device or "cpu") ~= "cpu"
  local bytes, state = 4 * d:count(), optimizer:bytes(d)
  local buffers = 2 + state // bytes -- one of all parameters, one of gradients, one per state
  local built = precision.parameters(dtype) == "bf16" and bytes // 2 or bytes
  return buffers * footprint.storage(bytes, on_device) + state % bytes
         + math.max(built, footprint.bytes(d, { tokens = tokens, dtype = dtype or "f32", on_device = on_device }))
end

--- What the allocator holds, at most, when the peak is `bytes`: on a device, a 64th and some pages may lie idle
--- (engine/core/arena.c).
---@param bytes integer
---@param device? string "cpu" by default
---@return integer
function M.reserved(bytes, device)
  if (device or "cpu") == "cpu" then return bytes end
  return bytes + bytes // 64 + (64 << 20)
end

-- Does the loss depend on how a step is split? It does if the load is balanced over all tokens of a call.
local function splits_change_loss(d)
  return d.aux_tokens == 0 and (d.ffn.experts > 1 or d.attention.experts > 1)
end

-- The rows of a micro-batch that option `rows` asks for.
local function check_rows(rows, batch, context, group)
  if batch % rows ~= 0 then
    local fits = rows
    while fits > 1 and batch % fits ~= 0 do fits = fits - 1 end
    check.fail("train: option rows: a step of %d rows has no whole number of micro-batches of %d rows; "
               .. "take a divisor of the batch, such as %d", batch, rows, math.min(fits, batch))
  end
  if rows * context % group ~= 0 then
    check.fail("train: option rows: the auxiliary losses are taken over groups of %d tokens, and %d rows of %d tokens "
               .. "are no whole number of them", group, rows, context)
  end
  return rows
end

--- Choose the rows of a micro-batch: the largest number that divides the batch, fits the budget, and makes whole groups
--- for the auxiliary losses; or check those that are wanted.
---@param d table description
---@param batch integer rows of a step
---@param context integer tokens of a row
---@param wanted? integer option rows
---@param dtype? string f32 by default
---@return integer rows
---@return boolean counts whether another split would change the loss
function M.micro_batch(d, batch, context, wanted, dtype)
  local row, group = BYTES[dtype or "f32"] * context * floats_per_token(d), math.max(1, d.aux_tokens)
  if wanted then return check_rows(wanted, batch, context, group), splits_change_loss(d) end
  for rows = batch, 1, -1 do
    local fits = rows == 1 or rows * row <= BUDGET
    if batch % rows == 0 and fits and rows * context % group == 0 then
      return rows, splits_change_loss(d)
    end
  end
  return check.fail("train: the auxiliary losses are taken over groups of %d tokens, and no part "
                    .. "of a batch of %d rows of %d tokens is a whole number of them", group, batch,
                    context)
end

return M
