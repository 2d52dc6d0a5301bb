-- The mean of results of one model under several seeds, as another result.
local M = {}

local function mean(results, get)
  local sum = 0
  for _, r in ipairs(results) do
    local value = get(r)
    if not value then return nil end
    sum = sum + value
  end
  return sum / #results
end

-- The mean over seeds, and its standard error: what other seeds would give, not other text.
local function figure(results, get)
  local function perplexity(r) return get(r).perplexity end
  local n, middle, squares = #results, mean(results, perplexity), 0
  for _, r in ipairs(results) do squares = squares + (perplexity(r) - middle) ^ 2 end
  return { perplexity = middle, standard_error = math.sqrt(squares / (n - 1) / n),
           bits_per_byte = mean(results, function(r) return get(r).bits_per_byte end) }
end

local function mean_of(results)
  local first = results[1]
  local m = { name = string.format("%s: mean of %d seeds", first.name, #results), seeds = {}, domains = {},
              parameters = first.parameters, active = first.active, tokens = first.tokens, flops = first.flops,
              seconds = mean(results, function(r) return r.seconds end),
              average = figure(results, function(r) return r.average end) }
  for i, r in ipairs(results) do m.seeds[i] = r.seed end
  for domain in pairs(first.domains) do
    m.domains[domain] = figure(results, function(r) return r.domains[domain] end)
  end
  local ratio = first.ratio and mean(results, function(r) return r.ratio.average.ratio end)
  m.ratio = ratio and { average = { ratio = ratio } }
  return m
end

-- Results of one name are means of each other if all have different seeds and the same tokens.
local function are_seeds(results)
  local known = {}
  for _, r in ipairs(results) do
    if not r.seed or known[r.seed] or r.tokens ~= results[1].tokens then return false end
    known[r.seed] = true
  end
  return #results > 1
end

--- The means of those results that have one name and different seeds, in the order of the results.
---@param results table[]
---@return table[]
function M.of(results)
  local by_name, names, means = {}, {}, {}
  for _, r in ipairs(results) do
    if not by_name[r.name] then by_name[r.name], names[#names + 1] = {}, r.name end
    table.insert(by_name[r.name], r)
  end
  for _, name in ipairs(names) do
    if are_seeds(by_name[name]) then means[#means + 1] = mean_of(by_name[name]) end
  end
  return means
end

return M
