"""Makes experts/1 to experts/4: dense models with random weights that `transformers` saved, to be
mixed and trained without a seed phase of one's own.

Run by hand when the set changes (PyTorch 2 and transformers):

    python3 tests/golden/experts.py

CohereForCausalLM checkpoints of one layer with a vocabulary of 280, tied, in bfloat16.
"""
import os
import shutil

import torch
from transformers import CohereConfig, CohereForCausalLM

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "experts")


def main():
    config = CohereConfig(
        vocab_size=280, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, use_qk_norm=False, attention_bias=False,
        tie_word_embeddings=True, logit_scale=1.0)
    shutil.rmtree(HERE, ignore_errors=True)
    for number in range(1, 5):
        torch.manual_seed(number)
        model = CohereForCausalLM(config).to(torch.bfloat16)
        path = os.path.join(HERE, str(number))
        model.save_pretrained(path)
        sampling = os.path.join(path, "generation_config.json")
        if os.path.exists(sampling):
            os.remove(sampling)


if __name__ == "__main__":
    main()
