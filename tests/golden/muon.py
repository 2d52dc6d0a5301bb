"""tests/golden/muon.json: steps of torch.optim.Muon, in double precision, for tests/lua/optimizers.lua.

PyTorch runs the Newton-Schulz iteration in bf16; here its dtype is replaced for the run, so that the formulas, not
their rounding, are compared.
"""
import json
import pathlib
import sys

import torch

SHAPES = [(4, 6), (6, 4), (5, 5), (1, 3)]
CASES = [
    {"lr": 0.02, "momentum": 0.95, "nesterov": True, "weight_decay": 0.1, "adjust_lr": "original"},
    {"lr": 0.02, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0, "adjust_lr": "original"},
    {"lr": 0.01, "momentum": 0.95, "nesterov": True, "weight_decay": 0.2, "adjust_lr": "match_rms_adamw"},
    {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1, "adjust_lr": "match_rms_adamw", "ns_steps": 3},
]
STEPS = 4


def run(number, options):
    generator = torch.Generator().manual_seed(number)
    weights = [torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES]
    case = {"options": options, "begin": [w.tolist() for w in weights], "grads": []}
    given = dict(options)
    given["adjust_lr_fn"] = given.pop("adjust_lr")
    parameters = [torch.nn.Parameter(w.clone()) for w in weights]
    optimizer = torch.optim.Muon(parameters, **given)
    for _ in range(STEPS):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        case["grads"].append([p.grad.tolist() for p in parameters])
        optimizer.step()
    case["end"] = [p.tolist() for p in parameters]
    return case


torch.bfloat16 = torch.float64  # the dtype that the iteration asks for
path = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/muon.json")
path.write_text(json.dumps([run(i, o) for i, o in enumerate(CASES)]) + "\n")
