-- What phases are computed in (option dtype). "fp8" is no dtype of tensors: parameters and activations are those of
-- bf16, and linear layers multiply in FP8.
local check = require "bam.util.check"
local core = require "bam.core"
local parts = require "bam.model.parts"
local sparse = require "bam.model.sparse"

local M = {}

local PARAMETERS = { f32 = "f32", bf16 = "bf16", fp8 = "bf16" }

local MULTIPLE = 16 -- of the sizes of a product in FP8 (kernels/fp8.h)

--- The value of option dtype, or an error.
---@param dtype string
---@return string dtype
function M.check(dtype)
  if PARAMETERS[dtype] then return dtype end
  return check.fail('train: option dtype: expected "f32", "bf16" or "fp8", got %s%s', check.describe(dtype),
                    check.suggestion(dtype, check.sorted_names(PARAMETERS)))
end

--- The dtype of the parameters of a phase.
---@param dtype? string option dtype of the phase, f32 by default
---@return string
function M.parameters(dtype) return PARAMETERS[dtype or "f32"] end

--- Can a device compute a phase in `dtype`?
---@param dtype string
---@param device string
---@return boolean
function M.fits(dtype, device)
  if dtype == "fp8" and not core.multiplies_fp8(device) then return false end
  return core.computes(PARAMETERS[dtype], device)
end

--- What a device must be for a phase in `dtype`.
---@param dtype string
---@return string
function M.device(dtype)
  return dtype == "fp8" and "a GPU of compute capability 8.9 or newer" or "a GPU"
end

--- Convert a model of f32 to what a phase computes in.
---@param model table
---@param dtype string
function M.apply(model, dtype)
  if dtype ~= "f32" then model:to(PARAMETERS[dtype]) end
  if dtype == "fp8" then model:fp8() end
end

--- Are these all sizes of a product in FP8?
---@param ... integer
---@return boolean
function M.is_whole(...)
  for _, size in ipairs { ... } do
    if size % MULTIPLE ~= 0 then return false end
  end
  return true
end

-- The products of a layer: { name, inputs, outputs }.
local function products(d, layer)
  local a, dense = d.attention, sparse.dense(d, layer)
  local queries = a.experts * d.heads * d.head_width
  local keys = (a.kv == "own" and a.experts or 1) * d.kv_heads * d.head_width
  local list = { { "queries, keys and values", d.width, queries + 2 * keys },
                 { "attention's output", queries, d.width } }
  if dense or d.ffn.experts == 1 then
    local hidden = dense or parts.hidden(d)
    list[3], list[4] = { "gate and up", d.width, 2 * hidden }, { "down", hidden, d.width }
  else
    list[3] = { "routed experts" }
  end
  return list
end

--- Name the products of layers that a phase in fp8 computes in bf16; nil if there are none.
---@param d table description
---@param tokens integer of a micro-batch
---@return string?
function M.left_out(d, tokens)
  local list, known = {}, {}
  for layer = 1, d.layers do
    for _, p in ipairs(products(d, layer)) do
      local name, inputs, outputs = table.unpack(p)
      local text = inputs and string.format("%s [%d, %d]", name, outputs, inputs) or name
      if not (inputs and M.is_whole(inputs, outputs, tokens)) and not known[text] then
        list[#list + 1], known[text] = text, true
      end
    end
  end
  return list[1] and table.concat(list, "; ") or nil
end

return M
