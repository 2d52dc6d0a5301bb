-- Old names of functions and options are accepted for one version, and mean the same.
local bam = require "bam"
local check = require "bam.util.check"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local json = require "bam.util.json"
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

test("renormalise and aux_tokens: the same layers and the same fingerprint", function()
  local nn = bam.nn
  for _, Layer in ipairs { nn.RoutedFFN, nn.MixtureOfAttention, nn.Router } do
    local o = { width = 4, hidden = 3, heads = 2, experts = 2, top_k = 2, routing = 2 }
    if Layer ~= nn.RoutedFFN then o.hidden = nil end
    if Layer ~= nn.MixtureOfAttention then o.heads, o.routing = nil, nil else o.top_k = nil end
    local function field_of(name, value, field)
      o[name] = value
      local layer = Layer(o)
      o[name] = nil
      return (layer.router or layer)[field]
    end
    for _, name in ipairs { "renormalise", "renormalize" } do expect.yes(field_of(name, true, "renormalise")) end
    for _, name in ipairs { "aux_tokens", "aux_group_size" } do expect.equal(field_of(name, 4, "aux_tokens"), 4) end
  end
  local dense = bam.models.parallel { layers = 1, width = 8, heads = 2, ffn = 6, vocab = 11 }
  local experts = { dense:build { seed = 1 }, dense:build { seed = 2 } }
  local function identity(renormalize, group)
    local d = bam.mix { experts = experts, attention = { routing = 2, [renormalize] = true },
                        ffn = { top_k = 2, [renormalize] = true }, [group] = 4 }
    return json.encode(d:identity())
  end
  local id = identity("renormalize", "aux_group_size")
  expect.equal(identity("renormalise", "aux_tokens"), id)
  expect.contains(id, '"renormalise":true')
  expect.contains(id, '"aux_tokens":4')
end)
