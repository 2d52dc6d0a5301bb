"""Do bamlua and transformers compute the same from each other's directories?

    python3 tests/golden/check_families.py build/bamlua [NAME]

For every family transformers makes a tiny model with random weights, saved in f32 and, in shards, in
bf16. bamlua loads it, and its logits are compared; it saves it so too, and those of what transformers
loads are compared; so are the gradients of all weights. Then bamlua mixes models and saves mixtures as
families of others, and, with its own Python code, as "bam": compared with and without cache. Parameters
of models of public sizes are counted by both.

Prints the tables of docs/formats.md: the largest differences, in f32. NAME picks the rows that contain
it. The exit status is 1 above 1e-4 (gradients: of the largest one), where a weight is missing and where
counts differ. Used by hand (PyTorch 2, transformers 5, safetensors).
"""
import os
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file

LIMIT = 1e-4
SIZES = dict(vocab_size=33, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
LLAMA3 = dict(rope_type="llama3", rope_theta=1e4, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
LINEAR = dict(rope_type="linear", rope_theta=5e3, factor=2.5)
YARN = dict(rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=16)
MSCALE = dict(YARN, beta_fast=16.0, beta_slow=2.0, mscale=0.8, mscale_all_dim=0.5)
PHI3 = dict(hidden_size=32, rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.75))
EXPERTS = dict(num_experts=4, num_experts_per_tok=2)

# Family, what is special about the model, the prefix of its classes, and its configuration.
MODELS = [
    ("cohere", "", "Cohere", {}),
    ("cohere", "norms of heads, biases", "Cohere", dict(use_qk_norm=True, attention_bias=True)),
    ("cohere2", "windows, layers without RoPE", "Cohere2", dict(sliding_window=6)),
    ("llama", "", "Llama", {}),
    ("llama", "llama3 RoPE, wide heads, tied", "Llama", dict(rope_parameters=LLAMA3, head_dim=8,
                                                             tie_word_embeddings=True)),
    ("llama", "linear RoPE, biases", "Llama", dict(rope_parameters=LINEAR, attention_bias=True)),
    ("llama", "yarn, GeGLU", "Llama", dict(rope_parameters=YARN, hidden_act="gelu")),
    ("glm", "a half of each head rotates", "Glm", dict(head_dim=8)),
    ("mistral", "", "Mistral", dict(sliding_window=None, head_dim=8)),
    ("mistral", "window", "Mistral", dict(sliding_window=5)),
    ("olmo", "norms without weights", "Olmo", dict(hidden_act="gelu_pytorch_tanh")),
    ("olmo2", "", "Olmo2", {}),
    ("phi3", "", "Phi3", {}),
    ("phi3", "a part of each head rotates, window", "Phi3", dict(PHI3, sliding_window=5)),
    ("qwen2", "", "Qwen2", {}),
    ("qwen2", "windows in upper layers", "Qwen2", dict(use_sliding_window=True, sliding_window=5, max_window_layers=1)),
    ("qwen3", "", "Qwen3", dict(head_dim=8)),
    ("qwen3", "yarn with mscale", "Qwen3", dict(head_dim=8, rope_parameters=MSCALE)),
    ("mixtral", "", "Mixtral", dict(num_local_experts=4)),
    ("mixtral", "GeGLU", "Mixtral", dict(num_local_experts=4, hidden_act="gelu_pytorch_tanh")),
    ("qwen3_moe", "raw gates", "Qwen3Moe", dict(EXPERTS, head_dim=8, moe_intermediate_size=20)),
    ("qwen3_moe", "renormalized gates", "Qwen3Moe", dict(EXPERTS, head_dim=8, moe_intermediate_size=20,
                                                         norm_topk_prob=True)),
    ("qwen3_moe", "dense layers", "Qwen3Moe", dict(EXPERTS, head_dim=8, moe_intermediate_size=20, mlp_only_layers=[1])),
    ("olmoe", "", "Olmoe", EXPERTS),
    ("cohere2_moe", "", "Cohere2Moe", dict(EXPERTS, head_dim=4, sliding_window=5, sliding_window_pattern=2)),
    ("cohere2_moe", "dense layers", "Cohere2Moe", dict(EXPERTS, head_dim=4, sliding_window=5, sliding_window_pattern=2,
                                                      first_k_dense_replace=1, prefix_dense_sliding_window_pattern=2,
                                                      prefix_dense_intermediate_size=20)),
]

# Mixtures that bamlua makes: the family they are saved as, a note, blocks, attention and FFN.
DENSE = "layers = 2, width = 24, heads = 4, kv_heads = 2, ffn = 20, vocab = 33, std = 0.3"
MIXTURES = [
    ("mixtral", "BTX of sequential blocks", f'sequential {{ {DENSE}, norm = "rms" }}', '{ experts = "mean" }', True),
    ("cohere2_moe", "BTX of parallel blocks", f"parallel {{ {DENSE} }}", '{ experts = "mean" }', True),
    ("bam", "own keys and values, parallel", f"parallel {{ {DENSE} }}", '{ kv = "own" }', False),
    ("bam", "shared keys and values, parallel", f"parallel {{ {DENSE}, tied = true }}", '{ kv = "shared" }', False),
    ("bam", "own, sequential, norms of heads, top-2 attention", f'sequential {{ {DENSE}, norm = "rms", qk_norm = "head" }}',
     '{ kv = "own", routing = 2 }', False),
    ("bam", "own, parallel, LayerNorm of heads, yarn", f'parallel {{ {DENSE}, qk_norm = "layer", rope = {{ scaling = "yarn", '
     "factor = 4, context = 32 } }", '{ kv = "own" }', True),
    ("bam", "shared, sequential, GeGLU, a part of heads rotates", f'sequential {{ {DENSE}, activation = "gelu_tanh", '
     "rope_width = 4 }", '{ kv = "shared" }', False),
    ("bam", "own, sequential, norms without weights, LayerNorm of heads", f'sequential {{ {DENSE}, norm_weight = false, '
     'qk_norm = "layer", activation = "gelu" }', '{ kv = "own" }', False),
    ("bam", "shared, sequential, biases, window", f'sequential {{ {DENSE}, qkv_bias = true, window = {{ 5, 0 }} }}',
     '{ kv = "shared" }', True),
    ("bam", "own, post-norm", f'post_norm {{ {DENSE}, norm = "rms", qk_norm = "width" }}', '{ kv = "own" }', False),
]

def sizes(layers, width, heads, kv_heads, hidden, vocab, **more):
    return dict(num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, num_key_value_heads=kv_heads,
                intermediate_size=hidden, vocab_size=vocab, pad_token_id=0, **more)


TIED = dict(tie_word_embeddings=True)
PARTIAL = dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.75)

# Public models, the parameters in the metadata of their safetensors and GGUF files, and sizes from their config.json. No
# Cohere 2 MoE without shared experts is public: that row has transformers' defaults.
PUBLIC = [
    ("Command R", 34980831232, "Cohere", sizes(40, 8192, 64, 64, 22528, 256000, **TIED)),
    ("Command R+", 103810674688, "Cohere", sizes(64, 12288, 96, 8, 33792, 256000, use_qk_norm=True, **TIED)),
    ("Command R7B", 8028033024, "Cohere2", sizes(32, 4096, 32, 8, 14336, 256000, **TIED)),
    ("GLM-4 9B", 9399951360, "Glm", sizes(40, 4096, 32, 2, 13696, 151552)),
    ("Llama 3.1 8B", 8030261248, "Llama", sizes(32, 4096, 32, 8, 14336, 128256)),
    ("Llama 3.2 1B", 1235814400, "Llama", sizes(16, 2048, 32, 8, 8192, 128256, head_dim=64, **TIED)),
    ("Mistral 7B", 7241732096, "Mistral", sizes(32, 4096, 32, 8, 14336, 32000)),
    ("OLMo 1B", 1176764416, "Olmo", sizes(16, 2048, 16, 16, 8192, 50304, **TIED)),
    ("OLMo 2 7B", 7298617344, "Olmo2", sizes(32, 4096, 32, 32, 11008, 100352)),
    ("Phi-3 mini", 3821079552, "Phi3", sizes(32, 3072, 32, 32, 8192, 32064)),
    ("Phi-4", 14659507200, "Phi3", sizes(40, 5120, 40, 10, 17920, 100352)),
    ("Phi-4 mini, but for longrope", 3836021760, "Phi3", sizes(32, 3072, 24, 8, 8192, 200064, rope_parameters=PARTIAL, **TIED)),
    ("Qwen2.5 0.5B", 494032768, "Qwen2", sizes(24, 896, 14, 2, 4864, 151936, **TIED)),
    ("Qwen2.5 7B", 7615616512, "Qwen2", sizes(28, 3584, 28, 4, 18944, 152064)),
    ("Qwen3 8B", 8190735360, "Qwen3", sizes(36, 4096, 32, 8, 12288, 151936, head_dim=128)),
    ("Mixtral 8x7B", 46702792704, "Mixtral", sizes(32, 4096, 32, 8, 14336, 32000, num_local_experts=8)),
    ("Qwen3 30B A3B", 30532122624, "Qwen3Moe", sizes(48, 2048, 32, 4, 6144, 151936, head_dim=128, num_experts=128,
                                                    num_experts_per_tok=8, moe_intermediate_size=768)),
    ("OLMoE 1B 7B", 6919161856, "Olmoe", sizes(16, 2048, 16, 16, 1024, 50304, num_experts=64, num_experts_per_tok=8)),
    ("Cohere 2 MoE", 190004928512, "Cohere2Moe", sizes(40, 8192, 64, 64, 22528, 256000, **TIED)),
]

BACK = """
local bam = require "bam"
local model = bam.load(arg[1])
bam.save(arg[1] .. "-ours.safetensors", { logits = model(bam.load(arg[2] .. "/given.safetensors").ids) })
"""

COUNT = """
local bam, core, json = require "bam", require "bam.core", require "bam.util.json"
local fields = json.decode(core.read_file(arg[1] .. "/config.json"))
local d = require("bam.model.config").decode(fields, arg[1])
core.write_file(arg[1] .. "/count", string.format("%d", (d:count())))
"""

LOAD = """
local bam = require "bam"
local directory = arg[1]
local given = bam.load(directory .. "/given.safetensors")
local model = bam.load(directory)
bam.save(directory .. "/ours.safetensors", { logits = model(given.ids) })
model:save(directory .. "-saved", arg[2] == "half" and { dtype = "bf16", shard_bytes = 4000 } or nil)
model.load_balance, model.z_loss = 0, 0 -- transformers adds such losses only when it is asked to
model:train():loss(given.ids, given.targets):backward()
bam.no_grad(function()
  for _, p in ipairs(model:parameters()) do p.tensor:copy_(p.tensor.grad) end
end)
model:save(directory .. "-gradients")
"""

MIX = """
local bam = require "bam"
local directory, family, attention, renormalize = arg[1], arg[2], load("return " .. arg[4])(), arg[5] == "True"
local d, experts = load("return require 'bam'.models." .. arg[3])(), {}
for e = 1, 3 do experts[e] = d:build { seed = e } end
local model = bam.mix { experts = experts, attention = attention,
                        ffn = { top_k = 2, renormalize = renormalize } }:build():eval()
bam.no_grad(function()
  for _, p in ipairs(model:parameters()) do
    if p.tensor.ndim == 1 then p.tensor:add_(bam.randn(p.tensor.shape) * 0.2) end
    if p.name:find "router" then p.tensor:mul_(20) end
  end
end)
model:save(directory, family == "bam" and { python = true } or { as = family })
bam.seed(1)
local ids = bam.randint(3, 32, 2, 19):to "i64"
bam.save(directory .. "/given.safetensors", { ids = ids, targets = bam.randint(3, 32, 2, 19):to "i64", logits = model(ids) })
"""


def run(program, script, *arguments):
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        subprocess.run([program, file.name, *arguments], check=True, stdout=subprocess.DEVNULL)


def largest(a, b):
    return (a.double() - b.double()).abs().max().item()


def make(prefix, more):
    """A random model; norms are around 1."""
    config = getattr(transformers, prefix + "Config")(**{**SIZES, **more}, attn_implementation="eager")
    model = getattr(transformers, prefix + "ForCausalLM")(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(1 + 0.2 * noise if weight.dim() == 1 else 0.25 * noise)
    return model


def load(directory, **more):
    """A missing weight is only a warning to transformers, which then draws it at random."""
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **more)
    if any(report.values()):
        sys.exit(f"{directory}: {report}")
    return model.eval()


def gradient_difference(model, ids, targets, directory):
    """Of all weights, relative to the largest gradient; both sides save gradients as weights."""
    logits = model(ids).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.grad)
    model.save_pretrained(directory + "-theirs")
    theirs = load_file(f"{directory}-theirs/model.safetensors")
    ours = load_file(f"{directory}-gradients/model.safetensors")
    if theirs.keys() != ours.keys():
        sys.exit(f"{directory}: other weights: {sorted(theirs.keys() ^ ours.keys())}")
    scale = max(g.abs().max().item() for g in theirs.values())
    return max(largest(ours[name], g) for name, g in theirs.items()) / scale


def check_model(program, directory, prefix, more, half):
    """Differences of logits after loading, after saving, and of gradients."""
    model = make(prefix, more)
    model.to(torch.bfloat16 if half else torch.float32)
    model.save_pretrained(directory, max_shard_size="4KB" if half else "1GB")
    model = load(directory)
    generator = torch.Generator().manual_seed(2)
    ids, targets = (torch.randint(3, 33, (2, 19), generator=generator) for _ in range(2))
    save_file({"ids": ids, "targets": targets}, f"{directory}/given.safetensors")
    with torch.no_grad():
        logits = model(ids).logits
    run(program, LOAD, directory, "half" if half else "full")
    with torch.no_grad():
        saved = load(directory + "-saved")(ids).logits
    ours = load_file(f"{directory}/ours.safetensors")["logits"]
    return largest(ours, logits), largest(saved, ours), gradient_difference(model, ids, targets, directory)


def with_cache(model, ids):
    """Logits of the tokens one by one, after the first nine."""
    key = "cache" if hasattr(model(ids[:, :1], use_cache=True), "cache") else "past_key_values"
    out = model(ids[:, :9], use_cache=True)
    logits = [out.logits]
    for t in range(9, ids.shape[1]):
        out = model(ids[:, t:t + 1], use_cache=True, **{key: out[key]})
        logits.append(out.logits)
    return torch.cat(logits, 1)


def check_mixture(program, directory, family, blocks, attention, renormalize):
    """Differences of logits, without cache and with; of logits after transformers has saved it; and of gradients."""
    run(program, MIX, directory, family, blocks, attention, str(renormalize))
    given = load_file(f"{directory}/given.safetensors")
    model = load(directory, trust_remote_code=family == "bam")
    with torch.no_grad():
        plain, cached = model(given["ids"]).logits, with_cache(model, given["ids"])
    model.save_pretrained(directory + "-back")
    run(program, BACK, directory + "-back", directory)
    back = load_file(f"{directory}-back-ours.safetensors")["logits"]
    run(program, LOAD, directory)
    return (*(largest(x, given["logits"]) for x in (plain, cached, back)),
            gradient_difference(model, given["ids"], given["targets"], directory))


def check_size(program, directory, prefix, more):
    """Parameters as bamlua counts them from the config.json, and as transformers does without memory for them."""
    config = getattr(transformers, prefix + "Config")(**more)
    config.save_pretrained(directory)
    run(program, COUNT, directory)
    with torch.device("meta"):
        model = getattr(transformers, prefix + "ForCausalLM")(config)
    with open(f"{directory}/count") as file:
        return int(file.read()), model.num_parameters()


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: check_families.py build/bamlua [NAME]")
    program, pattern = os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) == 3 else ""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    worst = 0.0

    def row(*cells):
        nonlocal worst
        numbers = [x for x in cells if isinstance(x, float)]
        worst = max([worst, *numbers]) if all(x == x for x in numbers) else float("inf")
        print("| " + " | ".join(f"{x:.1e}" if isinstance(x, float) else x for x in cells) + " |", flush=True)

    def count_row(name, published, *counts):
        nonlocal worst
        worst = worst if set(counts) == {published} else float("inf")
        print(f"| {name} | " + " | ".join(f"{x:,}" for x in (*counts, published)) + " |", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        print("| family | | load | save | gradients | load, bf16 in shards | save |\n|---|---|---|---|---|---|---|")
        for i, (family, note, prefix, more) in enumerate(MODELS):
            if pattern in family:
                full = check_model(program, f"{scratch}/{i}", prefix, more, False)
                half = check_model(program, f"{scratch}/{i}-half", prefix, more, True)
                row(family, note, *full, *half[:2])
        print("\n| saved as | mixture | logits | with cache | saved there, loaded here | gradients |\n|---|---|---|---|---|---|")
        for i, (family, note, *how) in enumerate(MIXTURES):
            if pattern in family:
                row(family, note, *check_mixture(program, f"{scratch}/mix_{i}", family, *how))
        print("\n| model | bamlua | transformers | published |\n|---|---|---|---|")
        for i, (name, published, prefix, more) in enumerate(PUBLIC):
            if pattern in prefix.lower():
                count_row(name, published, *check_size(program, f"{scratch}/size_{i}", prefix, more))
    sys.exit(0 if worst <= LIMIT else 1)


main()
