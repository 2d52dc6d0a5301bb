"""The paper's layers and models in PyTorch, which tests/bench/peer.py times.

A mixture comes in several forms, which compute the same:
    loop     a loop over the experts, each of which has weights of its own
    stacked  the experts' weights are one: attention experts are the heads of one attention; FFN
             experts all see every token, and the gates of those not chosen are 0
    grouped  attention stacked; tokens sorted by FFN expert, for a product that is grouped likewise
"""
from collections import namedtuple

import torch
import torch.nn.functional as F
from torch import nn

# Lets the compiler see through the loop form, whose experts get as many tokens as it happens.
torch._dynamo.config.capture_dynamic_output_shape_ops = True
# All forms of a model are one function to the compiler; out of room it would go eager in silence.
torch._dynamo.config.recompile_limit = 64
torch._dynamo.config.fail_on_recompile_limit_hit = True

LOAD_BALANCE, Z_LOSS = 0.01, 0.001  # what the auxiliary losses are multiplied by


def weight(*shape):
    return nn.Parameter(torch.randn(*shape) * 0.02)


class Rope:
    """Turns pairs of each head's elements by the positions 0 .. time_steps - 1."""

    def __init__(self, time_steps, head_width):
        half = head_width // 2
        angles = torch.arange(time_steps)[:, None] * 10000.0 ** (-torch.arange(half) / half)
        self.cos, self.sin = torch.cos(angles)[:, None, :], torch.sin(angles)[:, None, :]
        self.turn = torch.polar(torch.ones_like(angles), angles)[:, None, :]

    def __call__(self, x):
        """x is [B, T, heads, K]. Complex is fastest when eager; the compiler cannot do it."""
        if torch.compiler.is_compiling():
            a, b = x.reshape(*x.shape[:-1], -1, 2).unbind(-1)
            turned = torch.stack((a * self.cos - b * self.sin, a * self.sin + b * self.cos), -1)
        else:
            pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
            turned = torch.view_as_real(pairs * self.turn)
        return turned.reshape(x.shape)


def attend_heads(q, k, v, repeat):
    """Causal attention of heads [B, heads, T, K]. Consecutive queries may share keys; `repeat`
    gives each its own, as on a device what computes f32 by blocks cannot share."""
    shared = q.shape[1] != k.shape[1]
    if shared and repeat:
        times = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True,
                                          enable_gqa=shared and not repeat)


def attend(q, k, v):
    """As attend_heads, of heads [B, T, heads, K]."""
    y = attend_heads(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), q.is_cuda)
    return y.transpose(1, 2)


class StackedAttention(nn.Module):
    """Rows of qkv: the queries of all experts, then keys, then values. Query heads lie in the order
    (head, expert), so that those of a head that share a key are neighbours."""

    def __init__(self, width, heads, rope, experts=1, shared=True):
        super().__init__()
        self.rope, self.heads, self.experts = rope, heads, experts
        keys = 1 if shared else experts
        self.split = [experts * heads, keys * heads, keys * heads]
        self.qkv = weight((experts + 2 * keys) * width, width)
        self.out = weight(width, experts * width)
        self.router = weight(experts, width) if experts > 1 else None

    def forward(self, h):
        B, T, width = h.shape
        q, k, v = F.linear(h, self.qkv).view(B, T, sum(self.split), -1).split(self.split, 2)
        y = attend(self.rope(q), self.rope(k), v)
        if self.router is not None:
            gates = F.linear(h, self.router).softmax(-1)
            y = y.reshape(B, T, self.heads, self.experts, -1) * gates[:, :, None, :, None]
        return F.linear(y.reshape(B, T, -1), self.out)


class LoopAttention(nn.Module):
    def __init__(self, width, heads, rope, experts, shared):
        super().__init__()
        self.rope, self.heads, self.shared = rope, heads, shared
        rows = width if shared else 3 * width
        self.kv = weight(2 * width, width) if shared else None
        self.inputs = nn.ParameterList(weight(rows, width) for _ in range(experts))
        self.outs = nn.ParameterList(weight(width, width) for _ in range(experts))
        self.router = weight(experts, width)

    def project(self, h, matrix):
        """As many [B, T, heads, K] as the matrix has rows for."""
        B, T, width = h.shape
        parts = matrix.shape[0] // width
        return F.linear(h, matrix).view(B, T, parts, self.heads, -1).unbind(2)

    def forward(self, h):
        gates, y = F.linear(h, self.router).softmax(-1), 0
        if self.shared:
            k, v = self.project(h, self.kv)
            k = self.rope(k)
        for i, (matrix, out) in enumerate(zip(self.inputs, self.outs)):
            if self.shared:
                q, = self.project(h, matrix)
            else:
                q, k, v = self.project(h, matrix)
                k = self.rope(k)
            heads = attend(self.rope(q), k, v).reshape(h.shape)
            y = y + gates[..., i:i + 1] * F.linear(heads, out)
        return y


# gates and experts: [tokens, k]; counts: how many of these name each expert.
Routing = namedtuple("Routing", "gates experts counts loss")


def route(x, router, k):
    """To the k likeliest experts of each token, with the auxiliary losses."""
    logits = F.linear(x, router)
    p = logits.softmax(-1)
    gates, experts = p.topk(k)
    counts = F.one_hot(experts, len(router)).sum((0, 1))
    load_balance = len(router) * (counts / experts.numel() * p.mean(0)).sum()
    z = logits.logsumexp(-1).square().mean()
    return Routing(gates, experts, counts, LOAD_BALANCE * load_balance + Z_LOSS * z)


def swiglu(x):
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up


class DenseFFN(nn.Module):
    """Like the others it gives its auxiliary loss too, which is 0."""

    def __init__(self, width, hidden):
        super().__init__()
        self.gate_up, self.down = weight(2 * hidden, width), weight(width, hidden)

    def forward(self, h):
        return F.linear(swiglu(F.linear(h, self.gate_up)), self.down), 0


class LoopFFN(nn.Module):
    def __init__(self, width, hidden, experts, top_k):
        super().__init__()
        self.top_k, self.router = top_k, weight(experts, width)
        self.gate_up = nn.ParameterList(weight(2 * hidden, width) for _ in range(experts))
        self.down = nn.ParameterList(weight(width, hidden) for _ in range(experts))

    def forward(self, h):
        x = h.view(-1, h.shape[-1])
        routing, y = route(x, self.router, self.top_k), torch.zeros_like(x)
        for i, (gate_up, down) in enumerate(zip(self.gate_up, self.down)):
            rows, choice = torch.where(routing.experts == i)
            hidden = swiglu(F.linear(x.index_select(0, rows), gate_up))
            gates = routing.gates.flatten().index_select(0, rows * self.top_k + choice)
            y.index_add_(0, rows, F.linear(hidden * gates[:, None], down))
        return y.view(h.shape), routing.loss


class StackedFFN(nn.Module):
    def __init__(self, width, hidden, experts, top_k):
        super().__init__()
        self.top_k, self.router = top_k, weight(experts, width)
        self.gate_up = weight(experts, 2 * hidden, width)
        self.down = weight(width, experts * hidden)

    def forward(self, h):
        x = h.view(-1, h.shape[-1])
        routing = route(x, self.router, self.top_k)
        gates = x.new_zeros(len(x), len(self.router))
        gates = gates.scatter(1, routing.experts, routing.gates)
        hidden = swiglu(F.linear(x, self.gate_up.flatten(0, 1)).view(*gates.shape, -1))
        y = F.linear((hidden * gates[:, :, None]).flatten(1), self.down)
        return y.view(h.shape), routing.loss


class GroupedFFN(nn.Module):
    def __init__(self, width, hidden, experts, top_k):
        super().__init__()
        self.top_k, self.router = top_k, weight(experts, width)
        self.gate_up = weight(experts, 2 * hidden, width)
        self.down = weight(experts, width, hidden)

    def forward(self, h):
        x = h.view(-1, h.shape[-1])
        routing = route(x, self.router, self.top_k)
        order = routing.experts.flatten().argsort(stable=True)
        rows, ends = order // self.top_k, routing.counts.cumsum(0).int()
        gates = routing.gates.flatten().index_select(0, order)
        hidden = swiglu(F.grouped_mm(x.index_select(0, rows), self.gate_up.mT, offs=ends))
        y = F.grouped_mm(hidden * gates[:, None], self.down.mT, offs=ends)
        return torch.zeros_like(x).index_add(0, rows, y).view(h.shape), routing.loss


class Block(nn.Module):
    """One norm, then attention and FFN side by side."""

    def __init__(self, width, attention, ffn):
        super().__init__()
        self.norm, self.attention, self.ffn = nn.LayerNorm(width, bias=False), attention, ffn

    def forward(self, x):
        h = self.norm(x)
        y, auxiliary = self.ffn(h)
        return x + self.attention(h) + y, auxiliary


class Model(nn.Module):
    """Parallel blocks. Projections that share an input are one."""

    def __init__(self, vocabulary, width, blocks):
        super().__init__()
        self.embed, self.head = weight(vocabulary, width), weight(vocabulary, width)
        self.blocks, self.norm = nn.ModuleList(blocks), nn.LayerNorm(width, bias=False)

    def forward(self, tokens, targets):
        """The loss."""
        x, auxiliary = F.embedding(tokens, self.embed), 0
        for block in self.blocks:
            x, loss = block(x)
            auxiliary = auxiliary + loss
        logits = F.linear(self.norm(x), self.head)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten()) + auxiliary


ATTENTION = {"loop": LoopAttention, "stacked": StackedAttention}
FFN = {"loop": LoopFFN, "stacked": StackedFFN, "grouped": GroupedFFN}
# The forms of a whole model, of its attention and its FFN.
MODEL = {"loop": ("loop", "loop"), "stacked": ("stacked", "stacked"),
         "grouped": ("stacked", "grouped")}

Sizes = namedtuple("Sizes", "layers width heads hidden vocabulary attention_experts shared "
                            "ffn_experts top_k")


def build(sizes, time_steps, attention=None, ffn=None):
    """A model whose mixtures have these forms. A layer of one expert is dense."""
    s, rope = sizes, Rope(time_steps, sizes.width // sizes.heads)

    def make_attention():
        if s.attention_experts == 1:
            return StackedAttention(s.width, s.heads, rope)
        return ATTENTION[attention](s.width, s.heads, rope, s.attention_experts, s.shared)

    def make_ffn():
        if s.ffn_experts == 1:
            return DenseFFN(s.width, s.hidden)
        return FFN[ffn](s.width, s.hidden, s.ffn_experts, s.top_k)

    return Model(s.vocabulary, s.width, [Block(s.width, make_attention(), make_ffn())
                                         for _ in range(s.layers)])
