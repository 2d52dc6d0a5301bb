-- Formats a comparison as a table like the paper's Table 1.
local machine = require "bam.train.machine"

local M = {}

-- Pad a cell: text is left-aligned, numbers are right-aligned.
local function pad(text, width, left)
  local blanks = (" "):rep(width - utf8.len(text))
  return left and text .. blanks or blanks .. text
end

--- Note that a value was printed by the function that returns it, so that the REPL does not print it again.
---@param value table
function M.note_shown(value) debug.getregistry()["bam.shown"] = value end

--- Format rows of cells as lines; each column is as wide as its widest cell.
---@param rows string[][]
---@return string[]
function M.align(rows)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, utf8.len(cell)) end
  end
  for k, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do cells[i] = pad(cell, widths[i], i == 1) end
    lines[k] = (table.concat(cells, "  "):gsub("%s+$", ""))
  end
  return lines
end

local function short(x) return x and machine.short(x) or "-" end

--- "0.956±0.003", or only the value if the error is unknown.
---@param value number
---@param standard_error? number
---@param digits integer digits after the decimal point
---@return string
function M.with_error(value, standard_error, digits)
  local form = string.format("%%.%df", digits)
  local text = string.format(form, value)
  return standard_error and string.format("%s±%s", text, string.format(form, standard_error))
    or text
end

local function figure(d, best)
  return string.format("%s%s", best and "*" or "", M.with_error(d.perplexity, d.standard_error, 2))
end

-- The entry with the lowest perplexity in a column.
local function best_of(results, get)
  local best
  for _, r in ipairs(results) do
    if not best or get(r).perplexity < get(best).perplexity then best = r end
  end
  return best
end

-- The name of a row: with the seed if there are others of the name.
local function label(r, results)
  for _, other in ipairs(results) do
    if other ~= r and other.name == r.name and other.seed ~= r.seed then
      return string.format("%s@%s", r.name, r.seed or "?")
    end
  end
  return r.name
end

local function row_of(r, row_name, domains, best, base)
  local row = { row_name, short(r.parameters), short(r.active), short(r.tokens), short(r.flops),
                r.seconds and machine.duration(r.seconds) or "-" }
  for _, name in ipairs(domains) do
    row[#row + 1] = figure(r.domains[name], r == best[name])
  end
  row[#row + 1] = figure(r.average, r == best.average)
  row[#row + 1] = string.format("%.3f", r.average.bits_per_byte)
  if base then
    local ratio = r.ratio.average
    row[#row + 1] = M.with_error(ratio.ratio, ratio.standard_error, 3)
  end
  return row
end

--- Format results of bam.compare as lines: for each model the number of parameters, and the held-out perplexity with
--- its standard error. A star marks the best of each column. With a base, the ratio of each average to the base's
--- average is shown, with a standard error from the paired windows.
---@param results table[]
---@param means table[] of some of them over seeds, with the same fields
---@param domains string[]
---@param base? table the result that ratios refer to
---@return string[]
function M.lines(results, means, domains, base)
  local best = { average = best_of(results, function(r) return r.average end) }
  for _, name in ipairs(domains) do
    best[name] = best_of(results, function(r) return r.domains[name] end)
  end
  local header = { "model", "parameters", "active", "tokens", "FLOP", "time" }
  table.move(domains, 1, #domains, #header + 1, header)
  table.move({ "average", "bits/byte", base and string.format("/ %s", base.name) }, 1, 3,
             #header + 1, header)
  local rows = { header }
  for _, r in ipairs(results) do rows[#rows + 1] = row_of(r, label(r, results), domains, best, base) end
  for _, r in ipairs(means) do rows[#rows + 1] = row_of(r, r.name, domains, best, base) end
  return M.align(rows)
end

return M
