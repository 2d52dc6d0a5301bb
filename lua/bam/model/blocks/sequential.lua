-- The pre-norm block of GPT-2 and Llama: attention reads the residual stream first, then the FFN reads the sum.
local early = require "bam.nn.early"
local define = require "bam.model.define"

return define.define_builtin {
  name = "sequential",
  doc = "Describe a dense model of sequential blocks, as in GPT-2 and Llama: a norm and attention, then a norm and\n"
    .. "the FFN, each added to the residual stream. Nothing is allocated before description:build().",
  norms = { { "norm", "input_layernorm" }, { "ffn_norm", "post_attention_layernorm" } },
  forward = function(block, x, branch, pass)
    local h
    if branch then h, x = block.norm(x, branch) else h = block.norm(x) end
    local attention = block.attention(h, pass)
    h, x = block.ffn_norm(x, attention)
    if early.is_fresh(block.ffn_norm) then early.close(block.attention, attention) end
    return x, block.ffn(h, pass), early.is_fresh(block.ffn)
  end,
}
