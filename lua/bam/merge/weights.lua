-- The weights of a mixture out of those of its dense models (BAM §4.1, §4.2): experts are copied, everything else is
-- merged, by the uniform average unless the description says otherwise, and routers stay random.
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

-- Before anything is built: no expert may hold a NaN.
local function check_values(experts)
  for _, expert in ipairs(experts) do
    for _, entry in ipairs(params.list(expert.description)) do
      core.scope(function()
        if not ops.all(ops.isfinite(ops.to(expert.read(entry), "f32"))):item() then
          check.fail("build: %s: `%s` holds a NaN or infinity", expert.label, entry.name)
        end
      end)
    end
  end
end

-- The entries of a dense model by name: what those of the mixture are made of.
local function dense_entries(d)
  local by_name = {}
  for _, entry in ipairs(params.list(d)) do by_name[entry.name] = entry end
  return by_name
end

local function merged(how, experts, entry, dtype)
  local tensors = {}
  for i, expert in ipairs(experts) do tensors[i] = expert.read(entry) end
  return apply.apply(how.definition, how.options, tensors, entry.name, dtype)
end

--- The live model of a description with `sources`.
---@param d table
---@param dtype string
---@return table model
function M.build(d, dtype)
  local experts = source.open("build", d.sources)
  check_values(experts)
  local model, dense = Model(d, { dtype = dtype, std = 0 }), dense_entries(experts[1].description)
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
  model.tokenizer_json, model.token_ids = experts[1].tokenizer_json, experts[1].token_ids
  model.companions = experts[1].companions
  return model
end

build.of_sources = M.build

return M
