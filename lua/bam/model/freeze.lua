-- Which parameters of a live model are its experts', its routers', and which the rest; and keeping
-- some of them from training.
local check = require "bam.util.check"
local module = require "bam.nn.module"

local M = {}

-- Biases and norms of attention that belong to experts; keys and values may be shared.
local function extras(d, attention)
  local own, list = d.attention.kv == "own", {}
  local function norm(name) return attention[name] and attention[name].weight end
  for _, p in pairs { attention.q_bias or false, attention.out_bias or false, norm "q_norm" or false,
                      own and attention.kv_bias, own and norm "k_norm" } do
    if p then list[#list + 1] = p end
  end
  return list
end

-- Whose each parameter is: "routers" or "experts"; the rest has no owner.
local function owners(model)
  local d, owner = model.description, {}
  for _, layer in ipairs(model.layers) do
    local attention, ffn = layer.attention, layer.ffn
    if d.attention.experts > 1 then
      owner[attention.queries or attention.qkv], owner[attention.out] = "experts", "experts"
      for _, p in ipairs(extras(d, attention)) do owner[p] = "experts" end
    end
    for _, expert in ipairs(d.ffn.class and d.ffn.experts > 1 and ffn.modules or {}) do
      for _, p in ipairs(expert:parameters()) do owner[p.tensor] = "experts" end
    end
    if d.ffn.experts > 1 and not d.ffn.class and ffn.router then
      owner[ffn.gate_up], owner[ffn.down] = "experts", "experts"
    end
    for _, part in ipairs { attention, ffn } do
      for _, p in ipairs(module.is_module(part.router) and part.router:parameters() or {}) do
        owner[p.tensor] = "routers"
      end
    end
  end
  return owner
end

local function matches(name, patterns)
  for _, pattern in ipairs(patterns) do
    local fine, found = pcall(string.find, name, pattern)
    if not fine then check.fail('option freeze: the pattern "%s" is malformed: %s', pattern, found) end
    if found then return true end
  end
  return false
end

-- The patterns of a description's freeze; mostly none.
local function patterns_of(model) return model.description.freeze and model.description.freeze.patterns or {} end

--- Freeze or train what `frozen` says, and leave alone what it does not say. Parameters whose names match a pattern of
--- the description's freeze are frozen, whatever else is said.
---@param model table
---@param frozen { routers?: boolean, experts?: boolean, rest?: boolean }
function M.apply(model, frozen)
  local patterns = patterns_of(model)
  if not next(frozen) and #patterns == 0 then return end
  local owner = owners(model)
  for _, p in ipairs(model:parameters()) do
    local flag = frozen[owner[p.tensor] or "rest"]
    if matches(p.name, patterns) then flag = true end
    if flag ~= nil then p.tensor.requires_grad = not flag end
  end
end

--- Raise an error for a pattern that no parameter's name matches.
---@param what string for messages
---@param model table
function M.check(what, model)
  for _, pattern in ipairs(patterns_of(model)) do
    local names, found = {}, false
    for i, p in ipairs(model:parameters()) do
      names[i], found = p.name, found or matches(p.name, { pattern })
    end
    if not found then
      check.fail('%s: option freeze: no parameter matches the pattern "%s"; there are %s%s', what, pattern,
                 table.concat(names, ", ", 1, math.min(#names, 4)), #names > 4 and ", ..." or "")
    end
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
