-- The comparison as people read it: a table shaped like the paper's Table 1.
local machine = require "bam.train.machine"

local M = {}

-- Pad a cell: text to the left of its column, figures to the right.
local function pad(text, width, left)
  local blanks = (" "):rep(width - utf8.len(text))
  return left and text .. blanks or blanks .. text
end

--- Rows of cells as lines, each column as wide as its widest cell.
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

--- "0.956±0.003"; without an error where it is not known.
---@param value number
---@param standard_error? number
---@param digits integer behind the point
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

local function row_of(r, domains, best, base)
  local row = { r.name, short(r.parameters), short(r.active), short(r.tokens), short(r.flops),
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

--- Results of bam.compare as lines: per model parameters, training and held-out perplexity with
--- its standard error; the best of each column has a star; with a base, the ratio of averages to
--- its average, and the error of that from the differences window by window.
---@param results table[]
---@param domains string[]
---@param base? table the one of the results that ratios are taken to
---@return string[]
function M.lines(results, domains, base)
  local best = { average = best_of(results, function(r) return r.average end) }
  for _, name in ipairs(domains) do
    best[name] = best_of(results, function(r) return r.domains[name] end)
  end
  local header = { "model", "parameters", "active", "tokens", "FLOP", "time" }
  table.move(domains, 1, #domains, #header + 1, header)
  table.move({ "average", "bits/byte", base and string.format("/ %s", base.name) }, 1, 3,
             #header + 1, header)
  local rows = { header }
  for i, r in ipairs(results) do rows[i + 1] = row_of(r, domains, best, base) end
  return M.align(rows)
end

return M
