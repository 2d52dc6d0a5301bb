-- --audit: verify a phase (bam.audit), and train the steps between its last two checkpoints again. A step depends only
-- on its number and the weights before it, so the bits must be the same.
local audit = require "bam.train.audit"
local check = require "bam.util.check"
local checkpoint = require "bam.model.checkpoint"
local core = require "bam.core"
local saved_tensors = require "bam.model.saved_tensors"
local machine = require "bam.train.machine"
local params = require "bam.model.params"
local trainer = require "bam.train.trainer"
local checkpoints = require "bam.train.checkpoints"

local M = {}

-- The names of the tensors of `model` that differ, in any bit, from those of a checkpoint.
local function differences(model, directory)
  local saved, list = checkpoint.open(directory, checkpoint.own_of(model.description)), {}
  for _, entry in ipairs(saved_tensors.of(model)) do
    local same = core.scope(function()
      return core.hash_tensor(params.read(entry, model)) == core.hash_tensor(checkpoint.tensor(saved, entry))
    end)
    if not same then list[#list + 1] = entry.name end
  end
  return list
end

-- The reason why bits may differ here: another machine wrote the checkpoint; nil if this one did.
local function other_machine(state)
  local now = machine.identity()
  for _, name in ipairs { "device", "tf32", "isa", "products" } do
    if state.machine[name] ~= now[name] then
      return string.format("it was trained with %s %s, and this is %s", name,
                           tostring(state.machine[name]), tostring(now[name]))
    end
  end
end

-- Train from the older checkpoint to the newer one, with the same number of threads as then.
local function train_again(phase, o, older, newer)
  local threads = core.threads()
  core.threads(newer.state.machine.threads)
  local fine, model = core.try(trainer.replay, phase, o, older, newer)
  core.threads(threads)
  return fine and model or error(model, 0)
end

local function retrace(phase, o)
  local sound = checkpoints.sound(phase:directory(), phase:owner())
  local newer, older = sound[1], sound[2]
  if not older or older.state.done then
    return "it has fewer than two checkpoints, so no step can be trained again"
  end
  local reason = other_machine(newer.state)
  if reason then return string.format("no step was trained again, because bits may differ here: %s", reason) end
  local wrong = differences(train_again(phase, o, older, newer), newer.directory)
  if wrong[1] then
    check.fail("audit: %s: steps %d to %d, trained again, give other bits in %d tensors, such as "
               .. "`%s`, than %s holds", phase.name, older.step + 1, newer.step, #wrong, wrong[1],
               newer.directory)
  end
  return string.format("steps %d to %d, trained again, give the same bits", older.step + 1, newer.step)
end

--- Audit a phase and train its last steps again. Raises an error if anything differs from what was written.
---@param phase table
---@param o table the checked options of bam.train
function M.phase(phase, o)
  local directory = phase:directory()
  if not core.is_directory(directory) then
    print(string.format("%s: not trained yet", phase.name))
    return
  end
  local sound, report = audit.audit(directory, { quiet = true })
  if not sound then check.fail("audit: %s", table.concat(report.problems, "\n")) end
  print(string.format("%s: sound; %s", phase.name, retrace(phase, o)))
end

return M
