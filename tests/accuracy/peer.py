"""The PyTorch side of `make accuracy`: peer.py DIR reads the cases that accuracy.lua wrote there.

DIR/list.txt has a line per case: its number, the op, and its attributes as JSON. DIR/N.safetensors
holds input I as "i", seeds of results as "seed K", and the values that bamlua came to in f64 and
f32 as "f64 result K", "f32 gradient I". Each case is computed in f32 and in f64; PyTorch's f64 is
the truth for both sides, and bamlua's f64 must be it. Prints a line per value:
number, name, error of bamlua, error of PyTorch, difference of the two f64 values.
"""
import json
import math
import struct
import sys

import torch
import torch.nn.functional as F

DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "BOOL": torch.bool,
          "U8": torch.uint8, "I32": torch.int32}


def load(path):
    with open(path, "rb") as file:
        data = file.read()
    (size,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + at for at in entry["data_offsets"])
        raw = torch.frombuffer(bytearray(data[begin:end]) or bytearray(8), dtype=DTYPES[entry["dtype"]])
        tensors[name] = raw[:math.prod(entry["shape"])].reshape(entry["shape"]).clone()
    return tensors


def dims(a, name="dim"):
    """Dimensions count from 1, or from -1 at the end."""
    d = a.get(name)
    if d is None:
        return None
    d = d if isinstance(d, list) else [d]
    return [i - 1 if i > 0 else i for i in d]


def dim(a, default=-1):
    d = dims(a)
    return d[0] if d else default


# ---- layers ----

def causal(time, documents):
    mask = torch.ones(time, time, dtype=torch.bool).tril()
    if documents is None:
        return mask
    return (mask & (documents[:, :, None] == documents[:, None, :]))[:, None]


def attend(q, k, v, documents=None, scale=None):
    """Heads are [B, T, heads, K]."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=causal(q.shape[2], documents),
                                       enable_gqa=q.shape[1] != k.shape[1], scale=scale)
    return y.transpose(1, 2)


def rope(x, positions=None, base=10000):
    time, width = x.shape[1], x.shape[3]
    if positions is None:
        positions = torch.arange(time)
    rates = float(base) ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = positions.double()[..., None] * rates  # the angle itself is no f32: both sides know
    cos, sin = (f(angles).to(x.dtype).unsqueeze(-2) for f in (torch.cos, torch.sin))
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def mixture_of_attention(x, qkv, out, gates, documents, positions, heads, kv_heads):
    batch, time, _ = x.shape
    experts = gates.shape[2]
    width = out.shape[1] // (experts * heads)
    y = F.linear(x, qkv)
    q, k, v = y.split([experts * heads * width, (qkv.shape[0] // width - experts * heads) // 2 * width,
                       (qkv.shape[0] // width - experts * heads) // 2 * width], -1)
    q, k, v = (t.reshape(batch, time, -1, width) for t in (q, k, v))
    o = attend(rope(q, positions), rope(k, positions), v, documents)
    group = heads // kv_heads
    o = o.reshape(batch, time, kv_heads, experts, group, width) * gates[:, :, None, :, None, None]
    return F.linear(o.reshape(batch, time, -1), out)


def route(logits, k, renormalise=False, dense=False, aux_tokens=0):
    p = torch.softmax(logits, -1)
    tokens, experts = p.reshape(-1, p.shape[-1]).shape
    top, chosen = p.topk(k, -1)
    gates = top / top.sum(-1, keepdim=True) if renormalise else top
    if dense:
        gates = torch.zeros_like(p).scatter(-1, chosen, gates)
    group = aux_tokens or tokens
    hits = F.one_hot(chosen, experts).sum(-2).to(p.dtype).reshape(-1, group, experts)
    share = hits.sum(1) / (group * k)
    balance = (experts * (share * p.reshape(-1, group, experts).mean(1)).sum(-1)).mean()
    z = (torch.logsumexp(logits, -1) ** 2).mean()
    flat = p.reshape(-1, experts).detach()
    statistics = torch.stack((hits.reshape(-1, experts).mean(0) / k, flat.mean(0),
                              torch.special.entr(flat).mean(0)))
    return gates, chosen + 1, torch.stack((balance, z)), statistics


def routed_ffn(x, gates, experts, gate_up, down):
    y = 0
    for e in range(gate_up.shape[0]):
        weight = torch.where(experts == e + 1, gates, torch.zeros_like(gates)).sum(-1, keepdim=True)
        rows = weight[:, 0] != 0
        gate, up = F.linear(x[rows], gate_up[e]).chunk(2, -1)
        part = F.linear(F.silu(gate) * up, down[e]) * weight[rows]
        y = y + torch.zeros(x.shape[0], down.shape[1], dtype=x.dtype).index_add(
            0, rows.nonzero()[:, 0], part)
    return y


def swiglu(x):
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


def geglu(x, approximate=False):
    gate, up = x.chunk(2, -1)
    return F.gelu(gate, approximate="tanh" if approximate else "none") * up


def add_layer_norm(x, r, weight, bias):
    s = x + r
    return F.layer_norm(s, weight.shape, weight, bias), s


def add_rms_norm(x, r, weight):
    s = x + r
    return F.rms_norm(s, weight.shape, weight, 1e-5), s


def linear_cross_entropy(x, weight, targets, chunk=0, scale=None):
    logits = F.linear(x, weight)
    if scale is not None:
        return F.cross_entropy(logits, targets, reduction="sum") * scale
    return F.cross_entropy(logits, targets)


def norm(x, a):
    return torch.linalg.vector_norm(x, math.inf if a.get("p") == "inf" else a.get("p", 2), dims(a))


def whole(function):
    return lambda a, x: function(x, dims(a)) if dims(a) else function(x)


# What each op is in PyTorch: of its attributes and its inputs.
OPS = {
    "floordiv": lambda a, x, y: torch.floor(x / y), "mod": lambda a, x, y: torch.remainder(x, y),
    "softplus": lambda a, x: F.softplus(x, threshold=100), "silu": lambda a, x: F.silu(x),
    "gelu": lambda a, x: F.gelu(x, approximate="tanh" if a.get("approximate") else "none"),
    "where": lambda a, c, x, y: torch.where(c, x, y),
    "masked_fill": lambda a, x, m, v: x.masked_fill(m, v),
    "clamp": lambda a, x: x.clamp(a["min"], a["max"]),
    "sum": whole(torch.sum), "mean": whole(torch.mean),
    "prod": lambda a, x: x.prod(dim(a)), "cumsum": lambda a, x: x.cumsum(dim(a)),
    "var": lambda a, x: x.var(dims(a)), "norm": lambda a, x: norm(x, a),
    "max": lambda a, x: x.max(dim(a)).values, "min": lambda a, x: x.min(dim(a)).values,
    "argmax": lambda a, x: x.argmax(dim(a)) + 1, "argmin": lambda a, x: x.argmin(dim(a)) + 1,
    "any": lambda a, x: x.any(dim(a)), "all": lambda a, x: x.all(dim(a)),
    "expand": lambda a, x: x.expand(a["sizes"]),
    "softmax": lambda a, x: x.softmax(-1), "log_softmax": lambda a, x: x.log_softmax(-1),
    "logsumexp": lambda a, x: x.logsumexp(dims(a)),
    "cross_entropy": lambda a, x, t: F.cross_entropy(x, t, reduction="sum" if a.get("sum") else "mean"),
    "route": lambda a, x: route(x, **a), "linear": lambda a, *x: F.linear(*x),
    "add_linear": lambda a, x, w, r, b: r + F.linear(x, w, b),
    "linear_cross_entropy": lambda a, *x: linear_cross_entropy(*x, **a),
    "attention": lambda a, *x: attend(*x), "rope": lambda a, *x: rope(*x),
    "mixture_of_attention": lambda a, *x: mixture_of_attention(*x, **a),
    "routed_ffn": lambda a, *x: routed_ffn(*x), "swiglu": lambda a, x: swiglu(x),
    "document_starts": None, "expert_order": None, "rope_table": None,
    "geglu": lambda a, x: geglu(x, **a),
    "layer_norm": lambda a, x, w, b: F.layer_norm(x, w.shape, w, b),
    "add_layer_norm": lambda a, *x: add_layer_norm(*x),
    "rms_norm": lambda a, x, w: F.rms_norm(x, w.shape, w, 1e-5), "add_rms_norm": lambda a, *x: add_rms_norm(*x),
    "index_select": lambda a, x, i: x.index_select(dim(a), i - 1),
    "index_add": lambda a, x, i, s: x.index_add(dim(a), i - 1, s),
    "gather": lambda a, x, i: x.gather(dim(a), i - 1),
    "scatter_add": lambda a, x, i, s: x.scatter_add(dim(a), i - 1, s),
    "embedding": lambda a, i, w: F.embedding(i, w),
    "masked_select": lambda a, x, m: x.masked_select(m),
    "one_hot": lambda a, i: F.one_hot(i - 1, a["n"]),
    "concat": lambda a, *x: torch.cat(x, dim(a)), "stack": lambda a, *x: torch.stack(x, dim(a)),
    "reshape": lambda a, x: x.reshape(a["sizes"]), "view": lambda a, x: x.view(a["sizes"]),
    "permute": lambda a, x: x.permute(dims(a, "dims")),
    "narrow": lambda a, x: x.narrow(dim(a), a["start"] - 1, a["length"]),
    "select": lambda a, x: x.select(dim(a), a["position"] - 1), "to": lambda a, x: x.double(),
    "flip": lambda a, x: x.flip(dims(a)), "roll": lambda a, x: x.roll(a["shift"], dim(a)),
    "sort": lambda a, x: x.sort(dim(a)).values, "topk": lambda a, x: x.topk(a["k"], -1).values,
    "pad": lambda a, x: F.pad(x, [n for pair in zip(a["before"][::-1], a["after"][::-1])
                                  for n in pair]),
    "contiguous": lambda a, x: x.contiguous(), "dropout": None,
}


def compute(op, attributes, tensors, dtype):
    leaves, inputs = [], []
    for i in range(1, 100):
        x = tensors.get(f"{i}")
        if x is None:
            break
        if x.dtype == torch.float32:
            x = x.to(dtype).requires_grad_()
            leaves.append(x)
        inputs.append(x)
    function = OPS[op] if op in OPS else lambda a, *x: getattr(torch, op)(*x)
    results = function(attributes, *inputs)
    results = results if isinstance(results, tuple) else (results,)
    values = {f"result {k + 1}": y.detach().double() for k, y in enumerate(results)}
    wanted = [(k, y) for k, y in enumerate(results) if y.requires_grad and f"seed {k + 1}" in tensors]
    if wanted:
        torch.autograd.backward([y for _, y in wanted],
                                [tensors[f"seed {k + 1}"].to(y.dtype).reshape(y.shape) for k, y in wanted])
        values.update({f"gradient {i + 1}": x.grad.double() for i, x in enumerate(leaves)
                       if x.grad is not None})
    return values


def error(got, truth, relative, floor):
    """As measure.lua counts it."""
    if truth.numel() == 0:
        return 0.0
    size = truth.abs()
    scale = size.clamp(min=2.0 ** -126) if relative else max(size.max().item(), floor) or 1.0
    return ((got.reshape(truth.shape) - truth).abs() / scale).max().item() * 2.0 ** 24


def main(folder):
    for line in open(f"{folder}/list.txt"):
        number, op, relative, floor, attributes = line.rstrip("\n").split("\t")
        if OPS.get(op, True) is None:
            continue
        tensors, floor = load(f"{folder}/{number}.safetensors"), float(floor)
        attributes = json.loads(attributes)
        if isinstance(attributes, list):
            attributes = {}
        try:
            truth = compute(op, attributes, tensors, torch.float64)
            single = compute(op, attributes, tensors, torch.float32)
        except Exception as failure:  # told, so that no case is left out in silence
            print(f"{number}\tfailed\t{type(failure).__name__} {failure}".splitlines()[0], flush=True)
            continue
        for name, t in truth.items():
            if f"f64 {name}" not in tensors:
                continue
            each = relative == "true" or relative == "results" and name.startswith("result")
            e = [error(v, t, each, floor)
                 for v in (tensors[f"f32 {name}"], single[name], tensors[f"f64 {name}"])]
            print(number, name, *e, sep="\t", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(sys.argv[1])
