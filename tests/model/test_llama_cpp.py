"""llama.cpp is the judge of the GGUF files that Kwen writes: it gives our token ids and goes on with our greedy tokens.

KWEN_LLAMA_CPP names a folder in which `npm install node-llama-cpp` has run; its packages bring llama.cpp built.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from kwen.model.config import ModelConfig
from kwen.model.formats import build_model, huggingface, load_checkpoint
from kwen.model.formats.convert import convert_gguf
from kwen.model.transformer import Transformer
from kwen.text.gguf_metadata import PROBES, gguf_tokenizer
from kwen.text.tokenizer import Tokenizer

PROMPTS = (
    "The capital of France is", "Once upon a time, there was a", "def fibonacci(n):\n", "Water boils at", "In 1969,",
    "The three laws of motion are", "My favourite colour is", "To make bread you need", "Q: What is 12 + 30?\nA:",
    "The largest planet", "Dear Sir or Madam,", "import numpy as np\n",
)  # fmt: skip
CLOSE = 0.02
"""Logits this near may change places: llama.cpp rounds what it multiplies with float16 weights to float16."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def modules() -> Path:
    folder = os.environ.get("KWEN_LLAMA_CPP")
    if folder is None or not (Path(folder) / "node_modules" / "node-llama-cpp").is_dir():
        pytest.skip("llama.cpp is absent: npm install node-llama-cpp in a folder and set KWEN_LLAMA_CPP to it")
    if shutil.which("node") is None:
        pytest.skip("node is absent, which runs llama.cpp here")
    return Path(folder) / "node_modules"


def llama_cpp(modules: Path, file: Path, prompts: list[list[int]], texts: list[str], count: int) -> dict[str, Any]:
    command = ["node", str(Path(__file__).with_name("llama_cpp.mjs")), str(modules), str(file)]
    request = json.dumps({"prompts": prompts, "texts": texts, "count": count})
    done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@torch.inference_mode()
def check_greedy(model: Transformer, prompt: list[int], answer: list[int]) -> bool:
    """Whether `answer` is greedy in `model`; where it is not, the two tokens must be too close to call."""
    logits = model(torch.tensor([prompt + answer]))[0, len(prompt) - 1 : -1]
    for row, token in zip(logits, answer, strict=True):
        if int(row.argmax()) != token:
            assert float(row.max() - row[token]) < CLOSE, (prompt, token)
            return False
    return True


def test_smollm2_goes_on_with_the_same_tokens(modules: Path, smollm2_gguf: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(smollm2_gguf)
    tokenizer = Tokenizer.from_source(checkpoint.tokenizer_source)
    keys = {key: value for key, value in checkpoint.metadata.items() if key.startswith("tokenizer.")}
    convert_gguf(checkpoint, tmp_path / "f16.gguf", "f16", keys)
    prompts, texts = tokenizer.encode_batch(PROMPTS), [*PROMPTS, *PROBES]
    said = llama_cpp(modules, tmp_path / "f16.gguf", prompts, texts, 24)
    assert said["ids"] == tokenizer.encode_batch(texts)
    model = build_model(load_checkpoint(tmp_path / "f16.gguf"))
    pairs = list(zip(prompts, said["answers"], strict=True))
    assert sum([check_greedy(model, *pair) for pair in pairs]) >= 11
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].half().float(),))
    assert all([check_greedy(model, *pair) for pair in pairs]), "llama.cpp's own rounding leaves no difference"


@pytest.mark.parametrize("kind", ["f32", "q8_0", "q4_0", "q4_k_m"])
@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama"])
def test_a_small_model_of_each_architecture(
    name: str, kind: str, modules: Path, real_qwen_tiktoken: Path, tmp_path: Path
) -> None:
    (tmp_path / "qwen.tiktoken").write_bytes(b"".join(real_qwen_tiktoken.read_bytes().splitlines(keepends=True)[:3000]))
    tokenizer = Tokenizer.load(tmp_path / "qwen.tiktoken")
    config = ModelConfig(
        vocab_size=3328, hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, head_dim=64,
        num_key_value_heads=2, model_type=name, attention_bias=name == "qwen2", qk_norm=name == "qwen3", rope_theta=1e6,
        tie_word_embeddings=name == "llama",
    )  # fmt: skip
    model = Transformer(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.08, generator=generator) if parameter.dim() > 1 else parameter.uniform_(
                0.5, 1.5, generator=generator
            )
    huggingface.save(model, tokenizer, tmp_path / "model")
    file = tmp_path / "small.gguf"
    convert_gguf(load_checkpoint(tmp_path / "model"), file, kind, gguf_tokenizer(tokenizer, config.vocab_size).metadata)
    prompts, texts = [[1, 2, 3, 500, 77], [900, 41, 41, 7]], list(PROBES)
    said = llama_cpp(modules, file, prompts, texts, 24)
    assert said["ids"] == tokenizer.encode_batch(texts)
    again = build_model(load_checkpoint(file))
    for prompt, answer in zip(prompts, said["answers"], strict=True):
        first = again(torch.tensor([prompt]))[0, -1]
        margin = CLOSE if kind == "f32" else 0.05 * float(first.std())
        assert float(first.max() - first[answer[0]]) < margin
        if kind == "f32":
            check_greedy(again, prompt, answer)
