-- The paper's block (BAM §3.1): one LayerNorm, then attention and FFN side by side.
local early = require "bam.nn.early"
local early_routing = require "bam.nn.moe.early_routing"
local define = require "bam.model.define"

return define.define_builtin {
  name = "parallel",
  doc = "Describe a dense model of parallel blocks: one LayerNorm, then attention and SwiGLU side by side; no biases,\n"
    .. "RoPE (BAM §3.1, Table 8). Nothing is allocated before description:build().",
  norms = { { "norm", "input_layernorm" } },
  forward = function(block, x, branch, pass)
    local h
    if branch then h, x = block.norm(x, branch) else h = block.norm(x) end
    local attention, ffn = early_routing.call_both(block.attention, block.ffn, h, pass)
    local sum = attention + ffn
    early.close(block.attention, attention)
    early.close(block.ffn, ffn)
    return x, sum, true
  end,
}
