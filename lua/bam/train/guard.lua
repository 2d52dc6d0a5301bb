-- Nothing but what a phase's fingerprint covers may change its weights. Callbacks and evaluations
-- may look at the model, not change it: its parts are noted before, and compared afterwards. What
-- routers written in Lua are made of and keep must stay as it is, as long as the phase trains.
local check = require "bam.check"
local code = require "bam.models.code"
local core = require "bam.core"
local module = require "bam.nn.module"
local router_state = require "bam.models.router_state"

local M = {}

-- The first key, in order, under which two tables differ.
local function difference(a, b)
  local keys = {}
  for key in pairs(a) do keys[key] = true end
  for key in pairs(b) do keys[key] = true end
  for _, key in ipairs(check.sorted_names(keys)) do
    if a[key] ~= b[key] then return key end
  end
end

-- ---- the model ----

-- The model's own, made when text is first sampled.
local LAZY = { tokenizer = true }

local function is_noted(key, value)
  if LAZY[key] then return false end
  local private = type(key) == "string" and key:sub(1, 1) == "_"
  return not private or type(value) == "function"
end

local function fields_of(t)
  local fields = {}
  for key, value in next, t do
    if is_noted(key, value) then fields[key] = value end
  end
  return fields
end

-- Note a module, or a list that holds its parts, and what is in it.
local function note(noted, t, path)
  if noted.seen[t] then return end
  noted.seen[t] = true
  local fields = fields_of(t)
  noted.tables[#noted.tables + 1] = { table = t, path = path, fields = fields,
                                      metatable = debug.getmetatable(t) }
  for key, value in next, fields do
    local is_list = type(value) == "table" and not debug.getmetatable(value)
    if is_list or module.is_module(value) then
      note(noted, value, path == "" and tostring(key) or string.format("%s.%s", path, key))
    end
  end
end

local function note_tensors(noted, model)
  for i, entry in ipairs(module.contents(model).tensors) do
    local x = entry.tensor
    noted.tensors[i] = { name = entry.name, tensor = x, version = core.version(x),
                         requires_grad = x.requires_grad }
  end
end

local function changed_field(entry)
  if debug.getmetatable(entry.table) ~= entry.metatable then return "its metatable" end
  for key, value in next, entry.fields do
    if rawget(entry.table, key) ~= value then return key end
  end
  for key, value in next, entry.table do
    if entry.fields[key] == nil and is_noted(key, value) then return key end
  end
end

local function changed_tensor(entry)
  local ok, version = pcall(core.version, entry.tensor)
  if not ok then return string.format("`%s` of the model: it was closed", entry.name) end
  if entry.tensor.requires_grad ~= entry.requires_grad then
    return string.format("`%s` of the model: requires_grad is %s now", entry.name,
                         entry.tensor.requires_grad)
  end
  if version ~= entry.version then return "the values of the model's parameters" end
end

-- What has changed, in words; or nil.
local function change_of(noted)
  for _, entry in ipairs(noted.tables) do
    local key = changed_field(entry)
    if key ~= nil then
      return string.format("`%s%s%s` of the model", entry.path, entry.path == "" and "" or ".",
                           tostring(key))
    end
  end
  for _, entry in ipairs(noted.tensors) do
    local change = changed_tensor(entry)
    if change then return change end
  end
  for name, value in pairs(noted.settings) do
    if core[name]() ~= value then return string.format("bam.%s", name) end
  end
end

local function note_all(model)
  local noted = { tables = {}, tensors = {}, seen = {}, settings = {} }
  for _, name in ipairs { "threads", "tf32", "device" } do noted.settings[name] = core[name]() end
  note(noted, model, "")
  note_tensors(noted, model)
  return noted
end

-- Call f(...) with random numbers of its own, and see that the model stays as it is; `advice` ends
-- the message.
local function watched(what, advice, model, seed, f, ...)
  local noted, random = note_all(model), core.random_state()
  core.seed(seed)
  f(...)
  core.random_state(random)
  local change = change_of(noted)
  if change then check.fail("train: %s changed %s%s", what, change, advice) end
end

local CALLBACK = ". Callbacks may look at the model; what they change would not be in the phase's "
  .. "fingerprint, and be lost when it is resumed. Schedules of lr, data weights, bam.mix's knobs and "
  .. "its option freeze change over a run, and a router may change tensors in its fields, in its "
  .. "forward while self.training is true; anything else is for a loop of your own, help(bam.loop)"
local EVALUATION = ". How often a phase is evaluated must not change its weights: a router may keep "
  .. "something new only while its field `training` is true"

--- Call a callback, which gets `value` and the model and must leave the model as it is. Random
--- numbers that it draws are those of `seed`, and do not change those of training.
---@param what string its name
---@param f function
---@param value any
---@param model table
---@param seed integer
function M.call(what, f, value, model, seed)
  watched(what, CALLBACK, model, seed, f, value, model)
end

--- Evaluate by f(), whose result is given, in the same way.
---@param model table
---@param seed integer
---@param f function
---@return any
function M.evaluate(model, seed, f)
  local result
  watched("an evaluation", EVALUATION, model, seed, function() result = f() end)
  return result
end

-- ---- between two steps ----

local Weights = {}
local weights_metatable = { __name = "guard of weights", __index = Weights }

function weights_metatable:__tostring() return "guard of weights between two steps" end

local function state_of_weights(self)
  local state = {}
  for i, bucket in ipairs(self.optimizer._buckets) do
    state[string.format("the values of buffer %d", i)] = core.version(bucket.param)
  end
  if not self.freezes then
    state["which parameters are trained"] = table.concat(self.optimizer:trained(), "\n")
  end
  return state
end

--- Note the weights as they are. Between two steps only what is scheduled may change.
function Weights:note() self.noted = state_of_weights(self) end

--- Raise an error when the weights have changed since they were noted.
function Weights:check()
  local change = difference(self.noted, state_of_weights(self))
  if change then
    check.fail("train: something else than the optimizer changed the model between two steps: %s. A "
               .. "schedule, a router or the data must not keep the model and change it", change)
  end
end

--- What notices when the weights change other than by the optimizer.
---@param optimizer table
---@param freezes boolean does the description say what is frozen?
---@return table
function M.weights(optimizer, freezes)
  local self = setmetatable({ optimizer = optimizer, freezes = freezes }, weights_metatable)
  self:note()
  return self
end

-- ---- what the fingerprint was taken of ----

local function code_of(d)
  local hashes = code.patches() or {}
  for _, which in ipairs { "attention", "ffn" } do
    local router = d[which].router
    if router then hashes[string.format("%s.router", which)] = code.hash(router) end
  end
  return hashes
end

--- A function to be called before anything of a run is saved: it raises an error when the code of
--- routers, what it uses, or what they keep has changed since now.
---@param d table description, with the routers
---@param model table
---@return fun()
function M.fixed(d, model)
  local made_of, kept = code_of(d), router_state.of(model)
  return function()
    local name = difference(made_of, code_of(d))
    if name then
      check.fail("train: %s has changed while the phase trained: the code, or a variable, global or "
                 .. "table that it uses. The phase's fingerprint was taken of what it was", name)
    end
    name = difference(kept, router_state.of(model))
    if name then
      check.fail("train: the router's %s changed while the phase trained, and would be lost when it "
                 .. "is resumed: checkpoints hold tensors in a router's fields; keep numbers in one, "
                 .. "and caches in fields that begin with _", name)
    end
  end
end

return M
