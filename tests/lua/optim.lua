-- Optimizers against plain Lua in double precision; decay groups, clipping, freezing, resuming to
-- the bit, bad input.
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"
local nn, optim = bam.nn, bam.optim

local function close(tensor, expected, tolerance, what)
  local got = tensor:flatten():totable()
  expect.equal(#got, #expected, what)
  for i = 1, #got do
    local error_of = math.abs(got[i] - expected[i])
    expect.compare(error_of, "<=", tolerance * (1 + math.abs(expected[i])),
                   string.format("%s: element %d is %.17g, not %.17g", what, i, got[i], expected[i]))
  end
end

-- The loss whose gradient is the same function of the parameter everywhere: sum(sin(p) * c).
local function gradient(p, c)
  local g = {}
  for i = 1, #p do g[i] = math.cos(p[i]) * c[i] end
  return g
end

local function plain_adamw(p, g, s, o, t)
  for i = 1, #p do
    s.m[i] = o.betas[1] * (s.m[i] or 0) + (1 - o.betas[1]) * g[i]
    s.v[i] = o.betas[2] * (s.v[i] or 0) + (1 - o.betas[2]) * g[i] ^ 2
    local m, v = s.m[i] / (1 - o.betas[1] ^ t), s.v[i] / (1 - o.betas[2] ^ t)
    p[i] = p[i] * (1 - o.lr * o.weight_decay) - o.lr * m / (math.sqrt(v) + o.eps)
  end
end

local function plain_sgd(p, g, s, o, t)
  for i = 1, #p do
    local d = g[i] + o.weight_decay * p[i]
    if o.momentum > 0 then
      s.m[i] = t == 1 and d or o.momentum * s.m[i] + d
      d = o.nesterov and d + o.momentum * s.m[i] or s.m[i]
    end
    p[i] = p[i] - o.lr * d
  end
end

local function against_plain(make, plain, o, dtype, tolerance)
  bam.seed(9)
  local weight = bam.randn(5, 7, { dtype = dtype, requires_grad = true })
  local c = bam.randn(5, 7, { dtype = dtype })
  local p, k, s = weight:flatten():totable(), c:flatten():totable(), { m = {}, v = {} }
  local opt = make({ weight }, o)
  for t = 1, 6 do
    opt:zero_grad()
    bam.sum(weight:sin() * c):backward()
    opt:step(o.lr * t)
    local now = { lr = o.lr * t }
    plain(p, gradient(p, k), s, setmetatable(now, { __index = o }), t)
  end
  close(weight, p, tolerance, "parameters")
  local state = opt:state()
  expect.equal(state.step.dtype, "i64")
  expect.equal(state.step:item(), 6)
  return state, s
end

test("AdamW and SGD equal a plain computation", function()
  for dtype, tolerance in pairs { f64 = 1e-12, f32 = 2e-5 } do
    local o = { lr = 0.01, betas = { 0.8, 0.95 }, eps = 1e-6, weight_decay = 0.3 }
    local state, s = against_plain(optim.AdamW, plain_adamw, o, dtype, tolerance)
    close(state["m.1"], s.m, tolerance, "first moment")
    close(state["v.1"], s.v, tolerance, "second moment")
    for _, sgd in ipairs { { 0, false }, { 0.9, false }, { 0.9, true } } do
      o = { lr = 0.01, momentum = sgd[1], nesterov = sgd[2], weight_decay = 0.2 }
      state, s = against_plain(optim.SGD, plain_sgd, o, dtype, tolerance)
      if sgd[1] > 0 then
        close(state["momentum.1"], s.m, tolerance, "momentum")
      else
        expect.no(state["momentum.1"])
      end
    end
  end
end)

-- Who decays: weights, but not biases, norms and embeddings; or whoever a function says. With no
-- gradient a step only decays.
local Net = nn.module "Net"
function Net:init()
  self.embed = nn.Embedding(6, 4)
  self.norm = nn.LayerNorm(4)
  self.linear = nn.Linear(4, 6)
end
function Net:forward(ids) return self.linear(self.norm(self.embed(ids))) end

local function decayed(options, params)
  local net = Net()
  local before = {}
  for name, p in net:named_parameters() do
    bam.no_grad(function() p:fill_(1) end)
    before[#before + 1] = name
  end
  optim.AdamW(params and params(net) or net, options):step(0.5)
  local list = {}
  for _, name in ipairs(before) do
    local value = net:state()[name][1]:flatten()[1]:item()
    expect.yes(value == 1 or value == 0.75 or value == 0.875, value)
    if value ~= 1 then list[#list + 1] = string.format("%s %g", name, value) end
  end
  return table.concat(list, ", ")
end

test("weights decay, biases, norms and embeddings do not", function()
  expect.equal(decayed { weight_decay = 0.5 }, "linear.weight 0.75")
  expect.equal(decayed { weight_decay = 0.5, decay = function(name) return name:find "^norm" end },
               "norm.weight 0.75, norm.bias 0.75")
  expect.equal(decayed { weight_decay = 0.5, decay = function(_, tensor, owner)
    return tensor.ndim == 2 and getmetatable(owner).__name == "Embedding"
  end }, "embed.weight 0.75")
  -- Groups: settings of their own, and a share of the learning rate.
  expect.equal(decayed({ weight_decay = 0 }, function(net)
    return { { params = net.linear, weight_decay = 0.5, lr_scale = 0.5 },
             { params = { net.norm.weight } },
             { params = { { name = "table", tensor = net.embed.weight } }, weight_decay = 0.5 } }
  end), "embed.weight 0.75, linear.weight 0.875")
end)

test("gradients collect in views of one buffer, also after a script replaced them; ties count once", function()
  local net = Net()
  net.linear.weight = nn.weights.normal({ 6, 4 }, 1)
  net.tied = nn.Linear(4, 6, { bias = false })
  net.tied.weight = net.linear.weight
  local kept = net.linear.weight
  bam.no_grad(function() kept:fill_(0.5) end)
  local opt = optim.AdamW(net)
  expect.equal(tostring(opt), "AdamW: 62 parameters in 2 buffers, 0 steps done")
  expect.yes(kept:same(net.tied.weight), "moving keeps values and handles")
  expect.equal(kept[1][1]:item(), 0.5, "moving keeps values and handles")
  local grad = kept.grad
  expect.equal(grad:abs():sum():item(), 0)
  local function backward() net(bam.tensor { 1, 2, 3 }):sum():backward() end
  backward()
  local once = grad:clone()
  expect.yes(kept.grad:same(grad))
  expect.compare(once:abs():sum():item(), ">", 0)
  backward()
  close(grad, (once * 2):flatten():totable(), 1e-6, "gradients accumulate")
  opt:zero_grad()
  expect.yes(kept.grad:same(grad))
  expect.equal(grad:abs():sum():item(), 0)
  kept.grad = nil
  backward()
  kept.grad = kept.grad:clone()
  expect.no(kept.grad:same(grad))
  opt:clip(math.huge)
  expect.yes(kept.grad:same(grad))
  close(grad, once:flatten():totable(), 1e-6, "a replaced gradient comes back")
end)

test("clipping: the norm over all buffers, the factor in the next step only, gradients unchanged", function()
  local function run(clip, first, second)
    local a = bam.tensor({ { 1., 2 } }, { dtype = "f64", requires_grad = true })
    local b = bam.tensor({ 3. }, { dtype = "f64", requires_grad = true })
    local opt = optim.SGD({ a, b }, { lr = 1 })
    local norms = {}
    for _, scale in ipairs { first, second } do
      opt:zero_grad()
      local loss = bam.sum(a * bam.tensor({ { 2., 3 } }, { dtype = "f64" })) + b:sum() * 6
      loss:mul(scale):backward()
      if clip then norms[#norms + 1] = opt:clip(clip) end
      opt:step()
    end
    return { a[1][1]:item(), a[1][2]:item(), b[1]:item() }, norms
  end
  local p, norms = run(3.5, 1, 0.25)
  expect.close(norms[1], 7, 1e-12, "norms of (2, 3, 6)")
  expect.close(norms[2], 1.75, 1e-12, "norms of (2, 3, 6)")
  local half = 3.5 / (7 + 1e-6)
  close(bam.tensor(p, { dtype = "f64" }),
        { 1 - 2 * (half + 0.25), 2 - 3 * (half + 0.25), 3 - 6 * (half + 0.25) }, 1e-12, "clipped")
  p = run(nil, 1, 0.25)
  close(bam.tensor(p, { dtype = "f64" }), { 1 - 2.5, 2 - 3.75, 3 - 7.5 }, 1e-12, "not clipped")

  local x = bam.ones(2, { requires_grad = true })
  local opt = optim.SGD({ x }, { lr = 1 })
  x.grad = bam.tensor { math.huge, 1 }
  expect.equal(opt:clip(1), math.huge)
  expect.raises("SGD:step: the norm of the gradients is not finite; nothing was changed", opt.step, opt)
  close(x, { 1, 1 }, 0, "nothing was changed")
  opt:zero_grad()
  opt:step()
  close(x, { 1, 1 }, 0, "goes on")

  x.grad = bam.tensor { 3., 4 } -- without waiting for the norm
  local norm = opt:clip(1, { wait = false })
  expect.equal(norm.dtype, "f64")
  expect.equal(norm:item(), 5)
  opt:step()
  close(x, { 1 - 3 / (5 + 1e-6), 1 - 4 / (5 + 1e-6) }, 1e-6, "clipped on the device")
  x.grad = bam.tensor { math.huge, 4 }
  local before = x:totable()
  opt:clip(1, { wait = false })
  opt:step()
  close(x, before, 0, "a hopeless step changes nothing")
end)

test("frozen parameters are skipped, with their moments and their gradients' norm, and may come back", function()
  local net = Net()
  net:freeze "^embed%."
  local opt = optim.AdamW(net, { lr = 0.1 })
  local function step()
    opt:zero_grad()
    net(bam.tensor { 1, 2, 3 }):exp():sum():backward()
    local norm = opt:clip(1)
    opt:step()
    return norm
  end
  step()
  expect.no(opt:state()["m.embed.weight"])
  expect.no(net.embed.weight.grad)
  net.norm.weight.requires_grad = false
  local weight, moment, bias = net.norm.weight:clone(), opt:state()["v.norm.weight"]:clone(),
    net.norm.bias:clone()
  net.norm.weight.grad:fill_(1000)
  expect.compare(step(), "<", 1000)
  expect.equal(net.norm.weight, weight, "frozen")
  expect.equal(opt:state()["v.norm.weight"], moment, "moments of frozen parameters")
  expect.no(net.norm.bias:eq(bias):all():item(), "its neighbours are trained")
  net.norm:unfreeze()
  step()
  expect.no(net.norm.weight:eq(weight):all():item(), "trained again")
  net:unfreeze()
  expect.raises("AdamW: parameter `embed.weight` was frozen when this optimizer was made; make a new one "
                .. "to train it", opt.step, opt)
  net:freeze()
  expect.raises("optim.AdamW: there is nothing to train: every parameter is frozen", optim.AdamW, net)
end)

-- AdamW corrects the bias of a parameter's moments by the steps in which it was trained, as PyTorch
-- does, also after its state was saved and loaded.
test("AdamW corrects the bias by the steps of each parameter", function()
  local SHAPES, STEPS = { { 3, 5 }, { 4 }, { 2, 2 }, { 17 }, { 1, 3 } }, 24
  local function frozen(k, step) -- stretches that begin and end apart and together
    return k == 1 and step <= 10 or k == 2 and step > 10 and step % 3 == 0
      or k == 4 and (step <= 10 or step == 20) or k == 5 and step == 1
  end
  local o = { betas = { 0.9, 0.999 }, eps = 1e-8, weight_decay = 0.1, lr = 0.03,
              decay = function() return true end }
  local function begin(dtype)
    bam.seed(12)
    local run = { weights = {}, factors = {} }
    for k, shape in ipairs(SHAPES) do
      run.weights[k] = bam.randn(shape, { dtype = dtype, requires_grad = true })
      run.factors[k] = bam.randn(shape, { dtype = dtype })
    end
    run.opt = optim.AdamW(run.weights, o)
    return run
  end
  local function train(run, first, last)
    for step = first, last do
      for k, weight in ipairs(run.weights) do weight.requires_grad = not frozen(k, step) end
      run.opt:zero_grad()
      local loss = 0
      for k, weight in ipairs(run.weights) do loss = loss + (weight:sin() * run.factors[k]):sum() end
      loss:backward()
      run.opt:step()
    end
  end
  for dtype, tolerance in pairs { f64 = 1e-12, f32 = 1e-5 } do
    local run, start = begin(dtype), begin(dtype)
    train(run, 1, STEPS)
    for k, weight in ipairs(start.weights) do
      local p, c, s, t = weight:flatten():totable(), start.factors[k]:flatten():totable(),
        { m = {}, v = {} }, 0
      for step = 1, STEPS do
        if not frozen(k, step) then
          t = t + 1
          plain_adamw(p, gradient(p, c), s, o, t)
        end
      end
      close(run.weights[k], p, tolerance, string.format("parameter %d", k))
      expect.equal(run.opt:state()[string.format("step.%d", k)]:item(), t)
    end
    for cut = 1, STEPS - 1 do
      local before, after = begin(dtype), begin(dtype)
      train(before, 1, cut)
      for k, weight in ipairs(before.weights) do
        after.weights[k].requires_grad = false
        after.weights[k]:copy_(weight:detach())
      end
      after.opt:load_state(before.opt:state())
      train(after, cut + 1, STEPS)
      for k, weight in ipairs(after.weights) do
        expect.equal(weight, run.weights[k], string.format("parameter %d after loading at %d", k, cut))
      end
    end
  end

  -- The state of an older version: every parameter in every step. Also of some parameters only.
  local run = begin "f64"
  train(run, 1, 12)
  local old, new = {}, begin "f64".opt
  for name, tensor in pairs(run.opt:state()) do
    if not name:find "^step%." then old[name] = tensor end
  end
  new:load_state(old)
  expect.equal(new:state()["step.1"]:item(), 12)
  expect.equal(new:state()["step.5"]:item(), 12)
  old["m.1"], old["v.1"] = nil, nil
  new = begin "f64".opt
  local missing = new:load_state(old, { strict = false })
  expect.equal(table.concat(missing, " "), "m.1 v.1 step.1")
  expect.equal(new:state()["step.1"]:item(), 0)
  expect.equal(new:state()["step.5"]:item(), 12)
  -- A damaged one.
  local state = run.opt:state()
  state["step.2"] = nil
  expect.raises("AdamW:load_state: the state has no `step.2`", new.load_state, new, state)
  for _, steps in ipairs { -1, (1 << 53) + 1 } do
    state["step.2"] = bam.tensor(steps)
    expect.raises(string.format("AdamW:load_state: `step.2` is %d; it must be at least 0", steps),
                  new.load_state, new, state)
  end
  expect.equal(new.steps, 12, "failed calls changed nothing")
  expect.equal(new:state()["step.1"]:item(), 0, "failed calls changed nothing")
  for name in pairs(optim.SGD({ bam.ones(2, { requires_grad = true }) }, { momentum = 0.5 }):state()) do
    expect.yes(name == "step" or name == "momentum.1")
  end
end)

test("resuming from files continues to the bit", function()
  local function train(net, opt, first, last)
    for i = first, last do
      bam.scope(function()
        opt:zero_grad()
        bam.cross_entropy(net(bam.tensor { i % 6, (i + 1) % 6 }),
                          bam.tensor { (i + 2) % 6, i % 6 }):backward()
        opt:clip(0.5)
        opt:step(0.01 * i)
      end)
    end
  end
  for _,
    make in ipairs { optim.AdamW, function(net) return optim.SGD(net, { momentum = 0.9 }) end } do
    bam.seed(6)
    local net = Net()
    local opt = make(net)
    train(net, opt, 1, 5)
    local weights, moments = os.tmpname(), os.tmpname()
    bam.save(weights, net:state())
    bam.save(moments, opt:state())
    train(net, opt, 6, 10)

    bam.seed(7)
    local other = Net()
    local resumed = make(other)
    other:load_state((bam.load(weights)))
    resumed:load_state((bam.load(moments)))
    os.remove(weights)
    os.remove(moments)
    expect.equal(resumed.steps, 5)
    train(other, resumed, 6, 10)
    for name, p in other:named_parameters() do expect.equal(p, net:state()[name], name) end
    local after = opt:state()
    for name, tensor in pairs(resumed:state()) do expect.equal(tensor, after[name], name) end
  end

  local net = Net()
  local opt = optim.AdamW(net)
  local state = opt:state()
  state.step = bam.tensor(-1)
  expect.raises("AdamW:load_state: `step` is -1; it must be at least 0", opt.load_state, opt, state)
  state.step = bam.tensor(8)
  state["m.norm.bias"] = nil
  expect.raises("AdamW:load_state: the state has no `m.norm.bias`; it has `",
                opt.load_state, opt, state)
  expect.equal(opt.steps, 0)
  opt:load_state(state, { strict = false })
  expect.equal(opt.steps, 8)
end)

-- Two buffers per dtype at most, whatever the number of parameters; made inside a scope they
-- outlive it.
test("a step uses two buffers per dtype, which outlive scopes", function()
  local net = nn.Sequential { nn.Linear(3, 3), nn.Linear(3, 3, { dtype = "f64" }) }
  local opt = bam.scope(function() return optim.AdamW(net) end)
  expect.equal(tostring(opt), "AdamW: 24 parameters in 4 buffers, 0 steps done")
  local kept
  bam.scope(function() kept = optim.SGD({ bam.ones(3, { requires_grad = true }):keep() }) end)
  kept:step()
  expect.equal(kept.steps, 1)
end)

test("no allocation from the system after the first step, with 3 groups and clipping", function()
  local net = Net()
  local opt = optim.AdamW { { name = "linear", params = net.linear },
                            { name = "embed", params = net.embed, lr_scale = 0.1 },
                              { params = net.norm } }
  local state = opt:state()
  expect.yes(state["m.linear.bias"])
  expect.yes(state["m.embed.weight"])
  expect.yes(state["m.weight"])
  local requests
  for _ = 1, 20 do
    bam.scope(function()
      opt:zero_grad()
      bam.cross_entropy(net(bam.tensor { 1, 2, 3 }), bam.tensor { 2, 3, 4 }):backward()
      opt:clip(1)
      opt:step()
    end)
    requests = requests or core.memory().system_requests
  end
  expect.yes(core.memory().system_requests == requests or not core.memory().cached)
end)

test("bad input", function()
  local leaf = bam.ones(2, { requires_grad = true })
  expect.raises("optim.AdamW: expected a module, or a list of tensors, of { name =, tensor = } or of groups "
                .. "{ params = ... }, got nil", optim.AdamW)
  expect.raises("got an empty list", optim.AdamW, {})
  expect.raises("got a tensor of shape (2)", optim.AdamW, leaf)
  expect.raises("optim.AdamW: entry 2 of the parameters is 3, not a tensor or { name =, tensor = }", optim.AdamW,
                { leaf, 3 })
  expect.raises("optim.AdamW: parameter `1` is the result of an op, not a leaf", optim.AdamW, { leaf * 2 })
  expect.raises('optim.AdamW: parameter `1` is bf16; on cpu, optimizers update f32 and f64: m:to "f32"', optim.AdamW,
                { bam.ones(2, { dtype = "bf16", requires_grad = true }) })
  expect.raises("optim.AdamW: two parameters are called `w`; give the groups names", optim.AdamW,
                { { name = "w", tensor = leaf }, { name = "w", tensor = bam.ones(1, { requires_grad = true }) } })
  expect.raises("optim.AdamW: no option `weigth_decay`; did you mean `weight_decay`?", optim.AdamW, { leaf },
                { weigth_decay = 0 })
  expect.raises("optim.AdamW: option lr: expected a number of at least 0, got -1", optim.AdamW, { leaf },
                { lr = -1 })
  expect.raises("optim.AdamW: option betas: number 2: expected a number from 0 to below 1, got 1", optim.AdamW,
                { leaf }, { betas = { 0.9, 1 } })
  expect.raises("optim.AdamW: option betas: expected two numbers, as in { 0.9, 0.95 }", optim.AdamW, { leaf },
                { betas = { 0.9 } })
  expect.raises("optim.SGD: option nesterov: needs a momentum above 0", optim.SGD, { leaf }, { nesterov = true })
  expect.raises("optim.AdamW: group 2: a group scales the learning rate, with lr_scale = 0.5", optim.AdamW,
                { { params = { leaf } }, { params = { bam.ones(1, { requires_grad = true }) }, lr = 1 } })
  expect.raises("optim.AdamW: group 2: no option `lr_scal`; did you mean `lr_scale`?", optim.AdamW,
                { { params = { leaf } }, { params = { bam.ones(1, { requires_grad = true }) }, lr_scal = 1 } })
  expect.raises("bam.optim has no `Adamw`; did you mean `AdamW`?", function() return optim.Adamw end)
  expect.equal(leaf.grad, nil, "failed calls changed nothing")
  local opt = optim.AdamW { leaf }
  expect.raises("AdamW:step: lr: expected a number of at least 0, got a schedule", opt.step, opt,
                bam.schedule.of(1))
  expect.raises("AdamW:clip: max_norm: expected a number above 0, got 0", opt.clip, opt, 0)
  optim.SGD { leaf }
  expect.raises("AdamW: parameter `1` has left this optimizer's buffer: another optimizer took it", opt.step, opt)
end)

test("the functions below, called wrongly", function()
  local a, b = bam.ones(4), bam.ones(3)
  local settings = { lr = 1, beta1 = 0.9, beta2 = 0.9, eps = 1e-8, weight_decay = 0, step = 1 }
  expect.raises("expected a tensor as argument 2, got nothing", core.adamw_step, a)
  expect.raises("adamw_step: expected a table of settings as argument 5, got nothing", core.adamw_step, a, a, a,
                a)
  expect.raises("adamw_step: no option `beta3`; did you mean `beta1`?", core.adamw_step, a, a, a, a,
                { beta3 = 1 })
  expect.raises("step: expected an integer, got nil", core.adamw_step, a, a, a, a,
                { lr = 1, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0 })
  expect.raises("adamw: the gradient is f32 (3), but the parameters are f32 (4)", core.adamw_step, a, b, a, a,
                settings)
  expect.raises("grad_norm: expected a list of tensors as argument 1, got 3", core.grad_norm, 3)
  expect.raises("grad_norm: entry 2 of the list is 1, not a tensor", core.grad_norm, { a, 1 })
  expect.raises("attach: the lists have different lengths", core.attach, { a }, {}, {})
  expect.raises("zero: entry 1 of the list is a string, not a tensor", core.zero, { string.rep("x", 50) })
  expect.raises("move: f32 (4) does not fit into f32 (3)", core.move, a, b)
  expect.equal(core.grad_norm({}):item(), 0)
  expect.equal(core.grad_norm({ a, b }):item(), math.sqrt(7))
end)
