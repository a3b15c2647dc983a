"""Hugging Face folders: what is saved comes back, and what does not fit is refused by name."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoints import tiny_config, tiny_model

from kwen.errors import UserError
from kwen.model.config import RopeScaling
from kwen.model.formats import build_model, huggingface, load_checkpoint
from kwen.model.formats.checkpoint import empty_model
from kwen.model.formats.huggingface import memory_tensors, save, write_model
from kwen.model.formats.tensors import MemoryTensor

CONFIGS = {
    "qwen2": tiny_config(),
    "qwen2, grouped, tied, yarn": tiny_config(
        num_attention_heads=6, num_key_value_heads=3, tie_word_embeddings=True, rope_scaling=RopeScaling("yarn", 4.0, 32)
    ),
    "qwen3": tiny_config(model_type="qwen3", head_dim=12, attention_bias=False, qk_norm=True),
    "llama": tiny_config(
        model_type="llama", num_key_value_heads=2, attention_bias=True, attention_output_bias=True, mlp_bias=True
    ),
}


def same(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    a, b = dict(left.named_parameters()), dict(right.named_parameters())
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def saved(folder: Path) -> Path:
    save(tiny_model(tiny_config()), None, folder / "model", {"eos_token_id": [2, 1]})
    return folder / "model"


def change_config(folder: Path, **changes: Any) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({key: value for key, value in (values | changes).items() if value != "drop"}))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_saved_model_comes_back_bit_equal(name: str, tmp_path: Path) -> None:
    model = tiny_model(CONFIGS[name])
    save(model, None, tmp_path / "model", {"eos_token_id": 2})
    checkpoint = load_checkpoint(tmp_path / "model")
    assert (checkpoint.config, checkpoint.format) == (model.config, "huggingface")
    assert checkpoint.generation_config == {"eos_token_id": 2}
    threads = torch.get_num_threads()
    again = build_model(checkpoint)
    assert same(model, again) and not again.training and torch.get_num_threads() == threads
    token_ids = torch.arange(20).view(2, 10)
    assert torch.equal(model(token_ids), again(token_ids))


def test_equal_weights_are_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save(tiny_model(tiny_config()), None, tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["config.json", "model.safetensors"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_shards_and_their_index_come_back(tmp_path: Path) -> None:
    model = tiny_model(tiny_config())
    write_model(tmp_path, model.config, memory_tensors(model), shard_bytes=20_000)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 3 and all(path.stat().st_size < 23_000 for path in shards)
    assert same(model, build_model(load_checkpoint(tmp_path)))
    index = json.loads((tmp_path / huggingface.INDEX_NAME).read_text())
    assert index["metadata"]["total_size"] == 4 * model.config.num_parameters


def test_half_precision_files_load_as_float32_and_as_they_are(tmp_path: Path) -> None:
    model = tiny_model(tiny_config())
    save(model, None, tmp_path / "model", dtype=torch.bfloat16)
    checkpoint = load_checkpoint(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"
    assert same(build_model(checkpoint, torch.bfloat16), model.bfloat16())
    assert same(build_model(checkpoint), model.float())


MEASURE = """
import sys
import torch
from kwen.model.formats import build_model, load_checkpoint
def memory(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field)) * 1024
before = memory("VmRSS")
model = build_model(load_checkpoint(sys.argv[1]), torch.float32)
print((memory("VmHWM") - before) / sum(4 * parameter.numel() for parameter in model.parameters()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_loading_takes_at_most_a_fifth_more_than_the_weights(tmp_path: Path) -> None:
    """120 MB of float32 from a bfloat16 file, in a process of its own."""
    config = tiny_config(vocab_size=40_000, hidden_size=256, head_dim=64, intermediate_size=8_000)
    shapes = {name: parameter.shape for name, parameter in empty_model(config).named_parameters()}
    tensors = {name: MemoryTensor(torch.full(shape, 0.5, dtype=torch.bfloat16)) for name, shape in shapes.items()}
    (tmp_path / "model").mkdir()
    write_model(tmp_path / "model", config, tensors)
    done = subprocess.run([sys.executable, "-c", MEASURE, tmp_path / "model"], capture_output=True, text=True, check=True)
    assert 0.9 < float(done.stdout) < 1.2


def test_both_spellings_of_rope_are_read(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    change_config(folder, rope_parameters="drop", rope_theta=77.0)
    assert load_checkpoint(folder).config.rope_theta == 77.0
    change_config(folder, rope_parameters={"rope_theta": 78.0, "rope_type": "default"}, rope_theta="drop", rope_scaling="drop")
    assert load_checkpoint(folder).config.rope_theta == 78.0


def test_a_tied_checkpoint_may_repeat_the_embedding_but_not_differ_from_it(tmp_path: Path) -> None:
    save(tiny_model(tiny_config(tie_word_embeddings=True)), None, tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    weights = load_file(path)
    save_file(weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}, path)
    assert build_model(load_checkpoint(tmp_path / "model")).lm_head is None
    save_file(weights | {"lm_head.weight": weights["model.embed_tokens.weight"] + 1}, path)
    with pytest.raises(UserError, match="ties lm_head.weight"):
        load_checkpoint(tmp_path / "model")


def test_stored_rope_frequencies_of_old_files_are_passed_over(tmp_path: Path) -> None:
    path = saved(tmp_path) / "model.safetensors"
    save_file(load_file(path) | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, path)
    assert len(load_checkpoint(path.parent).tensors) == 27


def damage_index(folder: Path, file: str) -> None:
    names = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    (folder / huggingface.INDEX_NAME).write_text(json.dumps({"weight_map": dict.fromkeys(names, file)}))


def drop_tensor(folder: Path, word: str = "v_proj") -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file({name: weights[name] for name in weights if word not in name}, path)


def add_tensor(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file(load_file(path) | {"model.layers.0.mlp.experts.weight": torch.ones(1)}, path)


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (lambda folder: folder.rename(folder.with_name("gone")), "no such file or folder"),
    "empty folder": (lambda folder: [path.unlink() for path in folder.iterdir()], "neither config.json nor a .gguf"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "the weights are missing"),
    "pickled": (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "pickled checkpoint"),
    "config cut short": (lambda folder: (folder / "config.json").write_text('{"model_type": '), "not valid JSON"),
    "config a list": (lambda folder: (folder / "config.json").write_text("[]"), "a JSON object is expected"),
    "MoE": (lambda folder: change_config(folder, model_type="qwen3_moe"), "'qwen3_moe' is not supported"),
    "sliding window": (lambda folder: change_config(folder, use_sliding_window=True, layer_types=["x"]), "layer_types has 'x'"),
    "FP8": (lambda folder: change_config(folder, quantization_config={"quant_method": "fp8"}), "quantization_config fp8"),
    "unknown rope": (lambda folder: change_config(folder, rope_parameters={"rope_type": "longrope"}), "'longrope'"),
    "no hidden size": (lambda folder: change_config(folder, hidden_size="drop"), "hidden_size is missing"),
    "text for a size": (lambda folder: change_config(folder, intermediate_size="wide"), "intermediate_size"),
    "a layer too many": (lambda folder: change_config(folder, num_hidden_layers=3), "num_hidden_layers 3, the weights have 2"),
    "a billion layers": (lambda folder: change_config(folder, num_hidden_layers=10**9), "the weights have 2 layers"),
    "another vocabulary": (
        lambda folder: change_config(folder, vocab_size=68),
        "model.embed_tokens.weight has shape [67, 32], the config asks for [68, 32]",
    ),
    "huge heads": (lambda folder: change_config(folder, head_dim=2**30), "q_proj.weight has shape [32, 32]"),
    "huge everything": (lambda folder: change_config(folder, hidden_size=2**30, head_dim=2**30), "embed_tokens.weight has shape"),
    "another architecture": (
        lambda folder: change_config(folder, model_type="qwen3"),
        "the weights lack model.layers.0.self_attn.q_norm.weight and 3 more",
    ),
    "untied without a head": (lambda folder: drop_tensor(folder, "lm_head"), "the weights lack lm_head.weight, which"),
    "a missing tensor": (drop_tensor, "the weights lack model.layers.0.self_attn.v_proj.weight and 3 more"),
    "an unexpected tensor": (add_tensor, "the weights hold model.layers.0.mlp.experts.weight, which"),
    "index to another folder": (lambda folder: damage_index(folder, "../a.safetensors"), "is not the name of a safetensors file"),
    "index to no file": (lambda folder: damage_index(folder, "b.safetensors"), "b.safetensors: cannot be read"),
    "index without a map": (lambda folder: (folder / huggingface.INDEX_NAME).write_text("{}"), "weight_map"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_one_line(name: str, tmp_path: Path) -> None:
    folder = saved(tmp_path)
    damage, expected = BROKEN[name]
    damage(folder)
    with pytest.raises(UserError) as caught:
        load_checkpoint(folder)
    assert expected in str(caught.value) and str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl"])
def test_pickles_are_never_opened(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="never read"):
        load_checkpoint(tmp_path / name)


def test_saving_leaves_a_folder_that_is_no_model_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear")
    with pytest.raises(UserError, match="no model folder"):
        save(tiny_model(tiny_config()), None, tmp_path / "letters")
    assert (tmp_path / "letters" / "dear.txt").read_text() == "Dear"
    save(tiny_model(tiny_config()), None, tmp_path / "model")
    save(tiny_model(tiny_config(), seed=1), None, tmp_path / "model")
    assert same(build_model(load_checkpoint(tmp_path / "model")), tiny_model(tiny_config(), seed=1))


def test_a_mixture_of_biases_that_no_architecture_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Qwen2ForCausalLM cannot express qk_norm True"):
        save(tiny_model(tiny_config(qk_norm=True)), None, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_chat_template_is_found_in_each_of_its_places(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    assert load_checkpoint(folder).chat_template is None
    named = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    for value, expected in ((named, "D"), ("plain", "plain")):
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": value}))
        assert load_checkpoint(folder).chat_template == expected
    (folder / "chat_template.jinja").write_text("file")
    assert load_checkpoint(folder).chat_template == "file"
    assert load_checkpoint(folder).tokenizer_source == folder


def test_no_value_in_config_json_does_more_than_an_error_line(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    values = json.loads((folder / "config.json").read_text())
    values["rope_parameters"] = {"rope_theta": 1e6, "rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64}
    odd = [None, "x", [1], {"a": 1}, -1, 0, 2**70, 10**400, float("nan")]
    refused = 0
    for holder in (values, values["rope_parameters"]):
        for key, value in list(holder.items()):
            for other in odd:
                holder[key] = other
                (folder / "config.json").write_text(json.dumps(values))
                try:
                    load_checkpoint(folder)
                except UserError as error:
                    refused += "\n" not in str(error)
            holder[key] = value
    assert refused > 40
