"""PyTorch beside the timings of tests/gpu/timings.lua: the same cases and sizes, in bf16, at PyTorch's best.

    peers.py [--device cuda] [--result FILE] [--tiny] GROUP

GROUP is "ceilings", "micro" (attention by each backend of SDPA, products, head and loss in chunks, fused AdamW,
norms), or a model: "small dense", "large btx", "large shared", "large own", compiled, parameters of f32 under autocast,
fused AdamW. Rows of JSON are appended to FILE as each case is done. --tiny makes sizes small, for a machine without a
GPU. A case that fails is a row that says why; the exit code is 1 if all did."""
import argparse
import itertools
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

parser = argparse.ArgumentParser()
parser.add_argument("--device", default="cuda")
parser.add_argument("--result")
parser.add_argument("--tiny", action="store_true")
parser.add_argument("group")
options = parser.parse_args()

DEVICE = torch.device(options.device.split(":")[0])
ON_CUDA = DEVICE.type == "cuda"
TINY = options.tiny
EXPERTS, ROWS, MICRO_STEPS, CHUNK = 4, 8, 8, 4096
SIZES = {
    "small": dict(layers=6, width=1024, heads=8, kv_heads=8, ffn=2048, vocab=256000, time=2048, tied=False),
    "large": dict(layers=18, width=2304, heads=18, kv_heads=6, ffn=9216, vocab=256000, time=2048, tied=True),
    "tiny": dict(layers=1, width=64, heads=2, kv_heads=1, ffn=64, vocab=300, time=32, tied=True),
}
HEAD_WIDTH = 32 if TINY else 128
done = failed = 0


def wait():
    if ON_CUDA:
        torch.cuda.synchronize()


def emit(**row):
    row = {"part": f"PyTorch {options.group}", "torch": torch.__version__, **row}
    print(json.dumps(row), flush=True)
    if options.result:
        with open(options.result, "a") as file:
            file.write(json.dumps(row) + "\n")


def measure(step, budget):
    """Seconds of calls, as in timings.lua: the median of waited repetitions."""
    for _ in range(1 if TINY else 3):
        step()
    wait()
    times, till = [], time.perf_counter() + (0 if TINY else budget)
    while len(times) < 3 or time.perf_counter() < till:
        start = time.perf_counter()
        step()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def case(name, make, flops=None, bytes=None, budget=1.5, **about):
    global done, failed
    try:
        seconds = measure(make(), budget)
        row = {"ms_median": seconds * 1e3}
        if flops:
            row["tflops"] = flops / seconds / 1e12
        if bytes:
            row["gbs"] = bytes / seconds / 1e9
        done += 1
    except Exception as error:  # one case must not cost the others
        seconds, row = None, {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
        failed += 1
    emit(case=name, dtype="bf16", **about, **row)
    if ON_CUDA:
        torch.cuda.empty_cache()
    return seconds


def randn(*shape, grad=False, dtype=torch.bfloat16):
    return torch.randn(*shape, device=DEVICE, dtype=dtype, requires_grad=grad)


def both(function, inputs, grad=None):
    def step():
        for x in inputs:
            x.grad = None
        y = function(*inputs)
        y.backward(grad) if grad is not None else y.backward()
    return step


# ---- ceilings and single ops ----

def ceilings():
    n, m = (1024, 32) if TINY else (1 << 30, 8192)

    def copy():
        x, y = randn(n, dtype=torch.float32), torch.zeros(n, device=DEVICE)
        return lambda: y.copy_(x)

    def product():
        a, b = randn(m, m), randn(m, m)
        return lambda: a @ b
    case("copy", copy, bytes=8 * n)
    case("product", product, flops=2 * m ** 3, m=m, n=m, k=m)


def attention_cases():
    rows, steps = (2, 32) if TINY else (8, 2048)
    backends = {"cuDNN": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION} if ON_CUDA \
        else {"math": SDPBackend.MATH}
    for heads, kv_heads in [(2, 1)] if TINY else [(18, 6), (72, 6), (72, 24), (8, 8), (32, 8)]:
        for (name, backend), (documents, parts) in itertools.product(
                backends.items(), {"one document": 1, "four documents": 4}.items()):
            # Neither backend masks documents: each is a sequence of its own, which is the best that they can do.
            shape, flops = (rows * parts, steps // parts), 2 * rows * heads * steps * steps * HEAD_WIDTH / parts

            def tensors(grad, shape=shape):
                return [randn(shape[0], h, shape[1], HEAD_WIDTH, grad=grad) for h in (heads, kv_heads, kv_heads)]

            def attend(q, k, v, backend=backend):
                with sdpa_kernel(backend):
                    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

            def forward():
                inputs = tensors(False)
                return lambda: attend(*inputs)
            about = dict(heads=heads, kv_heads=kv_heads, rows=rows, time=steps, width=HEAD_WIDTH, backend=name)
            case(f"forward, {documents}", forward, flops=flops, budget=0.7, **about)
            case(f"forward and backward, {documents}",
                 lambda: both(attend, tensors(True), randn(shape[0], heads, shape[1], HEAD_WIDTH)), flops=3.5 * flops,
                 budget=0.7, **about)


def chunked_loss(h, weight, targets):
    """The summed cross-entropy without all logits at once."""
    def one(part, wanted):
        return F.cross_entropy(F.linear(part, weight).float(), wanted, reduction="sum")
    total = 0
    for part, wanted in zip(h.split(CHUNK), targets.split(CHUNK)):
        total = total + checkpoint(one, part, wanted, use_reentrant=False)
    return total


def micro():
    attention_cases()
    tokens, d, vocab = (64, 64, 300) if TINY else (16384, 2304, 256000)
    for m, n, k in [(tokens, 64, 64)] if TINY else [(tokens, 3840, d), (tokens, 18432, d), (tokens, d, 9216)]:
        case("product", lambda: both(F.linear, [randn(m, k, grad=True), randn(n, k, grad=True)], randn(m, n)),
             flops=6 * m * n * k, m=m, n=n, k=k)
    rows = tokens // 2
    targets = torch.randint(0, vocab, (rows,), device=DEVICE)
    loss = chunked_loss if TINY else torch.compile(chunked_loss)
    case("head and loss", lambda: both(lambda x, w: loss(x, w, targets),
                                       [randn(rows, d, grad=True), randn(vocab, d, grad=True)]),
         flops=6 * rows * d * vocab, rows=rows, width=d, vocab=vocab)

    def adamw():
        p = randn(4096 if TINY else 1 << 29, grad=True, dtype=torch.float32)
        p.grad = torch.randn_like(p)
        return torch.optim.AdamW([p], lr=1e-4, fused=True).step
    case("AdamW", adamw, bytes=28 * (4096 if TINY else 1 << 29))

    def norm(function):
        compiled = function if TINY else torch.compile(function)
        return both(compiled, [randn(tokens, d, grad=True), randn(d, grad=True)], randn(tokens, d))
    case("layer_norm", lambda: norm(lambda x, w: F.layer_norm(x, (d,), w)), bytes=10 * tokens * d, rows=tokens, width=d)
    case("rms_norm", lambda: norm(lambda x, w: F.rms_norm(x, (d,), w)), bytes=10 * tokens * d, rows=tokens, width=d)


# ---- whole models: parallel blocks, as bam.models.parallel ----

def rotate(x, cos, sin):
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Block(torch.nn.Module):
    def __init__(self, s, kind):
        super().__init__()
        self.s, self.kind = s, kind
        d, own = s["width"], kind == "own"
        self.experts = EXPERTS if kind in ("shared", "own") else 1
        self.heads = s["heads"] * self.experts
        self.kv_heads = s["kv_heads"] * (EXPERTS if own else 1)
        def weights(*shape):
            return torch.nn.Parameter(torch.randn(*shape, device=DEVICE) * 0.02)
        self.norm = torch.nn.LayerNorm(d, bias=False, device=DEVICE)
        self.qkv = weights((self.heads + 2 * self.kv_heads) * HEAD_WIDTH, d)
        self.out = weights(d, self.heads * HEAD_WIDTH)
        if self.experts > 1:
            self.attention_router = weights(EXPERTS, d)
        if kind == "dense":
            self.up, self.down = weights(2 * s["ffn"], d), weights(d, s["ffn"])
        else:
            self.router = weights(EXPERTS, d)
            self.up, self.down = weights(EXPERTS, d, 2 * s["ffn"]), weights(EXPERTS, s["ffn"], d)

    def attend(self, h, cos, sin):
        B, T, _ = h.shape
        q, k, v = F.linear(h, self.qkv).view(B, T, -1, HEAD_WIDTH).split(
            [self.heads, self.kv_heads, self.kv_heads], 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        o = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True,
                                           enable_gqa=True).transpose(1, 2)
        if self.experts > 1:
            gates = F.linear(h, self.attention_router).softmax(-1)
            o = (o.reshape(B, T, EXPERTS, -1, HEAD_WIDTH) * gates[..., None, None])
        return F.linear(o.reshape(B, T, -1), self.out)

    def feed(self, h):
        if self.kind == "dense":
            gate, up = F.linear(h, self.up).chunk(2, -1)
            return F.linear(F.silu(gate) * up, self.down)
        flat = h.flatten(0, 1)
        gates, chosen = F.linear(flat, self.router).softmax(-1).max(-1)
        order = chosen.argsort(stable=True)
        ends = torch.bincount(chosen, minlength=EXPERTS).cumsum(0).to(torch.int32)
        gate, up = self.grouped(flat[order], self.up, ends).chunk(2, -1)
        y = self.grouped(F.silu(gate) * up, self.down, ends) * gates[order, None]
        return torch.zeros_like(flat).index_copy(0, order, y.to(flat.dtype)).view_as(h)

    def grouped(self, x, weight, ends):
        if ON_CUDA and hasattr(torch, "_grouped_mm"):
            return torch._grouped_mm(x.bfloat16(), weight.bfloat16(), offs=ends)
        parts, first = [], 0
        for expert, end in enumerate(ends.tolist()):
            parts.append(x[first:end] @ weight[expert].to(x.dtype))
            first = end
        return torch.cat(parts)

    def forward(self, x, cos, sin):
        h = self.norm(x)
        return x + self.attend(h, cos, sin) + self.feed(h)


class Model(torch.nn.Module):
    def __init__(self, s, kind):
        super().__init__()
        d = s["width"]
        self.embed = torch.nn.Embedding(s["vocab"], d, device=DEVICE)
        self.blocks = torch.nn.ModuleList(Block(s, kind) for _ in range(s["layers"]))
        self.norm = torch.nn.LayerNorm(d, bias=False, device=DEVICE)
        self.head = self.embed.weight if s["tied"] else torch.nn.Parameter(
            torch.randn(s["vocab"], d, device=DEVICE) * 0.02)
        angles = torch.outer(torch.arange(s["time"], device=DEVICE),
                             10000.0 ** (-torch.arange(0, HEAD_WIDTH, 2, device=DEVICE) / HEAD_WIDTH))
        self.cos, self.sin = angles.cos()[:, None], angles.sin()[:, None]

    def hidden(self, ids):
        x = self.embed(ids).bfloat16()
        for block in self.blocks:
            x = block(x, self.cos.bfloat16(), self.sin.bfloat16())
        return self.norm(x)

    def forward(self, ids):
        return self.hidden(ids)


def model(size, kind):
    s = SIZES["tiny" if TINY else size]
    net = Model(s, kind)
    hidden = net if TINY else torch.compile(net, mode="max-autotune-no-cudagraphs" if kind == "dense" else None)
    loss = chunked_loss if TINY else torch.compile(chunked_loss)
    ids = torch.randint(0, s["vocab"], (ROWS, s["time"]), device=DEVICE)
    parameters = list(net.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)

    def micro_step():
        with torch.autocast(DEVICE.type, torch.bfloat16):
            loss(hidden(ids).flatten(0, 1), net.head, ids.flatten()).div(ids.numel()).backward()

    def update():
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
    about = dict(model=size, kind=kind, tokens=ids.numel(), parameters=sum(p.numel() for p in parameters))
    seconds = case("micro-step", lambda: micro_step, **about)
    more = seconds and case("update", lambda: update, **about)
    if more:
        emit(case="tokens per second", dtype="bf16", **about,
             tokens_per_second=MICRO_STEPS * ids.numel() / (MICRO_STEPS * seconds + more))


if options.group == "ceilings":
    ceilings()
elif options.group == "micro":
    micro()
else:
    model(*options.group.split())
print(f"{done} passed, {failed} failed")
raise SystemExit(0 if done else 1)
