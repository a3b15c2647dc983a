"""Qwen-1's layout: there and back without a changed bit, and a clear no where it cannot hold a model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoints import tiny_config, tiny_model

from kwen.errors import UserError
from kwen.model.formats import build_model, huggingface, load_checkpoint, qwen1


def saved(folder: Path) -> Path:
    qwen1.save(tiny_model(tiny_config()), None, folder / "qwen1")
    return folder / "qwen1"


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_files_are_qwen_1s(tmp_path: Path) -> None:
    """Names, fused thirds, gate and up, and the doubled width, as report.md 3.3 and 3.5 have them."""
    model = tiny_model(tiny_config())
    folder = saved(tmp_path)
    weights, ours = load_file(folder / "model.safetensors"), dict(model.named_parameters())
    assert len(weights) == 3 + 2 * 8
    fused, layer = weights["transformer.h.1.attn.c_attn.weight"], "model.layers.1."
    for position, letter in enumerate("qkv"):
        third = slice(32 * position, 32 * (position + 1))
        assert torch.equal(fused[third], ours[f"{layer}self_attn.{letter}_proj.weight"])
        assert torch.equal(weights["transformer.h.1.attn.c_attn.bias"][third], ours[f"{layer}self_attn.{letter}_proj.bias"])
    assert torch.equal(weights["transformer.h.1.mlp.w2.weight"], ours[f"{layer}mlp.gate_proj.weight"])
    assert torch.equal(weights["transformer.h.1.mlp.w1.weight"], ours[f"{layer}mlp.up_proj.weight"])
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("qwen", ["QWenLMHeadModel"])
    assert (config["intermediate_size"], config["kv_channels"], config["rotary_emb_base"]) == (128, 8, 1000000)


def test_hf_to_qwen1_to_hf_leaves_every_tensor_bit_equal(tmp_path: Path) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        huggingface.save(tiny_model(tiny_config()), None, tmp_path / "a", dtype=dtype)
        qwen1.save(build_model(load_checkpoint(tmp_path / "a"), dtype), None, tmp_path / "b")
        checkpoint = load_checkpoint(tmp_path / "b")
        assert (checkpoint.format, checkpoint.config.model_type) == ("qwen1", "qwen")
        huggingface.save(build_model(checkpoint, dtype), None, tmp_path / "c")
        for name in ("model.safetensors", "config.json"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()


def test_the_context_is_the_length_of_training(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    change_config(folder, seq_length=64, max_position_embeddings=512, use_dynamic_ntk=True, use_logn_attn=True)
    assert load_checkpoint(folder).config.max_position_embeddings == 512


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"num_key_value_heads": 2}, "num_key_value_heads 2"),
        ({"model_type": "qwen3", "attention_bias": False, "qk_norm": True}, "qk_norm True"),
        ({"model_type": "llama", "attention_bias": False}, "attention_bias False"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings True"),
        ({"head_dim": 16}, "head_dim 16"),
        ({"hidden_size": 36, "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 4}, "hidden_size 36"),
    ],
)
def test_what_it_cannot_express_is_refused_by_the_field(changes: dict[str, Any], field: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=field):
        qwen1.save(tiny_model(tiny_config(**changes)), None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rotary_pct": 0.5}, "rotary_pct"),
        ({"no_bias": False}, "no_bias"),
        ({"kv_channels": 16}, "kv_channels 16"),
        ({"intermediate_size": 127}, "intermediate_size 127"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"layer_norm_epsilon": "small"}, "config.json"),
        ({"seq_length": -1}, "max_position_embeddings"),
        ({"intermediate_size": 64}, "gate_proj.weight has shape"),
        ({"hidden_size": 64, "kv_channels": 16}, "96 rows, the config asks for 3 times 64"),
        ({"quantization_config": {"quant_method": "gptq"}}, "gptq"),
    ],
)
def test_a_config_that_does_not_fit_is_one_line(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    folder = saved(tmp_path)
    change_config(folder, **changes)
    with pytest.raises(UserError) as caught:
        load_checkpoint(folder)
    assert expected in str(caught.value) and str(folder) in str(caught.value)


def test_missing_and_unknown_tensors_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path) / "model.safetensors"
    weights = load_file(path)
    save_file({name: weights[name] for name in weights if name != "transformer.h.0.attn.c_attn.bias"}, path)
    with pytest.raises(UserError, match="lack model.layers.0.self_attn.q_proj.bias and 2 more"):
        load_checkpoint(path.parent)
    save_file(weights | {"transformer.visual.proj": torch.ones(1)}, path)
    with pytest.raises(UserError, match="hold transformer.visual.proj"):
        load_checkpoint(path.parent)
