--- Attention experts, softly mixed (BAM §3.4, §4.1): all experts attend for every token, and the gates of a router
--- weight their results. They are computed as the heads of one attention. `qkv` has the rows of all query heads,
--- then all key heads, then all value heads; `out` has the columns of all query heads; heads are in the order (KV
--- head, expert, head). Two parameters `queries` and `keys_values` with the same rows may replace `qkv`. A single
--- expert has no router: it is the attention of a dense model. With norms of queries and keys, the same is computed in
--- several ops.
local check = require "bam.util.check"
local check_heads = require "bam.nn.heads"
local core = require "bam.core"
local documents = require "bam.nn.documents"
local early_routing = require "bam.nn.moe.early_routing"
local frequencies = require "bam.nn.frequencies"
local Router = require "bam.nn.moe.router"
local router_options = require "bam.nn.moe.router_options"
local routing = require "bam.nn.moe.routing"
local several_ops = require "bam.nn.moe.several_ops"
local weights = require "bam.nn.weights"

local ops = core.ops

local MixtureOfAttention = require("bam.nn.module").module "MixtureOfAttention"

MixtureOfAttention._fresh = {} -- see bam.nn.early
MixtureOfAttention._fp8 = false -- see Module:fp8
MixtureOfAttention._adds = true -- see bam.nn.residual

local spec = router_options.add_to {
  width = { "size" }, heads = { "size" }, kv_heads = { "size", optional = true },
  head_width = { "size", optional = true }, experts = { "size", 1 }, kv = { "string", "own" },
  routing = { "any", "soft" }, aux_group_size = { "count", 0, was = "aux_tokens" }, keys_apart = { "boolean", false },
  router = { "callable", optional = true }, layer = { "size", optional = true },
  rope_base = { "rate", 10000 }, rope_scaling = { "table", optional = true },
  rope_width = { "size", optional = true }, window = { "count", 0 },
  qkv_bias = { "boolean", false }, out_bias = { "boolean", false }, qk_norm = { "string", optional = true },
  eps = { "positive", 1e-5 }, std = { "rate", 0.02 }, out_std = { "rate", optional = true },
  router_std = { "rate", 0.02 }, dtype = { "dtype", "f32" },
}

-- The router's options: soft routing needs no balancing (BAM §4.1), top-k routing does.
local function make_router(o)
  local soft = o.routing == "soft"
  local k = soft and o.experts or check.value("nn.MixtureOfAttention: option routing", o.routing,
                                              "size")
  return routing.make(o.router or Router, router_options.copy(o, {
    width = o.width, experts = o.experts, top_k = k, dense = true, losses = not soft, aux_tokens = o.aux_group_size,
    std = o.router_std, dtype = o.dtype, layer = o.layer }))
end

local function read_rotation(self, o)
  local width, scaling = o.rope_width, o.rope_scaling
  self.rope_width = width
  self.rope_scaling = scaling and frequencies.read("nn.MixtureOfAttention: rope_scaling", scaling)
  if width and (width > self.head_width or width % 2 ~= 0) then
    check.fail("nn.MixtureOfAttention: option rope_width: expected an even number of a head's %d elements, got %d",
               self.head_width, width)
  elseif width and scaling and scaling.scaling == "yarn" then
    check.fail "nn.MixtureOfAttention: option rope_width: with yarn heads are rotated as a whole; leave it out"
  end
end

-- Rows of queries, then keys, then values: in one parameter, or in two.
local function make_projection(self, queries, keys, o)
  local function rows(n) return weights.normal({ n, o.width }, o.std, o.dtype) end
  if not o.keys_apart then
    self.qkv = rows(queries + 2 * keys)
  else
    self.queries, self.keys_values = rows(queries), rows(2 * keys)
  end
end

--- nn.MixtureOfAttention { width = 512, heads = 8, experts = 4, kv = "shared" }. `heads`, `kv_heads` and
--- `head_width` are those of one expert; `kv_heads` must divide `heads`.
---@class nn.MixtureOfAttentionOptions: nn.RouterSettings
---@field width integer
---@field heads integer
---@field kv_heads? integer heads by default
---@field head_width? integer width / heads by default
---@field experts? integer 1 by default
---@field kv? string keys and values: "own" for each expert (default), or "shared"
---@field routing? string|integer "soft" (default), or k: only the k largest gates are not 0
---@field keys_apart? boolean parameters `queries` and `keys_values` instead of `qkv`; false by default
---@field aux_group_size? integer of the router, as in nn.Router
---@field router? fun(options: table): table makes a router of your own from nn.Router's options
---@field layer? integer number of the layer, passed to `router`
---@field rope_base? number 10000 by default, 0 for no RoPE
---@field rope_scaling? table { scaling = "linear", factor = 4 }, or { scaling = "llama3", factor = 8, low = 1,
--- high = 4, context = 8192 }, or { scaling = "yarn", factor = 4, context = 32768 }
---@field rope_width? integer elements of a head that rotate, the first ones; all by default
---@field window? integer tokens that a token sees, itself counted; 0 by default: all
---@field qkv_bias? boolean biases of queries, keys and values; false by default
---@field out_bias? boolean bias of the output projection; false by default
---@field qk_norm? string norm of queries and keys: "head", RMS norm of each head; "width", RMS norm of all heads of an
--- expert; "layer", LayerNorm of each head with weights of its own
---@field eps? number of these norms; 1e-5 by default
---@field std? number standard deviation of the initial weights, 0.02 by default
---@field out_std? number the same for `out`; std by default
---@field router_std? number the same for the router, 0.02 by default
---@field dtype? string
---@param options nn.MixtureOfAttentionOptions
function MixtureOfAttention:init(options)
  local o = check.options("nn.MixtureOfAttention", options, spec)
  if o.kv ~= "own" and o.kv ~= "shared" then
    check.fail('nn.MixtureOfAttention: option kv: expected "own" or "shared", got %s',
               check.describe(o.kv))
  end
  self.heads, self.experts, self.layer = o.heads, o.experts, o.layer
  self.kv_heads, self.head_width = check_heads("nn.MixtureOfAttention", o, o.rope_base ~= 0 and not o.rope_width)
  self.rope_base = o.rope_base
  if o.experts > 1 or o.router then self.router = make_router(o) end
  local queries = o.experts * o.heads * self.head_width
  local keys = (o.kv == "own" and o.experts or 1) * self.kv_heads * self.head_width
  make_projection(self, queries, keys, o)
  self.out = weights.normal({ o.width, queries }, o.out_std or o.std, o.dtype)
  self.window = o.window
  read_rotation(self, o)
  several_ops.init(self, queries, keys, o)
end

-- Rows from `first` on, in the order (KV head, set, row), as one matrix per set.
local function sets_of_rows(self, x, first, sets, rows)
  local count = self.kv_heads * sets * rows
  local view = x:narrow(1, first, count):view(self.kv_heads, sets, rows, x:size(2)):permute(2, 1, 3, 4)
  return { view = view, count = sets, rows = self.kv_heads * rows, columns = x:size(2) }
end

--- List the matrices of a parameter: queries and output of each expert, keys and values of each set.
---@param x tensor
---@param key string
---@return table[]
function MixtureOfAttention:matrices(x, key)
  local group = self.heads // self.kv_heads * self.head_width
  if key == "out" then
    local view = x:view(x:size(1), self.kv_heads, self.experts, group):permute(3, 1, 2, 4)
    return { { view = view, count = self.experts, rows = x:size(1), columns = self.kv_heads * group } }
  end
  local list, queries = {}, key == "keys_values" and 0 or self.experts * self.kv_heads * group
  if queries > 0 then list[1] = sets_of_rows(self, x, 1, self.experts, group) end
  local keys = (x:size(1) - queries) // 2
  for first = queries + 1, x:size(1), math.max(keys, 1) do
    list[#list + 1] = sets_of_rows(self, x, first, keys // (self.kv_heads * self.head_width), self.head_width)
  end
  return list
end

-- The gates of all experts; nil of one expert without a router.
local function route(self, h, batch)
  if not self.router then return nil end
  local some, chosen = routing.call(self, "attention", h, batch)
  return routing.dense(some, chosen, self.experts)
end

local function run(self, h, batch, gates, residual)
  local qkv = self.qkv or ops.concat({ self.queries, self.keys_values }, 1)
  batch = batch or {}
  if self.q_norm then return several_ops.attend(self, h, qkv, gates, batch, residual) end
  local attributes = { heads = self.heads, kv_heads = self.kv_heads, rope_base = self.rope_base, window = self.window,
                       scale = several_ops.scale(self), fp8 = self._fp8 }
  return ops.mixture_of_attention(h, qkv, self.out, gates, documents.of(batch), several_ops.positions(self, h, batch),
                                  several_ops.bias(self), self.out_bias, residual,
                                  several_ops.rotation(self, attributes))
end

--- Attend to earlier tokens of the same document.
---@param h tensor [B, T, width]
---@param batch? table table of the forward pass with documents and positions, see nn.Router
---@param residual? tensor [B, T, width] is added to the result
---@return tensor y [B, T, width]
function MixtureOfAttention:forward(h, batch, residual)
  return run(self, h, batch, route(self, h, batch), residual)
end

early_routing.set_halves(MixtureOfAttention.forward, route, run)

return MixtureOfAttention
