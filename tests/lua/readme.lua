-- The README's Lua examples run as they stand there: the training loop learns and saves what loads
-- again, and the mixture is mixed, saved and loaded.
local bam = require "bam"

local file = assert(io.open("README.md"))
local text = file:read "a"
file:close()
local examples = {}
for code in text:gmatch "```lua\n(.-)```" do examples[#examples + 1] = code end
assert(#examples == 3, "expected three Lua examples in the README")

local directory = os.tmpname()
os.remove(directory)
assert(os.execute(string.format("mkdir '%s'", directory)))
local cleanup <close> = setmetatable({}, { __close = function()
  os.execute(string.format("rm -r '%s'", directory))
end })

-- Run an example, its files in `directory` unless `in_place`; gives what it prints, line by line.
local function run(code, in_place)
  for _, name in ipairs(in_place and {} or { "model.safetensors", "seed", "mixture" }) do
    local place = string.format("%q", string.format("%s/%s", directory, name))
    code = code:gsub(string.format('"%s"', name:gsub("%.", "%%.")), (place:gsub("%%", "%%%%")))
  end
  local lines, shown = {}, print
  print = function(...) lines[#lines + 1] = table.pack(...) end -- luacheck: ignore
  assert(load(code, "=README.md", "t"))()
  print = shown -- luacheck: ignore
  return lines
end

-- The recipe is planned only: training takes minutes.
arg = { [0] = "readme.lua", "--plan" }
local plan = run(examples[1], true)
assert(#plan == 7 and plan[6][1]:find "^bam%-kv%-shared +2,199,040 ", "the recipe has another plan")

local losses = run(examples[2])
assert(#losses == 4 and losses[4][2] < 0.5 * losses[1][2], "the example does not learn")
local saved = bam.load(string.format("%s/model.safetensors", directory))
assert(saved["2.norm.weight"] and saved["2.norm.weight"]:count() == 64, "the model was not saved")

local printed = run(examples[3])
assert(tostring(printed[1][1]):find("dense model: 2 layers", 1, true))
assert(tostring(printed[3][1]):find("3 attention experts (shared KV, soft)", 1, true))
assert(#printed[5][1] == 24, "the sample is of another length")
print "readme: ok"
