-- The tensors of bam's own attention in checkpoints: projections, biases, and norms of queries and keys, of all
-- experts, and where the live model holds them. See params.lua.
local core = require "bam.core"

local ops = core.ops
local M = {}

local function attention_of(model, layer) return model.layers[layer].attention end

-- Rows from `first` on, seen as [KV head, expert, rows, width]; one expert's are picked.
local function rows_of(projection, first, groups, experts, rows, expert)
  local part = ops.narrow(projection, 1, first, groups * experts * rows)
  part = ops.view(part, groups, experts, rows, projection:size(2))
  return ops.select(part, 2, expert)
end

local function query_view(layer, expert)
  return function(model)
    local a = attention_of(model, layer)
    local rows = a.heads // a.kv_heads * a.head_width
    return rows_of(a.queries or a.qkv, 1, a.kv_heads, a.experts, rows, expert or 1)
  end
end

-- Keys come after all queries, unless they are apart; values after all keys. `place` is 0 or 1.
local function key_view(layer, expert, shared, place)
  return function(model)
    local a = attention_of(model, layer)
    local experts = shared and 1 or a.experts
    local queries = a.keys_values and 0 or a.experts * a.heads * a.head_width
    local all = experts * a.kv_heads * a.head_width
    return rows_of(a.keys_values or a.qkv, 1 + queries + place * all, a.kv_heads, experts,
                   a.head_width, expert or 1)
  end
end

local function out_view(layer, expert)
  return function(model)
    local a = attention_of(model, layer)
    local columns = a.heads // a.kv_heads * a.head_width
    local grouped = ops.view(a.out, a.out:size(1), a.kv_heads, a.experts, columns)
    return ops.select(grouped, 3, expert or 1)
  end
end

-- The biases of queries, of keys or of values, ordered as their rows; that of the output.
local function query_bias(layer, expert)
  return function(model)
    local a = attention_of(model, layer)
    return ops.select(ops.view(a.q_bias, a.kv_heads, a.experts, -1), 2, expert or 1)
  end
end

local function key_bias(layer, expert, shared, place)
  return function(model)
    local a = attention_of(model, layer)
    local bias = ops.view(a.kv_bias, 2, a.kv_heads, shared and 1 or a.experts, -1)
    return ops.select(ops.select(bias, 1, 1 + place), 2, expert or 1)
  end
end

local function out_bias(layer, expert)
  return function(model) return ops.select(attention_of(model, layer).out_bias, 1, expert or 1) end
end

-- The weight of a norm of queries or keys.
local function norm_view(layer, expert, name)
  return function(model)
    local norm = attention_of(model, layer)[name]
    return ops.select(ops.view(norm.weight, norm.sets, norm.size), 1, expert or 1)
  end
end

-- The shape of a norm's weight for `heads` heads: rows of one head, of all, or one per head.
local function norm_shape(d, heads)
  if d.qk_norm == "layer" then return { heads, d.head_width } end
  return { d.qk_norm == "head" and d.head_width or heads * d.head_width }
end

-- ---- all of them ----

local function add_norms(one, d, layer, expert, own)
  local rotated = d.qk_norm ~= "layer" and d.head_width or nil
  one("q_norm.weight", norm_shape(d, d.heads), expert, norm_view(layer, expert, "q_norm"), rotated)
  if own ~= false then
    one("k_norm.weight", norm_shape(d, d.kv_heads), own, norm_view(layer, own, "k_norm"), rotated)
  end
end

-- The biases and norms of an expert; `own` is nil where its keys and values are no expert's, false where another entry
-- has them.
local function add_vectors(one, d, layer, expert, own)
  local queries, keys, shared = d.heads * d.head_width, d.kv_heads * d.head_width, d.attention.kv == "shared"
  if d.qkv_bias then
    one("q_proj.bias", { queries }, expert, query_bias(layer, expert), d.head_width)
    if own ~= false then
      one("k_proj.bias", { keys }, own, key_bias(layer, own, shared, 0), d.head_width)
      one("v_proj.bias", { keys }, own, key_bias(layer, own, shared, 1))
    end
  end
  if d.out_bias then one("o_proj.bias", { d.width }, expert, out_bias(layer, expert)) end
  if d.qk_norm then add_norms(one, d, layer, expert, own) end
end

--- Add the entries of a layer.
---@param one fun(name: string, shape: integer[], expert?: integer, view: function, rotated?: integer) adds one
---@param d table description
---@param layer integer
function M.add(one, d, layer)
  local a = d.attention
  local mixed, shared = a.experts > 1, a.kv == "shared"
  local queries, keys = d.heads * d.head_width, d.kv_heads * d.head_width
  for e = 1, a.experts do
    local expert = mixed and e or nil
    local own = not shared and expert or nil
    one("q_proj.weight", { queries, d.width }, expert, query_view(layer, expert), d.head_width)
    if e == 1 or not shared then
      one("k_proj.weight", { keys, d.width }, own, key_view(layer, own, shared, 0), d.head_width)
      one("v_proj.weight", { keys, d.width }, own, key_view(layer, own, shared, 1))
    end
    one("o_proj.weight", { d.width, queries }, expert, out_view(layer, expert))
    add_vectors(one, d, layer, expert, e > 1 and shared and false or own)
  end
end

return M
