-- The options of the built-in router come from one list: two that are added to it here reach layers, descriptions,
-- schedules, config.json and fingerprints without another line, and change nothing of what does not use them.
local router_options = require "bam.nn.moe.router_options"

local function planted(name, kind, default, scheduled)
  return { name = name, kind = kind, default = default, scheduled = scheduled }
end

local LIST = router_options.LIST
LIST[#LIST + 1] = planted("bonus", "rate", 0, true)
LIST[#LIST + 1] = planted("flavour", "string", "plain")

local bam = require "bam"
local json = require "bam.util.json"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local dense = bam.models.parallel { layers = 2, width = 8, heads = 2, ffn = 6, vocab = 11 }
local experts = { dense:build { seed = 1 }, dense:build { seed = 2 } }

local function mix(ffn, attention) return bam.mix { experts = experts, ffn = ffn, attention = attention } end

test("layers hand them to their routers, and routers have them as fields", function()
  local layer = bam.nn.RoutedFFN { width = 4, hidden = 3, experts = 2, bonus = 0.5, flavour = "sour" }
  expect.equal(layer.router.bonus, 0.5)
  expect.equal(layer.router.flavour, "sour")
  layer = bam.nn.MixtureOfAttention { width = 4, heads = 2, experts = 2, bonus = 2 }
  expect.equal(layer.router.bonus, 2)
  expect.equal(layer.router.flavour, "plain")
  expect.raises("nn.Router: option bonus: expected a number of at least 0, got -1", bam.nn.Router,
                { width = 4, experts = 2, bonus = -1 })
end)

test("descriptions, schedules and errors", function()
  local d = mix({ bonus = bam.schedule.linear { from = 0, to = 2 }, flavour = "sour" }, { bonus = 3 })
  local model = d:build()
  expect.equal(model.layers[2].attention.router.bonus, 3)
  expect.equal(model.layers[2].ffn.router.flavour, "sour")
  model:set_step(6, 11)
  expect.equal(model.layers[2].ffn.router.bonus, 1)
  expect.equal(model.layers[2].attention.router.bonus, 3)
  expect.equal(model.reached.ffn.bonus, 1)
  expect.raises("mix: option ffn: bonus: expected a number or a schedule", mix, { bonus = "much" })
  expect.raises("mix: option ffn: bonus: expected a number of at least 0, got -1", mix, { bonus = -1 })
  expect.raises("mix: option ffn: option flavour: expected a string", mix, { flavour = 1 })
  expect.raises('mix: option attention: expected { experts = "mean" }', mix, nil, { experts = "mean", bonus = 1 })
end)

test("config.json and back", function()
  local path = os.tmpname()
  os.remove(path)
  local cleanup <close> = setmetatable({}, { __close = function() os.execute(string.format("rm -rf '%s'", path)) end })
  mix({ bonus = 0.25, flavour = "sour" }):build():save(path)
  local config = json.read(path .. "/config.json")
  expect.equal(config.ffn_bonus, 0.25)
  expect.equal(config.ffn_flavour, "sour")
  expect.no(config.attention_flavour)
  expect.no(config.attention_bonus)
  local router = bam.load(path).layers[1].ffn.router
  expect.equal(router.bonus, 0.25)
  expect.equal(router.flavour, "sour")
end)

test("fingerprints: an option counts, its default does not", function()
  local plain = mix():identity()
  expect.equal(mix({ bonus = 0, flavour = "plain" }, { bonus = 0.0 }):identity(), plain)
  for _, part in ipairs { plain.attention, plain.ffn } do
    expect.equal({ part.bonus, part.flavour, part.temperature, part.jitter, part.renormalise }, { nil, nil, 1, 0, false })
  end
  local seen = { [json.encode(plain)] = true }
  local function digest(...) return json.encode(mix(...):identity(11)) end
  for _, options in ipairs { { { bonus = 1 } }, { nil, { bonus = 1 } }, { { flavour = "sour" } }, { { bonus = 2 } },
                             { { bonus = bam.schedule.linear { from = 0, to = 1 } } } } do
    local id = digest(options[1], options[2])
    expect.no(seen[id])
    seen[id] = true
  end
  expect.equal(mix({ bonus = 1 }):identity().ffn.bonus, 1)
end)
