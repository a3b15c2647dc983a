"""Dynamic NTK, LogN and windows: the report's numbers, what they leave alone, and padded and packed rows equal to rows alone."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_models import random_model

from kwen.errors import UserError
from kwen.model.config import ModelConfig, RopeScaling
from kwen.model.formats import load_checkpoint, qwen1
from kwen.model.formats.gguf_write import write_gguf
from kwen.model.formats.huggingface import memory_tensors, save
from kwen.model.rope import chunk_of, chunks_of, frequency_table, inverse_frequencies, logn_scale, ntk_alpha, ntk_theta
from kwen.model.transformer import Transformer

T = 16  # trained length of the small models
VOCAB = 61
SWITCHES: dict[str, dict[str, Any]] = {
    "ntk": {"use_dynamic_ntk": True},
    "logn": {"use_logn_attn": True},
    "windows": {"attention_windows": (T, None, 20)},
    "all": {"use_dynamic_ntk": True, "use_logn_attn": True, "attention_windows": (T, None, 20)},
}


def config_of(layers: int = 3, **changes: Any) -> ModelConfig:
    return ModelConfig(VOCAB, 32, 64, layers, 4, 2, 8, max_position_embeddings=256, seq_length=T, **changes)


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(0, VOCAB, (3, 70), generator=torch.Generator().manual_seed(5))


def test_alpha_and_the_base_are_the_reports() -> None:
    config = ModelConfig(VOCAB, 128, 64, 1, 1, 1, 128, rope_theta=10000.0, max_position_embeddings=2048)
    told = {1: (1, 10000.0), 2048: (1, 10000.0), 2049: (3, 30527.7), 4096: (3, 30527.7), 4097: (7, 72195.9), 8192: (7, 72195.9),
            8193: (15, 156588.3), 16384: (15, 156588.3)}  # fmt: skip
    for length, (alpha, base) in told.items():
        chunk = chunk_of(length, 2048)
        assert ntk_alpha(chunk) == alpha and ntk_theta(config, chunk) == pytest.approx(base, abs=0.06)
    table, factor = frequency_table(replace(config, use_dynamic_ntk=True))
    assert factor == 1.0 and table.dtype == torch.float32
    for chunk, base in enumerate((10000.0, 30527.7, 72195.9, 156588.3)):
        assert table[chunk].tolist() == pytest.approx([base ** (-2 * i / 128) for i in range(64)], rel=1e-5)
    assert torch.equal(table[0], inverse_frequencies(config)[0])


@given(st.integers(1, 2**31 - 1), st.integers(1, 2**20))
def test_the_chunk_is_the_number_of_doublings_that_hold_the_length(length: int, trained: int) -> None:
    chunk = chunk_of(length, trained)
    assert length <= trained << chunk and (chunk == 0 or length > trained << (chunk - 1))
    assert chunks_of(torch.tensor([[length]]), trained).tolist() == [[chunk]]


def test_logn_is_the_reports_and_starts_after_the_trained_length() -> None:
    scale = logn_scale(torch.arange(16384), 2048)
    assert scale[:2048].tolist() == [1.0] * 2048
    assert [round(float(scale[i - 1]), 4) for i in (4096, 8192, 16384)] == [1.0909, 1.1818, 1.2727]
    assert float(scale[2048]) == pytest.approx(math.log(2049) / math.log(2048), rel=1e-6)


@pytest.mark.parametrize("name", SWITCHES)
@torch.inference_mode()
def test_nothing_changes_up_to_the_trained_length_or_in_training_mode(name: str, ids: torch.Tensor) -> None:
    plain = random_model(config_of())
    extended = plain.with_switches(**SWITCHES[name])
    assert torch.equal(plain(ids[:, :T]), extended(ids[:, :T]))
    assert not torch.allclose(plain(ids)[:, -1], extended(ids)[:, -1], atol=1e-3)
    if name in ("ntk", "logn"):
        plain.train(), extended.train()
        assert torch.equal(plain(ids), extended(ids))


@torch.inference_mode()
def test_ntk_is_a_larger_base_for_the_whole_sequence(ids: torch.Tensor) -> None:
    plain = random_model(config_of())
    extended = plain.with_switches(use_dynamic_ntk=True)
    for length, alpha in ((T + 1, 3), (2 * T, 3), (2 * T + 1, 7), (70, 15)):
        other = Transformer(replace(plain.config, rope_theta=10000.0 * alpha ** (8 / 6))).eval()
        other.load_state_dict(plain.state_dict())
        assert torch.allclose(extended(ids[:, :length]), other(ids[:, :length]), atol=1e-4)


@torch.inference_mode()
def test_logn_scales_the_query_by_its_position(ids: torch.Tensor) -> None:
    plain = random_model(config_of(1))
    got = plain.with_switches(use_logn_attn=True)(ids)
    for position in (T - 1, T, 40, 69):
        scaled = random_model(config_of(1))
        factor = max(1.0, math.log(position + 1) / math.log(T))
        for parameter in scaled.model.layers[0].self_attn.q_proj.parameters():
            parameter.mul_(factor)
        assert torch.allclose(got[:, position], scaled(ids)[:, position], atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("window", [1, 7, 32, 69])
@torch.inference_mode()
def test_a_query_sees_its_window_and_nothing_before(window: int, training: bool, ids: torch.Tensor) -> None:
    """In a single layer, and as RoPE is relative, that is the text cut to the window."""
    plain = random_model(config_of(1)).train(training)
    windowed = plain.with_switches(attention_windows=(window,))(ids)
    for position in (0, window - 1, min(window, 69), 69):
        cut = ids[:, max(0, position - window + 1) : position + 1]
        assert torch.allclose(windowed[:, position], plain(cut)[:, -1], atol=1e-4)


@pytest.mark.parametrize("name", SWITCHES)
@torch.inference_mode()
def test_padded_and_packed_rows_equal_rows_alone(name: str, ids: torch.Tensor) -> None:
    model = random_model(config_of(**SWITCHES[name]))
    lengths = [70, 9, 33]
    alone = [model(ids[row : row + 1, :length]) for row, length in enumerate(lengths)]
    padded = model(ids, lengths=torch.tensor(lengths))
    packed_ids = torch.cat([ids[row, :length] for row, length in enumerate(lengths)])[None]
    documents = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))[None]
    packed = model(packed_ids, documents=documents)
    assert torch.allclose(packed, torch.cat(alone, dim=1), atol=1e-4)
    for row, length in enumerate(lengths):
        assert torch.allclose(padded[row, :length], alone[row][0], atol=1e-4)


def test_documents_with_a_common_beginning_have_one_base(ids: torch.Tensor) -> None:
    model = random_model(config_of(use_dynamic_ntk=True))
    documents = torch.tensor([[0] * 10 + [1] * 12 + [2] * 12])
    seen_by = torch.tensor([[2] * 10 + [-2] * 24])
    with pytest.raises(ValueError, match="one base"):
        model.hidden(ids[:1, :34], documents=documents, seen_by=seen_by)
    assert model.train().hidden(ids[:1, :34], documents=documents, seen_by=seen_by).shape == (1, 34, 32)


def test_switched_models_share_their_weights(ids: torch.Tensor) -> None:
    plain = random_model(config_of())
    other = plain.with_switches(attention_windows=(8, 8, 8), max_position_embeddings=512)
    assert other.config.max_position_embeddings == 512 and plain.config.attention_windows is None
    assert all(a is b for a, b in zip(plain.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama"])
def test_the_switches_survive_a_hugging_face_folder(model_type: str, tmp_path: Path) -> None:
    kind = {"model_type": model_type, "attention_bias": model_type == "qwen2", "qk_norm": model_type == "qwen3"}
    for number, switches in enumerate(({}, *SWITCHES.values())):
        config = config_of(**switches, **kind)
        save(random_model(config), None, tmp_path / str(number))
        assert load_checkpoint(tmp_path / str(number)).config == config
    plain = replace(config_of(**kind), seq_length=None)
    assert not {"use_dynamic_ntk", "use_logn_attn", "attention_windows", "seq_length"} & plain.to_hf().keys()


def test_qwen1_files_switch_them_on(tmp_path: Path) -> None:
    config = replace(config_of(), num_key_value_heads=4, model_type="qwen")
    for ntk, logn in ((True, True), (True, False), (False, True)):
        switched = replace(config, use_dynamic_ntk=ntk, use_logn_attn=logn)
        folder = tmp_path / f"{ntk}{logn}"
        qwen1.save(random_model(switched), None, folder)
        values = json.loads((folder / "config.json").read_text())
        assert (values["seq_length"], values["max_position_embeddings"], values["use_dynamic_ntk"]) == (T, 256, ntk)
        assert load_checkpoint(folder).config == switched
    with pytest.raises(UserError, match="cannot express attention_windows"):
        qwen1.save(random_model(replace(config, attention_windows=(8, 8, 8))), None, tmp_path / "windows")


def test_windows_have_no_words_in_gguf(tmp_path: Path) -> None:
    model = random_model(config_of(attention_windows=(8, 8, None)))
    with pytest.raises(UserError, match="no attention windows"):
        write_gguf(tmp_path / "x.gguf", model.config, memory_tensors(model), "F32", {}, "x")


@torch.inference_mode()
def test_one_window_gives_what_transformers_gives(tmp_path: Path, ids: torch.Tensor) -> None:
    transformers = pytest.importorskip("transformers")
    model = random_model(config_of(attention_windows=(None, 9, 9)))
    save(model, None, tmp_path / "model")
    peer = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    assert torch.allclose(peer(ids).logits, model(ids), atol=1e-4)
    path = tmp_path / "model" / "config.json"
    values = json.loads(path.read_text())  # a released file has neither our key nor, in older ones, layer_types
    del values["attention_windows"], values["layer_types"]
    path.write_text(json.dumps(values | {"max_window_layers": 1}))
    assert load_checkpoint(tmp_path / "model").config.attention_windows == (None, 9, 9)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"use_dynamic_ntk": "yes"}, "use_dynamic_ntk is 'yes'"),
        ({"use_logn_attn": 1}, "use_logn_attn is 1"),
        ({"seq_length": 0}, "seq_length is 0"),
        ({"seq_length": 1, "use_logn_attn": True}, "seq_length of 2"),
        ({"attention_windows": 5}, "attention_windows is 5"),
        ({"attention_windows": [8, 0, None]}, "attention_windows is"),
        ({"attention_windows": [8, True, None]}, "attention_windows is"),
        ({"attention_windows": [8, 8]}, "lists 2 layers, the model has 3"),
        ({"use_dynamic_ntk": True, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "use_dynamic_ntk cannot be on"),
        ({"use_sliding_window": True, "num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"use_sliding_window": True, "layer_types": ["chunked"]}, "'chunked'"),
        ({"use_sliding_window": True, "sliding_window": -3, "max_window_layers": 0}, "attention_windows is"),
    ],
)
def test_a_bad_value_is_one_line(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match="^config") as caught:
        ModelConfig.from_hf({**config_of().to_hf(), "rope_parameters": None, **changes})
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_yarn_stands_beside_logn_and_windows(ids: torch.Tensor) -> None:
    config = config_of(use_logn_attn=True, attention_windows=(8, 8, None), rope_scaling=RopeScaling("yarn", 4.0, T))
    with torch.inference_mode():
        assert bool(random_model(config)(ids).isfinite().all())
