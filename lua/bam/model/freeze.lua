-- Which parameters of a live model are its experts', its routers', and which the rest; and keeping
-- some of them from training.
local module = require "bam.nn.module"

local M = {}

-- Whose each parameter is: "routers" or "experts"; the rest has no owner.
local function owners(model)
  local d, owner = model.description, {}
  for _, layer in ipairs(model.layers) do
    local attention, ffn = layer.attention, layer.ffn
    if d.attention.experts > 1 then
      owner[attention.queries or attention.qkv], owner[attention.out] = "experts", "experts"
    end
    for _, expert in ipairs(d.ffn.class and d.ffn.experts > 1 and ffn.modules or {}) do
      for _, p in ipairs(expert:parameters()) do owner[p.tensor] = "experts" end
    end
    if d.ffn.experts > 1 and not d.ffn.class then owner[ffn.gate_up], owner[ffn.down] = "experts", "experts" end
    for _, part in ipairs { attention, ffn } do
      for _, p in ipairs(module.is_module(part.router) and part.router:parameters() or {}) do
        owner[p.tensor] = "routers"
      end
    end
  end
  return owner
end

--- Freeze or train what `frozen` says, and leave alone what it does not say.
---@param model table
---@param frozen { routers?: boolean, experts?: boolean, rest?: boolean }
function M.apply(model, frozen)
  if not next(frozen) then return end
  local owner = owners(model)
  for _, p in ipairs(model:parameters()) do
    local flag = frozen[owner[p.tensor] or "rest"]
    if flag ~= nil then p.tensor.requires_grad = not flag end
  end
end

--- Must the shared keys and values of this description's attention be a parameter apart from the
--- experts' queries? A parameter is trained or frozen as a whole, and they are no expert's.
---@param d table description
---@return boolean
function M.keys_apart(d)
  local f = d.freeze
  return d.attention.kv == "shared" and f ~= nil and (f.experts ~= nil or f.rest ~= nil)
end

return M
