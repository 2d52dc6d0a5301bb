-- The methods of a description that make a model, and say what it is.
local check = require "bam.util.check"
local description = require "bam.model.description"
local Model = require "bam.model.model"
local settings = require "bam.model.fingerprint.settings"

--- of_sources(d, dtype) builds a mixture from its sources; set by bam.merge.weights.
---@type table<string, function>
local M = {}

---@class bam.Description
local Description = description.methods

local build_spec = { seed = { "integer", optional = true }, dtype = { "dtype", "f32" } }

--- Make the model, in training mode. A dense model starts with random weights; a mixture with the weights of its
--- experts and random routers.
---@param options? { seed?: integer, dtype?: "f32"|"f64" } the seed of the description, or the generator of
--- bam.seed; f32
---@return table model
function Description:build(options)
  description.check_self("build", self)
  local o = check.options("build", options, build_spec)
  local seed = o.seed or self.seed or self.sources and 1
  local function make()
    if self.sources then return M.of_sources(self, o.dtype) end
    return Model(self, { dtype = o.dtype })
  end
  return seed and description.seeded(seed, make) or make()
end

--- What defines the description, as a table that JSON can hold: equal for equal descriptions, even in another
--- process. Sources count by their contents, routers written in Lua by their code and what it uses, schedules by
--- their values at every step of a run.
---@param total? integer steps of the run; needed if something is scheduled
---@return table
function Description:identity(total)
  description.check_self("identity", self)
  return settings.of_description(self, total)
end

return M
