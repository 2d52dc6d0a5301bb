--- bam.plan: how a script with a training loop of its own honors the flags that bam.train answers for phases.
local budget = require "bam.train.budget"
local check = require "bam.util.check"
local description = require "bam.model.description"
local flags = require "bam.util.flags"
local optimizer_choice = require "bam.train.optimizer_choice"
local options = require "bam.train.options"
local plan = require "bam.train.plan"

local M = {}

local spec = { name = { "string" }, model = { "any" }, batch = { "size" }, context = { "size" }, steps = { "size" },
               optimizer = { "any", "adamw" } }

local function read_model(value)
  if description.is_model(value) then return value.description end
  if description.is(value) then return value end
  return check.fail("plan: option model: expected a description or a live model, got %s", check.describe(value))
end

---@class bam.PlanOptions
---@field name string what --plan calls it
---@field model any a description, so that nothing is allocated, or a live model
---@field batch integer rows per step
---@field context integer tokens per row
---@field steps integer
---@field optimizer? string|table as in bam.train; "adamw" by default

--- Ask whether a training loop of your own is not to run now: with --plan its parameters, FLOPs, memory and time are
--- printed, with --only another is to run, and with --audit nothing new is trained. bam.train does this for phases.
---
---   local described = bam.models.parallel { layers = 2, width = 64, heads = 4, ffn = 128, vocab = 256 }
---   if bam.plan { name = "mine", model = described, batch = 8, context = 128, steps = 100 } then return end
---@param given bam.PlanOptions
---@return boolean skip
function M.plan(given)
  options.apply()
  local o, flag = check.options("plan", given, spec), flags.get()
  local d, tokens = read_model(o.model), o.batch * o.context
  local optimizer = optimizer_choice.read(o.optimizer)
  if flag.dtype and flag.dtype ~= "f32" then
    local call = flag.dtype == "fp8" and 'model:to "bf16":fp8()' or string.format('model:to "%s"', flag.dtype)
    flags.fail("--dtype: %s has a training loop of its own, which converts its model itself: %s, before it makes the "
               .. "optimizer", o.name, call)
  end
  plan.note(o)
  if flag.plan then
    plan.phase({ name = o.name, description = d, steps = o.steps, before = 0, step_tokens = tokens,
                 flops = 1.0 * tokens * d:flops(o.context).training }, budget.bytes(d, tokens, optimizer, nil,
                                                                                             flag.device))
  elseif flag.audit then
    print(string.format("%s: it keeps no checkpoints, so there is nothing to audit", o.name))
  end
  return (flag.plan or flag.audit or flag.only and flag.only ~= o.name) and true or false
end

return M
