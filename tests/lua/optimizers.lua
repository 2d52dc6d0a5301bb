-- Optimizers made by bam.optim.define: Lion and Muon against plain Lua in double precision and PyTorch, definitions
-- of a script's own with whole parameters and flat segments, groups, freezing, clipping, resuming, and bad input.
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local names = require "bam.model.params"
local test = require "tests.lua.support.test"
local nn, optim = bam.nn, bam.optim

local F64 = { dtype = "f64", requires_grad = true }

-- `count` tensors of random numbers to be trained, from a seed.
local function weights(seed, dtype, ...)
  bam.seed(seed)
  local list = {}
  for i, shape in ipairs { ... } do list[i] = bam.randn(shape, { dtype = dtype, requires_grad = true }) end
  return list
end

-- One step with gradients cos(w) * (1, 2, 3, ...) / n, where n is their number.
local function backward(list)
  local loss = 0
  for i, w in ipairs(list) do
    local n = w:count()
    local c = (bam.arange(n) / n):to(w.dtype):view(w.shape)
    loss = loss + (w:sin() * c):sum():to "f64" * i
  end
  loss:backward()
end

local function train(opt, list, steps, clip)
  for _ = 1, steps do
    opt:zero_grad()
    backward(list)
    if clip then opt:clip(clip) end
    opt:step()
  end
end

-- ---- Lion ----

test("Lion agrees with its formula", function()
  for dtype, tolerance in pairs { f64 = 1e-12, f32 = 1e-5 } do
    local list = weights(3, dtype, { 5, 7 })
    local w, o = list[1], { lr = 0.01, betas = { 0.8, 0.95 }, weight_decay = 0.2 }
    local p, m, opt = w:flatten():totable(), {}, optim.Lion(list, o)
    for _ = 1, 6 do
      opt:zero_grad()
      backward(list)
      local g = w.grad:flatten():totable()
      for i = 1, #p do
        local c = 0.8 * (m[i] or 0) + 0.2 * g[i]
        p[i] = p[i] * (1 - 0.01 * 0.2) - 0.01 * (c > 0 and 1 or c < 0 and -1 or 0)
        m[i] = 0.95 * (m[i] or 0) + 0.05 * g[i]
      end
      opt:step()
    end
    expect.close(w:flatten(), p, tolerance)
    expect.close(opt:state()["m.1"]:flatten(), m, tolerance)
  end
end)

-- ---- Muon ----

local function product(a, b)
  local c = {}
  for i = 1, #a do
    c[i] = {}
    for j = 1, #b[1] do
      c[i][j] = 0
      for k = 1, #b do c[i][j] = c[i][j] + a[i][k] * b[k][j] end
    end
  end
  return c
end

local function transposed(a)
  local t = {}
  for j = 1, #a[1] do
    t[j] = {}
    for i = 1, #a do t[j][i] = a[i][j] end
  end
  return t
end

-- x a + y b, elementwise.
local function combined(x, a, y, b)
  local c = {}
  for i = 1, #a do
    c[i] = {}
    for j = 1, #a[1] do c[i][j] = x * a[i][j] + y * b[i][j] end
  end
  return c
end

-- Newton-Schulz as Jordan's post has it, without the transposition of tall matrices.
local function newton_schulz(g, steps)
  local square = 0
  for _, row in ipairs(g) do
    for _, x in ipairs(row) do square = square + x * x end
  end
  local x = combined(1 / math.sqrt(square), g, 0, g)
  for _ = 1, steps do
    local a = product(x, transposed(x))
    local b = combined(-4.7750, a, 2.0315, product(a, a))
    x = combined(3.4445, x, 1, product(b, x))
  end
  return x
end

local function plain_muon(p, g, m, o)
  m = combined(o.momentum, m, 1 - o.momentum, g)
  local ahead = o.nesterov and combined(1 - o.momentum, g, o.momentum, m) or m
  local scale = o.adjust_lr == "original" and math.sqrt(math.max(1, #p / #p[1]))
    or 0.2 * math.sqrt(math.max(#p, #p[1]))
  return combined(1 - o.lr * o.weight_decay, p, -o.lr * scale, newton_schulz(ahead, o.ns_steps)), m
end

test("Muon agrees with its formula", function()
  local cases = { { nesterov = true, adjust_lr = "match_rms_adamw", ns_steps = 5 },
                  { nesterov = false, adjust_lr = "original", ns_steps = 3 } }
  for dtype, tolerance in pairs { f64 = 1e-10, f32 = 1e-4 } do
    for _, o in ipairs(cases) do
      o.momentum, o.lr, o.weight_decay = 0.9, 0.02, 0.1
      local list = weights(4, dtype, { 4, 7 }, { 7, 4 }, { 5, 5 }, { 1, 6 })
      local opt, p, m = optim.Muon(list, o), {}, {}
      for i, w in ipairs(list) do
        p[i], m[i] = w:totable(), bam.zeros(w.shape):totable()
      end
      for _ = 1, 4 do
        opt:zero_grad()
        backward(list)
        for i, w in ipairs(list) do p[i], m[i] = plain_muon(p[i], w.grad:totable(), m[i], o) end
        opt:step()
      end
      for i, w in ipairs(list) do expect.close(w, p[i], tolerance, string.format("%s %d", dtype, i)) end
      expect.close(opt:state()["momentum.2"], m[2], tolerance, "momentum")
    end
  end
end)

test("Muon agrees with torch.optim.Muon", function()
  local file = assert(io.open "tests/golden/muon.json")
  local golden = bam.json.decode(file:read "a")
  file:close()
  for number, case in ipairs(golden) do
    local list = {}
    for i, values in ipairs(case.begin) do list[i] = bam.tensor(values, F64) end
    local opt = optim.Muon(list, case.options)
    for _, grads in ipairs(case.grads) do
      for i, grad in ipairs(grads) do list[i].grad:copy_(bam.tensor(grad, { dtype = "f64" })) end
      opt:step()
    end
    for i, values in ipairs(case["end"]) do
      expect.close(list[i], values, 1e-9, string.format("case %d, parameter %d", number, i))
    end
  end
  expect.equal(#golden, 4)
end)

local function small_mixture(options)
  local experts = {}
  for i = 1, 2 do
    local d = bam.models.parallel { vocab = 16, layers = 1, width = 8, heads = 4, kv_heads = 2, ffn = 12, context = 8 }
    experts[i] = d:build { seed = i }
  end
  options.experts, options.ffn = experts, { top_k = 2 }
  return bam.mix(options):build { seed = 7 }
end

-- The weights of each matrix by its name in a checkpoint, apart from the model.
local function apart(model, what)
  local list = {}
  for _, entry in ipairs(names.list(model.description)) do
    if entry.kind == "attention" or entry.kind == "ffn" then
      local holder = what(entry, model)
      list[#list + 1] = { name = entry.name, tensor = holder }
    end
  end
  return list
end

test("Muon sees the matrices that a layer stacks, each apart", function()
  for _, attention in ipairs { { kv = "own" }, { kv = "shared" } } do
    for _, freeze in ipairs { false, { experts = bam.schedule.constant(0) } } do
      local model = small_mixture { attention = attention, freeze = freeze or nil }
      local params = apart(model, function(entry, m)
        return bam.reshape(entry.view(m), entry.shape):detach():clone():requires_grad_()
      end)
      local single, whole = optim.Muon(params, { lr = 0.1 }), optim.Muon(model, { lr = 0.1 })
      bam.seed(11)
      for _, p in ipairs(model:parameters()) do p.tensor.grad:copy_(bam.randn(p.tensor.shape)) end
      -- The gradient of a view: swap parameters and gradients for a moment.
      local saved = {}
      for i, p in ipairs(model:parameters()) do
        saved[i] = p.tensor:detach():clone()
        bam.no_grad(function() p.tensor:copy_(p.tensor.grad) end)
      end
      for i, p in ipairs(apart(model, function(entry, m) return bam.reshape(entry.view(m), entry.shape):detach() end)) do
        params[i].tensor.grad:copy_(p.tensor)
      end
      for i, p in ipairs(model:parameters()) do bam.no_grad(function() p.tensor:copy_(saved[i]) end) end
      single:step()
      whole:step()
      local after = apart(model, function(entry, m) return bam.reshape(entry.view(m), entry.shape):detach() end)
      for i, p in ipairs(after) do expect.close(p.tensor, params[i].tensor, 1e-6, p.name) end
      expect.equal(#after > 8, true)
    end
  end
  local layers = nn.Sequential { nn.Attention { width = 8, heads = 4, kv_heads = 2 }, nn.SwiGLU { width = 8, hidden = 6 } }
  local parts = { ["1.qkv.weight"] = { 8, 4, 4 }, ["2.gate_up.weight"] = { 6, 6 }, ["1.out.weight"] = { 8 } }
  for _, p in ipairs(layers:parameters()) do
    local rows = {}
    for i, part in ipairs(parts[p.name] and require("bam.nn.matrices").of(p.tensor, p.name, p.module) or {}) do
      rows[i] = part.rows
    end
    if parts[p.name] then expect.equal(rows, parts[p.name], p.name) end
  end
end)

test("Muon leaves embeddings, heads, routers and vectors to AdamW", function()
  local model = small_mixture { attention = { kv = "shared" } }
  local function muons(options)
    local list = {}
    for name in pairs(optim.Muon(model, options):state()) do list[#list + 1] = name:match "^momentum%.(.*)" end
    table.sort(list)
    return table.concat(list, " ")
  end
  local hidden = "layers.1.attention.out layers.1.attention.qkv layers.1.ffn.down layers.1.ffn.gate_up"
  expect.equal(muons(), hidden)
  expect.equal(muons { use_muon = function(name) return name:find "head" end }, "head.weight")
  expect.equal(muons { groups = { { params = "ffn", use_muon = false } } }, hidden:match "^(.*) layers.1.ffn.down")
  expect.equal(muons { groups = { { params = "attention.router", use_muon = true } } },
               "layers.1.attention.out layers.1.attention.qkv layers.1.attention.router.weight layers.1.ffn.down "
               .. "layers.1.ffn.gate_up")
end)

test("the rest of Muon is AdamW with options of its own", function()
  local function both(dtype)
    local list = weights(5, dtype, { 3, 4 }, { 6 })
    return list, { { name = "matrix", tensor = list[1] }, { name = "bias", tensor = list[2] } }
  end
  local list, named = both "f64"
  local opt = optim.Muon(named, { lr = 0.1, weight_decay = 0.5,
                                  adamw = { lr_scale = 0.5, betas = { 0.7, 0.8 }, eps = 1e-3 } })
  local other = both "f64"
  local adamw = optim.AdamW({ other[2] }, { lr = 0.05, betas = { 0.7, 0.8 }, eps = 1e-3, weight_decay = 0.5 })
  for _ = 1, 3 do
    opt:zero_grad()
    adamw:zero_grad()
    backward(list)
    other[2].grad:copy_(list[2].grad)
    opt:step()
    adamw:step()
  end
  expect.equal(list[2]:totable(), other[2]:totable())
end)

-- ---- a script's own ----

-- Momentum and its sign, in two ways.
local function sign(elementwise)
  return optim.define {
    name = elementwise and "FlatSign" or "Sign", elementwise = elementwise,
    options = { lr = { "rate", 0.1 }, beta = { "fraction", 0.5, doc = "of the momentum" },
                weight_decay = { "rate", 0.1 } },
    state = { "momentum" },
    update = function(param, grad, state, o)
      state.momentum = state.momentum * o.beta + grad * (1 - o.beta)
      local step = state.momentum / (state.momentum:abs() + 1e-3) * (1 + 1 / o.step)
      return param * (1 - o.lr * o.weight_decay) - step * o.lr
    end,
  }
end

local function trained_with(definition, dtype, options, steps, clip)
  local list = weights(8, dtype, { 3, 5 }, { 4 }, { 2, 3, 2 })
  local opt = definition(list, options)
  for step = 1, steps do
    list[2].requires_grad = step % 3 ~= 0
    train(opt, list, 1, clip)
  end
  return list, opt
end

test("whole parameters and flat segments give the same", function()
  for _, dtype in ipairs { "f32", "f64" } do
    for _, clip in ipairs { false, 0.5 } do
      local a, first = trained_with(sign(false), dtype, { beta = 0.7 }, 7, clip)
      local b, second = trained_with(sign(true), dtype, { beta = 0.7 }, 7, clip)
      for i = 1, 3 do expect.equal(a[i]:totable(), b[i]:totable()) end
      expect.equal(first:state()["step.2"]:item(), 5)
      expect.equal(first:state()["momentum.2"]:totable(), second:state()["momentum.2"]:totable())
    end
  end
end)

test("a script's optimizer agrees with its formula", function()
  local w = weights(9, "f64", { 3, 5 })
  local p, opt, m = w[1]:flatten():totable(), sign(true)(w, { beta = 0.6 }), {}
  for step = 1, 5 do
    opt:zero_grad()
    backward(w)
    local norm, g = opt:clip(0.7), w[1].grad:flatten():totable()
    local factor = math.min(1, 0.7 / (norm + 1e-6))
    for i = 1, #p do
      m[i] = (m[i] or 0) * 0.6 + g[i] * factor * 0.4
      p[i] = p[i] * (1 - 0.1 * 0.1) - 0.1 * m[i] / (math.abs(m[i]) + 1e-3) * (1 + 1 / step)
    end
    opt:step()
  end
  expect.close(w[1]:flatten(), p, 1e-12)
end)

-- A second moment in rows and columns (as Adafactor's), and for vectors as it is.
local function factored()
  return optim.define {
    name = "Factored", options = { lr = { "rate", 0.05 }, beta = { "fraction", 0.9 } },
    state = function(_, param)
      if param.ndim ~= 2 then return { square = { shape = param.shape } } end
      return { rows = { shape = { param:size(1) } }, columns = { shape = { param:size(2) } },
               count = { shape = {}, dtype = "i64", value = 3 } }
    end,
    update = function(param, grad, state, o)
      local function mean(old, new) return old * o.beta + new * (1 - o.beta) end
      local squares = grad * grad + 1e-12
      if state.square then
        state.square = mean(state.square, squares)
        return param - grad / state.square:sqrt() * o.lr
      end
      state.count = state.count + 1
      state.rows, state.columns = mean(state.rows, squares:mean(2)), mean(state.columns, squares:mean(1))
      local v = state.rows:view(-1, 1) * state.columns:view(1, -1) / state.rows:mean()
      return param - grad / v:sqrt() * o.lr
    end,
  }
end

test("state of shapes of its own is kept, saved and resumed to the bit", function()
  local shapes = { { 3, 5 }, { 4 } }
  local list = weights(10, "f32", table.unpack(shapes))
  local opt = factored()(list)
  train(opt, list, 4)
  local state = opt:state()
  expect.equal(state["rows.1"].shape, { 3 })
  expect.equal(state["columns.1"].shape, { 5 })
  expect.equal(state["count.1"]:item(), 7)
  expect.equal(state["square.2"].shape, { 4 })
  local file = os.tmpname()
  bam.save(file, state)
  local other = weights(10, "f32", table.unpack(shapes))
  local resumed = factored()(other)
  for i, w in ipairs(other) do bam.no_grad(function() w:copy_(list[i]) end) end
  resumed:load_state((bam.load(file)))
  os.remove(file)
  train(opt, list, 3)
  train(resumed, other, 3)
  for i = 1, 2 do expect.equal(list[i]:totable(), other[i]:totable()) end
  for name, tensor in pairs(opt:state()) do expect.equal(resumed:state()[name]:totable(), tensor:totable(), name) end
end)

test("Muon and Lion resume to the bit", function()
  for _, make in ipairs { optim.Muon, optim.Lion } do
    local list, other = weights(12, "f32", { 6, 4 }, { 4 }), weights(12, "f32", { 6, 4 }, { 4 })
    local opt, resumed = make(list, { lr = 0.01 }), make(other, { lr = 0.01 })
    train(opt, list, 4, 1)
    for i, w in ipairs(other) do bam.no_grad(function() w:copy_(list[i]) end) end
    resumed:load_state(opt:state())
    train(opt, list, 3, 1)
    train(resumed, other, 3, 1)
    for i = 1, 2 do expect.equal(list[i]:totable(), other[i]:totable()) end
  end
end)

test("groups by pattern are groups", function()
  local function net()
    bam.seed(2)
    local m = nn.Sequential { nn.Linear(3, 4), nn.Linear(4, 2) }
    return m, function(opt)
      for _ = 1, 3 do
        opt:zero_grad()
        m(bam.ones(2, 3)):sum():backward()
        opt:step()
      end
      return m:state()
    end
  end
  local m, run = net()
  local a = run(optim.AdamW(m, { groups = { { params = "^2%.", lr_scale = 0.25, weight_decay = 0.7 } } }))
  local n, run_lists = net()
  local b = run_lists(optim.AdamW { { params = { { name = "w", tensor = n[2].weight }, { name = "b", tensor = n[2].bias } },
                                      lr_scale = 0.25, weight_decay = 0.7 }, { params = n[1] } })
  for name, tensor in pairs(a) do expect.equal(tensor:totable(), b[name]:totable(), name) end
  local o = net()
  expect.raises('optim.AdamW: group 2: no parameter matches the pattern "head"', optim.AdamW, o,
                { groups = { { params = "^1" }, { params = "head" } } })
  expect.raises('optim.AdamW: group 1: params: "%" is not a Lua pattern', optim.AdamW, o, { groups = { { params = "%" } } })
  expect.raises("optim.AdamW: group 1: no option `lr_scal`; did you mean `lr_scale`?", optim.AdamW, o,
                { groups = { { params = "1", lr_scal = 1 } } })
  expect.raises("groups are given in the parameters and in option groups", optim.AdamW, { { params = o } },
                { groups = { { params = "1" } } })
end)

test("after a norm that is not finite nothing changes", function()
  for _, make in ipairs { optim.Muon, optim.Lion, sign(false), sign(true) } do
    local list = weights(13, "f32", { 3, 3 }, { 5 })
    local opt = make(list)
    train(opt, list, 2)
    local before, state = { list[1]:totable(), list[2]:totable() }, {}
    for name, tensor in pairs(opt:state()) do state[name] = tensor:totable() end
    opt:zero_grad()
    backward(list)
    list[2].grad:fill_(math.huge)
    opt:clip(1, { wait = false })
    opt:step()
    expect.equal({ list[1]:totable(), list[2]:totable() }, before)
    for name, tensor in pairs(opt:state()) do
      if not name:find "^step" then expect.equal(tensor:totable(), state[name], name) end
    end
    opt:clip(1)
    expect.raises("the norm of the gradients is not finite", opt.step, opt)
  end
end)

-- ---- bad definitions and updates ----

local function broken(update, state)
  return optim.define { name = "Broken", options = { lr = { "rate", 1 } }, state = state or { "m" }, update = update }
end

test("an update that is wrong changes nothing", function()
  local nan = 0 / 0
  local cases = {
    { "Broken: update of parameter `1` gave nothing; return the parameter's new value", function() end },
    { "Broken: update of parameter `1`: the new value: expected shape (2, 2), got (2)", function(p) return p[1] end },
    { "Broken: update of parameter `1`: the new value: expected a tensor of shape (2, 2), got 3", function() return 3 end },
    { "Broken: update of parameter `1`: the new value: expected f32 on cpu, got f64 on cpu",
      function(p) return p:to "f64" end },
    { "Broken: update of parameter `2`: state.m: expected shape (3), got (1)", function(p, _, s)
      if p.ndim == 1 then s.m = s.m[{ { 1, 1 } }] end
      return p
    end },
    { "Broken: update of parameter `1`: state.m: expected a tensor of shape (2, 2), got nil",
      function(p, _, s) s.m = nil return p end },
    { "Broken: update of parameter `1` set state.n, which is not declared; declare it: state = { \"n\" }",
      function(p, _, s) s.n = p return p end },
    { "Broken: update of parameter `2` is not finite at step 1; nothing was changed",
      function(p) return p.ndim == 1 and p * nan or p - 1 end },
    { "Broken: update of parameter `2`: state.m is not finite at step 1; nothing was changed",
      function(p, _, s) if p.ndim == 1 then s.m = s.m + nan end return p - 1 end },
    { "Broken: update of parameter `1` changed the parameter in place", function(p) return p:sub_(1) end },
    { "Broken: update of parameter `1` changed the gradient in place", function(p, g) g:mul_(2) return p - g end },
    { "Broken: update of parameter `1` changed state.m in place", function(p, _, s) s.m:add_(1) return p end },
    { "no such thing", function() error "no such thing" end },
  }
  for _, case in ipairs(cases) do
    local list = weights(14, "f32", { 2, 2 }, { 3 })
    local before = { list[1]:totable(), list[2]:totable() }
    local opt = broken(case[2])(list)
    backward(list)
    local grads = { list[1].grad:totable(), list[2].grad:totable() }
    expect.raises(case[1], opt.step, opt)
    expect.equal({ list[1]:totable(), list[2]:totable() }, before, case[1])
    expect.equal({ list[1].grad:totable(), list[2].grad:totable() }, grads, case[1])
    expect.equal(opt:state()["m.1"]:totable(), { { 0, 0 }, { 0, 0 } }, case[1])
    expect.equal(opt.steps, 0)
  end
end)

test("a definition that is wrong is refused", function()
  local function define(t)
    t.name = t.name or "Mine"
    t.options = t.options or { lr = { "rate", 1 } }
    return function() optim.define(t) end
  end
  local function update(p) return p end
  expect.raises("optim.define: no option `updat`; did you mean `update`?", define { updat = update })
  expect.raises("optim.define: Mine: expected either update or kernel, got neither", define {})
  expect.raises("optim.define: Mine: expected either update or kernel, got both", define { update = update, kernel = update })
  expect.raises("optim.define: adamw: bam has an optimizer of this name", define { name = "adamw", update = update })
  expect.raises('optim.define: name: expected letters, digits and _, got "a b"', define { name = "a b", update = update })
  expect.raises("Mine: options: the learning rate is missing", define { update = update, options = {} })
  expect.raises("Mine: options.beta: expected { kind, default }",
                define { update = update, options = { lr = { "rate", 1 }, beta = { "rat", 1 } } })
  expect.raises("Mine: default of option beta: expected a number from 0 to below 1, got 1",
                define { update = update, options = { lr = { "rate", 1 }, beta = { "fraction", 1 } } })
  expect.raises("Mine: options: an option cannot be called `step`",
                define { update = update, options = { lr = { "rate", 1 }, step = { "rate", 1 } } })
  expect.raises("Mine: state: expected a list of names", define { update = update, state = 3 })
  expect.raises("accepts and rest belong together", define { update = update, rest = "adamw" })
  expect.raises('Mine: rest: no optimizer is called "adam"; did you mean `adamw`?',
                define { update = update, rest = "adam", accepts = update })
  local w = weights(1, "f32", { 2 })
  expect.raises("optim.Mine: state: expected names of letters, digits and _, and not `step`", function()
    optim.define { name = "Mine", options = { lr = { "rate", 1 } }, state = { "step" }, update = update }(w)
  end)
  expect.raises("optim.Mine: no option `bta`; did you mean `beta`?", function()
    optim.define { name = "Mine", options = { lr = { "rate", 1 }, beta = { "rate", 1 } }, update = update }(w, { bta = 1 })
  end)
  expect.raises("an elementwise optimizer keeps state of the parameters' shapes only", function()
    optim.define { name = "Mine", options = { lr = { "rate", 1 } }, elementwise = true, update = update,
                   state = { m = { shape = { 2 } } } }(w)
  end)
  expect.raises('optim.Muon: option adjust_lr: expected "match_rms_adamw" or "original", got "none"', optim.Muon, w,
                { adjust_lr = "none" })
  expect.raises("optim.Muon: option adamw: no option `beta`; did you mean `betas`?", optim.Muon, w, { adamw = { beta = 1 } })
  expect.equal(w[1].grad, nil)
end)

test("a definition prints its options, and help tells them", function()
  local d = sign(true)
  expect.equal(tostring(d), "optimizer FlatSign: beta = 0.5 (a number from 0 to below 1), lr = 0.1 (a number of at "
               .. "least 0), weight_decay = 0.1 (a number of at least 0)")
  local printed, write = {}, io.write
  io.write = function(...) printed[#printed + 1] = table.concat { ... } end -- luacheck: ignore
  require "bam.help"(d)
  io.write = write -- luacheck: ignore
  expect.contains(table.concat(printed), { "(params, options?)", "beta?: number - of the momentum; 0.5 by default" })
  expect.same(optim.Optimiser, optim.Optimizer, "the name before version 0.2")
end)
