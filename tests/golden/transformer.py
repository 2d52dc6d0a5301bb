"""Makes transformer.safetensors: 20 training steps of a tiny transformer, computed by PyTorch.

Run by hand when the definition changes (any PyTorch 2; tests/bench/peer.py says how to get it):

    python3 tests/golden/transformer.py

tests/lua/golden.lua repeats the steps with bamlua and compares. Everything here is written from the
definitions, one head and one pair of tokens at a time, so that it can be wrong only in its own way.

Stored, in float64 unless said otherwise:
    init.NAME              initial weights (float32: both dtypes start from the same values)
    tokens, targets, documents, positions   int64 [20, B, T]; a target of -100 does not count
    lr                     [20], the learning rate of every step
    losses.f64, losses.f32 [20], before the update of the step; norms.f64: the global gradient norm
    grad.NAME              gradients of the first step, before clipping
    final.NAME             weights after 20 steps
"""
import math
import os

import torch

from safetensors_file import write_safetensors

V, D, H, G, K, F, B, T = 61, 32, 4, 2, 8, 48, 2, 16
LAYERS, STEPS = 2, 20
PEAK_LR, FLOOR_LR, WARMUP = 1e-2, 1e-3, 3
BETA1, BETA2, EPS, DECAY = 0.9, 0.95, 1e-8, 0.1
MAX_NORM = 3.0  # of the global gradient: some steps are clipped, some are not


def weight_shapes():
    shapes = {"embed": (V, D)}
    for layer in range(LAYERS):
        at = f"layers.{layer}."
        shapes[at + "norm"] = (D,)
        shapes[at + "q"] = (H * K, D)
        shapes[at + "k"] = (G * K, D)
        shapes[at + "v"] = (G * K, D)
        shapes[at + "o"] = (D, H * K)
        shapes[at + "gate"] = (F, D)
        shapes[at + "up"] = (F, D)
        shapes[at + "down"] = (D, F)
    shapes["norm"] = (D,)
    shapes["head"] = (V, D)
    return shapes


def initial_weights(generator):
    """Larger than one would train with, so that softmax and norms are far from linear."""
    weights = {}
    for name, shape in weight_shapes().items():
        noise = torch.randn(shape, generator=generator)
        weights[name] = 1 + 0.2 * noise if len(shape) == 1 else 0.25 * noise
    return weights


def make_batches(generator):
    """Sequences that follow a rule with noise; documents of random length; some targets out."""
    tokens = torch.randint(0, V, (STEPS, B, T + 1), generator=generator)
    documents = torch.zeros(STEPS, B, T, dtype=torch.int64)
    positions = torch.zeros(STEPS, B, T, dtype=torch.int64)
    noise = torch.rand(STEPS, B, T, 3, generator=generator)
    for s in range(STEPS):
        for b in range(B):
            for t in range(T):
                if noise[s, b, t, 0] < 0.7:
                    tokens[s, b, t + 1] = (7 * tokens[s, b, t] + 3) % V
                if t > 0:
                    cut = noise[s, b, t, 1] < 0.15
                    documents[s, b, t] = documents[s, b, t - 1] + int(cut)
                    positions[s, b, t] = 0 if cut else positions[s, b, t - 1] + 1
    targets = tokens[:, :, 1:].clone()
    targets[noise[..., 2] < 0.1] = -100
    return tokens[:, :, :T].clone(), targets, documents, positions


def layer_norm(x, weight):
    mean = x.sum(-1, keepdim=True) / D
    variance = ((x - mean) ** 2).sum(-1, keepdim=True) / D
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight


def rotate(vector, position):
    """RoPE of one head's vector [K]: the pair (2i, 2i + 1) turns by position * 10000^(-2i / K)."""
    out = []
    for i in range(K // 2):
        angle = position * 10000.0 ** (-2 * i / K)
        a, b = vector[2 * i], vector[2 * i + 1]
        out.append(a * math.cos(angle) - b * math.sin(angle))
        out.append(a * math.sin(angle) + b * math.cos(angle))
    return torch.stack(out)


def attend(q, k, v, documents):
    """One head of one sequence: q, k, v [T, K], already rotated."""
    rows = []
    for t in range(T):
        seen = [u for u in range(t + 1) if documents[u] == documents[t]]
        scores = torch.stack([(q[t] * k[u]).sum() / math.sqrt(K) for u in seen])
        exps = torch.exp(scores - scores.max().detach())
        shares = exps / exps.sum()
        rows.append(sum(share * v[u] for share, u in zip(shares, seen)))
    return torch.stack(rows)


def attention(w, at, h, documents, positions):
    """h [T, D] of one sequence -> [T, D]. Query head i uses key and value head i // (H / G)."""
    q, k, v = h @ w[at + "q"].T, h @ w[at + "k"].T, h @ w[at + "v"].T
    place = positions.tolist()
    keys, values = [], []
    for g in range(G):
        cut = slice(g * K, (g + 1) * K)
        keys.append(torch.stack([rotate(k[t, cut], place[t]) for t in range(T)]))
        values.append(v[:, cut])
    heads = []
    for i in range(H):
        cut = slice(i * K, (i + 1) * K)
        query = torch.stack([rotate(q[t, cut], place[t]) for t in range(T)])
        g = i // (H // G)
        heads.append(attend(query, keys[g], values[g], documents.tolist()))
    return torch.cat(heads, dim=1) @ w[at + "o"].T


def feed_forward(w, at, h):
    gate, up = h @ w[at + "gate"].T, h @ w[at + "up"].T
    return (gate / (1 + torch.exp(-gate)) * up) @ w[at + "down"].T


def loss_of(w, tokens, targets, documents, positions):
    """Mean of -log p(target) over the targets that count; every argument [B, T]."""
    total, count = 0, 0
    for b in range(B):
        x = w["embed"][tokens[b]]
        for layer in range(LAYERS):
            at = f"layers.{layer}."
            h = layer_norm(x, w[at + "norm"])
            x = x + attention(w, at, h, documents[b], positions[b]) + feed_forward(w, at, h)
        logits = layer_norm(x, w["norm"]) @ w["head"].T
        for t in range(T):
            if targets[b, t] != -100:
                largest = logits[t].max().detach()
                log_sum = torch.log(torch.exp(logits[t] - largest).sum()) + largest
                total = total + log_sum - logits[t, targets[b, t]]
                count += 1
    return total / count


def learning_rate(step):
    """Step 1 .. STEPS: a linear rise over WARMUP steps, then half a cosine down to the floor."""
    if step <= WARMUP:
        return PEAK_LR * step / WARMUP
    share = (step - WARMUP) / (STEPS - WARMUP)
    return FLOOR_LR + (PEAK_LR - FLOOR_LR) * (1 + math.cos(math.pi * share)) / 2


def decays(name):
    """Matrices other than the input embedding."""
    return not name.endswith("norm") and name != "embed"


def train(init, batches, dtype):
    w = {name: value.to(dtype, copy=True).requires_grad_() for name, value in init.items()}
    optimizer = torch.optim.AdamW(
        [{"params": [p for n, p in w.items() if decays(n)], "weight_decay": DECAY},
         {"params": [p for n, p in w.items() if not decays(n)], "weight_decay": 0.0}],
        betas=(BETA1, BETA2), eps=EPS)
    losses, norms, first = [], [], {}
    for step in range(1, STEPS + 1):
        loss = loss_of(w, *[part[step - 1] for part in batches])
        optimizer.zero_grad()
        loss.backward()
        if step == 1:
            first = {name: p.grad.clone() for name, p in w.items()}
        norm = torch.nn.utils.clip_grad_norm_(w.values(), MAX_NORM).item()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm)
        print(f"{str(dtype):14} step {step:2}  loss {losses[-1]:.9f}  norm {norm:.6f}")
    return losses, norms, first, {name: p.detach() for name, p in w.items()}


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(2408)
    init = initial_weights(generator)
    batches = make_batches(generator)
    stored = {f"init.{name}": value for name, value in init.items()}
    stored.update(zip(("tokens", "targets", "documents", "positions"), batches))
    rates = [learning_rate(step) for step in range(1, STEPS + 1)]
    stored["lr"] = torch.tensor(rates, dtype=torch.float64)
    losses, norms, first, final = train(init, batches, torch.float64)
    stored["losses.f64"] = torch.tensor(losses, dtype=torch.float64)
    stored["norms.f64"] = torch.tensor(norms, dtype=torch.float64)
    for name in init:
        stored[f"grad.{name}"] = first[name]
        stored[f"final.{name}"] = final[name]
    losses, _, _, _ = train(init, batches, torch.float32)
    stored["losses.f32"] = torch.tensor(losses, dtype=torch.float64)
    here = os.path.dirname(os.path.abspath(__file__))
    path = os.path.join(here, "transformer.safetensors")
    write_safetensors(path, stored)
    print(f"{os.path.getsize(path)} bytes in {path}")


main()
