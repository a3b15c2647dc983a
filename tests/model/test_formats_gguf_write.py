"""GGUF files that Kwen writes: the gguf package and our own reader find what was put in; quantised ones lose little."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tiny_checkpoints import tiny_config, tiny_model

from kwen.errors import UserError
from kwen.model.config import ModelConfig, RopeScaling
from kwen.model.formats import build_model, huggingface, load_checkpoint
from kwen.model.formats.convert import convert_gguf
from kwen.model.formats.dequantize import QUANT_TYPES, dequantize_into
from kwen.model.formats.gguf_write import KINDS
from kwen.model.formats.quantize_blocks import layer_rows, quantize_rows
from kwen.model.gptq import calibrate_model
from kwen.model.quantize import QuantizedLinear

WIDE: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 544, "head_dim": 64, "num_key_value_heads": 2}
CONFIGS = {
    "qwen2": tiny_config(**WIDE),
    "qwen3": tiny_config(**WIDE, model_type="qwen3", attention_bias=False, qk_norm=True),
    "llama": tiny_config(**WIDE, model_type="llama", attention_bias=False, tie_word_embeddings=True),
}
TOKENIZER = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": ["a", "b"], "tokenizer.ggml.add_bos_token": False}
LOSS = {"f32": 0.0, "f16": 3e-4, "bf16": 2e-3, "q8_0": 7e-3, "q4_0": 0.09, "q4_k_m": 0.08}


def written(config: ModelConfig, kind: str, folder: Path, **options: Any) -> Path:
    huggingface.save(tiny_model(config), None, folder / "model")
    path = folder / "out" / "tiny.gguf"
    convert_gguf(load_checkpoint(folder / "model"), path, kind, TOKENIZER, **options)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_written_is_read_back(name: str, kind: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    path = written(config, kind, tmp_path)
    checkpoint = load_checkpoint(path)
    assert checkpoint.config == config and checkpoint.metadata["general.name"] == "tiny"
    again = dict(build_model(checkpoint).named_parameters())
    for key, parameter in tiny_model(config).named_parameters():
        error = (again[key] - parameter).square().mean().sqrt() / parameter.square().mean().sqrt()
        assert float(error.detach()) <= (LOSS[kind] if parameter.dim() > 1 else 0), key
    assert [entry.name for entry in path.parent.iterdir()] == ["tiny.gguf"]


def test_types_are_those_that_llama_cpp_would_choose(tmp_path: Path) -> None:
    config = ModelConfig(**(vars(CONFIGS["qwen2"]) | {"num_hidden_layers": 8}))
    reader = gguf.GGUFReader(written(config, "q4_k_m", tmp_path))
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert (types["output.weight"], types["token_embd.weight"], types["output_norm.weight"]) == ("Q6_K", "Q4_K", "F32")
    values = [types[f"blk.{number}.attn_v.weight"] for number in range(8)]
    assert values == ["Q6_K", "Q4_K", "Q4_K", "Q6_K", "Q4_K", "Q4_K", "Q6_K", "Q6_K"]
    assert [types[f"blk.{number}.ffn_down.weight"] for number in range(2)] == ["Q8_0", "Q5_0"], "544 is no multiple of 256"
    assert types["blk.0.attn_q.weight"] == "Q4_K" and types["blk.0.attn_q.bias"] == "F32"


@pytest.mark.parametrize("kind", ["Q4_0", "Q5_0", "Q8_0", "Q4_K", "Q6_K"])
def test_blocks_are_read_alike_by_the_gguf_package_and_here(kind: str) -> None:
    """Rows of noise, of one sign, of zeros, with an outlier, and on very different scales."""
    values = torch.randn(12, 512, generator=torch.Generator().manual_seed(0))
    values[1], values[2], values[3, 7] = values[1].abs() + 3, 0, 90
    values[4:8] *= torch.logspace(-4, 2, 512)
    values[8] = -values[1]
    raw = quantize_rows(kind, values)
    theirs = gguf.quants.dequantize(raw.numpy(), gguf.GGMLQuantizationType[kind])
    (ours_kind,) = (one for one in QUANT_TYPES.values() if one.name == kind)
    ours = torch.empty(12 * 512 // ours_kind.block_values, ours_kind.block_values)
    dequantize_into(ours_kind, raw.view(-1, ours_kind.block_bytes), ours)
    assert np.array_equal(theirs, ours.view(12, 512).numpy())
    assert not theirs[2].any()
    loss = ((ours.view(12, 512) - values).square().mean(dim=1) / values.square().mean(dim=1).clamp_min(1e-9)).sqrt()
    assert float(loss[0]) < {"Q8_0": 0.007, "Q6_K": 0.02, "Q5_0": 0.045, "Q4_K": 0.08, "Q4_0": 0.09}[kind]
    assert float(loss[[1, 8]].max()) < (0.03 if kind != "Q4_0" else 0.06)


@pytest.mark.parametrize("kind", [gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q5_0, gguf.GGMLQuantizationType.Q8_0])
def test_rounding_costs_no_more_than_the_gguf_packages_own(kind: gguf.GGMLQuantizationType) -> None:
    values = torch.randn(64, 256, generator=torch.Generator().manual_seed(2))
    errors = [
        np.square(gguf.quants.dequantize(raw, kind) - values.numpy()).mean()
        for raw in (quantize_rows(kind.name, values).numpy(), gguf.quants.quantize(values.numpy(), kind))
    ]
    assert errors[0] <= errors[1] * 1.001


@pytest.mark.parametrize("bits", [4, 8])
def test_integers_that_are_known_are_written_as_they_are(bits: int, tmp_path: Path) -> None:
    config = CONFIGS["llama"]
    model = calibrate_model(tiny_model(config), torch.arange(60).view(3, 20), bits, 32, head_bits=None)
    layers = {name: part for name, part in model.named_modules() if isinstance(part, QuantizedLinear)}
    path = written(config, f"q{bits}_0", tmp_path, layers=layers)
    again = build_model(load_checkpoint(path))
    for name, layer in layers.items():
        assert torch.equal(again.get_submodule(name).weight, layer.dequantize()), name
    down = layers["model.layers.0.mlp.down_proj"]
    kind = gguf.GGMLQuantizationType[f"Q{bits}_0"]
    assert np.array_equal(gguf.quants.dequantize(layer_rows(down).numpy(), kind), down.dequantize().numpy())


@pytest.mark.parametrize(
    ("name", "scaling"),
    [
        ("qwen2", RopeScaling("yarn", 4.0, 32)),
        ("qwen3", RopeScaling("linear", 2.0)),
        ("llama", RopeScaling("llama3", 32.0, 8192, low_freq_factor=1.0, high_freq_factor=4.0)),
    ],
)
def test_rope_scaling_is_written(name: str, scaling: RopeScaling, tmp_path: Path) -> None:
    config = ModelConfig(**(vars(CONFIGS[name]) | {"rope_scaling": scaling}))
    assert load_checkpoint(written(config, "f16", tmp_path)).config.rope_scaling == scaling


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"attention_bias": False}, "qwen2 has biases on q, k and v"),
        ({"qk_norm": True}, "no norm of q and k"),
        ({"scores": True}, "a reward model"),
        ({"rope_scaling": RopeScaling("yarn", 4.0, 32, beta_fast=16.0)}, "sets beta_fast"),
        ({"rope_scaling": RopeScaling("llama3", 8.0, 8192, low_freq_factor=1.0, high_freq_factor=4.0)}, "llama3 scaling"),
    ],
)
def test_what_llama_cpp_has_no_words_for_is_refused(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    config = ModelConfig(**(vars(CONFIGS["qwen2"]) | changes))
    checkpoint = huggingface_checkpoint(config, tmp_path)
    with pytest.raises(UserError, match=expected):
        convert_gguf(checkpoint, tmp_path / "m.gguf", "f16", TOKENIZER)
    assert not list(tmp_path.glob("*.gguf")) and not list(tmp_path.glob(".*"))


def huggingface_checkpoint(config: ModelConfig, folder: Path) -> Any:
    from kwen.model.formats.checkpoint import Checkpoint

    return Checkpoint(folder, "huggingface", config, huggingface.memory_tensors(tiny_model(config)))


def test_names_that_are_no_new_file_are_refused(tmp_path: Path) -> None:
    checkpoint = huggingface_checkpoint(CONFIGS["qwen2"], tmp_path)
    with pytest.raises(UserError, match="ends in .gguf"):
        convert_gguf(checkpoint, tmp_path / "folder", "f16", TOKENIZER)
    (tmp_path / "m.gguf").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        convert_gguf(checkpoint, tmp_path / "m.gguf", "f16", TOKENIZER)
    assert (tmp_path / "m.gguf").read_text() == "mine"


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_integers_of_a_file_are_kept_without_a_float_copy(kind: str, name: str, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(written(CONFIGS[name], kind, tmp_path))
    plain, kept = build_model(checkpoint), build_model(checkpoint, keep_quantized=True)
    for layer_name, layer in kept.model.layers.named_modules():
        if isinstance(layer, QuantizedLinear):
            expected = plain.model.layers.get_submodule(layer_name)
            assert layer.bits == int(kind[1]) and torch.equal(layer.dequantize(), expected.weight), layer_name  # type: ignore[arg-type]
            assert layer.bias is None or torch.equal(layer.bias, expected.bias)  # type: ignore[arg-type]
    assert not [part for part in kept.model.layers.modules() if isinstance(part, torch.nn.Linear)]
