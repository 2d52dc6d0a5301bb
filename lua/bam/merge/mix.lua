--- bam.mix and bam.upcycle: descriptions of mixtures (BAM §4). Nothing is built before
--- description:build(), but everything that can be wrong is looked for here.
local check = require "bam.util.check"
local choice = require "bam.merge.choice"
local description = require "bam.model.description"
local schedules = require "bam.model.schedules"
local parts = require "bam.model.parts"
local router_options = require "bam.nn.moe.router_options"
local source = require "bam.merge.source"
require "bam.merge.report" -- these add what descriptions of mixtures can do
require "bam.merge.weights"

local M = {}

-- ---- the list of dense models ----

local function check_list(what, list)
  if #list < 2 then
    check.fail("%s: a mixture needs at least 2 experts, got %d; bam.upcycle builds one from a single model",
               what, #list)
  end
end

local function read_sources(what, list)
  local sources = {}
  for i, value in ipairs(list) do
    sources[i] = source.of(what, value, string.format("expert %d", i))
    source.check_dense(what, sources[i])
    source.check_alike(what, sources[1], sources[i])
  end
  return sources
end

-- ---- what is mixed how ----

local attention_spec = router_options.add_to_mix {
  experts = { "string", optional = true }, kv = { "string", optional = true },
  routing = { "any", optional = true }, router = { "callable", optional = true },
}

-- Attention without experts, of the same class as in the models.
local function one_attention(own)
  return { experts = 1, kv = "own", routing = "soft", class = own.class, options = own.options }
end

local function read_attention(what, given, n, own)
  local where = string.format("%s: option attention", what)
  local o = check.options(where, given, attention_spec)
  if o.experts then
    if o.experts ~= "mean" or o.kv or o.routing or o.router or router_options.any_given(o) then
      check.fail('%s: expected { experts = "mean" }, or { kv = "own" or "shared", routing = "soft" '
                 .. "or k }", where)
    end
    return one_attention(own)
  end
  if own.class then
    check.fail('%s: attention %s of the models cannot become experts; use '
               .. 'attention = { experts = "mean" }', what, parts.text(own))
  end
  local kv, routing = o.kv or "own", o.routing or "soft"
  if kv ~= "own" and kv ~= "shared" then
    check.fail('%s: kv: expected "own" or "shared", got %s', where, check.describe(kv))
  end
  if routing ~= "soft" then
    routing = schedules.read_k(string.format("%s: routing", where), routing, n, '"soft" or ')
  end
  local part = { experts = n, kv = kv, routing = routing, router = o.router }
  return router_options.read(where, o, part, schedules.read)
end

local ffn_spec = router_options.add_to_mix {
  top_k = { "any", 1 }, extra_seed_copies = { "count", 0 }, router = { "callable", optional = true },
}

local function read_ffn(what, given, n, own)
  local where = string.format("%s: option ffn", what)
  local o = check.options(where, given, ffn_spec)
  local experts = check.value(string.format("%s: the number of experts", where),
                              n + o.extra_seed_copies, "few")
  local top_k = schedules.read_k(string.format("%s: top_k", where), o.top_k, experts)
  local part = { experts = experts, hidden = own.hidden, class = own.class, options = own.options, top_k = top_k,
                 router = o.router }
  return router_options.read(where, o, part, schedules.read)
end

-- ---- the description ----

local function describe(what, sources, attention, ffn, o)
  local first = sources[1].description
  local fields = { sources = sources, attention = attention, ffn = ffn, seed = o.seed,
                   aux_tokens = o.aux_group_size, context = first.context, std = first.std }
  for _, name in ipairs(description.SETTINGS) do fields[name] = first[name] end
  for _, name in ipairs { "load_balance", "z_loss" } do
    fields[name] = schedules.read(string.format("%s: option %s", what, name), o[name], "rate")
  end
  fields.freeze = schedules.read_freeze(what, o.freeze)
  fields.merge = choice.read(string.format("%s: option merge", what), o.merge, #sources)
  return description.new(fields)
end

local common = {
  ffn = { "table", optional = true }, load_balance = { "any", 0.01 }, z_loss = { "any", 0.001 },
  aux_group_size = { "count", 0, was = "aux_tokens" }, seed = { "integer", optional = true },
  freeze = { "table", optional = true },
}

-- The options both take, and those of one.
local function with_common(own)
  for name, rule in pairs(common) do own[name] = rule end
  return own
end

local mix_spec = with_common { experts = { "list", expects = "a list of models, { a, b, ... }" },
                               attention = { "table", optional = true,
                                             expects = 'a table such as { experts = "mean" } or { kv = "shared" }' },
                               merge = { "any", optional = true } }

---@class bam.AttentionMix: nn.RouterSettings
---@field experts? "mean" no attention experts but the mean of all, as in BTX; excludes the other options
---@field kv? "own"|"shared" keys and values: of each expert (default), or their mean for all
---@field routing? "soft"|integer|schedule all experts (default), or the k with the largest gates
---@field router? function makes a router of your own, see nn.Router

---@class bam.FFNMix: nn.RouterSettings
---@field top_k? integer|schedule experts per token, 1 by default
---@field extra_seed_copies? integer number of additional experts that start as copies of the seed's FFN; 0 by
--- default
---@field router? function makes a router of your own, see nn.Router

--- What is frozen: true, false, or a schedule (or function of progress), which freezes while it is not 0. Entries of
--- the list are Lua patterns: parameters whose names match one are frozen all the time: { "^embed%.", routers = true }.
---@class bam.Freeze
---@field experts? boolean|number|schedule attention and FFN experts; shared keys and values belong to no expert
---@field routers? boolean|number|schedule routers of attention and FFN
---@field rest? boolean|number|schedule everything else

--- Describe a mixture of dense models (BAM §4): attention and FFN experts are taken from the models, routers are
--- random, everything else is merged: averaged, unless `merge` says otherwise. The first model is the seed.
---
---   local mixture = bam.mix { experts = { seed, law, code }, attention = { kv = "shared" }, ffn = { top_k = 1 } }
---   local model = mixture:build()
---@class bam.MixOptions
---@field experts table list of models, checkpoint directories, descriptions or phases
---@field attention? bam.AttentionMix
---@field ffn? bam.FFNMix
---@field merge? string|table|function how the parameters that belong to no expert are merged: a method of bam.merge by
--- its name, or with options { "ties", density = 0.1 }, or a function(tensors, weights, o); the uniform average by
--- default
---@field load_balance? number|schedule coefficient of the load-balance loss, 0.01 by default
---@field z_loss? number|schedule coefficient of the z loss, 0.001 by default
---@field aux_group_size? integer tokens per group over which the load is balanced; 0 by default: all tokens
---@field freeze? bam.Freeze what is frozen at which steps; model:set_step applies it
---@field seed? integer seed of the routers' initial weights; by default that of the run in training, otherwise 1
---@param options bam.MixOptions
---@return bam.Description
function M.mix(options)
  local o = check.options("mix", options, mix_spec)
  check_list("mix", o.experts)
  local sources = read_sources("mix", o.experts)
  local ffn = read_ffn("mix", o.ffn, #sources, sources[1].description.ffn)
  local attention = read_attention("mix", o.attention, #sources, sources[1].description.attention)
  return describe("mix", sources, attention, ffn, o)
end

local upcycle_spec = with_common { model = { "any" }, experts = { "size" } }

--- Describe the sparse upcycling of one dense model (Komatsuzaki 2022): its attention, and FFN experts that start
--- as copies of its FFN.
---@class bam.UpcycleOptions
---@field model any a model, checkpoint directory, description or phase
---@field experts integer number of FFN experts
---@field ffn? bam.FFNMix
---@field load_balance? number|schedule coefficient of the load-balance loss, 0.01 by default
---@field z_loss? number|schedule coefficient of the z loss, 0.001 by default
---@field aux_group_size? integer tokens per group over which the load is balanced; 0 by default: all tokens
---@field freeze? bam.Freeze what is frozen at which steps; model:set_step applies it
---@field seed? integer seed of the routers' initial weights; by default that of the run in training, otherwise 1
---@param options bam.UpcycleOptions
---@return bam.Description
function M.upcycle(options)
  local o = check.options("upcycle", options, upcycle_spec)
  if o.experts < 2 then check.fail("upcycle: a mixture needs at least 2 experts, got %d", o.experts) end
  local sources = read_sources("upcycle", { o.model })
  local ffn = read_ffn("upcycle", o.ffn, o.experts, sources[1].description.ffn)
  return describe("upcycle", sources, one_attention(sources[1].description.attention), ffn, o)
end

return M
