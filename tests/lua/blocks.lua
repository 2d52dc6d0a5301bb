-- Models of other blocks than the paper's, and of layers whose classes a script gives: computed, counted, saved, loaded,
-- mixed, trained, and in the fingerprint.
package.path = string.format("tests/lua/support/?.lua;%s", package.path)
local bam = require "bam"
local core = require "bam.core"
local json = require "bam.util.json"
local expect = require "tests.lua.support.expect"
local small = require "small_run"
local test = require "tests.lua.support.test"

local nn = bam.nn

local SCRATCH = os.tmpname()
os.remove(SCRATCH)
local cleanup <close> = setmetatable({}, { __close = function()
  os.execute(string.format("rm -rf '%s'*", SCRATCH))
end })
local function at(name) return string.format("%s-%s", SCRATCH, name) end

bam.seed(4)
local ids, targets = bam.randint(0, 30, 3, 7), bam.randint(0, 30, 3, 7)

local function sizes(more)
  local o = { layers = 2, width = 12, heads = 2, ffn = 10, vocab = 31, std = 0.3 }
  for name, value in pairs(more or {}) do o[name] = value end
  return o
end

-- Two linear layers and ReLU, with biases.
local MLP = nn.module "MLP"
function MLP:init(o)
  self.up = nn.Linear(o.width, o.hidden, { std = o.std, dtype = o.dtype })
  self.down = nn.Linear(o.hidden, o.width, { std = o.out_std, dtype = o.dtype })
  self.factor = o.factor or 1
end
function MLP:forward(h) return self.down(self.up(h):relu()) * self.factor end

-- The mean of the tokens so far, projected.
local Mean = nn.module "Mean"
function Mean:init(o)
  expect.equal({ o.heads, o.kv_heads, o.head_width, o.rope_base }, { 2, 2, 6, 10000 })
  self.out = nn.Linear(o.width, o.width, { bias = false, std = o.out_std, dtype = o.dtype })
end
function Mean:forward(h, batch)
  expect.equal(batch.documents, nil)
  local counts = bam.arange(1, h:size(2), { dtype = h.dtype }):view(1, -1, 1)
  return self.out(h:cumsum(2) / counts)
end

-- ---- blocks ----

local function sequential_by_hand(model)
  local x = model.embed(ids)
  for _, layer in ipairs(model.layers) do
    x = x + layer.attention(layer.norm(x), {})
    x = x + layer.ffn(layer.ffn_norm(x))
  end
  return model.norm(x):matmul(model.head.weight:transpose(1, 2))
end

local function largest(x) return x:abs():max():item() end

test("sequential: the residual stream by hand, and gradients by differences", function()
  for _, norm in ipairs { "layer", "rms" } do
    local d = bam.models.sequential(sizes { norm = norm })
    local model = d:build { seed = 1, dtype = "f64" }
    expect.compare(largest(model(ids) - sequential_by_hand(model)), "<", 1e-12)
    model:loss(ids, targets):backward()
    for _, p in ipairs(model:parameters()) do
      local flat = p.tensor:detach():view(-1)
      local i = 1 + (#p.name * 7) % flat:count()
      local value, step = flat[i]:item(), 1e-5
      local function loss_at(x)
        flat:slice(1, i, i):copy_(bam.tensor({ x }, { dtype = "f64" }))
        return bam.no_grad(function() return model:loss(ids, targets):item() end)
      end
      local difference = (loss_at(value + step) - loss_at(value - step)) / (2 * step)
      loss_at(value)
      expect.close(p.tensor.grad:view(-1)[i]:item(), difference, 1e-7, p.name)
    end
  end
end)

test("the same sizes make other models: blocks and norms count", function()
  local parallel, sequential = bam.models.parallel(sizes()), bam.models.sequential(sizes())
  expect.equal(sequential:count(), parallel:count() + 2 * 12, "one more norm in each layer")
  expect.equal(sequential:flops(8), parallel:flops(8))
  expect.contains(tostring(bam.models.sequential(sizes { norm = "rms" })), "sequential blocks, RMSNorm")
  local seen = {}
  for _, d in ipairs { parallel, sequential, bam.models.parallel(sizes { norm = "rms" }) } do
    local id = json.encode(d:identity())
    expect.no(seen[id])
    seen[id] = true
  end
  expect.equal(bam.models.parallel(sizes { norm = "layer" }):identity(), parallel:identity())
end)

test("RMSNorm: by a plain loop, with and without a residual; gradients", function()
  local norm = nn.RMSNorm(5, { eps = 0.1, dtype = "f64" })
  norm.weight:detach():copy_(bam.tensor({ 1, -2, 3, 0.5, 1 }, { dtype = "f64" }))
  local x, r = bam.randn(3, 5, { dtype = "f64" }), bam.randn(3, 5, { dtype = "f64" })
  local function oracle(rows)
    local w, result = norm.weight:totable(), {}
    for i, row in ipairs(rows) do
      local sum = 0
      for _, v in ipairs(row) do sum = sum + v * v end
      result[i] = {}
      for j, v in ipairs(row) do result[i][j] = v / math.sqrt(sum / 5 + 0.1) * w[j] end
    end
    return result
  end
  local y, none = norm(x)
  expect.close(y, oracle(x:totable()), 1e-14)
  expect.no(none)
  local z, sum = norm(x, r)
  expect.equal(sum, x + r)
  expect.close(z, oracle((x + r):totable()), 1e-14)
  local function f(a, b)
    local first, second = norm(a, b)
    return first * second
  end
  bam.gradcheck(f, { x:clone(), r:clone() })
end)

local function sandwich(scale)
  return bam.models.define {
    name = "sandwich", norms = { { "before", "pre_norm" }, { "after", "post_norm" } },
    forward = function(block, x, branch, batch)
      if branch then x = x + branch end
      local h = block.before(x)
      return x, block.after(block.attention(h, batch) + block.ffn(h, batch)) * scale
    end,
  }
end

test("a script's block: computed, saved, loaded, in the fingerprint", function()
  local define = sandwich(1)
  local d = define(sizes())
  local model = d:build { seed = 1 }
  local x = model.embed(ids)
  for _, layer in ipairs(model.layers) do
    local h = layer.before(x)
    x = x + layer.after(layer.attention(h, {}) + layer.ffn(h))
  end
  expect.compare(largest(model.norm(x):matmul(model.head.weight:transpose(1, 2)) - model(ids)), "<", 1e-5)
  model:save(at "sandwich")
  expect.yes(bam.load(at "sandwich/model.safetensors")["model.layers.1.post_norm.weight"])
  expect.equal(bam.load(at "sandwich"):state(), model:state())
  expect.equal(bam.load(at "sandwich"):eval()(ids), model:eval()(ids))
  local one = json.encode(d:identity())
  expect.equal(json.encode(define(sizes()):identity()), one)
  expect.different(json.encode(sandwich(2)(sizes()):identity()), one)
  expect.equal(tostring(define), "block sandwich")
end)

test("a checkpoint of unknown blocks says so", function()
  local program = [[local bam = require "bam" print(pcall(bam.load, arg[1]))]]
  core.write_file(at "load.lua", program)
  local pipe = io.popen(string.format("'%s' '%s' '%s'", arg[1] or "build/bamlua", at "load.lua", at "sandwich"))
  local output = pipe:read "a"
  pipe:close()
  expect.contains(output, "its blocks are called sandwich, which are not defined; define them with bam.models.define")
end)

test("checkpoints: the paper's models are Cohere's as before, others say what they are", function()
  bam.models.parallel(sizes()):build { seed = 1 }:save(at "cohere")
  local config = json.read(at "cohere/config.json")
  expect.equal({ config.model_type, config.block, config.norm, config.custom_layers }, { "cohere", nil, nil, nil })
  local model = bam.models.sequential(sizes { norm = "rms" }):build { seed = 1 }
  model:save(at "sequential")
  config = json.read(at "sequential/config.json")
  expect.equal({ config.model_type, config.block, config.norm }, { "bam", "sequential", "rms" })
  local loaded = bam.load(at "sequential")
  expect.equal(loaded:state(), model:state())
  expect.equal(json.encode(loaded.description:identity()), json.encode(model.description:identity()))
end)

test("mixtures of sequential models", function()
  local d = bam.models.sequential(sizes())
  local a, b = d:build { seed = 1 }, d:build { seed = 2 }
  local model = bam.mix { experts = { a, b }, ffn = { top_k = 2, renormalize = true } }:build()
  local copies = bam.mix { experts = { a, a }, ffn = { top_k = 2, renormalize = true } }:build():eval()
  expect.compare(largest(copies(ids) - a(ids)), "<", 1e-5, "of copies")
  expect.equal(model.layers[2].ffn_norm.weight, a.layers[2].ffn_norm.weight) -- ones, as in both
  model:save(at "mixture")
  expect.equal(bam.load(at "mixture"):state(), model:state())
  expect.raises("expert 2 has block = parallel, and expert 1 sequential", bam.mix,
                { experts = { a, bam.models.parallel(sizes()):build { seed = 1 } } })
end)

-- ---- layers ----

local OWN = sizes { ffn = { class = MLP, hidden = 7 } }

test("a script's FFN: counted, computed, and no trace in the generator", function()
  bam.seed(9)
  local before = bam.rand(3)
  bam.seed(9)
  local d = bam.models.parallel(OWN)
  local n = (12 * 7 + 7) + (7 * 12 + 12)
  expect.equal(d:count(), bam.models.parallel(sizes()):count() + 2 * (n - 3 * 12 * 10))
  expect.equal(bam.rand(3), before)
  expect.contains(tostring(d), "ffn MLP { hidden = 7 }")
  local model = d:build { seed = 1 }
  expect.equal(model:count(), d:count())
  expect.equal(nn.Module.count(model), d:count())
  local layer = model.layers[1]
  expect.equal(layer.ffn.up.weight.shape, { 7, 12 })
  local x = model.embed(ids)
  expect.equal(layer(x, nil, {}) , x)
  local h = layer.norm(x)
  expect.equal(select(2, layer(x, nil, {})), layer.attention(h, {}) + layer.ffn(h))
  expect.equal(d:build { seed = 1 }:state(), model:state(), "the seed decides")
  expect.equal(d:build { dtype = "f64" }.layers[1].ffn.up.weight.dtype, "f64")
end)

test("FLOPs: measured, or as the class says", function()
  local d, paper = bam.models.parallel(OWN), bam.models.parallel(sizes())
  local n = (12 * 7 + 7) + (7 * 12 + 12)
  expect.equal(d:flops(8).layer.ffn, 2 * n)
  expect.equal(d:flops(8).training, paper:flops(8).training + 6 * 2 * (n - 3 * 12 * 10))
  local Counted = nn.module("Counted", MLP)
  function Counted.flops(o, context) return o.hidden * 1000 + context end
  local counted = bam.models.parallel(sizes { ffn = { class = Counted, hidden = 7 } })
  expect.equal(counted:flops(8).layer.ffn, 7008)
  expect.equal(counted:flops(8).training, paper:flops(8).training + 2 * (3 * 7008 - 6 * 3 * 12 * 10))
  local own = bam.models.parallel(sizes { attention = Mean })
  expect.equal(own:flops(8).layer.attention, 2 * 144)
end)

test("saved and loaded with its class", function()
  local model = bam.models.parallel(sizes { ffn = { class = MLP, hidden = 7, factor = 3 }, attention = Mean })
    :build { seed = 1 }
  model:save(at "own")
  local tensors = bam.load(at "own/model.safetensors")
  expect.equal(tensors["model.layers.1.mlp.up.weight"], model.layers[2].ffn.up.weight)
  expect.equal(tensors["model.layers.0.self_attn.out.weight"], model.layers[1].attention.out.weight)
  expect.equal(json.read(at "own/config.json").custom_layers, { "attention", "ffn" })
  local layers = { ffn = { class = MLP, hidden = 7, factor = 3 }, attention = Mean }
  local loaded = bam.load(at "own", { layers = layers })
  expect.equal(loaded:state(), model:state())
  expect.equal(loaded(ids), model:eval()(ids))
  expect.raises("its attention is of a class written in Lua; give it to bam.load: { layers = { attention = MyClass } }",
                bam.load, at "own")
  expect.raises("`model.layers.0.mlp.up.weight` is (7, 12); by its config.json it must be (5, 12)", bam.load, at "own",
                { layers = { attention = Mean, ffn = { class = MLP, hidden = 5 } } })
  expect.raises("load: option layers: no option `fnn`", bam.load, at "own", { layers = { fnn = MLP } })
end)

test("experts of a script's FFN: bam.nn.SwiGLU given as a class is what RoutedFFN computes", function()
  local function models(ffn)
    local list = {}
    for i = 1, 3 do list[i] = bam.models.parallel(sizes { ffn = ffn }):build { seed = i, dtype = "f64" } end
    return list
  end
  local paper, own = models(10), models { class = nn.SwiGLU, hidden = 10 }
  expect.equal(own[1]:state(), paper[1]:state(), "dense")
  for _, top_k in ipairs { 1, 2, 3 } do
    local function mix(experts)
      local m = bam.mix { experts = experts, ffn = { top_k = top_k, renormalize = top_k > 1, extra_seed_copies = 1 } }
        :build { seed = 5, dtype = "f64" }
      local router = m.layers[1].ffn.router.weight
      router:detach():copy_(bam.arange(4 * 12):to("f64"):sin():view(4, 12)) -- choices differ between tokens
      return m
    end
    local a, b = mix(paper), mix(own)
    expect.compare(largest(a(ids) - b(ids)), "<", 1e-12, "logits")
    a:loss(ids, targets):backward()
    b:loss(ids, targets):backward()
    local fused = a.layers[1].ffn
    for e = 1, 4 do
      local expert = b.layers[1].ffn.modules[e]
      for _, pair in ipairs { { fused.gate_up, expert.gate_up.weight }, { fused.down, expert.down.weight } } do
        local grad = pair[2].grad or pair[2] * 0
        expect.compare(largest(pair[1].grad[e] - grad), "<", 1e-12, "gradient of an expert")
      end
    end
    expect.compare(largest(fused.router.weight.grad - b.layers[1].ffn.router.weight.grad), "<", 1e-12, "router")
  end
end)

test("mixed: experts are copied, attention is merged, all is saved", function()
  local d = bam.models.parallel(sizes { ffn = { class = MLP, hidden = 7 }, attention = Mean })
  local a, b = d:build { seed = 1 }, d:build { seed = 2 }
  expect.raises('mix: attention Mean of the models cannot become experts; use attention = '
                .. '{ experts = "mean" }', bam.mix, { experts = { a, b } })
  local mixture = bam.mix { experts = { a, b }, attention = { experts = "mean" }, freeze = { experts = true } }
  local total, active = mixture:count()
  local n = (12 * 7 + 7) + (7 * 12 + 12)
  expect.equal(total, d:count() + 2 * n + 2 * 2 * 12)
  expect.equal(active, total - 2 * n)
  local model = mixture:build()
  for e, source in ipairs { a, b } do
    expect.equal(model.layers[2].ffn.modules[e]:state(), source.layers[2].ffn:state())
  end
  local mean = (a.layers[1].attention.out.weight:to "f64" + b.layers[1].attention.out.weight:to "f64") / 2
  expect.equal(model.layers[1].attention.out.weight, mean:to "f32")
  model:save(at "own-mixture")
  expect.yes(bam.load(at "own-mixture/model.safetensors")["model.layers.0.mlp.experts.1.down.bias"])
  local layers = { attention = Mean, ffn = { class = MLP, hidden = 7 } }
  expect.equal(bam.load(at "own-mixture", { layers = layers }):state(), model:state())
  model:set_step(1, 2)
  expect.no(model.layers[1].ffn.modules[2].up.weight.requires_grad)
  expect.yes(model.layers[1].ffn.router.weight.requires_grad)
  expect.yes(model.layers[1].attention.out.weight.requires_grad)
  local other = bam.models.parallel(sizes { ffn = { class = MLP, hidden = 7, factor = 2 }, attention = Mean })
  expect.raises("expert 2 has ffn MLP { factor = 2, hidden = 7 }, and expert 1 MLP { hidden = 7 }", bam.mix,
                { experts = { a, other }, attention = { experts = "mean" } })
  local up = bam.upcycle { model = a, experts = 2 }:build()
  expect.equal(up.layers[1].ffn.modules[2]:state(), a.layers[1].ffn:state())
end)

test("the fingerprint holds class and options", function()
  local factor, seen = 1, {}
  local Own = nn.module "Own"
  function Own:init(o) self.w = nn.Linear(o.width, o.width) end
  function Own:forward(h) return self.w(h) * factor end
  local function digest(ffn) return json.encode(bam.models.parallel(sizes { ffn = ffn }):identity()) end
  local variants = { 10, { class = MLP, hidden = 7 }, { class = MLP, hidden = 8 }, Own,
                     { class = nn.SwiGLU, hidden = 10 } }
  for i, ffn in ipairs(variants) do
    local id = digest(ffn)
    expect.no(seen[id], i)
    seen[id] = true
    expect.equal(digest(ffn), id)
  end
  local before = digest(Own)
  factor = 2
  expect.different(digest(Own), before)
  expect.equal(digest { class = Own }, digest(Own))
end)

test("errors", function()
  local function model(more) return function() return bam.models.parallel(sizes(more)) end end
  expect.raises("models.parallel: option ffn: expected an integer from 1 to 2147483647, got the string",
                model { ffn = "a" })
  expect.raises("models.parallel: option ffn: expected a class made by nn.module, or { class = ..., and its options }",
                model { ffn = { hidden = 3 } })
  expect.raises("option ffn: `width` is given to the class by the model; leave it out",
                model { ffn = { class = MLP, hidden = 7, width = 3 } })
  expect.raises("expected a class made by nn.module", model { attention = MLP { width = 2, hidden = 2 } })
  expect.raises("model: option ffn: expected a module from the class, got 5", model { ffn = function() return 5 end })
  local Counting = nn.module "Counting"
  function Counting:init() self.steps = bam.zeros(1, { dtype = "i64" }) end
  expect.raises("`steps` is i64; a layer of a model holds floating-point parameters only", model { ffn = Counting })
  expect.raises('option norm: expected "layer" or "rms", got "batch"', model { norm = "batch" })
  local function define(norms, name) return function()
    bam.models.define { name = name or "x", norms = norms, forward = print }
  end end
  expect.raises("bam has a block of this name", define({}, "Parallel"))
  expect.raises('norms: entry 1: expected another name of letters, digits and _, got "attention"',
                define { { "attention", "a" } })
  expect.raises("norms: entry 1: expected { field, name in checkpoints }", define { { "a" } })
  local broken = bam.models.parallel(OWN):build { seed = 1 }
  broken.layers[1].ffn = nn.SwiGLU { width = 12, hidden = 3 }
  expect.raises("a layer has been replaced", broken.save, broken, at "broken")
end)

-- ---- training ----

local RECIPE = small.RECIPE:gsub("bam%.models%.parallel%(opt%.model%)", function()
  return [[Blocks { layers = 1, width = 16, heads = 2, ffn = { class = MLP, hidden = 12 }, vocab = opt.vocab }]]
end):gsub('(local text =)', function(line)
  return [[
local slope = 1
local MLP = bam.nn.module "MLP"
function MLP:init(o)
  self.up = bam.nn.Linear(o.width, o.hidden, { std = o.std })
  self.down = bam.nn.Linear(o.hidden, o.width, { std = o.out_std })
end
function MLP:forward(h) return self.down(self.up(h):relu() * slope) end
local Blocks = bam.models.define {
  name = "twice", norms = { { "norm", "input_layernorm" } },
  forward = function(block, x, branch, batch)
    local h
    if branch then h, x = block.norm(x, branch) else h = block.norm(x) end
    return x, block.attention(h, batch) + block.ffn(h, batch) * 2
  end,
}
]] .. line
end)

test("trained, branched and mixed; a run goes on, and other code is another phase", function()
  local directory = small.directory(RECIPE)
  local _ <close> = setmetatable({}, { __close = function() small.remove(directory) end })
  local function run(text)
    core.write_file(directory .. "/recipe.lua", text)
    local output, fine = small.run(directory)
    if not fine then error(output, 0) end
    return output
  end
  local function phases() return #core.glob(directory .. "/runs/*-????????") end
  run(RECIPE)
  local digests, count = small.digests(directory), phases()
  run(RECIPE)
  expect.equal(phases(), count, "found again")
  expect.contains(small.run(directory, "--audit"), "steps 10 to 10, trained again, give the same bits")
  expect.equal(small.digests(directory), digests)
  run((RECIPE:gsub("local slope = 1", "local slope = 2")))
  expect.equal(phases(), 2 * count, "another slope")
  run((RECIPE:gsub("batch%) %* 2", "batch) * 3")))
  expect.equal(phases(), 3 * count, "another block")
  local killed = small.directory((RECIPE:gsub("phase%.eval_tokens = 64", function(line)
    return line .. "\nphase.on_step = function(record) if record.step == 5 and not os.getenv 'GO_ON' then "
      .. "os.execute('kill -9 $PPID') end end"
  end)))
  local _ <close> = setmetatable({}, { __close = function() small.remove(killed) end })
  small.run(killed)
  core.write_file(killed .. "/recipe.lua", RECIPE)
  local output, fine = small.run(killed)
  if not fine then error(output, 0) end
  expect.equal(small.digests(killed), digests, "after a kill")
end)
