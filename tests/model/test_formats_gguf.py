"""GGUF: the package's writer and decoder and transformers' reader are the judges; hostile files cost an error line."""

import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tiny_checkpoints import tiny_config, tiny_model, write_gguf
from torch import nn

from kwen.errors import UserError
from kwen.model.config import ModelConfig, RopeScaling
from kwen.model.formats import build_model, load_checkpoint
from kwen.model.formats.tensors import materialize
from kwen.model.quantize import QuantizedLinear
from kwen.model.rope import inverse_frequencies
from kwen.model.transformer import Transformer

Quant = gguf.GGMLQuantizationType
CONFIGS = {
    "qwen2": tiny_config(model_type="qwen2", num_attention_heads=6, num_key_value_heads=3),
    "qwen3": tiny_config(
        model_type="qwen3", head_dim=12, attention_bias=False, qk_norm=True, num_key_value_heads=2, tie_word_embeddings=True
    ),
    "llama": tiny_config(model_type="llama", attention_bias=False, num_attention_heads=6, num_key_value_heads=3),
}


def written(folder: Path, name: str = "qwen2", **options: Any) -> tuple[Path, Transformer]:
    model = tiny_model(CONFIGS[name])
    path = folder / "model.gguf"
    write_gguf(path, name, model.config, dict(model.named_parameters()), **options)
    return path, model


@pytest.mark.parametrize("name", CONFIGS)
def test_float32_files_give_the_same_model(name: str, tmp_path: Path) -> None:
    path, model = written(tmp_path, name)
    checkpoint = load_checkpoint(path)
    assert (checkpoint.format, checkpoint.config) == ("gguf", model.config)
    assert checkpoint.metadata["tokenizer.ggml.tokens"] == ["a", "b", "<|im_end|>"]
    assert checkpoint.tokenizer_source is checkpoint.metadata and checkpoint.generation_config == {"eos_token_id": 2}
    ours = dict(build_model(checkpoint).named_parameters())
    assert all(torch.equal(parameter, ours[key]) for key, parameter in model.named_parameters())
    halves = dict(build_model(checkpoint, torch.bfloat16).named_parameters())
    assert all(torch.equal(parameter.bfloat16(), halves[key]) for key, parameter in model.named_parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_transformers_computes_the_same_logits_from_the_file(name: str, tmp_path: Path) -> None:
    """Not for qwen3: transformers does not read the head dim of its files."""
    from transformers import AutoModelForCausalLM

    model = tiny_model(tiny_config(model_type=name, attention_bias=name == "qwen2", num_key_value_heads=2))
    metadata = {f"{name}.vocab_size": 67, f"{name}.rope.dimension_count": 8}
    write_gguf(tmp_path / "m.gguf", name, model.config, dict(model.named_parameters()), Quant.Q8_0, metadata)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32)
    token_ids = torch.arange(40).view(2, 20)
    with torch.inference_mode():
        ours = build_model(load_checkpoint(tmp_path / "m.gguf"))(token_ids)
        assert float((ours - theirs(token_ids).logits).abs().max()) < 1e-5


@pytest.mark.parametrize("kind", [Quant.F16, Quant.BF16, Quant.Q4_0, Quant.Q4_1, Quant.Q5_0, Quant.Q5_1, Quant.Q8_0], ids=str)
def test_quantised_weights_are_ggufs_own_values(kind: gguf.GGMLQuantizationType, tmp_path: Path) -> None:
    """Rows of 96 and tensors larger than a scratch buffer; q and k of LLaMA come back in half-split order."""
    config = tiny_config(
        model_type="llama", attention_bias=False, hidden_size=96, intermediate_size=288, num_attention_heads=6, head_dim=16,
        num_key_value_heads=3, vocab_size=3001,
    )  # fmt: skip
    model = tiny_model(config)
    write_gguf(tmp_path / "m.gguf", "llama", config, dict(model.named_parameters()), kind)
    ours = dict(build_model(load_checkpoint(tmp_path / "m.gguf")).named_parameters())
    for key, parameter in model.named_parameters():
        values = parameter.detach().numpy()
        if values.ndim == 2:
            values = gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)
        assert np.array_equal(ours[key].detach().numpy(), values), key
    if kind in (Quant.Q4_0, Quant.Q4_1, Quant.Q8_0):  # and these stay in integers where that is asked for
        kept = [one for one in build_model(load_checkpoint(tmp_path / "m.gguf"), keep_quantized=True).modules()]
        layers = [one for one in kept if isinstance(one, QuantizedLinear)]
        floats = build_model(load_checkpoint(tmp_path / "m.gguf"))
        assert len(layers) == 7 * config.num_hidden_layers + (not config.tie_word_embeddings)
        wanted = [one.weight for one in floats.modules() if isinstance(one, nn.Linear)]
        for layer in layers:
            near = [weight for weight in wanted if weight.shape == (layer.out_features, layer.in_features)]
            assert any(torch.allclose(layer.dequantize(), weight, atol=1e-6) for weight in near)


@pytest.mark.parametrize("kind", [Quant.Q4_K, Quant.Q5_K, Quant.Q6_K], ids=str)
def test_k_quants_fill_a_model(kind: gguf.GGMLQuantizationType, tmp_path: Path) -> None:
    """The package cannot write K-quants, so one matrix is of random blocks with tame scales."""
    config = tiny_config(hidden_size=256, num_hidden_layers=1, num_attention_heads=8, num_key_value_heads=8, head_dim=32)
    _, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(0).integers(0, 256, (config.intermediate_size, block_bytes), dtype=np.uint8)
    raw[:, -2:] = raw[:, :2] = raw[:, 2:4] = np.frombuffer(np.float16(0.01).tobytes(), dtype=np.uint8)
    tensors = {name: tensor for name, tensor in tiny_model(config).named_parameters() if "gate_proj" not in name}
    write_gguf(tmp_path / "m.gguf", "qwen2", config, tensors, blocks={"blk.0.ffn_gate.weight": (raw, kind)})
    gate = build_model(load_checkpoint(tmp_path / "m.gguf")).model.layers[0].mlp.gate_proj.weight
    assert np.array_equal(gate.detach().numpy(), gguf.quants.dequantize(raw, kind))


def test_rope_scaling_is_read_or_refused(tmp_path: Path) -> None:
    key = "qwen2.rope.scaling."
    yarn = {key + "type": "yarn", key + "factor": 4.0, key + "original_context_length": 32}
    path, _ = written(tmp_path, metadata=yarn)
    assert load_checkpoint(path).config.rope_scaling == RopeScaling("yarn", 4.0, 32)
    path, _ = written(tmp_path, metadata={key + "type": "linear", key + "factor": 2.0})
    assert load_checkpoint(path).config.rope_scaling == RopeScaling("linear", 2.0)
    path, _ = written(tmp_path, metadata={key + "type": "longrope"})
    with pytest.raises(UserError, match="'longrope' is not supported"):
        load_checkpoint(path)
    path, _ = written(tmp_path, metadata=yarn | {key + "attn_factor": 1.5})
    with pytest.raises(UserError, match="attention factor"):
        load_checkpoint(path)


def test_llama_3_frequency_factors_are_recognised_and_others_refused(tmp_path: Path) -> None:
    scaling = RopeScaling("llama3", 32.0, 8192, low_freq_factor=1.0, high_freq_factor=4.0)
    config = tiny_config(model_type="llama", attention_bias=False, head_dim=32, num_key_value_heads=2, rope_theta=5e5)
    scaled = ModelConfig(**(vars(config) | {"rope_scaling": scaling}))
    factors = (inverse_frequencies(config)[0] / inverse_frequencies(scaled)[0]).numpy()
    tensors = dict(tiny_model(config).named_parameters())
    write_gguf(tmp_path / "m.gguf", "llama", config, tensors, extra={"rope_freqs.weight": factors})
    assert load_checkpoint(tmp_path / "m.gguf").config == scaled
    write_gguf(tmp_path / "m.gguf", "llama", config, tensors, extra={"rope_freqs.weight": factors * 1.01})
    with pytest.raises(UserError, match="not Llama 3's"):
        load_checkpoint(tmp_path / "m.gguf")


def test_a_folder_with_one_gguf_file_means_that_file(tmp_path: Path) -> None:
    path, model = written(tmp_path)
    assert load_checkpoint(tmp_path).config == model.config
    path.with_name("other.gguf").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="2 .gguf files, name one"):
        load_checkpoint(tmp_path)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_models_of_other_kinds_are_refused_by_name(tmp_path: Path) -> None:
    assert "expert_count is 8" in refusal(written(tmp_path, metadata={"qwen2.expert_count": 8})[0])
    assert "sliding_window is 64" in refusal(written(tmp_path, metadata={"qwen2.attention.sliding_window": 64})[0])
    assert "one of 3 parts" in refusal(written(tmp_path, metadata={"split.count": 3})[0])
    assert "rope.dimension_count is not the head dim" in refusal(written(tmp_path, metadata={"qwen2.rope.dimension_count": 4})[0])
    assert "the weights hold mystery" in refusal(written(tmp_path, extra={"mystery": np.ones(3, np.float32)})[0])
    assert "has type I8" in refusal(written(tmp_path, extra={"x.weight": np.ones(32, np.int8)})[0])
    path, _ = written(tmp_path)
    path.write_bytes(
        path.read_bytes().replace(
            b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0qwen2", b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0bloom"
        )
    )
    assert "architecture 'bloom' is not supported" in refusal(path)


def overwrite(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:offset] + value + data[offset + len(value) :]


def replace_once(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert data.count(old) == 1 and len(old) == len(new)
        return data.replace(old, new)

    return change


def dimensions(name: bytes, *numbers: int, kind: int = 0) -> bytes:
    """The bytes of a tensor's entry in the header, from its name to its type."""
    return name + struct.pack("<I", len(numbers)) + struct.pack(f"<{len(numbers)}Q", *numbers) + struct.pack("<I", kind)


U64 = struct.Struct("<Q").pack
NORM = b"output_norm.weight"
ARCHITECTURE, TOKENS = b"general.architecture\x08\0\0\0", b"ggml.tokens\x09\0\0\0\x08\0\0\0"  # keys with their types
LAYERS = b"block_count\x04\0\0\0"
HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "another magic": (overwrite(0, b"GGML"), "not a GGUF file"),
    "version 1": (overwrite(4, struct.pack("<I", 1)), "version 1"),
    "big-endian": (overwrite(4, struct.pack(">I", 3)), "big-endian"),
    "2**63 tensors": (overwrite(8, U64(2**63)), "claims 9223372036854775808 tensors"),
    "more tensors than there are": (overwrite(8, U64(1000)), "cut short or damaged"),
    "2**64 - 1 keys": (overwrite(16, U64(2**64 - 1)), "18446744073709551615 keys"),
    "a key of 2**62 bytes": (overwrite(24, U64(2**62)), "a name of 4611686018427387904 bytes"),
    "a text longer than the file": (replace_once(ARCHITECTURE + U64(5), ARCHITECTURE + U64(2**40)), "takes 1099511627776 bytes"),
    "an array of 2**60": (replace_once(TOKENS + U64(3), TOKENS + U64(2**60)), "entries"),
    "an array longer than the file": (replace_once(TOKENS + U64(3), TOKENS + U64(2**23)), "strings where"),
    "arrays in arrays": (replace_once(TOKENS, b"ggml.tokens\x09\0\0\0\x09\0\0\0"), "nested type 9"),
    "an unknown value type": (replace_once(ARCHITECTURE, ARCHITECTURE[:-4] + b"\x63\0\0\0"), "unknown type 99"),
    "text that is not UTF-8": (replace_once(U64(10) + b"<|im_end|>", U64(10) + b"<|im_\xff\xfe\xfd|>"), "not valid UTF-8"),
    "99 dimensions": (replace_once(NORM + struct.pack("<I", 1), NORM + struct.pack("<I", 99)), "has 99 dimensions"),
    "a size of nothing": (replace_once(dimensions(NORM, 32), dimensions(NORM, 0)), "has the shape [0]"),
    "a size of 2**63": (replace_once(dimensions(NORM, 32), dimensions(NORM, 2**63)), "has the shape"),
    "a shape larger than the file": (replace_once(dimensions(NORM, 32), dimensions(NORM, 2**30)), "weight: 4294967296 bytes"),
    "an offset of -32": (lambda data: move(data, 2**64 - 32), "do not fit the file"),
    "an offset past the end": (lambda data: move(data, 1 << 30), "do not fit the file"),
    "an offset off the grid": (lambda data: move(data, 4), "do not fit the file"),
    "two tensors in one place": (lambda data: move(data, 0), "overlaps"),
    "the same name twice": (lambda data: data.replace(b"blk.1.attn_q.bias", b"blk.0.attn_q.bias"), "occurs twice"),
    "a type that is not read": (replace_once(dimensions(NORM, 32), dimensions(NORM, 32, kind=10)), "has type Q2_K"),
    "rows that are no blocks": (replace_once(dimensions(NORM, 32), dimensions(NORM, 32, kind=12)), "do not divide into Q4_K"),
    "a billion layers": (replace_once(LAYERS + b"\x02\0\0\0", LAYERS + b"\xff\xff\xff\x3f"), "the weights have 2"),
    "no heads": (replace_once(b"head_count\x04\0\0\0\x06", b"head_count\x04\0\0\0\x00"), "num_attention_heads is 0"),
    "a huge head": (replace_once(b"key_length\x04\0\0\0\x08\0\0\0", b"key_length\x04\0\0\0\x08\0\0\x40"), "head dim"),
}  # fmt: skip


def move(data: bytes, offset: int) -> bytes:
    """The file with the offset of output_norm.weight replaced."""
    start = data.index(dimensions(NORM, 32)) + len(dimensions(NORM, 32))
    return data[:start] + U64(offset) + data[start + 8 :]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_one_line(name: str, tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    change, expected = HOSTILE[name]
    path.write_bytes(change(path.read_bytes()))
    assert expected in refusal(path)


def test_any_truncation_is_refused(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    whole = path.read_bytes()
    header = list(range(0, 2600, 13))
    for size in (*header, len(whole) // 2, len(whole) - 33):
        path.write_bytes(whole[:size])
        assert refusal(path)


def test_mutated_headers_never_do_more_than_an_error_line(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    whole = path.read_bytes()
    header_end = whole.index(NORM) + 60
    draw = random.Random("mutated gguf")
    extremes = [U64(value) for value in (0, 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1, 2**64 - 32)]
    refused = 0
    tracemalloc.start()
    for _ in range(500):
        mutated = bytearray(whole)
        position = draw.randrange(4, header_end)
        value = draw.choice([*extremes, bytes([draw.randrange(256)]), draw.randbytes(4)])
        mutated[position : position + len(value)] = value
        path.write_bytes(mutated)
        try:
            for tensor in load_checkpoint(path).tensors.values():
                materialize(tensor)
        except UserError:
            refused += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > 250 and peak < 20e6


def test_smollm2_is_read_as_its_authors_configured_it(smollm2_gguf: Path) -> None:
    checkpoint = load_checkpoint(smollm2_gguf)
    config = checkpoint.config
    assert (config.model_type, config.num_hidden_layers, config.rms_norm_eps) == ("llama", 30, 1e-5)
    assert (config.num_parameters, config.tie_word_embeddings) == (134_515_008, True)
    assert "<|im_start|>" in (checkpoint.chat_template or "") and len(checkpoint.metadata["tokenizer.ggml.tokens"]) == 49152
