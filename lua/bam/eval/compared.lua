-- The models that bam.compare compares. An entry is { name, open }, where open() returns the live model. For a trained
-- model it also has place (its directory), state (of its last checkpoint), tokens, flops, context, settings (by path),
-- and the checksum of its final checkpoint, under which evaluations are stored.
local check = require "bam.util.check"
local checkpoint = require "bam.model.checkpoint"
local core = require "bam.core"
local description = require "bam.model.description"
local phase = require "bam.train.phase"
local settings = require "bam.train.settings"
local checkpoints = require "bam.train.checkpoints"

local M = {}

local function phase_entry(p)
  local steps = p.steps - p.before
  return { name = p.name, seed = p.seed, open = function() return p:load() end,
           place = p:directory(), state = p:results(), tokens = steps * p.step_tokens,
           flops = steps * p.flops, checksum = p:checksum(), context = p.context,
           settings = settings.read(p:directory()) }
end

local function warn(text) print(string.format("warning: %s", text)) end

-- The directory of a phase of another run, or of a model.
local function directory_entry(directory)
  local name = directory:match "([^/]+)/*$"
  if core.file_info(string.format("%s/config.json", directory)) then
    return { name = name, open = function() return checkpoint.load(directory) end }
  end
  local self = settings.phase(directory)
  local owner = self and { phase = self.name, digest = self.digest }
  local found = checkpoints.newest(directory, warn, owner)
  if not found then
    check.fail("compare: %s holds neither a model nor a phase's checkpoints", directory)
  end
  local written = settings.read(directory)
  return { name = name, open = function() return checkpoint.load(found.directory) end,
           place = directory, state = found.state,
           checksum = found.state.done and found.checksum,
           context = written and math.tointeger(tonumber(written.context)), settings = written }
end

--- The entry of a phase, a live model, an ensemble, or the directory of a phase or a model.
---@param value any
---@param i integer its place in the list
---@return table
function M.read(value, i)
  if phase.is(value) then return phase_entry(value) end
  if type(value) == "string" then return directory_entry(value) end
  if type(value) == "table" and check.is_callable(check.field(value, "log_likelihood")) then
    return { name = description.is_model(value) and string.format("model %d", i) or "ensemble",
             open = function() return value end }
  end
  return check.fail("compare: entry %d is %s; expected a phase, a live model, an ensemble, or the "
                    .. "directory of a phase or a model", i, check.describe(value))
end

--- Flatten a list that may contain lists.
---@param list table
---@param values? table that they are added to
---@return table
function M.flatten(list, values)
  values = values or {}
  for i = 1, check.list("compare: the models", list) do
    local value = list[i]
    if type(value) == "table" and not getmetatable(value) and #value > 0 then
      M.flatten(value, values)
    else
      values[#values + 1] = value
    end
  end
  return values
end

return M
