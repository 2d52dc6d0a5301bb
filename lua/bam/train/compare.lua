--- bam.compare: what models make of held-out text, side by side, as the paper's Table 1 has it.
local check = require "bam.check"
local core = require "bam.core"
local description = require "bam.models.description"
local evaluate = require "bam.train.evaluate"
local flags = require "bam.train.flags"
local json = require "bam.json"
local phase = require "bam.train.phase"
local place = require "bam.train.place"
local plan = require "bam.train.plan"
local settings = require "bam.train.settings"
local store = require "bam.train.store"
local tables = require "bam.train.table"

local M = {}

-- ---- what can be compared ----

-- An entry: { name, label of its training, open() -> live model, and perhaps cache, a path }.

local function phase_entry(p)
  return { name = p.name, seed = p.seed, open = function() return p:load() end,
           place = p:directory(), state = p:results(), tokens = p.steps * p.step_tokens,
           flops = p.steps * p.flops, digest = p.identity, context = p.context,
           settings = settings.read(p:directory()) }
end

local function warn(text) print(string.format("warning: %s", text)) end

-- A phase's directory of another run, or a model's checkpoint.
local function directory_entry(directory)
  local name = directory:match "([^/]+)/*$"
  if core.file_info(string.format("%s/config.json", directory)) then
    return { name = name, open = function() return require("bam").load(directory) end }
  end
  local found = store.newest(directory, warn)
  if not found then
    check.fail("compare: %s holds neither a model nor a phase's checkpoints", directory)
  end
  return { name = name, open = function() return require("bam").load(found.directory) end,
           place = directory, state = found.state, digest = found.state.done and name,
           settings = settings.read(directory) }
end

local function entry_of(value, i)
  if phase.is(value) then return phase_entry(value) end
  if type(value) == "string" then return directory_entry(value) end
  if type(value) == "table" and check.is_callable(value.log_likelihood) then
    return { name = description.is_model(value) and string.format("model %d", i) or "ensemble",
             open = function() return value end, live = true }
  end
  return check.fail("compare: entry %d is %s; expected a phase, a live model, an ensemble, or the "
                    .. "directory of a phase or a model", i, check.describe(value))
end

-- The values of a list, lists in it taken apart.
local function flatten(list, values)
  for _, value in ipairs(list) do
    if type(value) == "table" and not getmetatable(value) and #value > 0 then
      flatten(value, values)
    else
      values[#values + 1] = value
    end
  end
  return values
end

-- ---- evaluating ----

-- What an evaluation depends on beside the model.
local function key_of(o)
  return core.hash(json.encode { heldout = o.on:identity(), context = o.context or 0,
                                 tokens = o.tokens or 0 })
end

local function cached(path)
  if not path or not core.file_info(path) then return nil end
  local ok, value = pcall(function() return json.decode(core.read_file(path)) end)
  return ok and value or nil
end

local function evaluate_entry(entry, o)
  local path = entry.place and entry.digest
    and string.format("%s/evaluation-%s.json", entry.place, key_of(o):sub(1, 8))
  local result = cached(path)
  if not result then
    result = core.scope(function()
      local model = entry.open()
      local r = evaluate.evaluate(model, o.on, { context = o.context, tokens = o.tokens })
      r.parameters, r.active = model:count()
      return r
    end)
    if path then core.write_file(path, json.encode(result)) end
  end
  for _, name in ipairs { "name", "seed", "tokens", "flops" } do result[name] = entry[name] end
  result.seconds = entry.state and entry.state.seconds
  return result
end

-- ---- the ratio to another model, window by window ----

-- Perplexity of `r` to that of `base` in a domain, and its standard error: both predicted the same
-- windows, so what windows have in common cancels.
local function paired(r, base)
  local n, sum, squares, differences = #r.windows, 0, 0, {}
  for i = 1, n do
    differences[i] = (r.windows[i] - base.windows[i]) * n / r.tokens
    sum = sum + differences[i]
  end
  local mean = sum / n
  for i = 1, n do squares = squares + (differences[i] - mean) ^ 2 end
  return math.exp(mean), math.exp(mean) * math.sqrt(squares / (n * math.max(1, n - 1)))
end

local function add_ratios(results, base)
  for _, r in ipairs(results) do
    r.ratio = { average = r.average.perplexity / base.average.perplexity }
    for name, d in pairs(r.domains) do
      local ratio, standard_error = paired(d, base.domains[name])
      r.ratio[name] = { ratio = ratio, standard_error = standard_error }
    end
  end
end

-- ---- the comparison ----

local Comparison = {}
local metatable = { __name = "comparison", __index = Comparison }

function metatable:__tostring() return table.concat(self.lines, "\n") end

local function without_windows(results)
  local list = {}
  for i, r in ipairs(results) do
    local copy, domains = {}, {}
    for name, value in pairs(r) do copy[name] = value end
    for name, d in pairs(r.domains) do
      domains[name] = {}
      for key, value in pairs(d) do
        if key ~= "windows" then domains[name][key] = value end
      end
    end
    copy.domains, list[i] = domains, copy
  end
  return list
end

local function write_results(name, results, base)
  core.make_directory(place.recipe_directory())
  local value = { models = without_windows(results), base = base and base.name }
  core.write_file(string.format("%s/%s.json", place.recipe_directory(), name),
                  json.encode(value, { indent = 2 }))
end

local function read(given)
  local list, o = {}, {}
  for key, value in pairs(check.value("compare: the options", given, "table")) do
    if math.type(key) == "integer" then list[key] = value else o[key] = value end
  end
  o = check.options("compare", o, { on = { "table" }, base = { "any", optional = true },
                                    context = { "size", optional = true },
                                    name = { "string", "results" },
                                    tokens = { "size", optional = true } })
  if not check.is_callable(o.on.open) then
    check.fail("compare: option on: expected held-out text, as text.heldout, got %s",
               check.describe(o.on))
  end
  return flatten(list, {}), o
end

local function find_base(values, results, base)
  for i, value in ipairs(values) do
    if value == base then return results[i] end
  end
  return base and check.fail "compare: option base is none of the models that are compared"
end

---@class bam.CompareOptions
---@field on table text.heldout of bam.corpus
---@field base? any one of the models: then the ratio of every average to its average is shown
---@field context? integer tokens of a window; the models' own unless given
---@field tokens? integer at most so many per domain
---@field name? string of the file of results, "results" by default

--- Evaluates models on held-out text, prints a table like the paper's Table 1, and writes
--- runs/RECIPE/results.json: per model parameters, tokens, FLOPs, seconds, and per domain
--- perplexity, its standard error and bits per byte. The models are a list (lists in it are taken
--- apart) of phases, live models, ensembles, and directories of phases or models. Where phases
--- of the same name are among them, how their settings differ is shown below the table. Under
--- --plan and --only it does nothing.
---@param given bam.CompareOptions
---@return table? comparison it prints; `models` are the figures
function M.compare(given)
  local values, o = read(given)
  plan.check_only()
  if flags.get().plan then plan.total() end
  if flags.get().plan or flags.get().only then return nil end
  if #values == 0 then check.fail "compare: there is nothing to compare" end
  local entries, results = {}, {}
  for i, value in ipairs(values) do entries[i] = entry_of(value, i) end
  for i, entry in ipairs(entries) do results[i] = evaluate_entry(entry, o) end
  local base = find_base(values, results, o.base)
  if base then add_ratios(results, base) end
  write_results(o.name, results, base)
  local lines = tables.lines(results, check.sorted_names(results[1].domains), base)
  for _, line in ipairs(settings.differences(entries)) do lines[#lines + 1] = line end
  local comparison = setmetatable({ models = results, lines = lines }, metatable)
  print(tostring(comparison))
  return comparison
end

return M
