-- The README's training loop runs as it stands there, learns, and saves what loads again.
local bam = require "bam"

local file = assert(io.open("README.md"))
local text = file:read "a"
file:close()
local code = assert(text:match "```lua\n(.-)```", "the README has no Lua example")
local path = os.tmpname()
code = code:gsub('"model%.safetensors"', string.format("%q", path))

local losses, shown = {}, print
print = function(_, loss) losses[#losses + 1] = loss end -- luacheck: ignore
assert(load(code, "=README.md", "t"))()
print = shown -- luacheck: ignore

assert(#losses == 4 and losses[4] < 0.5 * losses[1], "the example does not learn")
local saved = bam.load(path)
os.remove(path)
assert(saved["2.norm.weight"] and saved["2.norm.weight"]:count() == 64, "the example's model was not saved")
shown "readme: ok"
