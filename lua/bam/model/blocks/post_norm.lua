-- The block of OLMo 2: what attention and FFN give is normalized before it is added to the residual stream.
local core = require "bam.core"
local early = require "bam.nn.early"
local define = require "bam.model.define"

return define.define_builtin {
  name = "post_norm",
  doc = "Describe a dense model of post-norm blocks, as in OLMo 2: attention and the FFN read the residual stream as\n"
    .. "it is, and what they give is normalized and added. Nothing is allocated before description:build().",
  norms = { { "norm", "post_attention_layernorm" }, { "ffn_norm", "post_feedforward_layernorm" } },
  forward = function(block, x, branch, pass)
    if branch then x = core.ops.add(x, branch) end
    local normalized = block.norm(block.attention(x, pass))
    x = core.ops.add(x, normalized)
    early.close(block.norm, normalized)
    return x, (block.ffn_norm(block.ffn(x, pass))), early.is_fresh(block.ffn_norm)
  end,
}
