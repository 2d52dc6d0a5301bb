"""The PyTorch side of `make bench`: tests/bench/bench.lua starts it and drives it over pipes.

    peer.py [--device cuda] [--version | --memory KIND SIZES...]

A line "case [tf32] [threads=N] [seconds=N] KIND SIZES..." prepares a case: every variant (eager,
torch.compile, ...) is timed with 1 thread and with one per core, or with N, and the fastest is
kept, of those that are ready in N seconds; the answer is "ready LABEL", or "failed WHY". A line "run" times it for a while; the answer is the seconds of one call. A line "end"
frees the case; the answer is "ended". Nothing else goes to standard output.

--memory prints by how many bytes peak resident memory grew in two eager steps of a case.

On a CUDA device threads do not matter; products are of f32 unless the case says tf32; and variants
that take long to compile are given up.

Any PyTorch 2 will do: `pip install torch numpy`, and g++ for torch.compile. On a machine without a
CUDA device 1 GB of that can be left out; this is enough:

    pip install --no-deps torch==2.15.0 nvidia-cudnn-cu13==9.26.0.51 nvidia-nccl-cu13==2.30.7 \\
        nvidia-cusparselt-cu13==0.8.1 nvidia-nvshmem-cu13==3.7.2
    pip install numpy setuptools typing_extensions sympy networkx jinja2 filelock fsspec \\
        'cuda-toolkit[cublas,cudart,cufft,cufile,cupti,cusparse,nvjitlink,nvrtc]==13.2.2'
"""
import contextlib
import gc
import math
import os
import resource
import signal
import sys
import time

import torch
import torch.nn.functional as F

import peer_mixtures as mixtures

AT_ONCE = 0.2  # seconds that one measurement takes
PREPARE = 60  # seconds that a case may prepare on a device
COMPILED = ("compiled", "graphs")  # last words of the names of variants that are compiled

DEVICE = sys.argv[sys.argv.index("--device") + 1] if "--device" in sys.argv else "cpu"
ON_CUDA = DEVICE.startswith("cuda")


def matmul(batch, m, k, n):
    shape = (batch,) if batch > 1 else ()
    a, b = torch.randn(*shape, m, k), torch.randn(*shape, k, n)
    return {"eager": lambda: a @ b}


def attention(batch, time_steps, heads, kv_heads, width, backward):
    q, k, v = (torch.randn(batch, time_steps, count, width, requires_grad=bool(backward))
               for count in (heads, kv_heads, kv_heads))
    seed = torch.randn(batch, heads, time_steps, width)

    def make_step(repeat):
        def step():
            y = mixtures.attend_heads(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
                                      repeat)
            if backward:
                q.grad = k.grad = v.grad = None
                y.backward(seed)
        return step
    if ON_CUDA and heads != kv_heads:
        return {"eager": make_step(False), "repeated keys": make_step(True)}
    return {"eager": make_step(False)}


def with_compiled(function, make_step, fixed=True):
    """Two variants: the function as it is, and compiled. It may be a module. On a device also one
    that is launched at once, as a CUDA graph, where its tensors have fixed sizes."""
    variants = {"eager": make_step(function), "compiled": make_step(torch.compile(function))}
    if ON_CUDA and fixed:
        variants["graphs"] = make_step(torch.compile(function, mode="reduce-overhead"))
    return variants


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


def embedding(tokens, vocabulary, width):
    w, seed = torch.randn(vocabulary, width, requires_grad=True), torch.randn(tokens, width)
    ids = torch.randint(0, vocabulary, (tokens,))

    def make_step(function):
        def step():
            w.grad = None
            function(ids, w).backward(seed)
        return step
    return with_compiled(F.embedding, make_step)


def copy(count):
    a, b = torch.randn(count), torch.zeros(count)
    return {"eager": lambda: b.copy_(a)}


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
            for name, step in with_compiled(net, make_step, form != "loop").items()}


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

    optimizers = {}  # one of each net, whether compiled or not

    def make_step(net):
        parameters = list(net.parameters())
        if parameters[0] not in optimizers:
            optimizers[parameters[0]] = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.1,
                                                          fused=True)
        optimizer = optimizers[parameters[0]]

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
         for f in (matmul, attention, layer_norm, linear_cross_entropy, embedding, copy, adamw, add,
                   mixture_of_attention, routed_ffn, model)}


def timed(step, calls):
    if ON_CUDA:
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        step()
    if ON_CUDA:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / calls


def calls_for(step, seconds):
    """How many calls take about that long."""
    calls = 1
    while (once := timed(step, calls)) * calls < seconds / 10:
        calls *= 4
    return max(1, int(seconds / once))


def in_order(variants, seconds):
    """The names of variants: first those that need no compiler, then those of the form that was the
    fastest without. `seconds` gets filled meanwhile."""
    def slow(name):
        return name.split()[-1] in COMPILED

    def eager_seconds(name):
        return seconds.get(" ".join(name.split()[:-1] + ["eager"]), math.inf)
    yield from [name for name in variants if not slow(name)]
    yield from sorted(filter(slow, variants), key=eager_seconds)


@contextlib.contextmanager
def limited(end):
    """Raises when a case takes longer than till then (None: it may), and again as long as that is
    caught by what it passes."""
    def late(*_):
        raise TimeoutError("it is not ready in time")
    if end is None:
        yield
        return
    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, max(end - time.perf_counter(), 1e-3), 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def time_variants(variants, end):
    """Seconds of a call by name, of those that run here."""
    seconds = {}
    for name in in_order(variants, seconds):
        try:
            with limited(end):
                step = variants[name]
                timed(step, 4 if ON_CUDA else 2)  # warm, compile, record graphs
                seconds[name] = min(timed(step, calls_for(step, AT_ONCE / 4)) for _ in range(3))
        except Exception as error:
            print(f"peer: {name} does not run here: {error}", file=sys.stderr)
            seconds.pop(name, None)
    return seconds


def best_variant(variants, threads=None, seconds=PREPARE if ON_CUDA else None):
    """Label, step and calls per measurement of the fastest, of those whose names contain
    $BAMLUA_PEER_FORM ("loop", "stacked", ...) where there are such."""
    form = os.environ.get("BAMLUA_PEER_FORM", "")
    variants = {name: step for name, step in variants.items() if form in name} or variants
    end, found = seconds and time.perf_counter() + seconds, []
    counts = [None] if ON_CUDA else [threads] if threads else sorted({1, os.cpu_count()})
    for count in counts:
        if count:
            torch.set_num_threads(count)
        found += [(seconds, count, name)
                  for name, seconds in time_variants(variants, end).items()]
    if not found:
        raise RuntimeError("no variant runs here; the log says why")
    _, count, name = min(found, key=lambda entry: entry[0])
    label = name
    if count:
        torch.set_num_threads(count)
        label = f"{name}, {count} thread{'s' if count > 1 else ''}"
    return label, variants[name], calls_for(variants[name], AT_ONCE)


def prepare(words):
    """As best_variant, of a case."""
    options = {name: int(value) for name, equals, value in (word.partition("=") for word in words)
               if equals}
    words = [word for word in words if "=" not in word]
    tf32 = words[0] == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    with torch.device(DEVICE):
        variants = CASES[words[tf32]](*map(int, words[1 + tf32:]))
    return best_variant(variants, **options)


def memory_of(words):
    """By how many bytes peak resident memory grows in two eager steps of a case. First a step of
    a tiny model loads all code."""
    def run(kind, *sizes):
        step = CASES[kind](*map(int, sizes))["eager"]
        step()
        step()

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kB on Linux
    run("model", 1, 32, 1, 32, 64, 1, 8, 1)
    before = peak()
    run(*words)
    return peak() - before


def free():
    """Gives back what a case held; the caller has let go of its step."""
    torch._dynamo.reset()
    gc.collect()
    if ON_CUDA:
        torch.cuda.empty_cache()


def main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print does not belong to the conversation
    if ON_CUDA:
        torch.cuda.set_device(DEVICE)
    step, calls = None, 0
    for line in sys.stdin:
        words = line.split()
        if words[0] != "run":
            step = None
            free()
        if words[0] == "case":
            try:
                label, step, calls = prepare(words[1:])
                print("ready", label, file=answers)
            except Exception as error:
                print(f"peer: {line.strip()}: {error}", file=sys.stderr)
                print("failed", " ".join(str(error).split())[:60], file=answers)
        elif words[0] == "end":
            print("ended", file=answers)
        else:
            print(repr(timed(step, calls)), file=answers)


if __name__ == "__main__":
    if ON_CUDA and not torch.cuda.is_available():
        sys.exit("peer: this PyTorch has no CUDA device")
    if "--version" in sys.argv:
        print(f"PyTorch {torch.__version__}")
    elif "--memory" in sys.argv:
        print(memory_of(sys.argv[sys.argv.index("--memory") + 1:]))
    else:
        main()
