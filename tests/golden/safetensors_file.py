"""Writes safetensors files, for the golden files to be made with PyTorch alone."""
import json
import struct

import torch

KINDS = {torch.float64: ("F64", 8), torch.float32: ("F32", 4), torch.int64: ("I64", 8)}


def write_safetensors(path, tensors):
    """The length of the header in 8 bytes, the header as JSON, the data: largest elements first, so
    that everything is aligned."""
    names = sorted(tensors, key=lambda name: (-KINDS[tensors[name].dtype][1], name))
    header, data = {}, b""
    for name in names:
        raw = tensors[name].contiguous().numpy().tobytes()
        header[name] = {"dtype": KINDS[tensors[name].dtype][0], "shape": list(tensors[name].shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
