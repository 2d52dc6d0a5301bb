-- Random choices of a round; all depend on its seed and the call's number.
local fuzz = require "fuzz"

local M = {}

--- 1 to n.
function M.upto(n) return fuzz.below(n) + 1 end

function M.between(low, high) return low + fuzz.below(high - low + 1) end

function M.one_in(n) return fuzz.below(n) == 0 end

function M.choose(list) return list[fuzz.below(#list) + 1] end

--- A choice of a list of { weight, value, weight, value, ... }.
function M.weighted(list)
  local sum = 0
  for i = 1, #list, 2 do sum = sum + list[i] end
  local at = fuzz.below(sum)
  for i = 1, #list, 2 do
    at = at - list[i]
    if at < 0 then return list[i + 1] end
  end
end

--- The keys of a table that are strings, sorted: what pairs gives has no fixed order.
function M.names(t)
  local names = {}
  for name in next, t do
    if type(name) == "string" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

return M
