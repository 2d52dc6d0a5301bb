-- bam.extend: a trained mixture keeps all of its weights, and each dense model adds one expert.
local bam = require "bam"
local params = require "bam.model.params"
local expect = require "tests.lua.support.expect"
local small = require "tests.lua.support.small_run"
local test = require "tests.lua.support.test"

local SMALL = bam.models.parallel {
  layers = 2, width = 24, heads = 4, kv_heads = 2, ffn = 20, vocab = 31, std = 0.3,
}
local function dense(seed) return SMALL:build { seed = seed } end

local KINDS = {
  own = { attention = { kv = "own" }, ffn = { top_k = 2 } },
  shared = { attention = { kv = "shared", routing = 2, jitter = 0.1 } },
  mean = { attention = { experts = "mean" }, ffn = { extra_seed_copies = 2 } },
}

local function mixture(kind, seed)
  local options = { experts = { dense(1), dense(2), dense(3) }, seed = seed }
  for name, value in pairs(KINDS[kind]) do options[name] = value end
  return bam.mix(options):build()
end

local function entries(model)
  local list = {}
  for _, entry in ipairs(params.list(model.description)) do list[entry.name] = entry end
  return list
end

-- The values of a tensor of the model, by the name that checkpoints give it.
local function read(model, name) return params.read(assert(entries(model)[name], name), model) end

for kind in pairs(KINDS) do
  test(string.format("weights, %s", kind), function()
    local old, fourth, fifth = mixture(kind), dense(4), dense(5)
    local d = bam.extend { model = old, experts = { fourth, fifth }, seed = 7 }
    local new, n = d:build(), old.description.ffn.experts
    expect.equal(d.ffn.experts, n + 2)
    expect.equal(d.attention.experts, kind == "mean" and 1 or 5)
    for name, entry in pairs(entries(old)) do
      local now = read(new, name)
      if entry.kind == "router" then now = now:narrow(1, 1, entry.shape[1]) end
      expect.equal(now, read(old, name), name)
    end
    for name, entry in pairs(entries(new)) do
      if not entries(old)[name] then
        local added = entry.expert - old.description[entry.kind].experts
        expect.equal(read(new, name), read(added == 1 and fourth or fifth, entry.dense), name)
      end
    end
    local rows = read(new, "model.layers.1.mlp.router.weight"):narrow(1, n + 1, 2)
    expect.compare(rows:abs():min():item(), ">", 0, "the new rows are random")
    expect.equal(bam.extend({ model = old, experts = { fourth, fifth }, seed = 7 }):build():state(), new:state())
  end)
end

test("what is not said is the mixture's", function()
  local old = mixture "shared"
  local d = bam.extend { model = old, experts = { dense(4) }, z_loss = 0.5, freeze = { experts = true } }
  expect.equal(d.load_balance, old.description.load_balance)
  expect.equal(d.z_loss, 0.5)
  expect.equal(d.attention.routing, 2)
  expect.equal(d.attention.jitter, 0.1)
  expect.equal(d.freeze.experts, true)
end)

test("the identity tells mixtures and experts apart", function()
  local old, fourth = mixture "own", dense(4)
  local function hash(options) return bam.json.encode(bam.extend(options):identity()) end
  local reference = hash { model = old, experts = { fourth } }
  expect.equal(hash { model = old, experts = { dense(4) } }, reference)
  for what, options in pairs {
    mixture = { model = mixture("own", 9), experts = { fourth } }, expert = { model = old, experts = { dense(5) } },
    number = { model = old, experts = { fourth, fourth } },
  } do
    expect.yes(hash(options) ~= reference, what)
  end
end)

test("an extended mixture trains, is saved, and is extended again", function()
  local wider = bam.extend({ model = mixture "own", experts = { dense(4) } }):build()
  local ids, targets = bam.randint(0, 30, 2, 6), bam.randint(0, 30, 2, 6)
  local optimizer = bam.optim.AdamW(wider, { lr = 1e-2 })
  local first = wider:loss(ids, targets)
  first:backward()
  optimizer:step()
  expect.compare(wider:loss(ids, targets):item(), "<", first:item())
  local path <close> = setmetatable({ name = os.tmpname() }, { __close = function(self)
    os.execute(string.format("rm -rf '%s'", self.name))
  end })
  os.remove(path.name)
  bam.save(path.name, wider)
  local d = bam.extend { model = path.name, experts = { dense(5) } }
  expect.equal(d.ffn.experts, 5)
  expect.equal(read(d:build(), "model.layers.0.mlp.experts.3.up_proj.weight"),
               read(wider, "model.layers.0.mlp.experts.3.up_proj.weight"))
end)

local RECIPE = small.RECIPE:gsub("bam%.compare.*$", [[
local more = train { name = "experts/more", model = seed, data = text:sample { law = 1, general = 1 } }
local wider = train { name = "wider", model = bam.extend { model = mixed, experts = { more } },
                      data = text:sample { general = 1, law = 1 } }
bam.compare { mixed, wider, on = text.heldout }
]])

test("in a recipe: found finished, planned, audited", function()
  local directory = small.directory(RECIPE)
  local cleanup <close> = setmetatable({}, { __close = function() small.remove(directory) end })
  local plan, planned = small.run(directory, "--plan")
  expect.yes(planned, plan)
  -- one FFN (3 * 16 * 16), queries and outputs (2 * 16 * 16) and two rows of routers more than the mixture of 12,128
  expect.contains(plan:match "wider[^\n]*", "13,440")
  local output, fine = small.run(directory)
  expect.yes(fine, output)
  expect.contains(output, "wider  done: 10 steps")
  output, fine = small.run(directory)
  expect.yes(fine, output)
  expect.no(output:find("done: 10 steps", 1, true), output)
  output, fine = small.run(directory, "--audit")
  expect.yes(fine, output)
  expect.contains(output, "wider: sound; steps 10 to 10, trained again, give the same bits")
end)

test("bad input", function()
  local old = mixture "own"
  expect.raises("extend: option experts: expected at least one dense model to add, got an empty list", bam.extend,
                { model = old, experts = {} })
  expect.raises("extend: option model: expected a mixture, got a dense model; bam.mix makes a mixture of dense models",
                bam.extend, { model = dense(1), experts = { dense(2) } })
  expect.raises("extend: expert 1 is a mixture itself; mix dense models, or add experts to a mixture with bam.extend",
                bam.extend, { model = old, experts = { old } })
  local narrow = bam.models.parallel { layers = 2, width = 16, heads = 4, kv_heads = 2, ffn = 20, vocab = 31 }
  expect.raises("extend: expert 1 has width = 16, and option model 24: model.embed_tokens.weight is (31, 16), not "
                .. "(31, 24)", bam.extend, { model = old, experts = { narrow:build() } })
  expect.raises("report: this extends a mixture, whose experts have no common seed; compare dense models with bam.mix",
                function() bam.extend({ model = old, experts = { dense(4) } }):report() end)
  local bad = dense(4)
  bam.no_grad(function() bad.norm.weight:fill_(0 / 0) end)
  expect.raises("build: expert 1: `model.norm.weight` holds a NaN or infinity",
                function() bam.extend({ model = old, experts = { bad } }):build() end)
end)
