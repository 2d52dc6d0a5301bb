-- The families of models whose checkpoints bam reads and writes, a file each, by their `model_type`. A family is
--   name      model_type in config.json
--   class     the class in transformers
--   eps       the field with the norms' eps
--   defaults  { eps, tied, rope_base, rope_share }: what transformers takes where a file does not say
--   fixed     fields of a description that all its models have: { block = "sequential", norm = "rms" }
--   halves    heads are rotated in halves: rows of queries and keys are in another order than ours, see rows.lua
--   partial   only a part of a head may rotate
--   names     list of { pattern, replacement }: from our names of tensors to its own, the first that matches
--   fused     matrices that it stores as one, see fused.lua
--   read(f, d), write(config, d)   its own fields
-- What it cannot hold is found out by writing a description and reading it again: see config.lua.
local check = require "bam.util.check"
local rows = require "bam.model.families.rows"

local M = {}

M.NAMES = { "cohere2", "cohere2_moe", "glm", "llama", "mistral", "mixtral", "olmo", "olmo2", "olmoe", "phi3", "qwen2",
            "qwen3", "qwen3_moe" }

local known = {}
for _, name in ipairs(M.NAMES) do known[name] = true end

--- The family of a name, nil for others. Its file is loaded now.
---@param name? string
---@return table? family
function M.get(name) return known[name] and require(string.format("bam.model.families.%s", name)) or nil end

--- The family of a name.
---@param what string for messages
---@param name string
---@return table family
function M.find(what, name)
  local found = M.get(name)
  if found then return found end
  return check.fail('%s: "%s" is not a known family; known are "bam", "cohere", "%s"', what, name,
                    table.concat(M.NAMES, '", "'))
end

--- The family that the checkpoints of a description are of; nil for "cohere" and "bam", which have our names and order.
---@param d table description
---@return table? family
function M.of(d) return M.get(d.family) end

-- ---- names and order of tensors ----

--- What a family calls an entry.
---@param family? table
---@param entry table of bam.model.params
---@return string
function M.name_of(family, entry)
  for _, rule in ipairs(family and family.names or {}) do
    local name, found = entry.name:gsub(rule[1], rule[2])
    if found > 0 then return name end
  end
  return entry.name
end

--- A tensor as a family stores it, in our order.
---@param family? table
---@param entry table
---@param x tensor
---@return tensor
function M.from_stored(family, entry, x)
  if not (family and family.halves and entry.rotated) then return x end
  return rows.to_pairs(x, entry.rotated, entry.rope_width or entry.rotated)
end

--- A tensor of ours in the order of a family.
---@param family? table
---@param entry table
---@param x tensor
---@return tensor
function M.to_stored(family, entry, x)
  if not (family and family.halves and entry.rotated) then return x end
  return rows.to_halves(x, entry.rotated, entry.rope_width or entry.rotated)
end

return M
