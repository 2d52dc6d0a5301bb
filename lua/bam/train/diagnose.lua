-- Finds the first non-finite value of a skipped step: in which pass, layer and part it arose.
local batches = require "bam.model.batch"
local blocks = require "bam.model.blocks.registry"
local core = require "bam.core"
local module = require "bam.nn.module"
local registry = require "bam.util.registry"

local M = {}

local ops = core.ops

local function is_good(x) return ops.all(ops.isfinite(x)):item() end

-- ---- forward ----

-- Wrap a block: its norms, attention and FFN record in `found.part` the first one with a non-finite result.
local function watched(block, found)
  return setmetatable({}, { __index = function(_, field)
    local part = block[field]
    if not module.is_module(part) then return part end
    return function(...)
      local results = table.pack(part(...))
      if not found.part and not is_good(results[1]) then found.part = field end
      return table.unpack(results, 1, results.n)
    end
  end })
end

local function in_forward(model, batch)
  local pass = batches.new("diagnose", batch.ids, { documents = batch.documents, positions = batch.positions })
  local x, branch, forward = model.embed(batch.ids), nil, registry.code(blocks.of(model.description)).forward
  if not is_good(x) then return "the embedding" end
  for i, block in ipairs(model.layers) do
    local found = {}
    x, branch = forward(watched(block, found), x, branch, pass)
    if found.part then return string.format("layer %d, %s", i, found.part) end
  end
  return not is_good((model.norm(x, branch))) and "the last norm" or nil
end

-- ---- backward ----

-- Backward visits parameters from the last one used to the first. The loss reaches the head, or the tied embedding,
-- immediately, so the embedding is reported last.
local function in_backward(model)
  local parameters, embedding = model:parameters(), nil
  for i = #parameters, 1, -1 do
    local p = parameters[i]
    if p.tensor.grad and not is_good(p.tensor.grad) then
      if p.name:find "^layers%." then
        local layer, part = p.name:match "^layers%.(%d+)%.(.*)$"
        return string.format("layer %s, gradient of %s", layer, part)
      end
      embedding = embedding or string.format("gradient of %s", p.name)
    end
  end
  return embedding
end

local function bad_parameter(model)
  for name, tensor in model:named_parameters() do
    if not is_good(tensor) then return name end
  end
end

local function where(model, batch, nll)
  local name = bad_parameter(model)
  if name then return string.format("the weights of %s are not finite", name) end
  local place = model:in_eval(in_forward, model, batch)
  if place then return string.format("it arose in the forward pass, in %s", place) end
  if not (nll == nll and math.abs(nll) < math.huge) then return "it arose in the forward pass, in the loss" end
  place = in_backward(model)
  return place and string.format("it arose in the backward pass, in %s", place)
end

--- Find where the first non-finite value of a skipped step arose, after its backward pass; nil if it is not found.
--- Changes neither the model nor the random number generator.
---@param model table
---@param batch table of the step
---@param nll number its loss
---@return string?
function M.find(model, batch, nll)
  local random = core.random_state()
  local fine, place = pcall(core.scope, function() return core.with_grad(false, where, model, batch, nll) end)
  core.random_state(random)
  return fine and place or nil
end

return M
