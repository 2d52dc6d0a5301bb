-- Old names of functions and options are accepted for one version, and mean the same.
local bam = require "bam"
local check = require "bam.util.check"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local small = require "tests.lua.support.small_run"
local test = require "tests.lua.support.test"

test("an option is accepted under its old name", function()
  local spec = { new = { "size", 3, was = "old" }, other = { "size", 1 } }
  expect.equal(check.options("f", { old = 5 }, spec).new, 5)
  expect.equal(check.options("f", { new = 5 }, spec).new, 5)
  expect.equal(check.options("f", {}, spec).new, 3)
  expect.no(check.options("f", { old = 5 }, spec).old)
  expect.raises("f: option `old` is the old name of `new`; give one of them", check.options, "f",
                { old = 5, new = 5 }, spec)
  expect.raises("f: option new: expected an integer of at least 1, got 0", check.options, "f", { old = 0 }, spec)
  expect.raises("f: no option `olt`", check.options, "f", { olt = 1 }, spec)
end)

test("synchronise", function()
  expect.yes(bam.synchronise == bam.synchronize)
  bam.synchronise()
end)

-- The directories of the phases after a run of each variant of the recipe.
local function phases_of(...)
  local directory = small.directory()
  local cleanup <close> = setmetatable({}, { __close = function() small.remove(directory) end })
  for _, change in ipairs { ... } do
    core.write_file(directory .. "/recipe.lua", change(small.RECIPE))
    local output, fine = small.run(directory)
    expect.yes(fine, output)
  end
  local names = {}
  for _, name in ipairs(core.list_directory(directory .. "/runs")) do
    if name:find "%-%x%x%x%x%x%x%x%x$" then names[#names + 1] = name end
  end
  return table.concat(names, " ")
end

local function with(option)
  return function(recipe)
    return (recipe:gsub("phase.eval_tokens = 64", string.format("phase.eval_tokens, phase.%s = 64, 5", option)))
  end
end

test("spike: the phases of max_grad_ratio are found under either name", function()
  local names = phases_of(with "spike", with "max_grad_ratio")
  expect.matches(names, "^mixed%-%x+ seed%-%x+$")
end)
