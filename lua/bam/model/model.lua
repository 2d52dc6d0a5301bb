--- A model with weights: embedding, blocks, a norm and a head. Dense models and mixtures are
--- the same module with different layers inside.
local batch = require "bam.model.batch"
local Block = require "bam.model.block"
local check = require "bam.util.check"
local codec = require "bam.model.codec"
local core = require "bam.core"
local count = require "bam.model.count"
local description = require "bam.model.description"
local early = require "bam.nn.early"
local freeze = require "bam.model.freeze"
local schedules = require "bam.model.schedules"
local likelihood = require "bam.model.likelihood"
local nn = require "bam.nn"
local old_fields = require "bam.util.old_fields"
local stepping = require "bam.model.step"

local ops = core.ops

local Model = nn.module "Model"

local spec = { dtype = { "dtype", "f32" }, std = { "rate", optional = true } }

--- models.Model(description): a model with random weights from the generator of bam.seed. Use description:build()
--- instead, which gives a mixture the weights of its experts.
---@param d bam.Description
---@param options? { dtype?: "f32"|"f64", std?: number } std replaces that of the description; with 0 only routers
--- are random
function Model:init(d, options)
  if not description.is(d) then
    check.fail("models.Model: expected a description, got %s", check.describe(d))
  end
  local o = check.options("models.Model", options, spec)
  o.std = o.std or d.std
  local vectors = { std = o.std, dtype = o.dtype }
  d = description.copy(d)
  self.description = d
  local now = schedules.at("build", d, 1, 1)
  self.embed = nn.Embedding(d.vocab, d.width, vectors)
  self.layers = {}
  for layer = 1, d.layers do self.layers[layer] = Block(d, layer, o, now) end
  self.norm = Block.make_norm(d, o)
  if not d.tied then self.head = nn.Embedding(d.vocab, d.width, vectors) end
  stepping.begin(self, now)
  freeze.check("model", self)
end

local check_self = description.check_model

--- Set everything that is scheduled to its value at a step: coefficients of the auxiliary losses, temperature,
--- jitter and top_k of routers, and which parameters are frozen. The field `reached` has these values. A new model
--- is at step 1, but with everything trainable: make its optimizer before the first call, since an optimizer cannot
--- train what was frozen when it was made.
---@param step integer from 1
---@param total integer number of steps
function Model:set_step(step, total)
  check_self("set_step", self)
  stepping.set(self, step, total)
end

--- Tell the routers that have a method after_step that the optimizer has taken a step; see nn.Router. bam.train and
--- bam.loop.step do this; a loop of your own does it after opt:step().
---@param routing table[] as in the records of bam.loop: { layer, module, load, gate, entropy }
function Model:after_step(routing)
  check_self("after_step", self)
  stepping.after(self, routing)
end

-- Close x and branch, which a norm has added, if nothing else holds them.
local function close_added(norm, x, branch, fresh, fresh_x)
  if not ((fresh or fresh_x) and early.is_fresh(norm)) then return end
  if fresh then branch:close() end
  if fresh_x then x:close() end
end

-- The normalized residual stream after all blocks, times logit_scale: logits are a product away.
local function hidden(self, ids, pass)
  local x, branch, fresh, fresh_x = self.embed(ids), nil, false, false
  for _, layer in ipairs(self.layers) do
    local next_x, next_branch, next_fresh, next_fresh_x = layer(x, branch, pass)
    close_added(layer.norm, x, branch, fresh, fresh_x)
    x, branch, fresh, fresh_x = next_x, next_branch, next_fresh, next_fresh_x
  end
  local h, scale = self.norm(x, branch), self.description.logit_scale
  close_added(self.norm, x, branch, fresh, fresh_x)
  return scale == 1 and h or ops.mul(h, scale)
end

local function head_weight(self) return (self.head or self.embed).weight end

--- Logits of the next token.
---@param ids tensor integers [B, T], from 0
---@param options? { documents?: tensor, positions?: tensor } integers [B, T], as for bam.attention
---@return tensor logits [B, T, vocab]
function Model:forward(ids, options)
  check_self("forward", self)
  return ops.linear(hidden(self, ids, batch.new("model", ids, options)), head_weight(self))
end

-- f(...) as in evaluation, without a gradient.
local function evaluating(self, f, ...) return core.with_grad(false, self.in_eval, self, f, ...) end

--- What the routers do with a text in evaluation mode, without gradients: a list of { layer, module, statistics,
--- losses }, see nn.Router; module is "attention" or "ffn".
---@param ids tensor|string integers [B, T], or a text
---@param options? { documents?: tensor, positions?: tensor } integers [B, T]
---@return table[]
function Model:routing(ids, options)
  check_self("routing", self)
  if type(ids) == "string" then
    local encoded = codec.of("routing", self, self.description.vocab):encode(ids)
    ids = core.tensor({ encoded }, { dtype = "i64", device = self.embed.weight.device })
  end
  local pass = batch.new("routing", ids, options)
  evaluating(self, hidden, self, ids, pass)
  return pass.routing
end

-- alpha * load balance + beta * z of all routers that have losses; nil when there is none.
local function auxiliary(self, routing)
  local sum
  for _, record in ipairs(routing) do
    if record.losses then sum = sum and ops.add(sum, record.losses) or record.losses end
  end
  if not sum then return nil end
  local coefficients = core.tensor({ self.load_balance, self.z_loss },
                                   { dtype = sum.dtype, device = sum.device })
  return ops.sum(ops.mul(sum, coefficients)), sum
end

local loss_spec = {
  documents = batch.spec.documents, positions = batch.spec.positions,
  scale = { "number", optional = true }, share = { "rate", 1 },
  ignore_index = { "integer", -100 },
}

---@class models.LossOptions
---@field documents? tensor integers [B, T]
---@field positions? tensor integers [B, T]
---@field scale? number factor of the summed likelihood, 1 / targets of the whole batch; by default the mean is
--- taken
---@field share? number factor of the auxiliary losses: the share of the batch's targets in this call; 1 by default
---@field ignore_index? integer target of padding, -100 by default

--- What training minimizes: the loss, which is the mean negative log likelihood of the targets, plus load_balance and
--- z_loss times the auxiliary losses summed over layers (BAM §4.2). In a dense model it is the loss. Tokens whose
--- target is ignore_index are padding and count in none of these. To accumulate gradients over several calls, pass
--- `scale` and `share`.
---@param ids tensor integers [B, T], from 0
---@param targets tensor integers [B, T]
---@param options? models.LossOptions
---@return tensor total
---@return { loss: tensor, losses?: tensor, routing: table[] } parts losses is [2], load balance and z
function Model:loss(ids, targets, options)
  check_self("loss", self)
  local o = check.options("loss", options, loss_spec)
  local pass = batch.new("loss", ids, { documents = o.documents, positions = o.positions })
  batch.check_alike("loss", ids, "targets", targets)
  pass.mask = description.is_mixture(self.description) and ops.ne(targets, o.ignore_index) or nil
  local loss = ops.linear_cross_entropy(hidden(self, ids, pass), head_weight(self), targets,
                                       { ignore_index = o.ignore_index, scale = o.scale })
  local extra, losses = auxiliary(self, pass.routing)
  if extra and o.share ~= 1 then extra = ops.mul(extra, o.share) end
  return extra and ops.add(loss, extra) or loss,
         old_fields.metrics { loss = loss, losses = losses, routing = pass.routing }
end

--- The log-probability of each target, in evaluation mode and without recording.
---@param ids tensor integers [B, T]
---@param targets tensor integers [B, T]; the result is 0 where they are -100
---@param options? { documents?: tensor, positions?: tensor } integers [B, T]
---@return tensor [B, T]
function Model:log_likelihood(ids, targets, options)
  check_self("log_likelihood", self)
  local pass = batch.new("log_likelihood", ids, options)
  batch.check_alike("log_likelihood", ids, "targets", targets)
  return evaluating(self, function()
    local h = ops.reshape(hidden(self, ids, pass), -1, self.description.width)
    local flat = ops.reshape(ops.contiguous(targets), -1)
    return ops.reshape(likelihood(h, head_weight(self), flat), targets.shape)
  end)
end

--- Count the parameters: all, and those that are active for one token.
---@return integer total
---@return integer active
function Model:count()
  check_self("count", self)
  return count.parameters(self.description)
end

--- FLOPs per token, as in description:flops.
---@param context integer tokens of a sequence
---@return { layer: table, training: integer, palm: integer }
function Model:flops(context)
  check_self("flops", self)
  return self.description:flops(context)
end

return Model
