"""LoRA adapters on disk: read with suspicion, merged as they are read, tied to the base that they were trained on."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoints import tiny_config, tiny_model
from typer.testing import CliRunner

from kwen.cli.main import app
from kwen.errors import UserError
from kwen.model.config import ModelConfig
from kwen.model.formats import build_model, huggingface, load_checkpoint, qwen1
from kwen.model.formats.adapter import CONFIG, PREFIX, WEIGHTS, MergedTensor, fingerprint, merged, read_adapter, write_adapter
from kwen.model.formats.tensors import materialize

LAYER = "model.layers.1.mlp.down_proj"


def pair(config: ModelConfig, seed: int = 0, r: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Random factors for the feed-forward output of a model of `config`."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((r, config.intermediate_size), (config.hidden_size, r))
    down, up = (torch.randn(shape, generator=generator) for shape in shapes)
    return down, up


def adapter_of(base: Path, folder: Path) -> Path:
    """An adapter of one layer for the model at `base`, r 3 and alpha 6."""
    checkpoint = load_checkpoint(base)
    folder.mkdir(exist_ok=True)
    write_adapter(
        folder, {LAYER: pair(checkpoint.config)}, r=3, alpha=6, dropout=0.0, targets=("down_proj",), base=str(base),
        fingerprint=fingerprint(checkpoint.config, checkpoint.tensors),
    )  # fmt: skip
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    huggingface.save(tiny_model(tiny_config()), None, tmp_path / "base", {"eos_token_id": 2})
    return tmp_path / "base"


def test_merging_adds_alpha_over_r_times_the_product_and_nothing_else(base: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(base)
    whole = build_model(merged(checkpoint, read_adapter(adapter_of(base, tmp_path / "adapter")))).state_dict()
    down, up = pair(checkpoint.config)
    for name, weight in build_model(checkpoint).state_dict().items():
        expected = weight + 2 * up @ down if name == f"{LAYER}.weight" else weight
        assert torch.allclose(whole[name], expected, atol=1e-6), name


def test_a_part_of_a_merged_tensor_is_that_part(base: Path, tmp_path: Path) -> None:
    tensor = merged(load_checkpoint(base), read_adapter(adapter_of(base, tmp_path / "adapter"))).tensors[f"{LAYER}.weight"]
    assert isinstance(tensor, MergedTensor)
    part = torch.empty(4, 64, dtype=torch.bfloat16)
    tensor.read(part, 5)
    assert torch.equal(part, materialize(tensor)[5:9].to(torch.bfloat16))


@pytest.mark.parametrize("to", ["hf", "qwen1"])
def test_convert_merges_in_the_bases_dtype_with_tokenizer_and_template(base: Path, tmp_path: Path, to: str) -> None:
    huggingface.save(tiny_model(tiny_config()), None, tmp_path / "low", {"eos_token_id": 2, "top_p": 0.8}, torch.bfloat16)
    low = tmp_path / "low"
    if to == "hf":
        (low / "tokenizer.json").write_text("{}")
        (low / "chat_template.jinja").write_text("{{ messages }}")
    adapter = adapter_of(low, tmp_path / "adapter")
    result = CliRunner().invoke(app, ["convert", str(low), str(tmp_path / "out"), "--merge", str(adapter), "--to", to])
    assert result.exit_code == 0 and f"from huggingface with {adapter} to {to}" in result.output, result.output
    out = load_checkpoint(tmp_path / "out")
    expected = merged(load_checkpoint(low), read_adapter(adapter))
    for name, tensor in expected.tensors.items():
        assert out.tensors[name].dtype == torch.bfloat16
        assert torch.equal(materialize(out.tensors[name]), materialize(tensor)), name
    assert out.generation_config["top_p"] == 0.8
    if to == "hf":
        assert (tmp_path / "out" / "tokenizer.json").read_text() == "{}" and out.chat_template == "{{ messages }}"


def test_a_tokenizer_of_the_adapter_takes_the_place_of_the_bases(base: Path, tmp_path: Path) -> None:
    (base / "tokenizer.json").write_text('{"base": 1}')
    adapter = adapter_of(base, tmp_path / "adapter")
    (adapter / "tokenizer.json").write_text('{"chat": 1}')
    (adapter / "chat_template.jinja").write_text("chat")
    (adapter / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    assert CliRunner().invoke(app, ["convert", str(base), str(tmp_path / "out"), "--merge", str(adapter)]).exit_code == 0
    assert (tmp_path / "out" / "tokenizer.json").read_text() == '{"chat": 1}'
    out = load_checkpoint(tmp_path / "out")
    assert out.chat_template == "chat" and out.generation_config == {"eos_token_id": [1, 2]}


def test_an_adapter_of_another_base_is_refused_and_both_are_named(base: Path, tmp_path: Path) -> None:
    adapter = adapter_of(base, tmp_path / "adapter")
    for name, other in {
        "seed": tiny_model(tiny_config(), seed=1),
        "shape": tiny_model(tiny_config(intermediate_size=48)),
        "depth": tiny_model(tiny_config(num_hidden_layers=1)),
    }.items():
        huggingface.save(other, None, tmp_path / name)
        result = CliRunner().invoke(app, ["convert", str(tmp_path / name), str(tmp_path / "out"), "--merge", str(adapter)])
        message = result.output + str(result.exception)
        assert result.exit_code != 0 and str(tmp_path / name) in message and str(base) in message
        assert not (tmp_path / "out").exists()


def test_the_fingerprint_is_of_values_whatever_the_format_and_place(base: Path, tmp_path: Path) -> None:
    model = tiny_model(tiny_config())
    huggingface.save(model, None, tmp_path / "low", None, torch.bfloat16)
    qwen1.save(model, None, tmp_path / "qwen1")
    marks = {fingerprint(c.config, c.tensors) for c in map(load_checkpoint, (base, tmp_path / "low", tmp_path / "qwen1"))}
    tensors = huggingface.memory_tensors(model)
    assert marks == {fingerprint(model.config, tensors)}
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] += 0.01
    assert fingerprint(model.config, tensors) not in marks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"use_dora": True}, "use_dora is set"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is set"),
        ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern is set"),
        ({"bias": "all"}, "bias is set"),
        ({"r": 4}, "does not fit r 4"),
        ({"r": 0}, "r is 0"),
        ({"r": True}, "r is True"),
        ({"r": 2.5}, "the rank is a whole number"),
        ({"lora_alpha": float("inf")}, "lora_alpha is inf"),
        ({"lora_alpha": "16"}, "lora_alpha is 16"),
        ({"lora_dropout": 1}, "lora_dropout is 1"),
    ],
)
def test_what_is_no_plain_lora_is_refused(base: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    adapter = adapter_of(base, tmp_path / "adapter")
    values = json.loads((adapter / CONFIG).read_text()) | changes
    (adapter / CONFIG).write_text(json.dumps(values))
    with pytest.raises(UserError, match=message):
        read_adapter(adapter)


def test_damaged_and_foreign_weights_are_refused(base: Path, tmp_path: Path) -> None:
    adapter = adapter_of(base, tmp_path / "adapter")
    tensors = load_file(adapter / WEIGHTS)
    cases = {
        "lora_B alone": {name: tensor for name, tensor in tensors.items() if "lora_B" in name},
        "is no lora_A or lora_B": tensors | {f"{PREFIX}{LAYER}.lora_magnitude_vector": torch.ones(3)},
        "is no lora_A or lora_B ": {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()},
        "has shape": {name: tensor[None] for name, tensor in tensors.items()},
        "holds no tensors": {},
    }
    for message, held in cases.items():
        save_file({name: tensor.contiguous() for name, tensor in held.items()}, adapter / WEIGHTS)
        with pytest.raises(UserError, match=message):
            read_adapter(adapter)
    (adapter / WEIGHTS).rename(adapter / "adapter_model.bin")
    with pytest.raises(UserError, match="pickled checkpoint can run code"):
        read_adapter(adapter)
    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(UserError, match="is missing"):
        read_adapter(adapter)
    with pytest.raises(UserError, match="no adapter_config.json there"):
        read_adapter(base)


def test_rank_stabilised_scaling_divides_by_the_root(base: Path, tmp_path: Path) -> None:
    adapter = adapter_of(base, tmp_path / "adapter")
    values = json.loads((adapter / CONFIG).read_text()) | {"use_rslora": True}
    (adapter / CONFIG).write_text(json.dumps(values))
    assert read_adapter(adapter).scaling == pytest.approx(6 / 3**0.5)


def test_equal_adapters_are_equal_bytes(base: Path, tmp_path: Path) -> None:
    one, two = adapter_of(base, tmp_path / "one"), adapter_of(base, tmp_path / "two")
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()
