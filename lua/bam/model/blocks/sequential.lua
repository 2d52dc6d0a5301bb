-- The pre-norm block of GPT-2 and Llama: attention reads the residual stream first, then the FFN reads the sum.
local early = require "bam.nn.early"
local residual = require "bam.nn.residual"
local define = require "bam.model.define"

return define.define_builtin {
  name = "sequential",
  doc = "Describe a dense model of sequential blocks, as in GPT-2 and Llama: a norm and attention, then a norm and\n"
    .. "the FFN, each added to the residual stream. Nothing is allocated before description:build().",
  norms = { { "norm", "input_layernorm" }, { "ffn_norm", "post_attention_layernorm" } },
  forward = function(block, x, branch, pass)
    local h, attention, ffn
    if branch then h, x = block.norm(x, branch) else h = block.norm(x) end
    x, attention = residual.add(block.attention, h, pass, x)
    if attention then h, x = block.ffn_norm(x, attention) else h = block.ffn_norm(x) end
    if attention and early.is_fresh(block.ffn_norm) then early.close(block.attention, attention) end
    x, ffn = residual.add(block.ffn, h, pass, x)
    return x, ffn, early.is_fresh(block.ffn)
  end,
}
