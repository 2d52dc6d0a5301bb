-- A small script for each function that C gives to Lua: bam.core, every registered op with its
-- backward, methods, properties, indexing, operators. Only bam.core is used, so that a bare state
-- can run them with allocations failing. The result: a list of { name = , run = }; a binding
-- without a script is an error here.
local core = require "bam.core"
local ops, methods = core.ops, core.methods

local PATH = os.tmpname()

local a, b = core.rand(3, 4), core.rand(3, 4)
local flags = ops.gt(a, b)
local whole = core.randint(1, 3, 3, 4)
local F64 = { dtype = "f64" }

local function leaf(...) return core.rand({ ... }, { requires_grad = true }) end
local function grid() return core.rand(3, 4, { requires_grad = true }) end

-- A call that the CPU refuses in these words.
local function refused(words, f, ...)
  local _, message = pcall(f, ...)
  if not message:find(words, 1, true) then error(message, 0) end
end

-- Differentiate the sum of a result.
local function back(y) core.backward(ops.sum(y)) end

local OPS = {
  pow = function() back(ops.pow(grid(), ops.add(b, 1))) end,
  floordiv = function() ops.floordiv(whole, 2) end,
  where = function() back(ops.where(flags, grid(), 0.5)) end,
  masked_fill = function() back(ops.masked_fill(grid(), flags, 2)) end,
  clamp = function() back(ops.clamp(grid(), 0.2, 0.7)) end,
  dropout = function() back(ops.dropout(grid(), 0.3)) end,
  reshape = function() back(ops.reshape(grid(), 2, -1)) end,
  view = function() back(ops.view(grid(), { 6, 2 })) end,
  permute = function() back(ops.permute(grid(), 2, 1)) end,
  narrow = function() back(ops.narrow(grid(), 2, 2, 2)) end,
  select = function() back(ops.select(grid(), 1, -1)) end,
  expand = function() back(ops.expand(grid(), 2, 3, 4)) end,
  contiguous = function() back(ops.contiguous(ops.permute(grid(), 2, 1))) end,
  to = function() back(ops.to(grid(), "f64")) end,
  cumsum = function() back(ops.cumsum(grid(), 1)) end,
  matmul = function() back(ops.matmul(grid(), core.rand(4, 5, { requires_grad = true }))) end,
  index_select = function() back(ops.index_select(grid(), core.tensor { 2, 2 }, 2)) end,
  index_add = function() back(ops.index_add(grid(), core.tensor { 2, 2 }, core.rand(2, 4))) end,
  gather = function() back(ops.gather(grid(), whole, 1)) end,
  scatter_add = function() back(ops.scatter_add(grid(), whole, b, 1)) end,
  masked_select = function() back(ops.masked_select(grid(), flags)) end,
  one_hot = function() ops.one_hot(whole, 3) end,
  sort = function() back((ops.sort(grid(), 1))) end,
  topk = function() back((ops.topk(grid(), 2))) end,
  concat = function() back(ops.concat({ grid(), b }, 2)) end,
  stack = function() back(ops.stack { grid(), b }) end,
  pad = function() back(ops.pad(grid(), { 1, 0 }, { 0, 2 }, 0.5)) end,
  roll = function() back(ops.roll(grid(), 2, -1)) end,
  embedding = function() back(ops.embedding(core.tensor { 0, 2, 0 }, grid())) end,
  layer_norm = function() back(ops.layer_norm(grid(), leaf(4), leaf(4))) end,
  add_layer_norm = function() back((ops.add_layer_norm(grid(), b, leaf(4)))) end,
  rms_norm = function() back(ops.rms_norm(grid(), leaf(4))) end,
  add_rms_norm = function() back((ops.add_rms_norm(grid(), b, leaf(4)))) end,
  linear = function()
    back(ops.linear(grid(), core.rand(5, 4, { requires_grad = true }), leaf(5)))
  end,
  add_linear = function()
    back(ops.add_linear(grid(), core.rand(5, 4, { requires_grad = true }), leaf(3, 5), leaf(5)))
    back(ops.add_linear(grid(), core.rand(4, 4, { requires_grad = true }), grid()))
  end,
  rope = function() back(ops.rope(core.rand(1, 3, 2, 4, { requires_grad = true }))) end,
  rope_table = function()
    local positions = ops.rope_table(core.tensor { 0, 1, 5 }, 4)
    back(ops.rope(core.rand(1, 3, 2, 4, { requires_grad = true }), positions))
  end,
  attention = function()
    local q = core.rand(1, 3, 2, 4, { requires_grad = true })
    local k, documents = core.rand(1, 3, 1, 4), core.tensor { { 0, 0, 1 } }
    back(ops.attention(q, k, q[{ {}, {}, { 1, 1 } }], documents))
  end,
  document_starts = function()
    local starts = ops.document_starts(core.tensor { { 0, 0, 1 } })
    back(ops.attention(leaf(1, 3, 2, 4), core.rand(1, 3, 1, 4), core.rand(1, 3, 1, 4), starts))
  end,
  mixture_of_attention = function()
    local x, gates = core.rand(1, 3, 4, { requires_grad = true }), leaf(1, 3, 2)
    local documents, positions = core.tensor { { 0, 0, 1 } }, core.tensor { 0, 1, 0 }
    local options = { heads = 2, kv_heads = 1 }
    back(ops.mixture_of_attention(x, leaf(16, 4), leaf(4, 8), gates, documents, positions, options))
    back(ops.mixture_of_attention(x, leaf(8, 4), leaf(4, 4), options))
  end,
  route = function()
    local gates, _, losses = ops.route(grid(), 2, { renormalise = true, aux_tokens = 3 })
    core.backward(ops.add(ops.sum(gates), ops.sum(losses)))
  end,
  routed_ffn = function()
    local experts = core.tensor { { 1, 0 }, { 3, 1 }, { 1, 1 } }
    back(ops.routed_ffn(grid(), leaf(3, 2), experts, leaf(3, 10, 4), leaf(3, 4, 5)))
  end,
  expert_order = function()
    local order = ops.expert_order(core.tensor { { 1, 0 }, { 3, 1 }, { 1, 1 } }, 3)
    back(ops.routed_ffn(grid(), leaf(3, 2), order, leaf(3, 10, 4), leaf(3, 4, 5)))
  end,
  cross_entropy = function() core.backward(ops.cross_entropy(grid(), core.tensor { 0, 3, 1 })) end,
  linear_cross_entropy = function()
    local weight, targets = core.rand(7, 4, { requires_grad = true }), core.tensor { 0, 3, 6 }
    core.backward(ops.linear_cross_entropy(grid(), weight, targets))
    core.backward(ops.linear_cross_entropy(grid(), weight, targets, { scale = 0.25, chunk = 2 }))
  end,
}
for name in ("logical_and logical_or logical_xor"):gmatch "%S+" do
  OPS[name] = function() ops[name](flags, true) end
end
OPS.logical_not = function() ops.logical_not(flags) end
for name in ("add sub mul div mod maximum minimum"):gmatch "%S+" do
  OPS[name] = function() back(ops[name](grid(), ops.add(b, 1))) end
end
for name in ("eq ne lt le gt ge"):gmatch "%S+" do
  OPS[name] = function() ops[name](a, 0.5) end
end
for name in ("isnan isinf isfinite any all argmax argmin"):gmatch "%S+" do
  OPS[name] = function() ops[name](a) end
end
for name in ("neg exp log sqrt rsqrt sin cos tanh sigmoid softplus silu gelu relu abs sign "
             .. "floor ceil round clone sum mean prod max min var norm softmax log_softmax "
             .. "logsumexp flip tril triu swiglu geglu"):gmatch "%S+" do
  OPS[name] = function() back(ops[name](grid())) end
end

local function double(x) return ops.mul(x, 2) end

-- The parts of an encoder: all bytes, "ab", and a special token.
local BPE = { label = "test", words = {}, merges = { 97, 98 }, patterns = { "a.?|b" },
              added = { { id = 257, special = true }, { id = 256, normalized = true } },
              whole_words = true }
for i = 0, 255 do BPE.words[i + 1] = string.char(i) end
BPE.words[257], BPE.words[258] = "ab", "<s>"

local CORE = {
  trace_all = function() core.trace_all(false) end,
  profile_begin = function()
    core.profile_end() -- of a run that failed
    core.profile_begin()
    core.profile_end()
  end,
  profile_end = function()
    core.profile_end()
    core.profile_begin()
    ops.add(a, b)
    core.profile_end()
  end,
  closed = function() return core.closed(a) end,
  op_named = function() return core.op_named("add", "add_")(a, b) end,
  overwrite = function() core.overwrite(core.zeros(3, 4), whole, "fill_") end,
  backward = function() core.backward(ops.mul(grid(), 2), b) end,
  with_grad = function() core.with_grad(false, double, a) end,
  is_recording = function() core.is_recording() end,
  reserve_nodes = function() core.reserve_nodes() end,
  record_at = function()
    local place = core.reserve_nodes()
    local after = core.record_at(place)
    local y = double(grid())
    core.record_at(after)
    back(y)
  end,
  record = function()
    local x = grid()
    local y = core.record({ x }, { core.rand(3, 4) }, double)[1]
    core.backward(y, b)
  end,
  check_nan = function()
    core.check_nan(true)
    local ok, message = pcall(back, ops.mul(grid(), 2))
    core.check_nan(false)
    if not ok then error(message, 0) end
  end,
  product_library = function() core.product_library() end,
  product_algorithms = function() core.product_algorithms() end,
  set_product_algorithms = function()
    local entry = { product = "f32", rank = 1, algorithm = string.rep("0f", 64), ms = 1, first_ms = 2 }
    refused("one implementation", core.set_product_algorithms, { entry }, true)
  end,
  capture = function() refused("no graphs", core.capture, "cpu") end,
  capture_input = function() core.capture_input(core.zeros(3, 4), a) end,
  docs = function() core.docs() end,
  tensor = function() core.tensor({ { 1, 2.5 }, { 3, 4 } }, F64) end,
  zeros = function() core.zeros(3, 4) end,
  ones = function() core.ones({ 3, 4 }, { dtype = "bf16" }) end,
  empty = function() core.empty(3, 4) end,
  full = function() core.full({ 3, 4 }, 7) end,
  arange = function() core.arange(2, 9, 3, F64) end,
  linspace = function() core.linspace(0, 1, 5) end,
  eye = function() core.eye(3) end,
  rand = function() core.rand(3, 4) end,
  randn = function() core.randn(3, 4, F64) end,
  randint = function() core.randint(1, 6, 3, 4) end,
  randperm = function() core.randperm(5) end,
  bytes = function() core.bytes "text" end,
  save = function()
    core.save(PATH, { a = a, b = ops.permute(b, 2, 1), c = whole }, { key = "value" })
  end,
  load = function()
    core.save(PATH, { a = a, flags = flags }) core.load(PATH) core.load(PATH, { "a" })
  end,
  open_tensors = function()
    core.save(PATH, { a = a, i = core.arange(1, 9) }, { key = "value" })
    local stored = core.open_tensors(PATH)
    local text = tostring(stored.a) .. #stored.a .. stored.a.dtype .. stored.a.shape[1]
    return stored.a:read(), stored.i:read(2, 3), text
  end,
  save_npy = function() core.save_npy(PATH, ops.permute(a, 2, 1)) end,
  load_npy = function() core.save_npy(PATH, a) core.load_npy(PATH) end,
  json_decode = function() core.json_decode '{"a": [1, 2.5, [], {}], "b\\n": [null, true, "c"]}' end,
  json_encode = function()
    core.json_encode({ { 1, 2.5, ("a long text "):rep(200) }, { b = true, a = {} } }, 2)
  end,
  bpe = function()
    local bpe = core.bpe(BPE)
    local buffer = core.token_buffer()
    local ids = bpe:encode("abab<s>\xff", true)
    bpe:append("abc", buffer, false)
    return bpe:decode(ids), bpe:decode(buffer:take()), bpe:find "ab", bpe:cut "abab\xff"
  end,
  bpe_trainer = function()
    local trainer = core.bpe_trainer { label = "test", patterns = { "a+|b" }, special = { "<s>" } }
    trainer:add("aab") trainer:add("aaaa")
    return trainer:train(259)
  end,
  token_buffer = function()
    local buffer = core.token_buffer()
    buffer:push(7)
    return #buffer, tostring(buffer), buffer:take()
  end,
  is_directory = function() core.is_directory "/tmp" end,
  list_directory = function() core.list_directory "/" end,
  make_directory = function()
    local path = PATH .. "-made"
    core.make_directory(path) os.remove(path)
  end,
  stage_directory = function()
    core.discard_directory(core.stage_directory(PATH .. "-staged"))
  end,
  discard_directory = function()
    core.discard_directory(core.stage_directory(PATH .. "-discarded"))
  end,
  commit_directory = function()
    local path = PATH .. "-committed"
    core.commit_directory(core.stage_directory(path), path)
    core.commit_directory(core.stage_directory(path), path)
    os.remove(path)
  end,
  read_file = function() core.write_file(PATH, "text") core.read_file(PATH) end,
  write_file = function() core.write_file(PATH, "text") end,
  hash = function() core.hash "text" end,
  hash64 = function() core.hash64 "text" end,
  hash_tensor = function() core.hash_tensor(ops.permute(a, 2, 1)) end,
  hash_file = function() core.write_file(PATH, "text") core.hash_file(PATH) end,
  text_open = function()
    local path = PATH .. ".jsonl"
    core.write_file(path, '{"text": "a"}')
    local reader <close> = core.text_open(path, { field = "text" })
    assert(reader:next() == "a" and not reader:next() and tostring(reader))
    os.remove(path)
  end,
  text_name = function() core.text_name "a.JSONL.gz" end,
  pack_windows = function()
    local tokens, documents = core.tensor({ 5, 6, 7 }, { dtype = "i32" }), core.tensor { 0, 2 }
    core.pack_windows(tokens, documents, { 0, 1 }, 3)
  end,
  lock = function()
    local lock <close> = core.lock(PATH .. "-lock")
    assert(select(2, core.lock(PATH .. "-lock")) and tostring(lock))
  end,
  glob = function() core.glob "/*" end,
  file_info = function() core.file_info "/" end,
  absolute = function() core.absolute "a/b" end,
  link = function() core.link("x", PATH .. "-link") core.remove_file(PATH .. "-link") end,
  append_file = function() core.append_file(PATH, "text") end,
  truncate_file = function() core.append_file(PATH, "text") core.truncate_file(PATH, 0) end,
  staged_for = function() core.staged_for "x" end,
  set_aside = function()
    core.write_file(PATH .. "-aside", "x")
    core.remove_file(core.set_aside(PATH .. "-aside"))
  end,
  sync_file = function()
    core.write_file(PATH .. "-sync", "x")
    core.sync_file(PATH .. "-sync")
    core.remove_file(PATH .. "-sync")
  end,
  remove_file = function() core.remove_file(PATH .. "-no") end,
  remove_directory = function()
    local path = PATH .. "-removed"
    core.make_directory(path) core.remove_directory(path)
  end,
  remove_staged = function()
    local path = PATH .. "-cleaned"
    core.make_directory(path) core.remove_staged(path) core.remove_directory(path)
  end,
  defer_signals = function() core.defer_signals(true) core.defer_signals(false) end,
  pending_signal = function() core.pending_signal() end,
  uninterrupted = function() core.uninterrupted(double, a) end,
  terminal = function() core.terminal() end,
  scope = function()
    core.scope(function()
      local kept = methods.keep(core.zeros(1))
      methods.close(kept)
      return { core.zeros(2), double(a) }
    end)
  end,
  move = function() core.move(grid(), core.zeros(3, 4)) end,
  attach = function()
    local x, place = grid(), core.zeros(3, 4) core.attach({ x }, { x }, { place })
  end,
  adamw_step = function()
    core.adamw_step(core.rand(3, 4), a, core.zeros(3, 4), core.zeros(3, 4),
      { lr = 0.1, beta1 = 0.9, beta2 = 0.99, eps = 1e-8, weight_decay = 0, step = 1 })
  end,
  lion_step = function()
    core.lion_step(core.rand(3, 4), a, core.zeros(3, 4), { lr = 0.1, beta1 = 0.9, beta2 = 0.99, weight_decay = 0 })
  end,
  sgd_step = function()
    core.sgd_step(core.rand(3, 4), a, core.zeros(3, 4),
      { lr = 0.1, momentum = 0.9, weight_decay = 0, nesterov = true, step = 1 })
  end,
  grad_norm = function() core.grad_norm { a, b } end,
  join_masters = function()
    core.join_masters(core.zeros(3, 4, { dtype = "bf16" }), core.zeros(24, { dtype = "u8" }))
  end,
  split_masters = function()
    core.split_masters(core.rand(3, 4), core.zeros(3, 4, { dtype = "bf16" }), core.zeros(24, { dtype = "u8" }))
  end,
  zero = function() core.zero { core.rand(3, 4) } end,
  seed = function() core.seed(3) end,
  random_state = function() core.random_state(core.random_state()) end,
  threads = function() core.threads(core.threads()) end,
  memory = function() core.memory() end,
  memory_limit = function() core.memory_limit(0) end,
  isa = function() core.isa() end,
  multiplies_fp8 = function() core.multiplies_fp8 'cpu' end,
  computes = function() core.computes('f32', 'cpu') end,
  try = function() core.try(error, 'x') end,
  at_end = function() core.at_end(print) end,
  copy_fields = function() core.copy_fields({}, {}, { a = { b = 1 } }, 2) end,
  peak = function() core.peak() end,
  device = function() core.device(core.device()) end,
  devices = function() core.devices() end,
  synchronize = function() core.synchronize() end,
  tf32 = function() core.tf32(core.tf32()) end,
  nearest = function() core.nearest("summ", { "sum", "mean" }) end,
  version = function() core.version(a) end,
  clock = function() core.clock() end,
  sleep = function() core.sleep(0) end,
}

local METHODS = {
  item = function()
    return methods.item(a[1][2]), methods.item(whole[1][2]), methods.item(flags[1][2])
  end,
  totable = function() methods.totable(a) methods.totable(whole) methods.totable(flags) end,
  size = function() methods.size(a, -1) end,
  count = function() methods.count(a) end,
  detach = function() methods.detach(grid()) end,
  is_contiguous = function() methods.is_contiguous(a) end,
  copy_ = function() methods.copy_(core.zeros(3, 4), whole) end,
  keep = function() core.scope(function() methods.keep(core.zeros(1)) end) end,
  close = function() methods.close(core.zeros(1)) end,
  same = function() methods.same(a, b) end,
}

local OTHER = {
  properties = function()
    return a.shape, a.strides, a.dtype, a.device, a.ndim, a.is_leaf, a.requires_grad
  end,
  grad = function() local x = grid() x.grad = b return x.grad end,
  requires_grad = function() core.zeros(2).requires_grad = true end,
  index = function() return a[1], a[-1][2], a[{ {}, { 1, 4, 2 } }], a[{ 2, { 2, 3 } }], #a end,
  index_tensors = function()
    return a[flags], a[core.tensor { 3, 1 }], a[{ core.tensor { 3, 1 }, { 2, 3 } }]
  end,
  assign = function()
    local x = core.zeros(3, 4)
    x[1], x[{ 2, { 1, 2 } }], x[{ {}, 3 }] = 5, { 1, 2 }, a[1][1]
  end,
  assign_tensors = function()
    local x = core.zeros(3, 4)
    x[flags], x[core.tensor { 1, 3 }] = 7, core.ones(2, 4)
  end,
  operators = function()
    return a + b - 1, 2 * a / b, -a ^ 2, whole // 2 % 3, flags & true | flags ~ ~flags
  end,
}

local cases = {}

-- Add a case for each entry of `bindings`, which the table `scripts` must have.
local function add(kind, bindings, scripts)
  local names = {}
  for name in pairs(bindings) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    assert(scripts[name], ("bindings.lua has no script for the %s %s"):format(kind, name))
    cases[#cases + 1] = { name = ("%s %s"):format(kind, name), run = scripts[name] }
  end
end

local functions, plain_methods = {}, {}
for name, value in pairs(core) do
  if type(value) == "function" and name ~= "fail_allocation" then functions[name] = value end
end
for name in pairs(METHODS) do plain_methods[name] = assert(methods[name], name) end
add("op", ops, OPS)
add("function", functions, CORE)
add("method", plain_methods, METHODS)
add("use of", OTHER, OTHER)
return cases
