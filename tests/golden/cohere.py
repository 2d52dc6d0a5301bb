"""Makes cohere/ and cohere_untied/: tiny models that `transformers` saved, and what it computes.

Run by hand when the set changes (PyTorch 2, transformers and safetensors):

    python3 tests/golden/cohere.py

Both are CohereForCausalLM checkpoints with weights larger than one would train with. Each has a
file expected.safetensors with `ids` int64 [2, 9] and `logits` float32 [2, 9, V], computed in
float32.
    cohere/          tied head, logit_scale 0.25, float32, one file
    cohere_untied/   head of its own, logit_scale 1, bfloat16, in shards with an index
"""
import os
import shutil

import torch
from safetensors.torch import save_file
from transformers import CohereConfig, CohereForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
V, B, T = 32, 2, 9


def config(tied, logit_scale):
    """The special tokens lie inside the vocabulary; the defaults are of the full-size models."""
    return CohereConfig(
        vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        layer_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        pad_token_id=0, bos_token_id=1, eos_token_id=2, use_qk_norm=False, attention_bias=False,
        tie_word_embeddings=tied, logit_scale=logit_scale, attn_implementation="eager")


def randomise(model, generator):
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(1 + 0.2 * noise if weight.dim() == 1 else 0.25 * noise)


def save(name, model, dtype, shard_size):
    """A fresh directory, without the file that says how to sample from the model."""
    path = os.path.join(HERE, name)
    shutil.rmtree(path, ignore_errors=True)
    model.to(dtype).save_pretrained(path, max_shard_size=shard_size)
    sampling = os.path.join(path, "generation_config.json")
    if os.path.exists(sampling):
        os.remove(sampling)
    return path


def save_expected(path, generator):
    """Computed from what was saved, so that weights rounded to bfloat16 stay rounded."""
    model = CohereForCausalLM.from_pretrained(path, dtype=torch.float32,
                                              attn_implementation="eager").eval()
    ids = torch.randint(0, V, (B, T), generator=generator)
    with torch.no_grad():
        logits = model(ids).logits.contiguous()
    save_file({"ids": ids, "logits": logits}, os.path.join(path, "expected.safetensors"))


def make(name, tied, logit_scale, dtype, shard_size, seed):
    generator = torch.Generator().manual_seed(seed)
    model = CohereForCausalLM(config(tied, logit_scale))
    randomise(model, generator)
    path = save(name, model, dtype, shard_size)
    save_expected(path, generator)
    for file in sorted(os.listdir(path)):
        print(f"{os.path.getsize(os.path.join(path, file)):7} bytes in {name}/{file}")


def main():
    torch.set_num_threads(1)
    make("cohere", True, 0.25, torch.float32, "1GB", seed=1)
    make("cohere_untied", False, 1.0, torch.bfloat16, "4KB", seed=2)


if __name__ == "__main__":
    main()
