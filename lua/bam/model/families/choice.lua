-- Which family a model is saved as, and whether that can hold it.
local check = require "bam.util.check"
local core = require "bam.core"
local decoder = require "bam.model.families.decoder"
local description = require "bam.model.description"
local families = require "bam.model.families.registry"
local fields = require "bam.model.families.fields"
local json = require "bam.util.json"

local M = {}

--- Can a description be saved as a model of Cohere's? Such a one has the paper's blocks, and no experts.
---@param d table
---@return boolean
function M.is_cohere(d)
  for _, name in ipairs { "block", "norm", "window", "rope_layers", "rope_width", "norm_weight" } do
    if d[name] ~= nil then return false end
  end
  if d.qkv_bias ~= d.out_bias or d.qk_norm and d.qk_norm ~= "layer" then return false end
  return not (description.is_mixture(d) or d.attention.class or d.ffn.class)
end

--- The config.json of a description as a family's model.
---@param d table description
---@param family table
---@param ids table token ids
---@return table config
function M.encode(d, family, ids)
  local config = decoder.write(d, family, ids)
  family.write(config, d)
  config.model_type, config.architectures = family.name, { family.class }
  return config
end

--- The description in a family's config.json.
---@param f families.Fields
---@param family table
---@return table d fields of a description
function M.decode(f, family)
  local d = decoder.read(f, family)
  family.read(f, d)
  d.family = family.name
  return d
end

local ROUTING = { "experts", "hidden", "top_k", "renormalise", "temperature", "class", "router" }
local NONE = { renormalise = false, temperature = 1 } -- what a part leaves out

local UNSET = { block = "parallel", norm = "layer" } -- what a description leaves out

-- The first setting in which a description differs from what a family makes of it, as text.
local function difference(d, back, but)
  local function compare(name, a, b)
    if tostring(a) ~= tostring(b) and not (type(a) == "number" and a == b) then
      local function text(value) return value == nil and (UNSET[name] or "none") or tostring(value) end
      return string.format("its %s is %s, which would be read as %s", name, text(a), text(b))
    end
  end
  for _, name in ipairs(description.SETTINGS) do
    local found = compare(name, d[name], back[name])
    if found then return found end
  end
  if d.attention.experts > 1 or d.attention.class then return "its attention has experts, or is of a class of yours" end
  for _, name in ipairs(ROUTING) do
    local a, b = d.ffn[name], back.ffn[name]
    if a == nil then a = NONE[name] end
    if b == nil then b = NONE[name] end
    local found = name ~= but and compare(string.format("ffn.%s", name), a, b)
    if found then return found end
  end
end

--- Why a description cannot be saved as a family's model, as text; nil if it can. The proof that it can is that what is
--- written reads as the same description.
---@param d table description
---@param family table
---@param but? string a setting of the FFN that may differ
---@return string?
function M.unfit(d, family, but)
  local fine, why = core.try(function()
    local config = json.decode(json.encode(M.encode(d, family, {})))
    return difference(d, description.new(M.decode(fields.new(config, family.name), family)), but)
  end)
  if fine then return why end
  return (why:gsub("^.-:%d+: ", ""))
end

-- ---- choosing ----

--- The description of a live model as it computes now: with numbers in place of schedules.
---@param model table
---@return table description
function M.settled(model)
  local d, now = model.description, model.reached.ffn
  if not description.is_mixture(d) then return d end
  return description.derive(d, { ffn = { top_k = now.top_k, temperature = now.temperature, jitter = now.jitter },
                                 load_balance = model.load_balance, z_loss = model.z_loss })
end

local GATES = "renormalise" -- the setting of the FFN in which a model may differ from a family that it is saved as

-- Refuse to save as a family what it cannot hold; returns whether it is told to save it inexactly.
local function check_fit(d, family, inexact)
  local why = M.unfit(d, family)
  if not why then return false end
  if M.unfit(d, family, GATES) then
    check.fail('save: option as: this model cannot be saved as "%s": %s', family.name, why)
  elseif not inexact then
    check.fail('save: option as: "%s" computes this model only almost: there the gates of the chosen experts sum to 1, '
               .. 'and here they do not. Train it with renormalize = true, save it as "bam", or give inexact = true, '
               .. "which says by how much logits differ", family.name)
  end
  return true
end

--- The family in which a live model is saved: the one asked for, the one that it came as if it still is such a model;
--- nil for "cohere" and "bam".
---@param model table
---@param as? string
---@param inexact? boolean may gates differ?
---@return table? family
---@return boolean? inexact gates differ
function M.family_of(model, as, inexact)
  if as == "bam" or not (as or model.description.family) then return nil end
  local d = M.settled(model)
  if as == "cohere" and not M.is_cohere(d) then
    check.fail('save: option as: this model cannot be saved as "cohere": it has other blocks, or experts')
  end
  if as == "cohere" then return nil end
  if as then
    local family = families.find("save: option as", as)
    return family, check_fit(d, family, inexact)
  end
  local family = families.of(d)
  return family and not M.unfit(d, family) and family or nil
end

return M
