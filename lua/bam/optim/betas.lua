-- The option `betas` of AdamW and Lion.
local check = require "bam.util.check"

--- Raise an error unless o.betas are two fractions.
---@param what string for messages
---@param o { betas: number[] }
return function(what, o)
  if #o.betas ~= 2 then
    check.fail("%s: option betas: expected two numbers, as in { 0.9, 0.95 }", what)
  end
  for i, beta in ipairs(o.betas) do
    check.value(string.format("%s: option betas: number %d", what, i), beta, "fraction")
  end
end
