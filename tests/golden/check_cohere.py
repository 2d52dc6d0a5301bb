"""Does `transformers` compute from a saved directory what it should?

    python3 tests/golden/check_cohere.py DIR EXPECTED.safetensors

DIR is a CohereForCausalLM checkpoint, EXPECTED has `ids` int64 [B, T] and `logits` [B, T, V].
Prints the largest absolute difference of the logits, computed in float32. The exit status is 1
above 1e-4 and where a weight is missing, has another shape or is not one of the model's. Used by
hand (PyTorch 2, transformers and safetensors).
"""
import sys

import torch
from safetensors.torch import load_file
from transformers import CohereForCausalLM

LARGEST = 1e-4


def load(path):
    """A missing weight is only a warning to transformers, which then draws it at random."""
    model, report = CohereForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    wrong = {kind: names for kind, names in report.items() if names}
    if wrong:
        sys.exit(f"{path}: {wrong}")
    return model.eval()


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: check_cohere.py DIR EXPECTED.safetensors")
    expected = load_file(sys.argv[2])
    model = load(sys.argv[1])
    with torch.no_grad():
        logits = model(expected["ids"]).logits.double()
    if logits.shape != expected["logits"].shape:
        sys.exit(f"logits {list(logits.shape)}, expected {list(expected['logits'].shape)}")
    difference = (logits - expected["logits"].double()).abs().max().item()
    print(f"largest difference of the logits: {difference:.3g}")
    sys.exit(0 if difference <= LARGEST else 1)  # so that NaN fails


main()
