-- The tensors of a model as checkpoints name them, from its description alone: shapes, whose expert
-- each is, and where the live model holds it. Counting, mixing, saving and loading walk this list.
--
-- An entry is { name, shape, dense, kind, layer, expert, router_of, rotated, rope_width, view }: `dense` is the name in
-- a dense model, `kind` one of embedding, norm, attention, ffn, router, head; `expert` counts from
-- 1, nil for what is no expert's; `router_of` is "attention" or "ffn"; `rotated` is the width of
-- heads whose rows RoPE rotates, of which the first `rope_width`, nil for all; view(model) gives the
-- live model's elements, of `shape` but for the grouping of heads.
local attention_params = require "bam.model.attention_params"
local blocks = require "bam.model.blocks.registry"
local check = require "bam.util.check"
local core = require "bam.core"
local module = require "bam.nn.module"
local parts = require "bam.model.parts"
local sparse = require "bam.model.sparse"

local ops = core.ops
local M = {}

-- gate_up or down of an FFN, which is dense or stacked.
local function ffn_view(layer, expert, what, first)
  return function(model)
    local ffn = model.layers[layer].ffn
    local weight = expert and ops.select(ffn[what], 1, expert) or ffn[what].weight
    if not first then return weight end
    local half = weight:size(1) // 2
    return ops.narrow(weight, 1, 1 + first * half, half)
  end
end

local function router_view(layer, what)
  return function(model) return model.layers[layer][what].router.weight end
end

local PLACES = { attention = "self_attn", ffn = "mlp" }

--- What the names of a layer's module begin with: "model.layers.0.mlp.".
---@param layer integer from 1
---@param kind "attention"|"ffn"
---@return string
function M.prefix(layer, kind)
  return string.format("model.layers.%d.%s.", layer - 1, PLACES[kind])
end

-- One tensor, of one expert unless that is nil.
local function of_part(kind, layer, name, shape, expert, view, rotated)
  local prefix = M.prefix(layer, kind)
  local place = expert and string.format("experts.%d.", expert - 1) or ""
  return { name = string.format("%s%s%s", prefix, place, name), dense = string.format("%s%s", prefix, name),
           shape = shape, kind = kind, layer = layer, expert = expert, rotated = rotated, view = view }
end

local function router(kind, layer, experts, width)
  return { name = string.format("%srouter.weight", M.prefix(layer, kind)),
           shape = { experts, width }, kind = "router", layer = layer, router_of = kind,
           view = router_view(layer, kind) }
end

-- ---- layers of a script's class ----

-- The tensor called `name` in a module.
local function tensor_in(layer, name)
  for _, entry in ipairs(module.contents(layer).tensors) do
    if entry.name == name then return entry.tensor end
  end
end

local function own_view(layer, kind, expert, name)
  return function(model)
    local part = model.layers[layer][kind]
    return tensor_in(expert and part.modules[expert] or part, name)
  end
end

local function add_own(add, d, layer, kind, expert)
  for _, tensor in ipairs(parts.shapes(d, kind)) do
    add(of_part(kind, layer, tensor.name, tensor.shape, expert, own_view(layer, kind, expert, tensor.name)))
  end
end

-- ---- all of them ----

local function add_attention(add, d, layer)
  if d.attention.class then return add_own(add, d, layer, "attention") end
  attention_params.add(function(...)
    local entry = of_part("attention", layer, ...)
    entry.rope_width = d.rope_width
    add(entry)
  end, d, layer)
  if d.attention.experts > 1 then add(router("attention", layer, d.attention.experts, d.width)) end
end

local function add_swiglu(add, d, layer, expert, hidden)
  local function one(...) add(of_part("ffn", layer, ...)) end
  one("gate_proj.weight", { hidden, d.width }, expert, ffn_view(layer, expert, "gate_up", 0))
  one("up_proj.weight", { hidden, d.width }, expert, ffn_view(layer, expert, "gate_up", 1))
  one("down_proj.weight", { d.width, hidden }, expert, ffn_view(layer, expert, "down"))
end

local function add_ffn(add, d, layer)
  local dense = sparse.dense(d, layer)
  if dense then return add_swiglu(add, d, layer, nil, dense) end
  local mixed = d.ffn.experts > 1
  for e = 1, d.ffn.experts do
    local expert = mixed and e or nil
    if d.ffn.class then
      add_own(add, d, layer, "ffn", expert)
    else
      add_swiglu(add, d, layer, expert, d.ffn.hidden)
    end
  end
  if mixed then add(router("ffn", layer, d.ffn.experts, d.width)) end
end

--- The entries of a model, in the order of its layers.
---@param d table description
---@return table[] entries
function M.list(d)
  local list = {}
  local function add(entry)
    entry.dense = entry.dense or entry.name
    list[#list + 1] = entry
  end
  add { name = "model.embed_tokens.weight", shape = { d.vocab, d.width }, kind = "embedding",
        view = function(model) return model.embed.weight end }
  local weighted = d.norm_weight ~= false
  for layer = 1, d.layers do
    for _, norm in ipairs(weighted and blocks.of(d).norms or {}) do
      add { name = string.format("model.layers.%d.%s.weight", layer - 1, norm[2]),
            shape = { d.width }, kind = "norm", layer = layer,
            view = function(model) return model.layers[layer][norm[1]].weight end }
    end
    add_attention(add, d, layer)
    add_ffn(add, d, layer)
  end
  if weighted then
    add { name = "model.norm.weight", shape = { d.width }, kind = "norm",
          view = function(model) return model.norm.weight end }
  end
  if not d.tied then
    add { name = "lm_head.weight", shape = { d.vocab, d.width }, kind = "head",
          view = function(model) return model.head.weight end }
  end
  return list
end

--- Elements of an entry.
---@param entry table
---@return integer
function M.size(entry)
  local n = 1
  for _, size in ipairs(entry.shape) do n = n * size end
  return n
end

--- Overwrite the live model's elements of an entry; `from` is of the entry's shape, any float
--- dtype.
---@param entry table
---@param model table
---@param from tensor
function M.write(entry, model, from)
  core.with_grad(false, function()
    local view = entry.view(model)
    view:copy_(ops.reshape(from, view.shape))
  end)
end

-- Where the live model holds an entry. The layers may have been replaced by others, which have no
-- such tensor or one of another size.
local function place_of(entry, model)
  local found, view = core.try(entry.view, model)
  if found and check.is_tensor(view) and view:count() == M.size(entry) then return view end
  if not found and (tostring(view):find(" memory", 1, true) or tostring(view):find("interrupted!", 1, true)) then
    error(view, 0) -- of another kind
  end
  return check.fail("the model holds no `%s` of shape %s where its description says: a layer has "
                    .. "been replaced; bam.save(path, model:state()) saves what there is",
                    entry.name, check.shape(entry.shape))
end

--- A contiguous tensor of the live model's elements, of the entry's shape.
---@param entry table
---@param model table
---@return tensor
function M.read(entry, model)
  return core.with_grad(false, function()
    return ops.contiguous(ops.reshape(place_of(entry, model), entry.shape))
  end)
end

return M
