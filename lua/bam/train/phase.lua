-- A phase: one training run of a recipe, identified by its name and settings. Used as the model of another phase, it
-- stands for its final weights, which load() reads.
local check = require "bam.util.check"
local checkpoint = require "bam.model.checkpoint"
local core = require "bam.core"
local flags = require "bam.util.flags"
local json = require "bam.util.json"
local older = require "bam.train.older"
local plan = require "bam.train.plan"
local run_dir = require "bam.train.run_dir"
local checkpoints = require "bam.train.checkpoints"
local written = require "bam.train.settings"

local M = {}

--- A phase of a recipe: one training run, identified by its name and settings. As a model of another phase it
--- stands for its final weights.
---@class bam.Phase
---@field name string
---@field steps integer the number of its last step
---@field tokens integer that it trains on
local Phase = {}
local metatable = { __name = "phase", __methods = Phase }
local OPTIONAL = { generation = true, own = true, flops = true, context = true }

function metatable.__index(self, name)
  if name == "identity" then return self:digest() end
  if name == "tokens" then return (self.steps - self.before) * self.step_tokens end
  local method = Phase[name]
  if method ~= nil or type(name) ~= "string" or name:sub(1, 1) == "_" or OPTIONAL[name] then return method end
  local names = check.sorted_names(Phase)
  table.move({ "name", "steps", "tokens" }, 1, 3, #names + 1, names)
  check.fail("a phase has no `%s`%s", name, require("bam.util.hints").hint("phase", name, names))
end

function metatable:__tostring()
  local digest = rawget(self, "_digest") -- not computed for this: it prepares the data
  local place = digest and string.format(", in %s", run_dir.phase_directory(self.name, digest)) or ""
  return string.format("phase %s: %s, %d steps of %d tokens%s", self.name, tostring(self.description),
                       self.steps - self.before, self.step_tokens, place)
end

--- Is `value` a phase?
---@param value any
---@return boolean
function M.is(value) return getmetatable(value) == metatable end

local generations = setmetatable({}, { __mode = "k" }) -- of the phases that models were loaded from

--- The generation of the phase that a live model was loaded from; nil for other models. A phase that starts from it
--- draws other random numbers.
---@param model table
---@return integer?
function M.generation_of(model) return generations[model] end

--- Create a phase from checked fields: name, description, settings (a function that returns everything that defines the
--- phase, as plain data), steps (the number of its last one), before (steps of the run that it continues), batch,
--- context, step_tokens, flops (per step), generation, seed, own (the parts written in Lua).
---@param fields table
---@return table
function M.new(fields) return setmetatable(fields, metatable) end

-- Under --plan there are no weights: what a script does with them is no part of its plan.
local function end_plan(self)
  plan.total()
  print(string.format("the plan ends here: what follows in the script needs the weights of phase %s", self.name))
  os.exit(0, true)
end

-- Everything that defines the phase. Prepares the data.
local function settings_of(self)
  if not rawget(self, "_settings") then
    if flags.get().plan then end_plan(self) end
    self._settings = self.settings()
    self._digest = core.hash(json.encode(self._settings))
  end
  return self._settings
end

--- The fingerprint of everything that defines the phase: model, data, settings, seed, and the fingerprints of its
--- parents.
---@return string hex
function Phase:digest()
  settings_of(self)
  return self._digest
end

--- The directory of the phase.
---@return string
function Phase:directory() return run_dir.phase_directory(self.name, self:digest()) end

--- The owner of the phase's checkpoints, as their manifests record it.
---@return { phase: string, digest: string }
function Phase:owner() return { phase = self.name, digest = self:digest() } end

local function warn(text) print(string.format("warning: %s", text)) end

-- Warn that an older version has trained a phase like this one, under another fingerprint.
local function name_older(self, directory, settings)
  local path = older.find(directory, settings)
  if not path then return end
  warn(string.format("%s: %s was trained by an older version, whose fingerprints differ; it is kept, and the phase "
                     .. "trains again in %s. To use its weights, give that directory to bam.mix or bam.compare",
                     self.name, path, directory))
end

--- Create the directory and its phase.json.
function Phase:establish()
  local settings, directory = settings_of(self), self:directory()
  core.make_directory(directory)
  local before = written.phase(directory) -- nil if it is damaged too; then it is written again
  if before and before.digest ~= self:digest() then
    check.fail("train: %s belongs to another phase whose digest starts with the same digits; train under another "
               .. "name", directory)
  end
  if not before then
    name_older(self, directory, settings)
    written.write(directory, { digest = self:digest(), fingerprint = older.FINGERPRINT, name = self.name,
                               settings = settings })
  end
  run_dir.link(self.name, self:digest(), self.seed)
end

--- The newest intact checkpoint, or nil.
---@return table?
function Phase:newest() return checkpoints.newest(self:directory(), warn, self:owner()) end

--- Is this checkpoint the last one of the phase?
---@param found? table
---@return boolean
function Phase:is_end(found)
  return found ~= nil and found.step == self.steps and found.state.done == true
end

--- The last checkpoint if the phase has been trained to its end, otherwise nil.
---@return table?
function Phase:finished()
  local found = rawget(self, "_finished") or self:newest()
  if self:is_end(found) then self._finished = found end
  return rawget(self, "_finished")
end

--- The directory of the last checkpoint. An error if the phase is not finished.
---@return string
function Phase:last()
  local found = self:finished()
  if found then return found.directory end
  return check.fail("phase %s is not trained yet; type: %s", self.name,
                    flags.command(string.format("--only %s", self.name)))
end

--- The checksum of the last checkpoint.
---@return string hex
function Phase:checksum()
  self:last()
  return self:finished().checksum
end

--- The manifest of the last checkpoint.
---@return table
function Phase:manifest()
  self:last()
  return self:finished().manifest
end

--- Load the model in evaluation mode, with its final weights or those of its best evaluation.
---@param which? "last"|"best" "last" by default
---@return table model
function Phase:load(which)
  which = which or "last"
  if which ~= "last" and which ~= "best" then
    check.fail('load: expected "last" or "best", got %s', check.describe(which))
  end
  local directory = which == "last" and self:last() or string.format("%s/best", self:directory())
  if which == "best" then
    local found, fault = checkpoints.inspect(directory, self:owner())
    if not found then check.fail("load: %s", fault) end
  end
  local model = checkpoint.load(directory, self.own)
  generations[model] = self.generation
  return model
end

--- The results of training: { step, seconds, skipped, best, ... }.
---@return table
function Phase:results()
  self:last()
  return self:finished().state
end

return M
