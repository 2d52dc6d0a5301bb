-- The text of modeling_bam.py, by which transformers computes what bamlua does.
return [==[
"""Branch-Attend-Mix in PyTorch: what bamlua computes, for transformers (trust_remote_code=True). Attention experts
attend one by one and a router's gates weight their results; keys and values belong to each expert or are shared by all.
FFN experts are chosen per token. Heads are rotated in neighboring pairs."""
import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_bam import BamConfig


class Norm(nn.Module):
    def __init__(self, config, shape, rms, weighted=True):
        super().__init__()
        self.weight, self.rms = nn.Parameter(torch.ones(shape)) if weighted else None, rms
        self.eps = config.layer_norm_eps

    def forward(self, x):
        y = x.float()
        y = y if self.rms else y - y.mean(-1, keepdim=True)
        y = (y * torch.rsqrt((y * y).mean(-1, keepdim=True) + self.eps)).to(x.dtype)
        return y if self.weight is None else y * self.weight


class Router(nn.Module):
    def __init__(self, config, experts, top_k, kind):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, config.hidden_size))
        self.top_k, self.temperature = top_k, getattr(config, kind + "_temperature")
        self.renormalize = getattr(config, kind + "_renormalise")

    def forward(self, h):
        """Gates of all experts, 0 for those that are not chosen: [B, T, experts]."""
        p = torch.softmax(F.linear(h, self.weight).float() / self.temperature, -1)
        top, chosen = p.topk(self.top_k, -1)
        if self.renormalize:
            top = top / top.sum(-1, keepdim=True)
        return torch.zeros_like(p).scatter(-1, chosen, top).to(h.dtype)


class Projections(nn.Module):
    """The projections of an expert, or of the part that all experts share: some of q, k, v and o."""

    def __init__(self, config, letters):
        super().__init__()
        width, rows = config.hidden_size, {
            "q": config.num_attention_heads * config.head_dim, "k": config.num_key_value_heads * config.head_dim}
        rows["v"] = rows["k"]
        for letter in letters:
            if letter == "o":
                self.o_proj = nn.Linear(rows["q"], width, bias=config.out_bias)
            else:
                setattr(self, letter + "_proj", nn.Linear(width, rows[letter], bias=config.qkv_bias))
        self.head_dim, kind = config.head_dim, config.qk_norm
        self.per_head = kind != "width"
        for letter in set(letters) & {"q", "k"} if kind else ():
            size, heads = rows[letter] if kind == "width" else config.head_dim, rows[letter] // config.head_dim
            setattr(self, letter + "_norm", Norm(config, (heads, size) if kind == "layer" else size, kind != "layer"))

    def heads(self, letter, h):
        """[B, heads, T, head_dim]"""
        y, norm = getattr(self, letter + "_proj")(h), getattr(self, letter + "_norm", None)
        if norm is not None and not self.per_head:
            y = norm(y)
        y = y.view(*h.shape[:2], -1, self.head_dim)
        return (norm(y) if norm is not None and self.per_head else y).transpose(1, 2)


class Attention(Projections):
    def __init__(self, config, layer):
        mixed, shared = config.attention_experts > 1, config.attention_kv == "shared"
        super().__init__(config, ("kv" if shared else "") if mixed else "qkvo")
        self.layer, self.window, self.shared = layer, config.window_of(layer), mixed and shared
        self.rotates = self.window > 0 or config.rope_layers != "windowed"
        self.experts = None
        if mixed:
            count, routing = config.attention_experts, config.attention_routing
            self.experts = nn.ModuleList(Projections(config, "qo" if shared else "qkvo") for _ in range(count))
            self.router = Router(config, count, count if routing == "soft" else routing, "attention")

    def forward(self, h, rotation, hidden, ahead, cache):
        experts = self.experts or [self]
        q = torch.stack([e.heads("q", h) for e in experts], 1)
        holders = [self] if self.shared else experts
        k, v = (torch.cat([e.heads(letter, h) for e in holders], 1) for letter in "kv")
        if self.rotates:
            q, k = rotate(q, *(r.unsqueeze(1) for r in rotation)), rotate(k, *rotation)
        if cache is not None:
            k, v = cache.update(k, v, self.layer)
        if self.window:
            hidden = hidden | (ahead >= self.window)
        outputs = []
        for i, expert in enumerate(experts):  # each with its keys, or all with the same
            keys, values = (x if self.shared else x.chunk(len(experts), 1)[i] for x in (k, v))
            group = q.shape[2] // keys.shape[1]
            scores = q[:, i] @ keys.repeat_interleave(group, 1).transpose(2, 3) / math.sqrt(self.head_dim)
            p = torch.softmax(scores.float().masked_fill(hidden, -torch.inf), -1).to(v.dtype)
            o = p @ values.repeat_interleave(group, 1)
            outputs.append(expert.o_proj(o.transpose(1, 2).flatten(2)))
        if self.experts is None:
            return outputs[0]
        return (torch.stack(outputs, -1) * self.router(h).unsqueeze(2)).sum(-1)


class SwiGLU(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, hidden = config.hidden_size, config.intermediate_size
        self.gate_proj, self.up_proj = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down_proj, self.activation = nn.Linear(hidden, width, bias=False), ACT2FN[config.hidden_act]

    def forward(self, h):
        return self.down_proj(self.activation(self.gate_proj(h)) * self.up_proj(h))


class RoutedFFN(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.experts = nn.ModuleList(SwiGLU(config) for _ in range(config.ffn_experts))
        self.router = Router(config, config.ffn_experts, config.ffn_top_k, "ffn")

    def forward(self, h):
        gates, y = self.router(h), torch.zeros_like(h)
        for i, expert in enumerate(self.experts):
            at = gates[..., i] != 0
            y[at] = y[at] + expert(h[at]) * gates[..., i][at].unsqueeze(-1)
        return y


NORMS = {"parallel": ("input",), "sequential": ("input", "post_attention"),
         "post_norm": ("post_attention", "post_feedforward")}


class Block(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.kind, self.self_attn = config.block, Attention(config, layer)
        self.mlp = RoutedFFN(config) if config.ffn_experts > 1 else SwiGLU(config)
        for name in NORMS[config.block]:
            norm = Norm(config, config.hidden_size, config.norm == "rms", config.norm_weight)
            setattr(self, name + "_layernorm", norm)

    def forward(self, x, *attending):
        if self.kind == "parallel":
            h = self.input_layernorm(x)
            return x + self.self_attn(h, *attending) + self.mlp(h)
        if self.kind == "sequential":
            x = x + self.self_attn(self.input_layernorm(x), *attending)
            return x + self.mlp(self.post_attention_layernorm(x))
        x = x + self.post_attention_layernorm(self.self_attn(x, *attending))
        return x + self.post_feedforward_layernorm(self.mlp(x))


def frequencies(config, device):
    """Of the pairs of a head that rotate, in double precision."""
    rope = config.rope_parameters or {}
    kind, base = rope.get("rope_type", "default"), rope.get("rope_theta", config.rope_theta)
    width = int(config.head_dim * rope.get("partial_rotary_factor", 1))
    pairs = torch.arange(width // 2, dtype=torch.float64, device=device)
    f, share = base ** (-2 * pairs / width), 0 if kind == "linear" else 1  # share: how much of it is kept
    if kind == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        share = ((rope["original_max_position_embeddings"] * f / (2 * math.pi) - low) / (high - low)).clamp(0, 1)
    if kind == "yarn":
        turns = [rope["original_max_position_embeddings"] / (2 * math.pi * rope["beta_" + x]) for x in ("fast", "slow")]
        first, last = (width * math.log(x) / (2 * math.log(base)) for x in turns)
        first, last = max(math.floor(first), 0), min(math.ceil(last), width - 1)
        share = 1 - ((pairs - first) / max(last - first, 0.001)).clamp(0, 1)
    return (1 - share) * f / rope.get("factor", 1) + share * f


def rotate(x, cos, sin):
    width = 2 * cos.shape[-1]
    even, odd = x[..., 0:width:2], x[..., 1:width:2]
    rotated = torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2)
    return torch.cat((rotated, x[..., width:]), -1)


class BamForCausalLM(PreTrainedModel, GenerationMixin):
    config_class, base_model_prefix, _no_split_modules = BamConfig, "model", ["Block"]

    def __init__(self, config):
        super().__init__(config)
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.model.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.model.norm = Norm(config, config.hidden_size, config.norm == "rms", config.norm_weight)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.embed_tokens

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, labels=None,
                use_cache=None, inputs_embeds=None, cache=None, **kwargs):
        x = self.model.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        cache = past_key_values if cache is None else cache
        if cache is None and use_cache:
            cache = DynamicCache()
        past = cache.get_seq_length() if cache is not None else 0
        at = torch.arange(past + x.shape[1], device=x.device)
        ahead = at[past:, None] - at  # how far a key lies behind a query
        hidden = (ahead < 0)[None, None]
        if attention_mask is not None and attention_mask.dim() == 2:
            padding = attention_mask[:, None, None] == 0
            hidden = hidden | padding & (ahead != 0)  # padding sees itself, so that nothing is NaN
        positions = at[None, past:] if position_ids is None else position_ids
        angles = positions[:, None, :, None].double() * frequencies(self.config, x.device)
        scale = (self.config.rope_parameters or {}).get("attention_factor") or 1
        rotation = [(f(angles) * scale).to(x.dtype) for f in (torch.cos, torch.sin)]
        for layer in self.model.layers:
            x = layer(x, rotation, hidden, ahead, cache)
        h = self.model.norm(x) * self.config.logit_scale
        head = self.model.embed_tokens if self.config.tie_word_embeddings else self.lm_head
        logits, loss = F.linear(h, head.weight), None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        name = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{name: cache})
]==]
