-- FFN experts in a config.json: how many, how many a token uses, and whether their gates sum to 1.
local check = require "bam.util.check"
local sparse = require "bam.model.sparse"

local M = {}

-- `router_aux_loss_coef` is the factor of a loss that transformers averages over layers and counts once for each chosen
-- expert; bamlua's load_balance is that of a loss summed over layers, whatever k is.
local function to_ours(factor, d) return factor * d.ffn.top_k / sparse.layers(d) end
local function to_theirs(factor, d)
  return tonumber(string.format("%.12g", factor * sparse.layers(d) / d.ffn.top_k)) + 0.0
end

local OTHER = { num_experts = "num_local_experts", num_local_experts = "num_experts" } -- transformers takes both

-- The number of experts, under the family's name for it or the other one.
local function count(f, name) return f.get(name, "few", f.get(OTHER[name], "few", false) or nil) end

--- Read the experts of a family.
---@param f families.Fields
---@param d table fields of a description
---@param experts string the field with their number
---@param hidden string the field with an expert's hidden width
---@param renormalize boolean do the gates of the chosen experts sum to 1?
function M.read(f, d, experts, hidden, renormalize)
  local ffn = { experts = count(f, experts), hidden = f.get(hidden, "extent"),
                top_k = f.get("num_experts_per_tok", "few"), temperature = 1,
                jitter = f.get("router_jitter_noise", "fraction", 0), renormalise = renormalize }
  if ffn.experts < 2 then f.refuse(experts, ffn.experts, "a mixture has at least 2 experts") end
  if ffn.top_k > ffn.experts then
    check.fail("%s: `num_experts_per_tok` is %d, and there are %d experts", f.label, ffn.top_k, ffn.experts)
  end
  d.ffn = ffn
  d.load_balance = to_ours(f.get("router_aux_loss_coef", "rate", 0), d)
end

--- Write them; `experts` is the field with their number.
---@param config table
---@param d table description
---@param experts string
function M.write(config, d, experts)
  if d.ffn.experts < 2 then check.fail("its FFN has no experts") end
  config[experts], config.num_experts_per_tok = d.ffn.experts, d.ffn.top_k
  config.output_router_logits = false
  config.router_aux_loss_coef = math.type(d.load_balance) and to_theirs(d.load_balance, d) or 0.0
end

--- The name of routers in transformers.
M.ROUTER = { "%.mlp%.router%.weight$", ".mlp.gate.weight" }

return M
