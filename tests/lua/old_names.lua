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

test("nll and z: fields of records, of parts of a loss and of evaluations; bam.loop.nll", function()
  local dense = bam.models.parallel { layers = 1, width = 8, heads = 2, ffn = 6, vocab = 11 }
  local model = bam.mix { experts = { dense:build { seed = 1 }, dense:build { seed = 2 } } }:build()
  local batch = { ids = bam.tensor { { 1, 2, 3 } }, targets = bam.tensor { { 2, 3, 4 } }, tokens = 3 }
  local _, parts = model:loss(batch.ids, batch.targets)
  expect.same(parts.nll, parts.loss)
  local record = bam.loop.gradients(model, batch)
  expect.close(record.loss, parts.loss:item(), 1e-6)
  expect.equal(record.nll, record.loss)
  expect.equal(record.z, record.z_loss)
  expect.compare(record.z, ">", 0)
  expect.equal(record.nothing, nil)
  expect.equal(rawget(record, "nll"), nil, "each number is there once")
  expect.lacks(json.encode { loss = record.loss, routing = record.routing }, "nll")
  expect.same(bam.loop.nll, bam.loop.loss)
  expect.raises("bam.loop has no `nil_`", function() return bam.loop.nil_ end)
  local own = { loss = function(_, ids) -- a model of a script's own, as before
    local total = (ids:to "f32" * model.embed.weight[1][1]):sum()
    return total, { nll = total, routing = {} }
  end }
  expect.equal(bam.loop.gradients(own, batch).loss, (1 + 2 + 3) * model.embed.weight[{ 1, 1 }]:item())
  local both = bam.ensemble { models = { dense:build { seed = 1 } } }
  local _, of_both = both:loss(batch.ids, batch.targets)
  expect.same(of_both.nll, of_both.loss)
end)

test("metrics.jsonl of an older version, and one that is cut, are read", function()
  local directory = small.directory()
  local cleanup <close> = setmetatable({}, { __close = function() small.remove(directory) end })
  expect.raises("holds no metrics.jsonl: nothing has been trained there", bam.metrics, directory)
  expect.raises("metrics: expected a phase or its directory", bam.metrics, 3)
  core.write_file(directory .. "/metrics.jsonl", table.concat({
    '{"step":1,"nll":5.5,"z":0.25,"lr":0.1}', '{"step":1,"eval":{"average":3}}', '{"step":2,"loss":5,"z_loss":0.5}',
    '{"step":3,"lo' }, "\n"))
  local records = bam.metrics(directory)
  expect.equal(#records, 3)
  expect.equal(records[1], { step = 1, loss = 5.5, z_loss = 0.25, lr = 0.1 })
  expect.equal(records[1].nll, 5.5)
  expect.equal(records[2].eval.average, 3)
  expect.equal(records[3].z, 0.5)
  core.write_file(directory .. "/recipe.lua", small.RECIPE .. [[
for _, r in ipairs(bam.metrics(mixed)) do
  if r.loss then print("LOSS", r.step, r.loss == r.nll, r.z == r.z_loss, #r.routing) end
end
print("SAME", #bam.metrics(mixed), #bam.metrics "runs/recipe/mixed")]])
  local output, fine = small.run(directory)
  expect.yes(fine, output)
  expect.contains(output, "LOSS\t10\ttrue\ttrue\t2")
  expect.matches(output, "SAME\t(%d+)\t%1\n")
  expect.lacks(core.read_file(small.phase(directory, "mixed") .. "/metrics.jsonl"), "nll")
  local results = core.read_file(directory .. "/runs/recipe/results.json")
  expect.lacks(results, "nll")
  local evaluation = core.glob(small.phase(directory, "mixed") .. "/evaluation-*.json")[1]
  local stored = json.decode(core.read_file(evaluation))
  for _, d in pairs(stored.result.domains) do d.nll, d.loss = d.loss, nil end -- as version 0.1 wrote it
  stored.digest = core.hash(json.encode(stored.result))
  core.write_file(evaluation, json.encode(stored))
  output, fine = small.run(directory)
  expect.yes(fine, output)
  expect.equal(core.read_file(directory .. "/runs/recipe/results.json"), results)
end)
