-- The weights of a mixture out of those of its dense models (BAM §4.1, §4.2): experts are copied, everything else is
-- merged, by the uniform average unless the description says otherwise, and routers stay random. bam.extend copies all
-- weights of a mixture and the experts that are added.
local apply = require "bam.merge.apply"
local check = require "bam.util.check"
local choice = require "bam.merge.choice"
local core = require "bam.core"
local build = require "bam.model.build"
local Model = require "bam.model.model"
local params = require "bam.model.params"
local source = require "bam.merge.source"

local ops = core.ops
local M = {}

-- Before anything is built: no source may hold a NaN.
local function check_values(sources)
  for _, from in ipairs(sources) do
    for _, entry in ipairs(params.list(from.description)) do
      core.scope(function()
        if not ops.all(ops.isfinite(ops.to(from.read(entry), "f32"))):item() then
          check.fail("build: %s: `%s` holds a NaN or infinity", from.label, entry.name)
        end
      end)
    end
  end
end

local function entries_by_name(d)
  local by_name = {}
  for _, entry in ipairs(params.list(d)) do by_name[entry.name] = entry end
  return by_name
end

local function merged(how, experts, entry, dtype)
  local tensors = {}
  for i, expert in ipairs(experts) do tensors[i] = expert.read(entry) end
  return apply.apply(how.definition, how.options, tensors, entry.name, dtype)
end

-- Write the weights of a mixture of dense models.
local function mix(model, d, experts, dtype)
  local dense = entries_by_name(experts[1].description)
  local how = d.merge or choice.default(#experts)
  for _, entry in ipairs(params.list(d)) do
    if entry.kind ~= "router" then
      core.scope(function()
        local from = dense[entry.dense]
        local owner = entry.expert and (experts[entry.expert] or experts[1]) -- else the seed's
        params.write(entry, model, owner and owner.read(from) or merged(how, experts, from, dtype))
      end)
    end
  end
end

-- The rows of a router: the mixture's, and after them the random ones that the model has for the new experts.
local function grown_router(model, entry, old)
  local fresh, n = params.read(entry, model), old:size(1)
  return ops.concat({ ops.to(old, fresh.dtype, fresh.device), ops.narrow(fresh, 1, n + 1, fresh:size(1) - n) }, 1)
end

-- Write the weights of a mixture with additional experts: the first source is the mixture, the others are dense.
local function extend(model, d, sources)
  local mixture = sources[1]
  local old, dense = entries_by_name(mixture.description), entries_by_name(sources[2].description)
  for _, entry in ipairs(params.list(d)) do
    core.scope(function()
      local from = old[entry.name]
      if entry.kind == "router" then
        params.write(entry, model, grown_router(model, entry, mixture.read(from)))
      elseif from then
        params.write(entry, model, mixture.read(from))
      else
        local added = entry.expert - mixture.description[entry.kind].experts
        params.write(entry, model, sources[1 + added].read(dense[entry.dense]))
      end
    end)
  end
end

--- The live model of a description with `sources`.
---@param d table
---@param dtype string
---@return table model
function M.build(d, dtype)
  local sources = source.open("build", d.sources)
  check_values(sources)
  local model = Model(d, { dtype = dtype, std = 0 })
  if d.extends then extend(model, d, sources) else mix(model, d, sources, dtype) end
  model.tokenizer_json, model.token_ids = sources[1].tokenizer_json, sources[1].token_ids
  model.companions = sources[1].companions
  return model
end

build.of_sources = M.build

return M
