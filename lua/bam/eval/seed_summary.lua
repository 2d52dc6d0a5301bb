--- bam.spread: summarize comparisons of the same models under several seeds in one table.
local check = require "bam.util.check"
local flags = require "bam.util.flags"
local tables = require "bam.eval.table"

local M = {}

local function mean_and_deviation(values)
  local n, sum, squares = #values, 0, 0
  for _, x in ipairs(values) do sum = sum + x end
  for _, x in ipairs(values) do squares = squares + (x - sum / n) ^ 2 end
  return sum / n, n > 1 and math.sqrt(squares / (n - 1)) or 0
end

-- The values get(model) of the i-th model in all comparisons, formatted.
local function cell(comparisons, i, digits, get)
  local values = {}
  for k, comparison in ipairs(comparisons) do values[k] = get(comparison.models[i]) end
  local mean, deviation = mean_and_deviation(values)
  local form = string.format("%%.%df±%%.%df", digits, digits)
  return string.format(form, mean, deviation)
end

-- FLOPs per token relative to the base.
local function cost(comparison, i)
  local m, base = comparison.models[i], comparison.base
  return m.flops and base.flops and m.flops / m.tokens / (base.flops / base.tokens)
end

local function row_of(comparisons, i, domains, reference)
  local row = { comparisons[1].models[i].name }
  for _, name in ipairs(domains) do
    row[#row + 1] = cell(comparisons, i, 2, function(m) return m.domains[name].perplexity end)
  end
  row[#row + 1] = cell(comparisons, i, 2, function(m) return m.average.perplexity end)
  if not comparisons[1].base then return row end
  row[#row + 1] = cell(comparisons, i, 3, function(m) return m.ratio.average.ratio end)
  for k = 1, #comparisons do
    row[#row + 1] = string.format("%.3f", comparisons[k].models[i].ratio.average.ratio)
  end
  local flops, known = cost(comparisons[1], i), reference[row[1]]
  row[#row + 1] = flops and string.format("%.2f", flops) or "-"
  row[#row + 1] = known and string.format("%.3f", known) or "-"
  return row
end

local function check_alike(comparisons)
  for k, comparison in ipairs(comparisons) do
    if type(comparison) ~= "table" or type(comparison.models) ~= "table" then
      check.fail("spread: entry %d is %s, not a result of bam.compare", k, check.describe(comparison))
    end
    for i, model in ipairs(comparisons[1].models) do
      local other = comparison.models[i]
      if not other or other.name ~= model.name then
        check.fail("spread: model %d is %s in comparison 1 and %s in comparison %d", i, model.name,
                   other and other.name or "none", k)
      end
    end
  end
end

--- Print the mean and standard deviation of several comparisons of the same models, such as one per seed. If they have
--- a base, also print the ratio to it in each comparison, and FLOPs per token relative to the base. With --plan and
--- --only it does nothing.
---@param comparisons table[] results of bam.compare
---@param options? { reference?: table<string, number> } ratios to show beside them, by model
---@return string[]? lines
function M.spread(comparisons, options)
  local n, given = check.list_with_options("spread", comparisons, options)
  local o = check.options("spread", given, { reference = { "table", {} } })
  if flags.get().plan or flags.get().only then return nil end
  if n == 0 then check.fail "spread: expected a list of comparisons, got none" end
  check_alike(comparisons)
  local first = comparisons[1].models
  local domains = check.sorted_names(first[1].domains)
  local header = { "mean over seeds" }
  table.move(domains, 1, #domains, 2, header)
  header[#header + 1] = "average"
  if comparisons[1].base then
    header[#header + 1] = string.format("/ %s", comparisons[1].base.name)
    for k = 1, #comparisons do header[#header + 1] = string.format("run %d", k) end
    table.move({ "FLOP ratio", "reference" }, 1, 2, #header + 1, header)
  end
  local rows = { header }
  for i in ipairs(first) do rows[i + 1] = row_of(comparisons, i, domains, o.reference) end
  local lines = tables.align(rows)
  print(table.concat(lines, "\n"))
  tables.note_shown(lines)
  return lines
end

return M
