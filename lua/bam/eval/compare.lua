--- bam.compare: evaluate models on held-out text and show the results side by side, as in the paper's Table 1.
local check = require "bam.util.check"
local core = require "bam.core"
local evaluate = require "bam.train.evaluate"
local flags = require "bam.util.flags"
local json = require "bam.util.json"
local old_fields = require "bam.util.old_fields"
local options = require "bam.train.options"
local run_dir = require "bam.train.run_dir"
local plan = require "bam.train.plan"
local sealed = require "bam.util.sealed"
local settings = require "bam.train.settings"
local tables = require "bam.eval.table"

local M = {}

-- ---- evaluating ----

-- The window length: the requested one, otherwise the context that the phases were trained with.
local function context_of(entries, o)
  if o.context then return o.context end
  local context, first
  for _, entry in ipairs(entries) do
    if context and entry.context and entry.context ~= context then
      check.fail("compare: %s was trained at a context of %d and %s at %d; give the context to "
                 .. "compare at: { ..., context = %d }", first, context, entry.name, entry.context, context)
    end
    if entry.context then context, first = entry.context, entry.name end
  end
  return context
end

-- What an evaluation depends on besides the model.
local function key_of(o)
  return core.hash(json.encode { heldout = o.on:identity(), context = o.context or 0,
                                 tokens = o.tokens or 0 })
end

-- Read the stored evaluation of the weights with this checksum, unless it is damaged.
local function kept(path, checksum)
  local value = path and json.read(path)
  local fine = type(value) == "table" and value.weights == checksum
    and type(value.result) == "table" and value.digest == core.hash(json.encode(value.result))
  if not fine then return nil end
  for _, d in pairs(value.result.domains) do old_fields.renew(d) end -- of an older version
  return value.result
end

-- Store an evaluation. A run that belongs to somebody else may be read-only; then nothing is stored.
local function keep(directory, path, checksum, result)
  if result.average.perplexity == math.huge then return end -- JSON has no infinity
  core.try(core.remove_staged, directory)
  core.try(core.write_file, path, json.encode { weights = checksum, result = result,
                                                digest = core.hash(json.encode(result)) })
end

local function evaluate_entry(entry, o)
  local path = entry.place and entry.checksum
    and string.format("%s/evaluation-%s.json", entry.place, key_of(o):sub(1, 8))
  local result = kept(path, entry.checksum)
  if not result then
    result = core.scope(function()
      local model = entry.open()
      local r = evaluate.evaluate(model, o.on, { context = o.context, tokens = o.tokens })
      r.parameters, r.active = model:count()
      return r
    end)
    if path then keep(entry.place, path, entry.checksum, result) end
  end
  for _, name in ipairs { "name", "seed", "tokens", "flops" } do result[name] = entry[name] end
  result.seconds, result.weights = entry.state and entry.state.seconds, entry.checksum
  return result
end

-- ---- the ratio to another model, paired by window ----

-- The ratio of the perplexity of `r` to that of `base` in a domain, and its standard error. Both predicted the same
-- windows, so differences between windows cancel.
local function paired(r, base)
  local differences = {}
  for i, nats in ipairs(r.windows.nats) do differences[i] = nats - base.windows.nats[i] end
  local ratio = r.perplexity / base.perplexity
  local of_log = evaluate.ratio_error(differences, r.windows.tokens)
  return { ratio = ratio, standard_error = of_log and ratio * of_log }
end

-- Ratios by domain, and the ratio of the averages: the domains' ratios weighted by the perplexities of the base.
local function ratios(r, base)
  local domains, sum, squares = {}, 0, 0
  for _, name in ipairs(check.sorted_names(r.domains)) do
    local d, weight = paired(r.domains[name], base.domains[name]), base.domains[name].perplexity
    domains[name], sum = d, sum + weight
    squares = squares + (weight * (d.standard_error or 0 / 0)) ^ 2
  end
  return { domains = domains, average = {
    ratio = r.average.perplexity / base.average.perplexity,
    standard_error = squares == squares and math.sqrt(squares) / sum or nil } }
end

-- ---- the comparison ----

local metatable = { __name = "comparison" }

function metatable:__tostring() return table.concat(self.lines, "\n") end

local function without_windows(results)
  local list = {}
  for i, r in ipairs(results) do
    list[i] = {}
    for name, value in pairs(r) do list[i][name] = value end
    list[i].domains = {}
    for name, d in pairs(r.domains) do
      local domain = {}
      for key, value in pairs(d) do
        if key ~= "windows" then domain[key] = value end
      end
      list[i].domains[name] = domain
    end
  end
  return list
end

-- The name includes the seed unless it is 1, like links to phases.
local function write_results(name, results, base)
  core.make_directory(run_dir.recipe_directory())
  local seed = flags.get().seed or 1
  if seed ~= 1 then name = string.format("%s@%d", name, seed) end
  local value = sealed.seal({ models = json.finite(without_windows(results)), base = base and base.name }, "digest")
  local path = string.format("%s/%s.json", run_dir.recipe_directory(), name)
  local text = json.encode(value, { indent = 2 })
  if core.file_info(path) and core.read_file(path) == text then return end -- it may be read-only
  core.remove_staged(run_dir.recipe_directory())
  core.write_file(path, text)
end

local function read(given)
  if type(given) == "table" and check.has_metatable(given) then
    check.fail("compare: expected a list of models with options, got %s; write bam.compare { a, b, on = text.heldout }",
               check.describe(given))
  end
  local n, o = check.list_with_options("compare", given)
  local list = table.move(given, 1, n, 1, {})
  o = check.options("compare", o, { on = { "any", expects = "held-out text, as text.heldout" },
                                    base = { "any", optional = true },
                                    context = { "size", optional = true },
                                    name = { "string", "results" },
                                    tokens = { "size", optional = true } })
  if type(o.on) ~= "table" or not check.is_callable(check.field(o.on, "open")) then
    local got = check.describe(o.on)
    local hint = type(o.on) == "string" and string.format('; files: on = bam.corpus({ mine = { heldout = "%s" } }, '
      .. '{ tokenizer = "MODEL/tokenizer.json" }).heldout', o.on) or got == "a bam.text" and "; give its field heldout"
    check.fail("compare: option on: expected held-out text, as text.heldout, got %s%s", got, hint or "")
  end
  o.tokens = o.tokens or options.get "compare_tokens"
  return require("bam.eval.compared").flatten(list), o
end

local function find_base(values, results, base)
  for i, value in ipairs(values) do
    if value == base then return results[i] end
  end
  if base == nil then return nil end
  return check.fail("compare: option base is %s, which is not one of the compared models; give the model itself",
                    check.describe(base))
end

-- Print the table. print itself does not report a failed write.
local function show(comparison)
  local fine, reason = io.write(tostring(comparison), "\n")
  if fine then fine, reason = io.output():flush() end
  if not fine then check.fail("compare: the table was not printed: %s", reason) end
end

-- With a flag there is no comparison, which a script may not expect.
local function skip(flag)
  require("bam.util.native_errors").note_absent(string.format("with --%s bam.compare returns nil: ask first, if result "
                                                              .. "then ... end", flag))
  return nil
end

---@class bam.CompareOptions
---@field on bam.Heldout text.heldout
---@field base? any one of the models: the ratio of each average to its average is shown
---@field context? integer tokens per window; the context of the phases by default
---@field tokens? integer limit of tokens per domain; the option `compare_tokens`, or all, by default
---@field name? string name of the results file, "results" by default

--- Evaluate models on held-out text, print a table like the paper's Table 1, and write runs/RECIPE/results.json
--- (results@2.json for --seed 2): parameters, tokens, FLOPs and seconds of each model, and perplexity, its standard
--- error and bits per byte by domain. The models are a list (which may contain lists) of phases, models, ensembles,
--- and directories of phases or models. If phases have the same name, the differences of their settings are shown
--- below the table. Phases of one name and different seeds get a row with their mean, whose standard error is that over
--- seeds. With --plan, --only and --audit it does nothing.
---
---   bam.compare { seed, experts, mixture, on = text.heldout, base = seed }
---@param given bam.CompareOptions
---@return table? comparison prints as the table; `models` has the figures, `base` is one of them, `means` has the means
--- over seeds
function M.compare(given)
  local values, o = read(given)
  plan.check_only()
  if flags.get().plan then plan.total() end
  for _, flag in ipairs { "plan", "only", "audit" } do
    if flags.get()[flag] then return skip(flag) end
  end
  if #values == 0 then check.fail "compare: there is nothing to compare" end
  local entries, results = {}, {}
  for i, value in ipairs(values) do entries[i] = require("bam.eval.compared").read(value, i) end
  o.context = context_of(entries, o)
  for i, entry in ipairs(entries) do results[i] = evaluate_entry(entry, o) end
  local base = find_base(values, results, o.base)
  for _, r in ipairs(base and results or {}) do r.ratio = ratios(r, base) end
  write_results(o.name, results, base)
  local means = require("bam.eval.seed_means").of(results)
  local lines = tables.lines(results, means, check.sorted_names(results[1].domains), base)
  for _, line in ipairs(settings.differences(entries)) do lines[#lines + 1] = line end
  local comparison = setmetatable({ models = results, means = means, base = base, lines = lines }, metatable)
  show(comparison)
  tables.note_shown(comparison)
  return comparison
end

return M
