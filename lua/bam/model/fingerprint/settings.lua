-- What defines a description, or a model to be mixed, as a table that JSON can hold: see
-- description:identity. Nothing in it depends on where files lie, on the order of pairs or on the
-- process.
local check = require "bam.util.check"
local closure_hash = require "bam.model.fingerprint.closure_hash"
local core = require "bam.core"
local schedules = require "bam.model.schedules"
local options = require "bam.model.fingerprint.options"
local readonly = require "bam.util.readonly"
local registry = require "bam.util.registry"
local router_options = require "bam.nn.moe.router_options"
local schedule = require "bam.util.schedule"

local M = {}

-- ---- knobs ----

-- 2.0 as 2: equal numbers have one text.
local function plain(value)
  return math.type(value) == "float" and math.tointeger(value) or value
end

-- A knob as its value, or as what its values at all steps hash to when they are not the same.
local function of_knob(knob, total)
  if not knob:is_scheduled() then return plain(knob.value) end
  if not total then
    check.fail("identity: %s is a schedule, which counts by its values: d:identity(total), the "
               .. "number of steps", knob)
  end
  local first, numbers, changes = knob:at("identity", 1, total), {}, false
  for step = 1, total do
    local value = knob:at("identity", step, total)
    changes = changes or value ~= first
    numbers[step] = type(value) == "boolean" and (value and 1 or 0) or value
  end
  if not changes then return plain(first) end
  return { steps = total, values = schedule.hash(numbers) }
end

-- ---- descriptions ----

-- The settings of a description, or of a part of it, but for its knobs.
local function settings_of(d)
  local settings = {}
  for name, value in pairs(d) do
    if name == "router" or name == "class" then
      settings[name] = closure_hash.hash(value)
    elseif name == "options" then
      settings.options = options.plain(value)
    elseif name == "rope" or name == "window" or name == "dense_ffn" then
      settings[name] = type(value) == "table" and options.plain(readonly.copy(value)) or value
    elseif type(value) ~= "table" and type(value) ~= "function" and name ~= "family" then -- no weight depends on that
      settings[name] = plain(value)
    end
  end
  return settings
end

local function of_part(part)
  local settings = settings_of(part)
  for _, option in ipairs(router_options.LIST) do -- a dense part has none, and counts as one at its defaults
    if option.always and not option.scheduled and settings[option.name] == nil then
      settings[option.name] = option.default
    end
  end
  return settings
end

-- Blocks that a script has defined; others count by their names.
local function of_block(block)
  local forward = closure_hash.hash(registry.code(block).forward)
  return { name = block.name, norms = options.plain(block.norms), forward = forward }
end

--- See description:identity.
---@param d table
---@param total? integer
---@return table
function M.of_description(d, total)
  total = total and check.value("identity: total", total, "size")
  local id = settings_of(d)
  id.attention, id.ffn = of_part(d.attention), of_part(d.ffn)
  id.freeze = d.freeze and { patterns = d.freeze.patterns and options.plain(d.freeze.patterns) }
  for _, knob in ipairs(schedules.list(d)) do
    local holder = knob.group and id[knob.group] or id
    holder[knob.name] = of_knob(knob, total)
  end
  if type(d.block) == "table" then id.block = of_block(d.block) end
  id.merge = d.merge and d.merge:settings()
  if d.sources then
    id.experts = {}
    for i, source in ipairs(d.sources) do id.experts[i] = source.identify(total) end
  end
  return id
end

-- ---- what is mixed ----

--- The values of all tensors of a live model, and its tokenizer.
---@param model table
---@return table
function M.of_weights(model)
  local hashes, state = {}, model:state()
  for i, name in ipairs(check.sorted_names(state)) do
    local x = state[name]
    hashes[i] = string.format("%s %s %s %s", name, x.dtype, check.shape(x.shape),
                              core.hash_tensor(x))
  end
  return { tensors = core.hash(table.concat(hashes, "\n")),
           tokenizer = model.tokenizer_json and core.hash(model.tokenizer_json) }
end

--- A live model: its description, the values of all its tensors, and its tokenizer.
---@param model table
---@param total? integer
---@return table
function M.of_model(model, total)
  local id = M.of_weights(model)
  id.description = M.of_description(model.description, total)
  return id
end

--- A checkpoint directory, by what its files hold.
---@param directory string
---@param files string[] names in it
---@return table
function M.of_directory(directory, files)
  local hashes = {}
  for _, name in ipairs(files) do
    hashes[name] = core.hash_file(string.format("%s/%s", directory, name))
  end
  return { files = hashes }
end

return M
