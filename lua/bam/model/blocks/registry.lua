-- The blocks that models can be made of: see bam.models.define. A block says which norms it has, and how they,
-- attention and FFN are put together; embedding, head, parameters, checkpoints and mixtures are the same for all.
local registry = require "bam.util.registry"

local M = {}

--- The metatable of definitions; define.lua fills it.
M.metatable = { __name = "block definition" }

M.registry = registry.new("block", M.metatable, "bam.models.define")

--- The definition of the blocks of a description: the paper's, unless it says otherwise.
---@param d table description
---@return table definition
function M.of(d) return M.registry:find("block", d.block or "parallel") end

--- What a description holds for a definition: nil for the paper's, names for bam's own.
---@param definition table
---@return string|table|nil
function M.field(definition)
  if definition.name == "parallel" then return nil end
  return definition.is_builtin and definition.name or definition
end

return M
