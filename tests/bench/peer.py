"""The PyTorch side of `make bench`: tests/bench/bench.lua starts it and drives it over pipes.

A line "case KIND SIZES..." prepares a case: every variant (eager, torch.compile, ...) is timed with
1 thread and with one per core, and the fastest is kept; the answer is "ready LABEL". A line "run"
times it for a while; the answer is the seconds of one call. Nothing else goes to standard output.

Any PyTorch 2 will do: `pip install torch numpy`, and g++ for torch.compile. On a machine without a
CUDA device 1 GB of that can be left out; this is enough:

    pip install --no-deps torch==2.15.0 nvidia-cudnn-cu13==9.26.0.51 nvidia-nccl-cu13==2.30.7 \\
        nvidia-cusparselt-cu13==0.8.1 nvidia-nvshmem-cu13==3.7.2
    pip install numpy setuptools typing_extensions sympy networkx jinja2 filelock fsspec \\
        'cuda-toolkit[cublas,cudart,cufft,cufile,cupti,cusparse,nvjitlink,nvrtc]==13.2.2'
"""
import math
import os
import sys
import time

import torch
import torch.nn.functional as F

import peer_mixtures as mixtures

AT_ONCE = 0.2  # seconds that one measurement takes


def matmul(batch, m, k, n):
    shape = (batch,) if batch > 1 else ()
    a, b = torch.randn(*shape, m, k), torch.randn(*shape, k, n)
    return {"eager": lambda: a @ b}


def attention(batch, time_steps, heads, kv_heads, width, backward):
    q, k, v = (torch.randn(batch, time_steps, count, width, requires_grad=bool(backward))
               for count in (heads, kv_heads, kv_heads))
    seed = torch.randn(batch, heads, time_steps, width)

    def step():
        y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
                                           is_causal=True, enable_gqa=heads != kv_heads)
        if backward:
            q.grad = k.grad = v.grad = None
            y.backward(seed)
    return {"eager": step}


def with_compiled(function, make_step):
    """Two variants: the function as it is, and compiled. It may be a module."""
    return {"eager": make_step(function), "compiled": make_step(torch.compile(function))}


def layer_norm(rows, width):
    x, w = torch.randn(rows, width, requires_grad=True), torch.randn(width, requires_grad=True)
    seed = torch.randn(rows, width)

    def make_step(function):
        def step():
            x.grad = w.grad = None
            function(x, w).backward(seed)
        return step
    return with_compiled(lambda x, w: F.layer_norm(x, (width,), w, None, 1e-5), make_step)


def linear_cross_entropy(rows, width, vocabulary):
    x = torch.randn(rows, width, requires_grad=True)
    w = (torch.randn(vocabulary, width) * width ** -0.5).requires_grad_()
    targets = torch.randint(0, vocabulary, (rows,))

    def make_step(function):
        def step():
            x.grad = w.grad = None
            function(x, w).backward()
        return step
    variants = with_compiled(lambda x, w: F.cross_entropy(F.linear(x, w), targets), make_step)
    if hasattr(F, "linear_cross_entropy") and hasattr(torch.nn, "LinearCrossEntropyOptions"):
        options = torch.nn.LinearCrossEntropyOptions()
        variants["chunked"] = make_step(
            lambda x, w: F.linear_cross_entropy(x, w, targets, options=options))
    return variants


def adamw(count):
    p = torch.randn(count, requires_grad=True)
    p.grad = torch.randn(count)
    variants = {}
    for name in ("foreach", "fused"):
        optimizer = torch.optim.AdamW([p], lr=1e-3, weight_decay=0.1, **{name: True})
        variants[name] = optimizer.step
    return variants


def add(count):
    a, b = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0])

    def step():
        for _ in range(count):
            a + b
    return {"eager": step}


def in_forms(nets, make_step):
    """The variants of a net in each of its forms, named after both."""
    return {f"{form} {name}": step for form, net in nets.items()
            for name, step in with_compiled(net, make_step).items()}


def mixture_of_attention(batch, time_steps, width, heads, experts, shared):
    h = torch.randn(batch, time_steps, width, requires_grad=True)
    seed = torch.randn(batch, time_steps, width)
    rope = mixtures.Rope(time_steps, width // heads)

    def make_step(layer):
        def step():
            h.grad = None
            layer.zero_grad()
            layer(h).backward(seed)
        return step
    return in_forms({form: make(width, heads, rope, experts, bool(shared))
                     for form, make in mixtures.ATTENTION.items()}, make_step)


def routed_ffn(tokens, width, hidden, experts, top_k):
    x, seed = torch.randn(tokens, width, requires_grad=True), torch.randn(tokens, width)

    def make_step(layer):
        def step():
            x.grad = None
            layer.zero_grad()
            y, auxiliary = layer(x)
            ((y * seed).sum() + auxiliary).backward()
        return step
    return in_forms({form: make(width, hidden, experts, top_k)
                     for form, make in mixtures.FFN.items()}, make_step)


def model(layers, width, heads, hidden, vocabulary, batch, time_steps, update,
          attention_experts=1, shared=0, ffn_experts=1, top_k=1):
    sizes = mixtures.Sizes(layers, width, heads, hidden, vocabulary, attention_experts,
                           bool(shared), ffn_experts, top_k)
    tokens = torch.randint(0, vocabulary, (batch, time_steps))
    targets = torch.randint(0, vocabulary, (batch, time_steps))

    def make_step(net):
        parameters = list(net.parameters())
        optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.1, fused=True)

        def step():
            optimizer.zero_grad()
            net(tokens, targets).backward()
            if update:
                torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
                optimizer.step()
        return step
    if ffn_experts == 1:
        return with_compiled(mixtures.build(sizes, time_steps), make_step)
    return in_forms({name: mixtures.build(sizes, time_steps, *forms)
                     for name, forms in mixtures.MODEL.items()}, make_step)


CASES = {f.__name__: f
         for f in (matmul, attention, layer_norm, linear_cross_entropy, adamw, add,
                   mixture_of_attention, routed_ffn, model)}


def timed(step, calls):
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls


def calls_for(step, seconds):
    """How many calls take about that long."""
    calls = 1
    while (once := timed(step, calls)) * calls < seconds / 10:
        calls *= 4
    return max(1, int(seconds / once))


def best_variant(variants):
    """Label, step, threads and calls per measurement of the fastest, of those whose names contain
    $BAMLUA_PEER_FORM ("loop", "stacked", ...) where there are such."""
    form = os.environ.get("BAMLUA_PEER_FORM", "")
    variants = {name: step for name, step in variants.items() if form in name} or variants
    best = (math.inf,)
    for threads in sorted({1, os.cpu_count()}):
        torch.set_num_threads(threads)
        for name, step in variants.items():
            try:
                timed(step, 2)  # warm, compile
                seconds = min(timed(step, calls_for(step, AT_ONCE / 4)) for _ in range(3))
            except Exception as error:
                print(f"peer: {name} does not run here: {error}", file=sys.stderr)
                continue
            if seconds < best[0]:
                label = f"{name}, {threads} thread{'s' if threads > 1 else ''}"
                best = (seconds, label, step, threads)
    _, label, step, threads = best
    torch.set_num_threads(threads)
    return label, step, calls_for(step, AT_ONCE)


def main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print does not belong to the conversation
    step, calls = None, 0
    for line in sys.stdin:
        words = line.split()
        if words[0] == "case":
            step = None  # frees the last case's tensors first
            torch._dynamo.reset()
            label, step, calls = best_variant(CASES[words[1]](*map(int, words[2:])))
            print("ready", label, file=answers)
        else:
            print(repr(timed(step, calls)), file=answers)


if __name__ == "__main__":
    if sys.argv[1:] == ["--version"]:
        print(f"PyTorch {torch.__version__}")
    else:
        main()
