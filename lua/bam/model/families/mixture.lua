-- The fields of a config.json of model_type "bam": experts, routers, knobs, blocks, and layers written in Lua.
local blocks = require "bam.model.blocks.registry"
local check = require "bam.util.check"
local core = require "bam.core"
local json = require "bam.util.json"
local parts = require "bam.model.parts"
local router_options = require "bam.nn.moe.router_options"
local sparse = require "bam.model.sparse"
local shape = require "bam.model.families.shape"

local M = {}

-- What the knobs are now: a schedule belongs to a run, not to its checkpoint.
local function add_knobs(config, model)
  local now = model.reached
  config.load_balance, config.z_loss = model.load_balance, model.z_loss
  config.attention_routing, config.ffn_top_k = now.attention.routing, now.ffn.top_k
  for _, which in ipairs { "attention", "ffn" } do
    for _, option in ipairs(router_options.LIST) do
      local value
      if option.scheduled then value = now[which][option.name] else value = model.description[which][option.name] end
      if value == nil and option.always and not option.scheduled then value = option.default end
      config[string.format("%s_%s", which, option.name)] = value
    end
  end
  if next(now.freeze) then config.freeze = now.freeze end
end

-- What is not of the paper; it is left out of models that are.
local function add_layers(config, d)
  config.block, config.norm = d.block and blocks.of(d).name, d.norm
  if d.dense_ffn then config.dense_ffn = table.move(d.dense_ffn, 1, d.layers, 1, json.array {}) end
  local own = json.array {}
  for _, which in ipairs { "attention", "ffn" } do
    if d[which].class then table.insert(own, which) end
  end
  if own[1] then config.custom_layers = own end
end

--- Add what model_type "bam" says to a config.json.
---@param config table
---@param model table live model
function M.write(config, model)
  local d = model.description
  local a, f = d.attention, d.ffn
  add_knobs(config, model)
  config.attention_experts, config.attention_kv = a.experts, a.kv
  config.ffn_experts = f.experts
  config.aux_tokens = d.aux_tokens
  config.custom_routers = json.array {}
  if a.router then table.insert(config.custom_routers, "attention") end
  if f.router then table.insert(config.custom_routers, "ffn") end
  add_layers(config, d)
  shape.write(config, d)
end

-- ---- reading ----

-- The layers that the checkpoint says are of a script's class must be given.
local function read_layers(d, get, label, layers)
  for _, which in ipairs(get("custom_layers", "table", {})) do
    if which ~= "attention" and which ~= "ffn" then
      check.fail('%s: `custom_layers` may list "attention" and "ffn", not %s', label, check.describe(which))
    end
    if not layers[which] then
      check.fail("%s: its %s is of a class written in Lua; give it to bam.load: { layers = { %s = MyClass } }, with "
                 .. "its options { class = MyClass, ... }", label, which, which)
    end
    d[which].class, d[which].options =
      parts.read(string.format("load: option layers: %s", which), which, layers[which])
    if which == "ffn" then d.ffn.hidden = nil end
  end
end

local function read_block(d, get, label)
  local name, norm = get("block", "string", "parallel"), get("norm", "string", "layer")
  local block = core.try(blocks.registry.find, blocks.registry, label, name)
  if not block then
    check.fail("%s: its blocks are called %s, which are not defined; define them with bam.models.define first", label,
               name)
  end
  if norm ~= "layer" and norm ~= "rms" then
    check.fail('%s: `norm` is %s; it must be "layer" or "rms"', label, check.describe(norm))
  end
  d.block, d.norm = blocks.field(blocks.registry:find(label, name)), norm == "rms" and norm or nil
end

-- Layers whose FFN is dense.
local function read_dense(d, get, label)
  local list = get("dense_ffn", "list", false)
  if not list then return end
  if #list ~= d.layers then
    check.fail("%s: `dense_ffn`: expected a width for each of the %d layers, got %d", label, d.layers, #list)
  end
  for i, hidden in ipairs(list) do
    local what = string.format("%s: `dense_ffn[%d]`", label, i)
    if check.value(what, hidden, "count") > 0 then check.value(what, hidden, "extent") end
  end
  d.dense_ffn = sparse.list(d.layers, 1, function(layer) return list[layer] > 0 end) and list
end

-- The routers that the checkpoint says were of the user's own must be given.
local function check_custom_routers(get, label, routers)
  for _, which in ipairs(get("custom_routers", "table", {})) do
    if which ~= "attention" and which ~= "ffn" then
      check.fail('%s: `custom_routers` may list "attention" and "ffn", not %s', label,
                 check.describe(which))
    end
    if not routers[which] then
      check.fail("%s: its %s routers were written in Lua; give bam.load what makes them: "
                 .. "{ routers = { %s = f } }", label, which, which)
    end
  end
end

local function read_routing(get, experts, label)
  local routing = get("attention_routing", "any", "soft")
  if routing == "soft" then return routing end
  routing = check.value(string.format("%s: `attention_routing`", label), routing, "few")
  if routing > experts then
    check.fail("%s: `attention_routing` is %d, and there are %d attention experts", label, routing,
               experts)
  end
  return routing
end

-- What is said of freezing; the rest is left to the script.
local function read_freeze(f)
  local given, frozen = f.get("freeze", "table", {}), {}
  local inner = f.inner("freeze", given).get
  for _, name in ipairs { "routers", "experts", "rest" } do
    local flag = inner(name, "boolean", json.null)
    if flag ~= json.null then frozen[name] = flag end
  end
  return next(frozen) and frozen or nil
end

-- Settings of a router; without attention experts there is none.
local function read_router(get, group, which)
  if group.experts == 1 then return end
  for _, option in ipairs(router_options.LIST) do
    local value = get(string.format("%s_%s", which, option.name), option.kind, option.default)
    if option.always or value ~= option.default then group[option.name] = value end
  end
end

--- Read what model_type "bam" says.
---@param f families.Fields
---@param d table fields of a description
---@param own { routers?: table, layers?: table } what makes routers and layers written in Lua, by part
function M.read(f, d, own)
  local get, label, routers = f.get, f.label, own.routers or {}
  check_custom_routers(get, label, routers)
  local a, ffn = d.attention, d.ffn
  a.experts, a.kv = get("attention_experts", "few", 1), get("attention_kv", "string", "own")
  if a.kv ~= "own" and a.kv ~= "shared" then
    check.fail('%s: `attention_kv` is %s; it must be "own" or "shared"', label,
               check.describe(a.kv))
  end
  a.routing = read_routing(get, a.experts, label)
  a.router = routers.attention
  ffn.experts, ffn.top_k = get("ffn_experts", "few"), get("ffn_top_k", "few", 1)
  ffn.router = routers.ffn
  if ffn.top_k > ffn.experts then
    check.fail("%s: `ffn_top_k` is %d, and there are %d FFN experts", label, ffn.top_k, ffn.experts)
  end
  read_router(get, a, "attention")
  read_router(get, ffn, "ffn")
  read_block(d, get, label)
  read_dense(d, get, label)
  read_layers(d, get, label, own.layers or {})
  d.freeze = read_freeze(f)
  d.load_balance, d.z_loss = get("load_balance", "rate", 0), get("z_loss", "rate", 0)
  d.aux_tokens = get("aux_tokens", "count", 0)
  shape.read(f, d)
end

return M
