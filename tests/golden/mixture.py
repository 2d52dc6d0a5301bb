"""Makes mixture.safetensors: the paper's mixtures of four tiny dense models, computed by PyTorch.

Run by hand when the definition changes (any PyTorch 2; tests/bench/peer.py says how to get it):

    python3 tests/golden/mixture.py

Everything is written from the paper (BAM §3.3, §3.4, §4.1, §4.2, Table 5), one expert, one head and
one pair of tokens at a time, so that it can be wrong only in its own way. NAME is a tensor's name
in a checkpoint. Stored, in float64 unless said otherwise:
    dense.I.NAME           float32: the seed (0) and the law, math and code experts (1, 2, 3)
    router.attention.L     float32 [4, D]
    router.ffn.L           float32 [6, D]; a mixture of 4 FFN experts takes the first 4 rows
    tokens, targets, documents, positions   int64 [B, T]; a target of -100 does not count
    logits.dense           [B, T, V], of the seed
    VARIANT.logits         [B, T, V], of the mixture; the variants are listed in VARIANTS
    VARIANT.nll            mean of -log p(target) over the targets that count
    VARIANT.load_balance   L_LB, summed over all routers that choose a top k; without alpha
    VARIANT.z_loss         L_z, summed over the same routers; without beta
    VARIANT.loss           nll + ALPHA load_balance + BETA z_loss
    VARIANT.grad.NAME      gradient of that loss

A mixture's merged weights are not stored. They are the mean of the four dense models' float32
weights, summed in float64 and rounded once to float32. The group that the auxiliary losses are
taken over is all tokens whose target counts.
"""
import math
import os
from collections import namedtuple

import torch

from safetensors_file import write_safetensors

V, D, H, G, K, F, B, T = 19, 16, 4, 2, 4, 8, 2, 9
LAYERS, MODELS, FFN_ROUTER_ROWS = 2, 4, 6
ALPHA, BETA = 0.01, 0.001
SEED = 2500  # one with which every expert gets tokens and no choice is close; main checks both
SMALLEST_GAP = 1e-3  # between the k-th and the next gate, so that float32 chooses the same experts

# own: the projections of which every attention expert has its own, the others being merged;
# attention_k: top k of the attention router, or None for a soft mixture;
# ffn: which dense model each FFN expert is copied from; ffn_k: top k of the FFN router.
Variant = namedtuple("Variant", "own attention_k ffn ffn_k")
VARIANTS = {
    "btx": Variant("", None, (0, 1, 2, 3), 1),
    "bam_shared": Variant("qo", None, (0, 1, 2, 3), 1),
    "bam_own": Variant("qkvo", None, (0, 1, 2, 3), 1),
    "bam_top1": Variant("qkvo", 1, (0, 1, 2, 3), 1),
    "bam_top2": Variant("qkvo", 2, (0, 1, 2, 3), 1),
    "btx_top3": Variant("", None, (0, 1, 2, 3, 0, 0), 3),
}

Batch = namedtuple("Batch", "tokens targets documents positions")
# What one router did: its logits and gates [tokens, N], and the experts of every token, best first.
# kind is "attention" or "ffn"; k is None where every token goes to every expert.
Routing = namedtuple("Routing", "kind layer k logits gates chosen")
Result = namedtuple("Result", "logits nll load_balance z_loss loss routings")


# The dense models, the routers and the data.

def weight_shapes():
    shapes = {"model.embed_tokens.weight": (V, D)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        shapes[at + "input_layernorm.weight"] = (D,)
        shapes[at + "self_attn.q_proj.weight"] = (H * K, D)
        shapes[at + "self_attn.k_proj.weight"] = (G * K, D)
        shapes[at + "self_attn.v_proj.weight"] = (G * K, D)
        shapes[at + "self_attn.o_proj.weight"] = (D, H * K)
        shapes[at + "mlp.gate_proj.weight"] = (F, D)
        shapes[at + "mlp.up_proj.weight"] = (F, D)
        shapes[at + "mlp.down_proj.weight"] = (D, F)
    shapes["model.norm.weight"] = (D,)
    shapes["lm_head.weight"] = (V, D)
    return shapes


def dense_models(generator):
    """The seed, then experts that went far from it. Matrices are larger than one would train with,
    so that softmax and norms are far from linear. Every norm is drawn on its own."""
    models = []
    for index in range(MODELS):
        weights = {}
        for name, shape in weight_shapes().items():
            noise = torch.randn(shape, generator=generator)
            if len(shape) == 1:
                weights[name] = 1 + 0.2 * noise
            elif index == 0:
                weights[name] = 0.3 * noise
            else:
                weights[name] = models[0][name] + 0.25 * noise
        models.append(weights)
    return models


def make_batch(generator):
    """Random tokens; documents of 1 to 6 tokens; two targets in nine out."""
    tokens = torch.randint(0, V, (B, T + 1), generator=generator)
    documents = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 2, 2, 2, 2, 2, 2]])
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4], [0, 1, 0, 0, 1, 2, 3, 4, 5]])
    targets = tokens[:, 1:].clone()
    targets[0, 3] = targets[0, 8] = targets[1, 1] = targets[1, 2] = -100
    return Batch(tokens[:, :T].clone(), targets, documents, positions)


def make_routers(generator, dense, batch):
    """No token likes the last row of the first layer's FFN router: expert 5 stays empty."""
    routers = {}
    for layer in range(LAYERS):
        for kind, rows in ("attention", MODELS), ("ffn", FFN_ROUTER_ROWS):
            routers[f"router.{kind}.{layer}"] = 0.4 * torch.randn(rows, D, generator=generator)
    # Before any attention h depends on the token alone, and at most D of them are in use.
    used = batch.tokens.unique()
    embedding = merged(dense, "model.embed_tokens.weight")[used].double()
    h = layer_norm(embedding, merged(dense, "model.layers.0.input_layernorm.weight").double())
    assert len(used) <= D
    wanted = torch.full((len(used), 1), -4.0, dtype=torch.float64)
    routers["router.ffn.0"][-1] = torch.linalg.lstsq(h, wanted).solution[:, 0].float()
    return routers


# Branches into a mixture.

def merged(dense, name):
    total = sum(model[name].double() for model in dense)
    return (total / len(dense)).float()


def mix_attention(dense, variant, at):
    weights = {}
    for part in "qkvo":
        name = f"{part}_proj.weight"
        if part in variant.own:
            for i, model in enumerate(dense):
                weights[f"{at}experts.{i}.{name}"] = model[at + name]
        else:
            weights[at + name] = merged(dense, at + name)
    return weights


def mix_ffn(dense, variant, at):
    weights = {}
    for i, source in enumerate(variant.ffn):
        for part in "gate", "up", "down":
            name = f"{part}_proj.weight"
            weights[f"{at}experts.{i}.{name}"] = dense[source][at + name]
    return weights


def mix(dense, routers, variant):
    """The mixture's float32 weights by checkpoint name: the experts copied, the others merged."""
    others = [name for name in dense[0] if "self_attn" not in name and "mlp" not in name]
    weights = {name: merged(dense, name) for name in others}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        weights.update(mix_attention(dense, variant, at + "self_attn."))
        weights.update(mix_ffn(dense, variant, at + "mlp."))
        if variant.own:
            weights[at + "self_attn.router.weight"] = routers[f"router.attention.{layer}"]
        rows = routers[f"router.ffn.{layer}"][:len(variant.ffn)]
        weights[at + "mlp.router.weight"] = rows
    return weights


# One expert's attention and FFN.

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


def attention(projections, h, documents, positions):
    """h [T, D] of one sequence -> [T, D]. Query head i uses key and value head i // (H / G)."""
    w_q, w_k, w_v, w_o = projections
    q, k, v = h @ w_q.T, h @ w_k.T, h @ w_v.T
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
    return torch.cat(heads, dim=1) @ w_o.T


def attention_of_batch(projections, h, batch):
    """h [B*T, D], one sequence after the other."""
    outputs = []
    for b in range(B):
        rows = h[b * T:(b + 1) * T]
        outputs.append(attention(projections, rows, batch.documents[b], batch.positions[b]))
    return torch.cat(outputs)


def feed_forward(w, at, h):
    gate, up = h @ w[at + "gate_proj.weight"].T, h @ w[at + "up_proj.weight"].T
    return (gate / (1 + torch.exp(-gate)) * up) @ w[at + "down_proj.weight"].T


# The mixtures.

def log_sum_exp(logits):
    largest = logits.max().detach()
    return torch.log(torch.exp(logits - largest).sum()) + largest


def route(kind, layer, k, router, h):
    logits = h @ router.T
    gates = torch.stack([torch.exp(row - log_sum_exp(row)) for row in logits])
    chosen = []
    for row in gates.tolist():
        best_first = sorted(range(len(row)), key=lambda i: (-row[i], i))
        chosen.append(best_first[:k])
    return Routing(kind, layer, k, logits, gates, chosen)


def projections_of(w, at, expert=None):
    """W_q, W_k, W_v, W_o of an attention expert: its own where it has them, else merged."""
    names = [f"{part}_proj.weight" for part in "qkvo"]
    return [w.get(f"{at}experts.{expert}.{name}", w.get(at + name)) for name in names]


def mixture_of_attention(w, at, h, batch, routing):
    """MoA(h) = sum over i of g_i MHA_i(h). Under top-k routing the others' gates are zero; all
    tokens keep their keys and values in every expert."""
    total = 0
    for i in range(MODELS):
        kept = torch.tensor([[float(i in chosen)] for chosen in routing.chosen], dtype=h.dtype)
        gate = routing.gates[:, i:i + 1] * kept
        total = total + gate * attention_of_batch(projections_of(w, at, i), h, batch)
    return total


def mixture_of_ffn(w, at, h, routing):
    """MoE(h) = sum over the chosen i of p_i FFN_i(h), one token at a time."""
    rows = []
    for t, chosen in enumerate(routing.chosen):
        rows.append(sum(routing.gates[t, i] * feed_forward(w, f"{at}experts.{i}.", h[t])
                        for i in chosen))
    return torch.stack(rows)


def mixture_block(w, layer, x, batch, variant, routings):
    at = f"model.layers.{layer}."
    h = layer_norm(x, w[at + "input_layernorm.weight"])
    if variant.own:
        router = w[at + "self_attn.router.weight"]
        routings.append(route("attention", layer, variant.attention_k, router, h))
        attended = mixture_of_attention(w, at + "self_attn.", h, batch, routings[-1])
    else:
        attended = attention_of_batch(projections_of(w, at + "self_attn."), h, batch)
    routings.append(route("ffn", layer, variant.ffn_k, w[at + "mlp.router.weight"], h))
    return x + attended + mixture_of_ffn(w, at + "mlp.", h, routings[-1])


def head(w, x):
    logits = layer_norm(x, w["model.norm.weight"]) @ w["lm_head.weight"].T
    return logits.reshape(B, T, V)


def dense_logits(w, batch):
    x = w["model.embed_tokens.weight"][batch.tokens.flatten()]
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        h = layer_norm(x, w[at + "input_layernorm.weight"])
        attended = attention_of_batch(projections_of(w, at + "self_attn."), h, batch)
        x = x + attended + feed_forward(w, at + "mlp.", h)
    return head(w, x)


# The losses.

def mean_nll(logits, targets):
    terms = [log_sum_exp(logits[b, t]) - logits[b, t, targets[b, t]]
             for b in range(B) for t in range(T) if targets[b, t] != -100]
    return sum(terms) / len(terms)


def counted(targets):
    """The numbers of the tokens whose target counts."""
    return [t for t, target in enumerate(targets.flatten().tolist()) if target != -100]


def tokens_per_expert(routing, tokens):
    experts = range(routing.gates.shape[1])
    return [sum(i in routing.chosen[t] for t in tokens) for i in experts]


def load_balance(routing, tokens):
    """N times the sum over i of f_i P_i; f_i, a share of assignments, is a constant."""
    total = 0
    for i, count in enumerate(tokens_per_expert(routing, tokens)):
        mean = sum(routing.gates[t, i] for t in tokens) / len(tokens)
        total = total + count / (routing.k * len(tokens)) * mean
    return routing.gates.shape[1] * total


def z_loss(routing, tokens):
    return sum(log_sum_exp(routing.logits[t]) ** 2 for t in tokens) / len(tokens)


def evaluate(w, variant, batch):
    routings = []
    x = w["model.embed_tokens.weight"][batch.tokens.flatten()]
    for layer in range(LAYERS):
        x = mixture_block(w, layer, x, batch, variant, routings)
    logits = head(w, x)
    nll = mean_nll(logits, batch.targets)
    balanced = [routing for routing in routings if routing.k is not None]
    tokens = counted(batch.targets)
    balance = sum(load_balance(routing, tokens) for routing in balanced)
    z = sum(z_loss(routing, tokens) for routing in balanced)
    return Result(logits, nll, balance, z, nll + ALPHA * balance + BETA * z, routings)


def gradients(w, loss):
    """An expert without tokens takes no part in the loss: its gradient is zero."""
    found = torch.autograd.grad(loss, list(w.values()), allow_unused=True)
    return {name: torch.zeros_like(value) if grad is None else grad
            for (name, value), grad in zip(w.items(), found)}


# The checks.

def gap(routing):
    """The smallest difference between the last gate that is chosen and the first that is not."""
    best_first = routing.gates.detach().sort(dim=1, descending=True).values
    return (best_first[:, routing.k - 1] - best_first[:, routing.k]).min().item()


def check_routing(name, result, single):
    """`single` is the same variant computed in float32."""
    for routing, other in zip(result.routings, single.routings):
        if routing.k is None:
            continue
        counts = tokens_per_expert(routing, range(len(routing.chosen)))
        print(f"    layer {routing.layer} {routing.kind:9} top {routing.k}: "
              f"tokens per expert {counts}, gap {gap(routing):.4f}")
        assert gap(routing) > SMALLEST_GAP
        assert routing.chosen == other.chosen
        if name == "btx_top3" and routing.layer == 0:
            assert counts[-1] == 0 and min(counts[:-1]) > 0
        else:
            assert min(counts) > 0


def check_empty_expert(grads):
    for part in "gate", "up", "down":
        assert not grads[f"model.layers.0.mlp.experts.5.{part}_proj.weight"].any()


def slope(w, name, index, variant, batch):
    """The loss's derivative by one weight, by differences over four points."""
    step, values = 1e-4, []
    for steps in (-2, -1, 1, 2):
        moved = {other: value.detach() for other, value in w.items()}
        moved[name] = moved[name].clone()
        moved[name].view(-1)[index] += steps * step
        values.append(evaluate(moved, variant, batch).loss.item())
    return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)


def check_gradients(w, grads, variant, batch, generator):
    """One weight each of every router and of eight other tensors; the error is relative to the
    gradient's own size, or to 1e-4 where it is smaller."""
    routers = [name for name in w if "router" in name]
    others = [name for name in w if "router" not in name]
    picked = torch.randperm(len(others), generator=generator)[:8].tolist()
    worst = 0
    for name in routers + [others[i] for i in picked]:
        index = torch.randint(w[name].numel(), (1,), generator=generator).item()
        expected = grads[name].view(-1)[index].item()
        error = abs(slope(w, name, index, variant, batch) - expected)
        worst = max(worst, error / max(abs(expected), 1e-4))
    print(f"    gradients against differences: relative error {worst:.1e}")
    assert worst < 1e-6


def check_equal_experts(dense, routers, batch):
    """A soft mixture of equal copies is the copied attention: the gates sum to one."""
    variant = VARIANTS["bam_own"]
    w = {name: value.double() for name, value in mix([dense[0]] * MODELS, routers, variant).items()}
    seed = {name: value.double() for name, value in dense[0].items()}
    at = "model.layers.0."
    x = seed["model.embed_tokens.weight"][batch.tokens.flatten()]
    h = layer_norm(x, seed[at + "input_layernorm.weight"])
    routing = route("attention", 0, None, w[at + "self_attn.router.weight"], h)
    mixed = mixture_of_attention(w, at + "self_attn.", h, batch, routing)
    alone = attention_of_batch(projections_of(seed, at + "self_attn."), h, batch)
    error = (mixed - alone).abs().max().item()
    print(f"a soft mixture of equal experts against one of them: {error:.1e}")
    assert error < 1e-13


def in_precision(weights, dtype):
    return {name: value.to(dtype, copy=True).requires_grad_() for name, value in weights.items()}


def run_variant(name, dense, routers, batch, generator):
    """What is stored about a variant, checked."""
    variant = VARIANTS[name]
    weights = mix(dense, routers, variant)
    w = in_precision(weights, torch.float64)
    result = evaluate(w, variant, batch)
    grads = gradients(w, result.loss)
    parts = ("logits", "nll", "load_balance", "z_loss", "loss")
    stored = {f"{name}.{part}": getattr(result, part).detach() for part in parts}
    print(name, *[f"{part} {stored[f'{name}.{part}'].item():.9f}" for part in parts[1:]], sep="  ")
    single = evaluate(in_precision(weights, torch.float32), variant, batch)
    print(f"    float32: loss differs by {abs(single.loss.item() - result.loss.item()):.1e}")
    check_routing(name, result, single)
    if name == "btx_top3":
        check_empty_expert(grads)
    check_gradients(w, grads, variant, batch, generator)
    stored.update({f"{name}.grad.{tensor}": grad for tensor, grad in grads.items()})
    return stored


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(SEED)
    dense = dense_models(generator)
    batch = make_batch(generator)
    routers = make_routers(generator, dense, batch)
    stored = {f"dense.{i}.{name}": value for i, model in enumerate(dense)
              for name, value in model.items()}
    stored.update(routers)
    stored.update(batch._asdict())
    stored["logits.dense"] = dense_logits(in_precision(dense[0], torch.float64), batch).detach()
    check_equal_experts(dense, routers, batch)
    for name in VARIANTS:
        stored.update(run_variant(name, dense, routers, batch, generator))
    here = os.path.dirname(os.path.abspath(__file__))
    path = os.path.join(here, "mixture.safetensors")
    write_safetensors(path, stored)
    print(f"{os.path.getsize(path)} bytes in {path}")


if __name__ == "__main__":
    main()
