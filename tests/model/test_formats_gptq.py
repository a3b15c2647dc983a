"""GPTQ and AWQ folders: packed here by writers made from the formats' definitions alone, number by number, and read back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoints import tiny_config, tiny_model
from torch import Tensor, nn

from kwen.errors import UserError
from kwen.model.config import ModelConfig
from kwen.model.formats import build_model, huggingface, load_checkpoint
from kwen.model.formats.convert import convert, convert_packed
from kwen.model.quantize import QuantizedLinear, quantize_model

CONFIG = tiny_config(hidden_size=64, head_dim=16, intermediate_size=96)
AWQ_PLACES = (0, 2, 4, 6, 1, 3, 5, 7)


def word(numbers: list[int], bits: int) -> int:
    """Numbers into one signed 32-bit word, the first in the lowest bits."""
    value = sum(number << bits * place for place, number in enumerate(numbers))
    return value - (1 << 32) if value >> 31 else value


def packed_layer(
    name: str, out: int, width: int, group: int, bits: int, method: str, seed: int
) -> tuple[dict[str, Tensor], Tensor]:
    """(a layer's tensors, its float weights (out, in)) of random integers."""
    draw = np.random.default_rng(seed)
    top, groups = (1 << bits) - 1, -(-width // group)
    levels, zeros = draw.integers(0, top + 1, (width, out)), draw.integers(1, top + 1, (groups, out))
    scales = draw.uniform(0.001, 0.02, (groups, out)).astype(np.float16)
    weight = [
        [float(scales[i // group][o]) * (int(levels[i][o]) - int(zeros[i // group][o])) for i in range(width)] for o in range(out)
    ]
    per_word = 32 // bits

    def along_outputs(rows: np.ndarray, places: tuple[int, ...]) -> Tensor:
        return torch.tensor(
            [[word([int(row[first + place]) for place in places], bits) for first in range(0, out, per_word)] for row in rows],
            dtype=torch.int32,
        )

    if method == "awq":
        qweight, qzeros = along_outputs(levels, AWQ_PLACES), along_outputs(zeros, AWQ_PLACES)
    else:
        qweight = torch.tensor(
            [
                [word([int(levels[first + k][o]) for k in range(per_word)], bits) for o in range(out)]
                for first in range(0, width, per_word)
            ],
            dtype=torch.int32,
        )
        qzeros = along_outputs(zeros - (method == "gptq"), tuple(range(per_word)))
    tensors = {"qweight": qweight, "qzeros": qzeros, "scales": torch.from_numpy(scales)}
    if method != "awq":
        tensors["g_idx"] = torch.tensor([i // group for i in range(width)], dtype=torch.int32)
    return {f"{name}.{part}": tensor for part, tensor in tensors.items()}, torch.tensor(weight)


def packed_folder(folder: Path, method: str, bits: int, group: int) -> dict[str, Tensor]:
    """A packed checkpoint of CONFIG's shapes; returns the float weights that it stands for."""
    model, tensors, floats = tiny_model(CONFIG), {}, {}
    for number, (name, parameter) in enumerate(model.named_parameters()):
        base = name.removesuffix(".weight")
        if (
            isinstance(model.get_submodule(base if base != name else name.rpartition(".")[0]), nn.Linear)
            and base != name
            and "layers" in name
        ):
            made, weight = packed_layer(base, *parameter.shape, group, bits, method, number)
            tensors |= made
            floats[name] = weight
        else:
            tensors[name] = parameter.detach().half()
            floats[name] = tensors[name].float()
    tensors["model.layers.0.mlp.up_proj.bias"] = torch.zeros(96, dtype=torch.float16)  # as AutoGPTQ writes
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    settings: dict[str, Any] = {"quant_method": method.removesuffix("_v2"), "bits": bits, "group_size": group}
    settings |= {"version": "gemm", "zero_point": True} if method == "awq" else {"desc_act": False, "checkpoint_format": method}
    (folder / "config.json").write_text(json.dumps(CONFIG.to_hf() | {"quantization_config": settings}))
    return floats


@pytest.mark.parametrize(("method", "bits", "group"), [("gptq", 4, 32), ("gptq_v2", 4, 64), ("gptq", 8, 128), ("awq", 4, 32)])
def test_packed_folders_are_the_weights_they_stand_for(method: str, bits: int, group: int, tmp_path: Path) -> None:
    expected = packed_folder(tmp_path, method, bits, group)
    checkpoint = load_checkpoint(tmp_path)
    plain, kept = build_model(checkpoint), build_model(checkpoint, keep_quantized=True)
    assert {name: parameter.shape for name, parameter in plain.named_parameters()} == {
        name: weight.shape for name, weight in expected.items()
    }
    assert all(torch.equal(parameter, expected[name]) for name, parameter in plain.named_parameters())
    layer = kept.model.layers[1].mlp.down_proj
    assert isinstance(layer, QuantizedLinear) and (layer.bits, layer.group_size) == (bits, min(group, 96))
    assert torch.equal(layer.dequantize(), expected["model.layers.1.mlp.down_proj.weight"])
    assert kept.model.layers[0].self_attn.q_proj.bias is not None and kept.model.layers[0].mlp.up_proj.bias is None
    tokens = torch.arange(30)[None]
    with torch.inference_mode():
        assert torch.allclose(kept(tokens), plain(tokens), atol=1e-5)


def test_a_whole_row_as_one_group(tmp_path: Path) -> None:
    expected = packed_folder(tmp_path, "gptq", 4, 96)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"]["group_size"] = -1
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torch.equal(
        build_model(load_checkpoint(tmp_path)).model.layers[0].mlp.down_proj.weight,
        expected["model.layers.0.mlp.down_proj.weight"],
    )


@pytest.mark.parametrize(("bits", "group"), [(4, 32), (8, 64), (4, 128)])
def test_written_folders_hold_the_format_as_it_is_defined(bits: int, group: int, tmp_path: Path) -> None:
    huggingface.save(tiny_model(CONFIG), None, tmp_path / "float")
    checkpoint = load_checkpoint(tmp_path / "float")
    model = quantize_model(build_model(checkpoint), bits, group, head_bits=None)
    convert_packed(model, checkpoint, tmp_path / "gptq", lambda source: source, group)
    stored = load_file(tmp_path / "gptq" / "model.safetensors")
    config = json.loads((tmp_path / "gptq" / "config.json").read_text())
    settings = json.loads((tmp_path / "gptq" / "quantize_config.json").read_text())
    assert config["quantization_config"] == settings and settings["bits"] == bits and settings["group_size"] == group
    assert (settings["quant_method"], settings["desc_act"], settings["sym"]) == ("gptq", False, True)
    layer = model.model.layers[1].mlp.down_proj
    words = {part: stored[f"model.layers.1.mlp.down_proj.{part}"] for part in ("qweight", "qzeros", "scales", "g_idx")}
    assert words["qweight"].dtype == words["qzeros"].dtype == words["g_idx"].dtype == torch.int32
    assert words["scales"].dtype == stored["lm_head.weight"].dtype == torch.float16
    weight, per_word, mask = layer.dequantize(), 32 // bits, (1 << bits) - 1
    for o, i in ((0, 0), (5, 1), (63, 95), (17, 40), (33, 71)):
        g = int(words["g_idx"][i])
        level = int(words["qweight"][i // per_word, o]) >> bits * (i % per_word) & mask
        zero = (int(words["qzeros"][g, o // per_word]) >> bits * (o % per_word) & mask) + 1
        assert float(weight[o, i]) == float(words["scales"][g, o]) * (level - zero)
    again = build_model(load_checkpoint(tmp_path / "gptq"), keep_quantized=True)
    read = again.model.layers[1].mlp.down_proj
    assert torch.equal(read.weight, layer.weight) and read.zero is None
    assert torch.equal(read.dequantize(), weight)


def test_groups_with_zero_points_are_written_as_awq(tmp_path: Path) -> None:
    huggingface.save(tiny_model(CONFIG), None, tmp_path / "float")
    checkpoint = load_checkpoint(tmp_path / "float")
    model = quantize_model(build_model(checkpoint), 4, 32, head_bits=None, symmetric=False)
    convert_packed(model, checkpoint, tmp_path / "awq", lambda source: source, 32)
    stored = load_file(tmp_path / "awq" / "model.safetensors")
    settings = json.loads((tmp_path / "awq" / "config.json").read_text())["quantization_config"]
    assert (settings["quant_method"], settings["zero_point"], settings["version"]) == ("awq", True, "gemm")
    layer = model.model.layers[1].mlp.down_proj
    words = {part: stored[f"model.layers.1.mlp.down_proj.{part}"] for part in ("qweight", "qzeros", "scales")}
    weight = layer.dequantize()
    for o, i in ((0, 0), (5, 1), (63, 95), (17, 40), (33, 71)):
        shift, g = 4 * AWQ_PLACES.index(o % 8), i // 32
        level = int(words["qweight"][i, o // 8]) >> shift & 15
        zero = int(words["qzeros"][g, o // 8]) >> shift & 15
        assert float(weight[o, i]) == float(words["scales"][g, o]) * (level - zero)
    read = build_model(load_checkpoint(tmp_path / "awq"), keep_quantized=True).model.layers[1].mlp.down_proj
    assert torch.equal(read.weight, layer.weight) and torch.equal(read.zero, layer.zero)


def test_a_packed_folder_becomes_a_float_one_again(tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    expected = packed_folder(tmp_path / "packed", "awq", 4, 32)
    convert(load_checkpoint(tmp_path / "packed"), tmp_path / "float", "hf", lambda source: source)
    assert "quantization_config" not in json.loads((tmp_path / "float" / "config.json").read_text())
    assert torch.equal(
        load_file(tmp_path / "float" / "model.safetensors")["model.layers.0.mlp.gate_proj.weight"],
        expected["model.layers.0.mlp.gate_proj.weight"],
    )


def settings(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        values["quantization_config"] |= changes
        (folder / "config.json").write_text(json.dumps(values))

    return change


def tensors(change: Callable[[dict[str, Tensor]], Any]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        held = load_file(folder / "model.safetensors")
        change(held)
        save_file(held, folder / "model.safetensors", {"format": "pt"})

    return rewrite


UP, NORM = "model.layers.0.mlp.up_proj.", "model.norm.weight"


def replace(part: str, change: Callable[[Tensor], Tensor]) -> Callable[[Path], None]:
    return tensors(lambda held: held.update({UP + part: change(held[UP + part])}))


WRONG = {
    "3 bits": (settings(bits=3), "has 3 bits; gptq of 4 or 8 bits is read"),
    "bits that are true": (settings(bits=True), "has True bits"),
    "a group of nothing": (settings(group_size=0), "group_size 0"),
    "a group size in words": (settings(group_size="128"), "group_size '128'"),
    "another layout": (settings(checkpoint_format="marlin"), "gptq in the layout 'marlin' is not read"),
    "another method": (settings(quant_method="bitsandbytes"), "quantization_config bitsandbytes is not read"),
    "another group size": (settings(group_size=64), "belong to qweight"),
    "no scales": (tensors(lambda held: held.pop(UP + "scales")), "up_proj lacks scales"),
    "float words": (replace("qweight", lambda held: held.float()), "is not packed as gptq packs"),
    "columns in another order": (replace("g_idx", lambda held: held.flip(0)), "desc_act"),
    "a bias out of place": (replace("bias", lambda held: held + 1), "up_proj.bias is not zero"),
    "a matrix too narrow": (replace("qweight", lambda held: held[:-1].clone()), "belong to qweight"),
    "words where floats belong": (tensors(lambda held: held.update({NORM: held[NORM].int()})), "is of int32"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_read_is_one_line(name: str, tmp_path: Path) -> None:
    packed_folder(tmp_path, "gptq", 4, 32)
    change, expected = WRONG[name]
    change(tmp_path)
    with pytest.raises(UserError) as caught:
        build_model(load_checkpoint(tmp_path), keep_quantized=True)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_layers_that_fill_no_words_are_refused(tmp_path: Path) -> None:
    config = ModelConfig(**(vars(CONFIG) | {"intermediate_size": 92}))
    huggingface.save(tiny_model(config), None, tmp_path / "float")
    checkpoint = load_checkpoint(tmp_path / "float")
    model = quantize_model(build_model(checkpoint), 4, 32, head_bits=None)
    with pytest.raises(UserError, match="does not fill GPTQ's words of 8"):
        convert_packed(model, checkpoint, tmp_path / "gptq", lambda source: source, 32)
    assert not (tmp_path / "gptq").exists()
