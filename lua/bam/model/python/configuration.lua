-- The text of configuration_bam.py, which transformers reads a checkpoint's config.json with.
return [==[
"""The configuration of a model trained by bamlua; config.json has all fields."""
from transformers import PretrainedConfig


class BamConfig(PretrainedConfig):
    """Sizes as in Llama's configuration. attention_experts and ffn_experts are 1 where there is no router."""

    model_type = "bam"

    def __init__(self, vocab_size=256, hidden_size=512, intermediate_size=1024, num_hidden_layers=2,
                 num_attention_heads=8, num_key_value_heads=None, head_dim=None, layer_norm_eps=1e-5,
                 logit_scale=1.0, max_position_embeddings=2048, rope_theta=10000.0, block="parallel", norm="layer",
                 attention_experts=1, attention_kv="own", attention_routing="soft", attention_temperature=1.0,
                 attention_renormalise=False, ffn_experts=1, ffn_top_k=1, ffn_temperature=1.0,
                 ffn_renormalise=False, window=0, rope_layers="all", qkv_bias=False, out_bias=False, qk_norm=None,
                 hidden_act="silu", norm_weight=True, tie_word_embeddings=False, **kwargs):
        own = {name: value for name, value in locals().items() if name not in ("self", "kwargs", "__class__")}
        own["num_key_value_heads"] = num_key_value_heads or num_attention_heads
        own["head_dim"] = head_dim or hidden_size // num_attention_heads
        self.__dict__.update(own)  # which the base class checks
        super().__init__(**kwargs)
        self.__dict__.update(own)

    def window_of(self, layer):
        """Tokens that a token of the layer sees, itself counted; 0 for all."""
        return self.window[layer] if isinstance(self.window, (list, tuple)) else self.window or 0
]==]
