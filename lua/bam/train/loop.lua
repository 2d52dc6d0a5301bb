--- The training loop in parts, for scripts of your own: gradients over a batch, an optimizer step, and the loop
--- around them. bam.train adds phases, checkpoints and progress; recipes/scratch.lua writes the loop out.
local check = require "bam.util.check"
local core = require "bam.core"
local graphs = require "bam.train.graphs"
local old_fields = require "bam.util.old_fields"
local sums = require "bam.train.sums"

local M = {}

local ops = core.ops

-- Rows first .. first + count - 1 of a batch.
local function rows_of(batch, first, count)
  local rows = {}
  for _, name in ipairs { "ids", "targets", "documents", "positions" } do
    rows[name] = batch[name] and ops.narrow(batch[name], 1, first, count)
  end
  return rows
end

-- The number of targets that are not ignored in each row; waits for the device.
local function count_targets(batch)
  return ops.sum(ops.to(ops.ne(batch.targets, -100), "i64"), -1):totable()
end

-- The sum of elements first .. first + count - 1 of a list.
local function sum_of(list, first, count)
  local sum = 0
  for i = first, first + count - 1 do sum = sum + list[i] end
  return sum
end

local function check_model(what, model)
  if type(model) ~= "table" or not model.loss then
    check.fail("loop.%s: expected a model, got %s", what, check.describe(model))
  end
end

local function check_batch(what, batch)
  if type(batch) ~= "table" or not check.is_tensor(batch.ids) or not check.is_tensor(batch.targets) then
    check.fail("loop.%s: expected a batch { ids = tensor, targets = tensor, tokens = number }, got %s", what,
               check.describe(batch))
  end
end

-- Add the gradients of some rows to those of the parameters; what they add to the sums of the step.
local function add_gradients(model, part, options, step_sums)
  local total, parts = model:loss(part.ids, part.targets, options)
  total:backward()
  -- a model of the script's may use the old name
  return step_sums:add(parts.loss or parts.nll, parts.losses, parts.routing, options.share)
end

-- See M.gradients. micro_step: a graph that does it, or nil.
local function gradients(model, batch, rows, micro_step)
  check_model("gradients", model)
  check_batch("gradients", batch)
  local all = batch.ids:size(1)
  rows = rows and check.value("loop.gradients: rows", rows, "size") or math.max(all, 1)
  local step_sums, targets = sums.new(), rows < all and count_targets(batch)
  local counted = targets and math.max(sum_of(targets, 1, all), 1)
  for first = 1, all, rows do
    core.scope(function()
      local count = math.min(rows, all - first + 1)
      local part = rows_of(batch, first, count)
      local share = counted and sum_of(targets, first, count) / counted or 1
      if micro_step then return step_sums:add(micro_step(part, 1 / batch.tokens), nil, {}, share) end
      return add_gradients(model, part, { documents = part.documents, positions = part.positions,
                                          scale = 1 / batch.tokens, share = share }, step_sums)
    end)
  end
  return step_sums:read(old_fields.metrics { loss = 0, routing = {} })
end

--- Add the gradients of a batch's loss to the gradients of the parameters, computing `rows` rows at a time.
---@param model table
---@param batch table as stream:batch returns: ids, targets, documents?, positions? [B, T], and tokens, the number
--- of targets
---@param rows? integer all by default
---@return { loss: number, load_balance?: number, z_loss?: number, routing: table[] } loss per token, auxiliary losses
--- summed over layers, statistics of the routers
function M.gradients(model, batch, rows) return gradients(model, batch, rows) end

--- The loss per token of a batch, in evaluation mode and without gradients.
---@param model table
---@param batch table as for gradients
---@param rows? integer rows at a time; all by default
---@return number
function M.loss(model, batch, rows)
  if type(model) ~= "table" or not model.log_likelihood then
    check.fail("loop.nll: expected a model, got %s", check.describe(model))
  end
  check_batch("nll", batch)
  local all, total = batch.ids:size(1), nil
  rows = rows and check.value("loop.nll: rows", rows, "size") or math.max(all, 1)
  for first = 1, all, rows do
    total = core.scope(function()
      local part = rows_of(batch, first, math.min(rows, all - first + 1))
      local logs = model:log_likelihood(part.ids, part.targets, {
        documents = part.documents, positions = part.positions })
      local sum = ops.sum(ops.to(logs, "f64"))
      return total and ops.add(total, sum) or sum
    end)
  end
  return (0 - (total and total:item() or 0)) / math.max(sum_of(count_targets(batch), 1, all), 1)
end

-- See M.step and gradients.
local function step(model, optimizer, batch, settings, micro_step)
  if type(optimizer) ~= "table" or not getmetatable(optimizer) then
    check.fail("loop.step: expected an optimizer, got %s", check.describe(optimizer))
  end
  check.value("loop.step: settings", settings, "table")
  optimizer:zero_grad()
  local record = gradients(model, batch, settings.rows, micro_step)
  record.lr, record.norm = settings.lr, optimizer:clip(settings.clip or math.huge)
  if settings.judge then record.skipped, record.stop = settings.judge(record.loss, record.norm) end
  if record.skipped then return record end
  optimizer:step(settings.lr)
  if model.after_step then model:after_step(record.routing) end
  return record
end

--- One step: gradients, clipping and the optimizer's update, unless `judge` rejects it.
---@param model table
---@param optimizer table
---@param batch table as for gradients
---@param settings { lr: number, clip?: number, rows?: integer, judge?: fun(loss: number, norm: number): string?,
--- boolean? } judge returns why the step must be skipped, and whether to stop
---@return table record result of gradients, with lr, norm, skipped (the reason) and stop
function M.step(model, optimizer, batch, settings) return step(model, optimizer, batch, settings) end

--- Run steps `first` to `steps` (or to `last`) in training mode. Every step depends only on its number: the batch,
--- the learning rate, and what set_step changes in the model.
---@param run { model: table, optimizer: table, stream: table, lr: schedule, first: integer, steps: integer, last?:
--- integer, batch: integer, rows?: integer, clip?: number, judge?: function, graphs?: boolean, around?: fun(step:
--- integer, compute: function): table, after: fun(step: integer, record: table) } around calls compute() and returns
--- the record of a step; after is called with the record of each step; graphs as in bam.train
function M.run(run)
  check.value("loop.run: run", run, "table")
  check.value("loop.run: after", run.after, "callable")
  check_model("run", run.model)
  run.model:train()
  local micro_step, _ <close> = graphs.micro_step(run.model, run.graphs)
  local _ <close> = graphs.clip(run.optimizer, run.graphs)
  for number = run.first, run.last or run.steps do
    run.model:set_step(number, run.steps)
    if #run.optimizer:trained() == 0 then
      check.fail("loop: at step %d of %d every parameter is frozen; nothing would be trained",
                 number, run.steps)
    end
    local function compute()
      return core.scope(function()
        return step(run.model, run.optimizer, run.stream:batch(number, 1, run.batch), {
          lr = run.lr:at(number, run.steps), clip = run.clip, rows = run.rows, judge = run.judge }, micro_step)
      end)
    end
    run.after(number, run.around and run.around(number, compute) or compute())
  end
end

check.guard(M, "bam.loop")
local unknown = getmetatable(M).__index
getmetatable(M).__index = function(t, name) -- nll: the name of `loss` before version 0.2
  return name == "nll" and M.loss or unknown(t, name)
end

return M
