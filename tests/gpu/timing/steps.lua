--- A micro-step of a whole model at the paper's sizes, and its optimizer's update: together the tokens per second of
--- steps of eight micro-steps, which is what the goals are about.
local bam = require "bam"
local core = require "bam.core"
local graphs = require "bam.train.graphs"
local sizes = require "tests.gpu.timing.sizes"

local M = {}

--- Random tokens of two documents per row.
---@param d table sizes
---@param rows integer
---@return table batch
function M.batch_of(d, rows)
  local T = d.context
  local ids = bam.randint(0, d.vocab - 1, rows, T, { device = "cpu" })
  local documents = bam.ones(rows, T, { device = "cpu", dtype = "i64" })
  documents[{ {}, { T // 3, T } }] = 2 -- as in training: always with documents
  local device = core.device()
  return { ids = ids:to(device), targets = ids:to(device), documents = documents:to(device),
           positions = bam.arange(0, T - 1, { device = "cpu" }):expand(rows, T):contiguous():to(device),
           tokens = rows * T }
end

-- A digest of the gradients that f adds to zeros.
local function digest(optimizer, f)
  optimizer:zero_grad()
  core.scope(f)
  local list = {}
  for _, bucket in ipairs(optimizer._buckets) do list[#list + 1] = core.hash_tensor(bucket.grad:to "cpu") end
  return table.concat(list, " ")
end

-- Measure the micro-step as a graph, which must have the bits of the one without: seconds, or nil.
local function measure_graph(model, optimizer, batch, case, of)
  local micro_step, recorded <close> = graphs.micro_step(model)
  if not micro_step then return nil end
  local function graph_step() return micro_step(batch, 1 / batch.tokens):item() end
  local want = digest(optimizer, function() bam.loop.gradients(model, batch) end)
  for call = 1, 3 do -- itself, the first and the second replay
    if digest(optimizer, graph_step) ~= want then error(string.format("call %d of the graph has other bits", call)) end
  end
  of.case, of.step, of.obstacle = "micro-step, graph", graph_step, recorded:obstacle()
  return case(of)
end

--- Measure the micro-step and the update of a model.
---@param size "small"|"large"|"tiny"
---@param kind "dense"|"btx"|"shared"|"own"
---@param fp8 boolean with linear layers in FP8; then rows are of dtype "fp8", and a kind of their own
---@param options table
---@param case fun(of: table): number?
---@param note fun(row: table)
---@return boolean
function M.run(size, kind, fp8, options, case, note)
  local description = sizes.describe(size, kind)
  local dtype = sizes.dtype(options.device)
  local made, model = core.try(function() return bam.models.Model(description):to(dtype) end)
  if made and fp8 then model, dtype, kind = model:fp8(), "fp8", kind .. " in FP8" end
  if not made then -- for want of memory
    note { case = "micro-step", model = size, kind = kind, dtype = dtype, failed = model }
    return true
  end
  local d, rows = sizes.of(size), sizes.ROWS
  local batch, optimizer = M.batch_of(d, rows), bam.optim.AdamW(model, { lr = 1e-5 })
  model:train()
  model:set_step(1, 10)
  local tokens, flops = rows * d.context, description:flops(d.context).training
  local parameters = description:count()
  local function micro_case(step)
    return { case = "micro-step", model = size, kind = kind, dtype = dtype, tokens = tokens, parameters = parameters,
             flops = flops * tokens, step = step }
  end
  local micro = case(micro_case(function() bam.loop.gradients(model, batch) end))
  local function step()
    optimizer:clip(1)
    optimizer:step()
  end
  local update = case { case = "update", model = size, kind = kind, dtype = dtype, parameters = parameters, step = step }
  if not micro or not update then return true end
  local function note_speed(name, seconds)
    note { case = name, model = size, kind = kind, dtype = dtype, micro_steps = sizes.MICRO_STEPS,
           tokens_per_second = sizes.MICRO_STEPS * tokens / (sizes.MICRO_STEPS * seconds + update) }
  end
  note_speed("tokens per second", micro)
  local graph = measure_graph(model, optimizer, batch, case, micro_case())
  if graph then note_speed("tokens per second, graphs", graph) end
  if not core.product_library() then return true end
  core.set_product_algorithms({}, true) -- measured by the call that is not timed
  local tuned = case { case = "micro-step, tuned", model = size, kind = kind, dtype = dtype, tokens = tokens,
                       flops = flops * tokens, step = function() bam.loop.gradients(model, batch) end }
  if tuned then note_speed("tokens per second, tuned", tuned) end
  return true
end

return M
