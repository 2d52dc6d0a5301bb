--- The micro-steps of training as a graph (bam.graph): a dense model's forward and backward passes need nothing from
--- the device in between, so that one call can do all of it, with the same bits. What decides on a step (whether to
--- skip it, its learning rate) stays on the host, between the micro-steps and the update.
local check = require "bam.util.check"
local core = require "bam.core"
local description = require "bam.model.description"
local early = require "bam.nn.early"
local graph = require("bam.tensor.graph").graph

local ops = core.ops

local M = {}

-- Why micro-steps of a model cannot be a graph, as the end of a sentence; nil if they can. The code of scripts may do
-- anything on the host, which a graph would do once.
local function fault_of(model)
  if not description.is(check.field(model, "description")) or not early.is_ours(model.loss) then
    return "the model is not one of bam's"
  end
  if model.embed.weight.device == "cpu" then return "the model is on the CPU" end
  if description.is_mixture(model.description) then
    return "the layers of a mixture wait for the device to know the rows of their experts"
  end
  for name, part in model:named_modules() do
    if not early.is_ours(part.forward) then return string.format("%s is a layer of the script's", name) end
  end
end

-- What is recorded: the gradients of some rows, and their loss.
local function add_gradients(model, ids, targets, documents, positions, scale)
  local total, parts = model:loss(ids, targets, { documents = documents, positions = positions, scale = scale })
  total:backward()
  return parts.loss:detach()
end

--- The micro-steps of a model as a graph, to be called like add_gradients(rows, scale); nil if they cannot be one.
---@param model table
---@param wanted? boolean false: none; true: an error if they cannot be one; nil: if they can be one
---@return (fun(rows: table, scale: number): tensor)? micro_step the loss of some rows, times scale
---@return bam.Graph? graph to be closed at the end
function M.micro_step(model, wanted)
  if wanted == false then return nil end
  local fault = fault_of(model)
  if fault and wanted then
    check.fail("train: option graphs: %s; leave the option out", fault)
  elseif fault then
    return nil
  end
  local recorded = graph(function(_, ...) return add_gradients(model, ...) end, { strict = wanted == true })
  return function(rows, scale)
    local loss = recorded(model.training, rows.ids, rows.targets, rows.documents, rows.positions, scale)
    return loss.dtype == "f64" and ops.clone(loss) or loss -- the next call overwrites it; others are converted
  end, recorded
end

--- Let an optimizer measure and clip gradients with a graph, as far as it is one of bam's, on a GPU.
---@param optimizer table
---@param wanted? boolean false: not
---@return table? recording to be closed at the end
function M.clip(optimizer, wanted)
  if wanted == false or not check.field(optimizer, "record_clip") or core.device() == "cpu" then return nil end
  return optimizer:record_clip()
end

return M
