-- Runs a recipe on the small texts of a directory instead of Debian's packages:
--   bamlua run_recipe.lua DIRECTORY RECIPE FLAGS...
-- and says at the end how often the engine was asked for memory.
local directory, recipe = arg[1], arg[2]
local domains = {}
for _, domain in ipairs { "code", "general", "law", "math" } do
  domains[domain] = { train = string.format("%s/%s.txt", directory, domain),
                      heldout = string.format("%s/%s.heldout.txt", directory, domain) }
end
package.preload["bam.data.debian"] = function()
  return { prepare = function() return { domains = domains } end }
end
arg = { [-1] = arg[-1], [0] = recipe, table.unpack(arg, 3) }
local bam = require "bam"
local before = bam.memory().requests
dofile(recipe)
print(string.format("memory: %d requests", bam.memory().requests - before))
