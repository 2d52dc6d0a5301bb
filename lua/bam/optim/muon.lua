-- Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/): the momentum of each weight matrix of the
-- hidden layers is orthogonalized by a Newton-Schulz iteration; AdamW updates everything else. The scaling
-- "match_rms_adamw" is of Liu et al. 2025, Muon is Scalable for LLM Training, arXiv:2502.16982, §2.2.
local check = require "bam.util.check"
local core = require "bam.core"
local definition = require "bam.optim.definition"
local matrices = require "bam.nn.matrices"

local ops = core.ops

local function times(x, factor) return ops.mul(x, factor) end

-- a X + (b A + c A²) X with A = X Xᵀ, of matrices [N, R, C] with R <= C.
local function iterate(x, coefficients)
  local a, b, c = coefficients[1], coefficients[2], coefficients[3]
  local gram = ops.matmul(x, ops.permute(x, 1, 3, 2))
  local polynomial = ops.add(times(gram, b), times(ops.matmul(gram, gram), c))
  return ops.add(times(x, a), ops.matmul(polynomial, x))
end

-- Of each of the matrices [N, R, C] about the nearest one whose singular values are equal.
local function orthogonalize(x, o)
  local is_tall = x:size(2) > x:size(3)
  if is_tall then x = ops.permute(x, 1, 3, 2) end
  local norm = ops.sqrt(ops.sum(ops.mul(x, x), { 2, 3 }, { keepdim = true }))
  x = ops.div(x, ops.maximum(norm, o.eps)) -- the largest singular value is at most 1
  for _ = 1, o.ns_steps do x = iterate(x, o.ns_coefficients) end
  return is_tall and ops.permute(x, 1, 3, 2) or x
end

-- What an update of a matrix [rows, columns] is multiplied by.
local SCALES = {
  match_rms_adamw = function(rows, columns) return 0.2 * math.sqrt(math.max(rows, columns)) end,
  original = function(rows, columns) return math.sqrt(math.max(1, rows / columns)) end,
}

-- The direction of every matrix that `momentum` holds, orthogonalized and scaled.
local function direction_of(momentum, o)
  local result = core.empty(momentum.shape, { dtype = momentum.dtype, device = momentum.device })
  local parts = matrices.of(momentum, o.name, o.module)
  for i, target in ipairs(matrices.of(result, o.name, o.module)) do
    local part = parts[i]
    local x = ops.reshape(part.view, part.count, part.rows, part.columns)
    x = times(orthogonalize(x, o), SCALES[o.adjust_lr](part.rows, part.columns))
    target.view:copy_(ops.reshape(x, target.view.shape))
  end
  return result
end

local function update(param, grad, state, o)
  state.momentum = ops.add(times(state.momentum, o.momentum), times(grad, 1 - o.momentum))
  local ahead = state.momentum
  if o.nesterov then ahead = ops.add(times(grad, 1 - o.momentum), times(ahead, o.momentum)) end
  return ops.sub(times(param, 1 - o.lr * o.weight_decay), times(direction_of(ahead, o), o.lr))
end

-- Hidden layers are what is left without vectors, embeddings, heads and routers, which are heads over experts.
local function accepts(name, tensor, module, o)
  if tensor.ndim < 2 then return false end
  if type(o.use_muon) == "boolean" then return o.use_muon end
  if o.use_muon then return o.use_muon(name, tensor, module) end
  return not (module and (module.no_decay or module.is_head))
end

local function check_options(what, o)
  if not SCALES[o.adjust_lr] then
    check.fail('%s: option adjust_lr: expected "match_rms_adamw" or "original", got "%s"', what, o.adjust_lr)
  end
  if o.use_muon ~= nil and type(o.use_muon) ~= "boolean" then
    check.value(string.format("%s: option use_muon", what), o.use_muon, "callable")
  end
  if #o.ns_coefficients ~= 3 then
    check.fail("%s: option ns_coefficients: expected three numbers, got %d", what, #o.ns_coefficients)
  end
  for i, x in ipairs(o.ns_coefficients) do
    check.value(string.format("%s: option ns_coefficients: number %d", what, i), x, "number")
  end
end

return definition.define_builtin {
  name = "Muon",
  doc = "Momentum orthogonalized by Newton-Schulz iterations. It updates the matrices of hidden layers; AdamW updates\n"
    .. "embeddings, head, routers, norms and biases. With adjust_lr = \"match_rms_adamw\" learning rates and weight\n"
    .. "decay are those of AdamW; with \"original\" they are larger: give AdamW its own, adamw = { lr_scale = 0.1 }.\n"
    .. "Matrices that a layer stacks in one parameter (queries, keys, values; gate and up; experts) are separate: a\n"
    .. "layer of your own lists them in a method matrices(x, key).",
  options = {
    lr = { "rate", 1e-3, doc = "opt:step(lr) overrides it" },
    momentum = { "fraction", 0.95 },
    nesterov = { "boolean", true },
    weight_decay = { "rate", 0.1 },
    ns_steps = { "size", 5, doc = "Newton-Schulz iterations" },
    ns_coefficients = { "list", { 3.4445, -4.7750, 2.0315 }, doc = "coefficients of X, XXᵀX and (XXᵀ)²X per step" },
    eps = { "positive", 1e-7, doc = "lower bound of the norm that the momentum is divided by" },
    adjust_lr = { "string", "match_rms_adamw",
                  doc = "factor of an update: 0.2 sqrt(max(rows, columns)), which gives it the size of AdamW's; "
                    .. 'with "original" sqrt(max(1, rows / columns))' },
    use_muon = { "any", optional = true,
                 doc = "function(name, tensor, module), or true or false in a group: does Muon update this parameter? "
                   .. "Vectors are never updated by it" },
  },
  state = { "momentum" },
  check = check_options,
  accepts = accepts,
  rest = "AdamW",
  update = update,
}
