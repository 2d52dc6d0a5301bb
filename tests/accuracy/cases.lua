-- Inputs on which f32 is hard, for every registered op: large logits, constant rows far from 0, denormals, long sums,
-- cancellation. A case is { op, label, inputs, attributes, relative = , floor = , bound = }; its f32 inputs want gradients.
--
-- An error is counted in units of roundoff, 2^-24, of the largest element of the result (or gradient), or with `relative`
-- of each element ("results": of gradients the largest). `bound` is what tests/lua/accuracy.lua allows: twice what was
-- measured with the kernels for baseline, AVX2 and AVX-512, since the order of sums and the last bits of exp and the
-- like depend on them (more for products: the library may change); 1 is a result that was rounded once, 0 one that is
-- exact. A product of k terms may be off by k units and comes to about the root of k; where logits or scores are large,
-- what their own rounding does to exp is most of it.
local bam = require "bam"

local cases = {}

local function case(op, label, inputs, attributes, more)
  local c = { op = op, label = label, inputs = inputs, attributes = attributes or {} }
  for name, value in pairs(more or {}) do c[name] = value end
  cases[#cases + 1] = c
end

local function normal(...) return bam.randn(...) end
local function uniform(low, high, ...) return bam.rand(...) * (high - low) + low end
-- magnitudes from 2^low to 2^high
local function magnitudes(low, high, ...)
  return (uniform(low, high, { ... }, { dtype = "f64" }) * math.log(2)):exp():to "f32"
end
local function signs(...) return (bam.randint(0, 1, ...) * 2 - 1):to "f32" end
local function spread(low, high, ...) return magnitudes(low, high, ...) * signs(...) end

bam.seed(11)

-- ---- elementwise: each element counts by itself ----
local N = 4000
local function unary(op, label, x, bound, attributes)
  case(op, label, { x }, attributes, { relative = true, bound = bound })
end
-- derivatives that are 1 - y where y rounds to 1, or that change their sign: relative to the largest
local function curve(op, label, x, bound, attributes)
  case(op, label, { x }, attributes, { relative = "results", bound = bound })
end
unary("exp", "whole range", uniform(-87, 88, N), 4)
unary("log", "whole range", magnitudes(-126, 127, N), 3)
unary("log", "beside 1", spread(-22, -2, N) + 1, 3)
unary("sqrt", "whole range", magnitudes(-126, 127, N), 4)
unary("rsqrt", "most of the range", magnitudes(-80, 80, N), 12)
unary("sin", "within 100", uniform(-100, 100, N), 4)
unary("sin", "within 1e5", uniform(-1e5, 1e5, N), 4)
unary("cos", "within 100", uniform(-100, 100, N), 4)
curve("tanh", "small and large", spread(-30, 3, N), 5)
curve("sigmoid", "within 80", uniform(-80, 80, N), 11)
unary("softplus", "within 80", uniform(-80, 80, N), 6)
curve("silu", "within 60", uniform(-60, 60, N), 26)
curve("gelu", "within 5", uniform(-5, 5, N), 24)
curve("gelu", "with tanh", uniform(-3, 3, N), 26, { approximate = true })
for op in ("neg abs sign relu floor ceil round isnan isinf isfinite contiguous clone"):gmatch "%S+" do
  unary(op, "", spread(-20, 20, N), 0)
end
local function binary(op, label, a, b, bound)
  case(op, label, { a, b }, {}, { relative = true, bound = bound })
end
binary("add", "cancellation", spread(-3, 3, N), spread(-3, 3, N), 1)
binary("sub", "cancellation", spread(-3, 3, N), spread(-3, 3, N), 1)
binary("mul", "", spread(-60, 60, N), spread(-60, 60, N), 1)
binary("div", "", spread(-40, 40, N), spread(-40, 40, N), 5)
binary("pow", "", magnitudes(-8, 8, N), uniform(-10, 10, N), 90)
binary("mod", "", spread(-3, 9, N), spread(-3, 3, N), 1)
binary("floordiv", "", bam.randint(-1000, 1000, N):to "f32" + 0.5, spread(0, 0, N), 0)
for op in ("maximum minimum eq ne lt le gt ge"):gmatch "%S+" do binary(op, "", normal(N), normal(N), 0) end
for op in ("logical_and logical_or logical_xor"):gmatch "%S+" do
  binary(op, "", normal(N):gt(0), normal(N):gt(0), 0)
end
case("logical_not", "", { normal(N):gt(0) }, {}, { bound = 0 })
case("where", "", { normal(N):gt(0), normal(N), normal(N) }, {}, { bound = 0 })
case("masked_fill", "", { normal(N), normal(N):gt(0), bam.tensor(0.5) }, {}, { bound = 3 }) -- the value's gradient is a sum
case("clamp", "", { normal(N) }, { min = -0.5, max = 0.75 }, { bound = 0 })
case("dropout", "", { normal(N) }, { p = 0.3 }, { bound = 3, relative = true, random = true })

-- ---- sums ----
case("add", "a bias for 5000 rows", { normal(5000, 8), normal(8) }, {}, { bound = 2 })
case("sum", "100000 beside 1", { uniform(0.9, 1.1, 100000) }, {}, { bound = 1 })
case("sum", "cancellation", { normal(100000) * 1e4 }, {}, { bound = 1 })
case("sum", "columns", { normal(3000, 40) + 100 }, { dim = 1 }, { bound = 1 })
case("mean", "100000 beside 1", { uniform(0.9, 1.1, 100000) }, {}, { bound = 2 })
case("prod", "32 factors", { uniform(0.5, 2, 20, 32) }, { dim = 2 }, { bound = 2 })
case("cumsum", "5000 terms", { normal(3, 5000) + 0.5 }, { dim = 2 }, { bound = 2 })
case("var", "far from 0", { normal(20, 4096) + 1000 }, { dim = 2 }, { bound = 220 })
case("var", "", { normal(20, 400) }, { dim = 2 }, { bound = 3 })
case("norm", "long", { normal(100000) }, {}, { bound = 3 })
case("norm", "denormals", { spread(-147, -130, 4, 30) }, { dim = 2 }, { bound = 2, relative = true })
case("norm", "sum of magnitudes", { normal(100000) }, { p = 1 }, { bound = 1 })
case("norm", "largest", { normal(100, 30) }, { dim = 2, p = math.huge }, { bound = 0 })
case("max", "", { normal(100, 30) }, { dim = 2 }, { bound = 0 })
case("min", "", { normal(100, 30) }, { dim = 2 }, { bound = 0 })
for op in ("argmax argmin any all"):gmatch "%S+" do case(op, "", { normal(100, 30) }, { dim = 2 }, { bound = 0 }) end
case("expand", "2000 copies", { normal(1, 30) }, { sizes = { 2000, 30 } }, { bound = 2 })

-- ---- softmax and losses ----
for _, s in ipairs { { "", 3, 0 }, { "large logits", 1000, 0 }, { "far from 0", 2, 1e4 } } do
  local function logits(...) return normal(...) * s[2] + s[3] end
  case("softmax", s[1], { logits(40, 300) }, {}, { bound = 4, floor = 1 })
  case("log_softmax", s[1], { logits(40, 300) }, {}, { bound = 4 })
  case("logsumexp", s[1], { logits(40, 300) }, { dim = 2 }, { bound = 4 })
  case("cross_entropy", s[1], { logits(40, 300), bam.randint(0, 299, 40) }, {}, { bound = 11 })
  case("cross_entropy", s[1] .. ", each sure", { logits(40, 20), bam.randint(0, 19, 40) }, { sum = true },
       { bound = 9, floor = 1 })
  local function choices(...) return normal(...) * math.min(s[2], 20) + s[3] end -- p does not underflow
  case("route", s[1], { choices(300, 8) }, { k = 2, renormalise = true, aux_tokens = 100 }, { bound = 4 })
  case("route", s[1] .. ", dense", { choices(300, 8) }, { k = 3, dense = true }, { bound = 4 })
end
case("cross_entropy", "long rows", { normal(6, 32000), bam.randint(0, 31999, 6) }, {}, { bound = 4 })

-- ---- products ----
local function documents(...) return (bam.randint(1, 2, ...):sort(2)) end -- two, one after the other
case("matmul", "2000 terms", { normal(40, 2000), normal(2000, 30) }, {}, { bound = 30 })
case("matmul", "far from 0", { normal(40, 500) + 10, normal(500, 30) - 10 }, {}, { bound = 60 })
case("linear", "2000 terms", { normal(40, 2000), normal(30, 2000), normal(30) }, {}, { bound = 30 })
case("add_linear", "2000 terms", { normal(40, 2000), normal(30, 2000), normal(40, 30), normal(30) }, {}, { bound = 30 })
for _, s in ipairs { { "", 0.2, { chunk = 16 }, 26 }, { "large logits", 20, { scale = 0.125 }, 800 } } do
  case("linear_cross_entropy", s[1], { normal(60, 64), normal(500, 64) * s[2], bam.randint(0, 499, 60) }, s[3], { bound = s[4] })
end
for _, s in ipairs { { "", 1, 16, 24 }, { "large scores", 6, 420, 460 }, { "very large scores", 40, 9000, 16000 } } do
  local function heads(count, scale) return normal(2, 150, count, 32) * (scale or 1) end
  local x, gates, positions = normal(2, 60, 48) * s[2], uniform(0.1, 1, 2, 60, 2), bam.randint(0, 50, 2, 60)
  local qkv, out = normal(2 * 4 * 16 + 2 * 16, 48) * 0.15, normal(32, 2 * 4 * 16) * 0.1
  case("attention", s[1], { heads(4, s[2]), heads(2, s[2]), heads(2), documents(2, 150) }, {}, { bound = s[3] })
  case("mixture_of_attention", s[1], { x, qkv, out, gates, documents(2, 60), positions }, { heads = 4, kv_heads = 1 },
       { bound = s[4] })
end
case("document_starts", "", { documents(2, 60) }, {}, { bound = 0 })
case("routed_ffn", "", { normal(200, 48), uniform(0.1, 1, 200, 2), bam.randint(1, 4, 200, 2), normal(4, 128, 48) * 0.2,
                         normal(4, 48, 64) * 0.2 }, {}, { bound = 18 })
case("expert_order", "", { bam.randint(0, 7, 200, 2) }, { n = 7 }, { bound = 0 })
case("swiglu", "", { uniform(-20, 20, 50, 200) }, {}, { bound = 28 })
case("geglu", "", { uniform(-20, 20, 50, 200) }, {}, { bound = 28 })
case("geglu", "by tanh", { uniform(-20, 20, 50, 200) }, { approximate = true }, { bound = 28 })
case("rope_table", "positions to 100000", { bam.randint(0, 100000, 2, 40) }, { width = 64 }, { bound = 0 })
case("rope", "positions to 100000", { normal(2, 40, 3, 64), bam.randint(0, 100000, 2, 40) }, {}, { bound = 4 })

-- ---- layer norm ----
for _, s in ipairs { { "", 1, 0, 9 }, { "far from 0", 1, 1000, 1300 }, { "nearly constant", 1e-3, 123.45, 70000 },
                     { "tiny", 1e-6, 0, 9 } } do
  local function rows(n, width) return normal(n, width) * s[2] + s[3] end
  case("layer_norm", s[1], { rows(30, 1024), normal(1024), normal(1024) }, {}, { bound = 19 })
  -- the sum that is normalised is a result of its own, rounded to f32: far from 0 that is most of the error
  case("add_layer_norm", s[1], { rows(30, 400), rows(30, 400), normal(400), normal(400) }, {}, { bound = s[4] })
end
case("rms_norm", "", { normal(30, 1024), normal(1024) }, {}, { bound = 19 })
case("rms_norm", "tiny", { normal(30, 1024) * 1e-6, normal(1024) }, {}, { bound = 19 })
case("add_rms_norm", "", { normal(30, 400), normal(30, 400), normal(400) }, {}, { bound = 9 })
case("layer_norm", "long rows", { normal(3, 30000) + 1, normal(30000), normal(30000) }, {}, { bound = 6 })
case("layer_norm", "many rows", { normal(5000, 32), normal(32), normal(32) }, {}, { bound = 9 })
case("layer_norm", "constant rows", { bam.full({ 4, 1024 }, 123.45), normal(1024), normal(1024) }, {}, { bound = 4, floor = 1 })

-- ---- moving; gradients add up what was taken several times ----
local function some(n, ...) return bam.randint(1, n, ...) end
case("index_select", "", { normal(5, 8), some(5, 3000) }, { dim = 1 }, { bound = 30 })
case("index_add", "", { normal(5, 8), some(5, 3000), normal(3000, 8) }, { dim = 1 }, { bound = 30 })
case("gather", "", { normal(5, 8), some(5, 3000, 8) }, { dim = 1 }, { bound = 30 })
case("scatter_add", "", { normal(5, 8), some(5, 3000, 8), normal(3000, 8) }, { dim = 1 }, { bound = 30 })
case("embedding", "", { some(4, 50, 60), normal(5, 8) }, {}, { bound = 30 })
case("masked_select", "", { normal(30, 8), normal(30, 8):gt(0) }, {}, { bound = 0 })
case("one_hot", "", { some(4, 30) }, { n = 4 }, { bound = 0 })
case("concat", "", { { normal(3, 4), normal(3, 2) } }, { dim = 2 }, { bound = 0 })
case("stack", "", { { normal(3, 4), normal(3, 4) } }, { dim = 2 }, { bound = 0 })
for op, attributes in pairs {
  reshape = { sizes = { 2, 30 } }, view = { sizes = { 2, 30 } }, permute = { dims = { 2, 1 } },
  narrow = { dim = 2, start = 2, length = 3 }, select = { dim = 2, position = 3 }, to = { dtype = "f64" },
  flip = { dim = { 2 } }, roll = { shift = 2, dim = 2 }, tril = {}, triu = {}, sort = { dim = 2 }, topk = { k = 3 },
  pad = { before = { 1, 0 }, after = { 0, 2 } } } do
  case(op, "", { normal(10, 6) }, attributes, { bound = 0 })
end

return cases
