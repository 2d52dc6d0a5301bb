-- The paper's block (BAM §3.1): one LayerNorm, then attention and FFN side by side.
local early = require "bam.nn.early"
local early_routing = require "bam.nn.moe.early_routing"
local residual = require "bam.nn.residual"
local define = require "bam.model.define"

-- Where the FFN's last product can add to the residual stream: attention first, then the FFN to their sum.
local function add_in_turn(block, h, x, pass)
  local with_attention, attention = residual.add(block.attention, h, pass, x)
  local sum = residual.add(block.ffn, h, pass, with_attention)
  if not attention then early.close(block.attention, with_attention) end
  return sum, attention, early.is_fresh(block.attention)
end

return define.define_builtin {
  name = "parallel",
  doc = "Describe a dense model of parallel blocks: one LayerNorm, then attention and SwiGLU side by side; no biases,\n"
    .. "RoPE (BAM §3.1, Table 8). Nothing is allocated before description:build().",
  norms = { { "norm", "input_layernorm" } },
  forward = function(block, x, branch, pass)
    local h
    if branch then h, x = block.norm(x, branch) else h = block.norm(x) end
    if residual.is_added(block.ffn, x) then return add_in_turn(block, h, x, pass) end
    local is_added = residual.is_added(block.attention, x)
    local attention, ffn = early_routing.call_both(block.attention, block.ffn, h, pass, is_added and x or nil)
    if is_added then return attention, ffn, early.is_fresh(block.ffn), early.is_fresh(block.attention) end
    local sum = attention + ffn
    early.close(block.attention, attention)
    early.close(block.ffn, ffn)
    return x, sum, true
  end,
}
