-- bam.mix { merge = ... }: every method against a plain oracle, element by element in double precision; what is merged
-- and what is not; what the fingerprint says of it.
local bam = require "bam"
local core = require "bam.core"
local definition = require "bam.merge.definition"
local json = require "bam.util.json"
local params = require "bam.model.params"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

local DENSE = bam.models.parallel { layers = 1, width = 8, heads = 2, ffn = 6, vocab = 11, std = 0.3 }
local models = {}
for i = 1, 3 do models[i] = DENSE:build { seed = i } end

local function f64(list) return bam.tensor(list, { dtype = "f64" }) end

bam.seed(7)
local function random() return bam.randn(5, 6, { dtype = "f64" }) end
local A, B, C = random(), random(), random()

local function flat(...)
  local lists = {}
  for i, x in ipairs { ... } do lists[i] = x:flatten():totable() end
  return table.unpack(lists)
end

-- ---- oracles: of lists of numbers, the seed's first ----

local oracle = {}

function oracle.average(lists, weights)
  local result = {}
  for e = 1, #lists[1] do
    local sum, total = 0, 0
    for i, list in ipairs(lists) do sum, total = sum + weights[i] * list[e], total + weights[i] end
    result[e] = sum / total
  end
  return result
end

function oracle.task_arithmetic(lists, weights, scale)
  local result = {}
  for e, seed in ipairs(lists[1]) do
    local sum = 0
    for i = 2, #lists do sum = sum + weights[i - 1] * (lists[i][e] - seed) end
    result[e] = seed + scale * sum
  end
  return result
end

local function trim(vector, density)
  local sizes = {}
  for e, x in ipairs(vector) do sizes[e] = math.abs(x) end
  table.sort(sizes, function(a, b) return a > b end)
  local smallest = sizes[math.ceil(density * #sizes)]
  local kept = {}
  for e, x in ipairs(vector) do kept[e] = math.abs(x) >= smallest and x or 0 end
  return kept
end

function oracle.ties(lists, weights, density, scale)
  local vectors, result = {}, {}
  for i = 2, #lists do
    local v = {}
    for e, seed in ipairs(lists[1]) do v[e] = lists[i][e] - seed end
    vectors[i - 1] = trim(v, density)
  end
  for e, seed in ipairs(lists[1]) do
    local mass = 0
    for i, v in ipairs(vectors) do mass = mass + weights[i] * v[e] end
    local sum, total = 0, 0
    for i, v in ipairs(vectors) do
      if v[e] * mass > 0 then sum, total = sum + weights[i] * v[e], total + weights[i] end
    end
    result[e] = seed + scale * (total > 0 and sum / total or 0)
  end
  return result
end

function oracle.slerp(lists, weights)
  local a, b = lists[1], lists[2]
  local ab, aa, bb = 0, 0, 0
  for e = 1, #a do ab, aa, bb = ab + a[e] * b[e], aa + a[e] ^ 2, bb + b[e] ^ 2 end
  local angle, t, result = math.acos(ab / math.sqrt(aa * bb)), weights[2] / (weights[1] + weights[2]), {}
  for e = 1, #a do
    result[e] = (math.sin((1 - t) * angle) * a[e] + math.sin(t * angle) * b[e]) / math.sin(angle)
  end
  return result
end

local LISTS = { flat(A, B, C) }

test("average", function()
  expect.close(bam.merge.average { A, B, C }, oracle.average(LISTS, { 1, 1, 1 }), 1e-14)
  expect.close(bam.merge.average({ A, B, C }, { weights = { 2, 0, 0.5 } }), oracle.average(LISTS, { 2, 0, 0.5 }), 1e-14)
  local single = A:to "f32"
  expect.equal(bam.merge.average { single, single, single }, single, "of copies")
end)

test("task arithmetic", function()
  expect.close(bam.merge.task_arithmetic { A, B, C }, oracle.task_arithmetic(LISTS, { 1, 1 }, 0.4), 1e-14)
  local got = bam.merge.task_arithmetic({ A, B, C }, { weights = { 1, -0.5 }, scale = 0.7 })
  expect.close(got, oracle.task_arithmetic(LISTS, { 1, -0.5 }, 0.7), 1e-14)
  expect.equal(bam.merge.task_arithmetic { A, A, A }, A, "of copies")
end)

test("TIES", function()
  for _, density in ipairs { 0.2, 0.5, 0.01, 1 } do
    for _, weights in ipairs { { 1, 1 }, { 3, 0.5 } } do
      local got = bam.merge.ties({ A, B, C }, { density = density, weights = weights, scale = 0.9 })
      expect.close(got, oracle.ties(LISTS, weights, density, 0.9), 1e-13, density)
    end
  end
  expect.close(bam.merge.ties { A, B, C }, oracle.ties(LISTS, { 1, 1 }, 0.2, 1), 1e-13, "by default")
  -- by hand: the signs of 3 and -1 disagree, 3 wins; 2 and 4 agree; -1 and 1 cancel
  local zero = f64 { 0, 0, 0 }
  expect.equal(bam.merge.ties({ zero, f64 { 3, 2, -1 }, f64 { -1, 4, 1 } }, { density = 1 }), { 3, 3, 0 })
  expect.equal(bam.merge.ties { A, A, A }, A, "of copies")
end)

test("DARE: every element is dropped or rescaled, as often as it says", function()
  local size = 20000
  local seed, x = bam.zeros(size, { dtype = "f64" }), bam.ones(size, { dtype = "f64" })
  local got = bam.merge.dare({ seed, x }, { drop = 0.75, scale = 0.5 }):totable()
  local kept = 0
  for e = 1, size do
    expect.yes(got[e] == 0 or got[e] == 2, got[e]) -- 1 / (1 - 0.75) * 0.5
    kept = kept + (got[e] == 2 and 1 or 0)
  end
  expect.close(kept / size, 0.25, 5 * math.sqrt(0.25 * 0.75 / size), "share kept: five standard deviations")
  -- the choices of two models are independent: of both, 1/16 is kept
  local both = bam.merge.dare({ seed, x, x }, { drop = 0.75, scale = 0.25 })
  expect.close(both:eq(2):to("f64"):mean():item(), 1 / 16, 5 * math.sqrt(1 / 16 * 15 / 16 / size), "kept by both")
  expect.equal(bam.merge.dare({ A, B, C }, { drop = 0, scale = 1 }),
               bam.merge.task_arithmetic({ A, B, C }, { scale = 1 }), "nothing dropped")
  -- seeded, and the generator of bam.seed is left alone
  bam.seed(3)
  local first, again = bam.merge.dare { A, B }, bam.merge.dare { A, B }
  expect.equal(first, again)
  expect.different(bam.merge.dare({ A, B }, { seed = 2 }), first)
  local after = bam.rand(3)
  bam.seed(3)
  expect.equal(bam.rand(3), after)
end)

test("SLERP", function()
  local two = { LISTS[1], LISTS[2] }
  expect.close(bam.merge.slerp { A, B }, oracle.slerp(two, { 1, 1 }), 1e-14)
  expect.close(bam.merge.slerp({ A, B }, { weights = { 3, 1 } }), oracle.slerp(two, { 3, 1 }), 1e-14)
  expect.close(bam.merge.slerp({ A, B }, { weights = { 0, 1 } }), LISTS[2], 1e-14, "the end of the arc")
  expect.close(bam.merge.slerp { A, A * 3 }, oracle.average({ LISTS[1], flat(A * 3) }, { 1, 1 }), 1e-14, "parallel")
  expect.equal(bam.merge.slerp { A * 0, A * 0 }, A * 0, "of zeros")
  expect.close(bam.merge.slerp({ f64 { 1, 0 }, f64 { 0, 1 } }, { weights = { 2, 1 } }),
               { math.cos(math.pi / 6), math.sin(math.pi / 6) }, 1e-15, "30 degrees")
end)

test("pieces of a large parameter are merged like the whole", function()
  local n = (1 << 20) + 12345
  local x, y = bam.randn(n), bam.randn(n)
  local got = bam.merge.task_arithmetic({ x, y }, { scale = 0.5 })
  expect.equal(got.dtype, "f32")
  expect.equal(((x:to "f64" + (y:to "f64" - x:to "f64") * 0.5):to "f32" - got):abs():max():item(), 0)
end)

-- ---- in mixtures ----

-- Every entry of a built mixture, beside the models' tensors by the same name.
local function each_merged(d, model, visit)
  local dense, count = {}, 0
  for _, entry in ipairs(params.list(DENSE)) do dense[entry.name] = entry end
  for _, entry in ipairs(params.list(d)) do
    if entry.kind ~= "router" then
      local tensors = {}
      for i, m in ipairs(models) do tensors[i] = params.read(dense[entry.dense], m) end
      if not entry.expert then count = count + 1 end
      visit(entry, params.read(entry, model), tensors)
    end
  end
  return count
end

test("what belongs to no expert is merged, experts are copied", function()
  local methods = {
    { "ties", density = 0.3, weights = { 1, 2 } }, { "Dare", drop = 0.3 }, "task_arithmetic",
    { bam.merge.average, weights = { 1, 2, 3 } },
  }
  for _, merge in ipairs(methods) do
    for _, attention in ipairs { { experts = "mean" }, { kv = "shared" }, { kv = "own" } } do
      local d = bam.mix { experts = models, merge = merge, attention = attention }
      local name, options = merge, nil
      if type(merge) == "table" then
        name, options = merge[1], {}
        for key, value in pairs(merge) do options[key] = key ~= 1 and value or nil end
      end
      local method = type(name) == "string" and bam.merge[name:lower()] or name
      local merged = each_merged(d, d:build(), function(entry, got, tensors)
        if entry.expert then
          expect.equal(got, tensors[entry.expert], entry.name)
        elseif method ~= bam.merge.dare then -- its random numbers depend on the name
          expect.equal(got, method(tensors, options), entry.name)
        end
      end)
      expect.equal(merged, attention.experts and 8 or attention.kv == "shared" and 6 or 4, "merged parameters")
    end
  end
end)

test("DARE in a mixture: the seed decides, and no two parameters share random numbers", function()
  local function state(options)
    return bam.mix { experts = models, merge = { "dare", seed = options } }:build():state()
  end
  local one, again, other = state(1), state(1), state(2)
  expect.equal(one["embed.weight"], again["embed.weight"])
  expect.different(one["embed.weight"], other["embed.weight"])
  expect.equal(one["layers.1.ffn.router.weight"], other["layers.1.ffn.router.weight"], "routers")
  local seed, expert = bam.zeros(64, { dtype = "f64" }), bam.ones(64, { dtype = "f64" })
  local apply = require "bam.merge.apply"
  local o = definition.read_options(bam.merge.dare, "test", nil, 2)
  expect.different(apply.apply(bam.merge.dare, o, { seed, expert }, "a", "f64"),
                   apply.apply(bam.merge.dare, o, { seed, expert }, "b", "f64"))
end)

test("the default is the uniform average, and so it is in the fingerprint", function()
  local plain = bam.mix { experts = models }
  local want, id = plain:build():state(), json.encode(plain:identity())
  for _, merge in ipairs { "average", "Average", bam.merge.average, { "average", weights = { 2, 2, 2 } } } do
    local d = bam.mix { experts = models, merge = merge }
    expect.equal(json.encode(d:identity()), id)
    expect.equal(d:build():state(), want)
  end
  expect.no(plain:identity().merge)
end)

local function power(strength)
  return bam.merge.define {
    name = "power", options = { p = { "number", 2 } },
    merge = function(tensors, weights, o) return tensors[1] * weights[1] ^ o.p * strength end,
  }
end

test("method, options and a script's code are in the fingerprint", function()
  local one, two = power(1), power(2)
  local factor = 1
  local function plain(tensors) return tensors[2] * factor end
  local seen = {}
  local variants = {
    false, "ties", { "ties", density = 0.3 }, { "ties", weights = { 1, 2 } }, "task_arithmetic", "dare",
    { "dare", seed = 2 }, { "average", weights = { 1, 2, 3 } }, one, two, { one, p = 3 },
    function(tensors) return tensors[1] end, plain,
  }
  local function digest(merge) return json.encode(bam.mix { experts = models, merge = merge }:identity()) end
  for i, merge in ipairs(variants) do
    local id = digest(merge or nil)
    expect.no(seen[id], string.format("variant %d is variant %s", i, seen[id]))
    seen[id] = i
  end
  expect.equal(digest(plain), digest(plain))
  expect.equal(digest "TIES", digest { "ties", density = 0.2, scale = 1.0 })
  local before = digest(plain)
  factor = 0.5
  expect.different(digest(plain), before)
  expect.raises("uses math.random", digest, function(tensors) return tensors[1] * math.random() end)
end)

test("a built mixture keeps what it is, not how it was merged", function()
  local d = bam.mix { experts = models, merge = { "ties", density = 0.3, weights = { 1, 2 } } }
  expect.contains(tostring(d), "merged by ties { density = 0.3, weights = { 1, 2 } }")
  local model = d:build()
  expect.no(model.description.merge)
  local path = os.tmpname()
  os.remove(path)
  local cleanup <close> = setmetatable({}, { __close = function() os.execute(string.format("rm -rf '%s'", path)) end })
  model:save(path)
  expect.equal(bam.load(path):state(), model:state())
end)

test("errors", function()
  local function mix(merge) return function() return bam.mix { experts = models, merge = merge } end end
  expect.raises('mix: option merge: no merge method is called "tie"; did you mean `ties`? There are average, dare, ',
                mix "tie")
  expect.raises("mix: option merge: ties: no option `densty`; did you mean `density`?", mix { "ties", densty = 1 })
  expect.raises("mix: option merge: ties: option density: with 0 nothing is kept", mix { "ties", density = 0 })
  expect.raises("mix: option merge: ties: option weights: 2 numbers, and there are 3 models besides the first",
                function() bam.mix { experts = { models[1], models[2], models[3], models[1] },
                                     merge = { "ties", weights = { 1, 2 } } } end)
  expect.raises("option weights: all are 0", mix { "average", weights = { 0, 0, 0 } })
  expect.raises("option weights: entry 2: expected a number of at least 0, got -1",
                mix { "average", weights = { 1, -1, 1 } })
  expect.raises("mix: option merge: slerp: it merges exactly 2 models, and there are 3", mix "slerp")
  expect.raises("mix: option merge: expected the name of a merge method or a result of bam.merge.define, got 3", mix(3))
  expect.raises("mix: option merge: function: no option `scale`", mix { function() end, scale = 1 })
  expect.raises("merge.define: average: bam has a merge method of this name; choose another", bam.merge.define,
                { name = "average", merge = print })
  expect.raises("options: an option cannot be called `weights`", bam.merge.define,
                { name = "x", merge = print, options = { weights = { "list" } } })
  expect.raises("expected letters, digits and _", bam.merge.define, { name = "a b", merge = print })
  expect.raises("merge method function: `model.embed_tokens.weight`: expected a tensor of shape (11, 8) from the "
                .. "method, got nil", function() mix(function() end)():build() end)
  expect.raises("the merged tensor holds a NaN", function()
    mix(function(tensors) return tensors[1] * (0 / 0) end)():build()
  end)
  expect.raises("merge.ties: tensor 2 is (3), and the first (2)", bam.merge.ties, { f64 { 1, 2 }, f64 { 1, 2, 3 } })
  expect.raises("entry 1 of the list: expected a floating-point tensor, got i64", bam.merge.ties, { bam.tensor { 1 } })
  expect.raises("upcycle: no option `merge`", bam.upcycle, { model = models[1], experts = 2, merge = "ties" })
end)

test("a failing method leaves the models alone, and what it was given cannot reach them", function()
  local before = core.hash_tensor(models[2].embed.weight)
  bam.mix { experts = models, merge = function(tensors) return tensors[2]:mul_(2) end }:build()
  expect.equal(core.hash_tensor(models[2].embed.weight), before)
  local double = {}
  for i = 1, 2 do double[i] = DENSE:build { seed = i, dtype = "f64" } end
  before = core.hash_tensor(double[2].embed.weight)
  bam.mix { experts = double, merge = function(tensors) return tensors[2]:mul_(2) end }:build { dtype = "f64" }
  expect.equal(core.hash_tensor(double[2].embed.weight), before, "in f64")
end)
