"""`kwen train`: a base model and a chat model made stage by stage, and what is said of wrong settings."""

from pathlib import Path

import pytest
import yaml

import kwen
from kwen.cli.main import exit_code
from kwen.nanoworld.documents import documents
from kwen.text.control import ENDOFTEXT
from kwen.text.shards import write_shards
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train

TRAINING = {"steps": 3, "batch_tokens": 512, "sequence_length": 128, "precision": "float32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    texts = [document.text for document in documents(0, "train", 200)]
    train(iter(texts), TokenizerConfig(vocab_size=400, extra_tokens=5), folder / "tokenizer")
    tokenizer = Tokenizer.load(folder / "tokenizer")
    end = tokenizer.control_id(ENDOFTEXT)
    write_shards(([*ids, end] for ids in tokenizer.encode_batch(texts)), folder / "shards" / "train", tokenizer.vocab_size)
    base = {"model": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}, "training": TRAINING}
    places = {name: str(folder / name) for name in ("shards", "tokenizer")}
    (folder / "base.yaml").write_text(yaml.safe_dump({"out": str(folder / "base"), **places, "pretrain": base}))
    chat = {"data": [{"kind": "nanoworld", "count": 40}], "training": TRAINING | {"sequence_length": 256}}
    sft = {"out": str(folder / "chat"), "base": str(folder / "base"), "sft": chat}
    (folder / "sft.yaml").write_text(yaml.safe_dump(sft))
    return folder


def test_pretrain_then_sft_leave_models_that_load_and_nothing_else(folder: Path) -> None:
    assert exit_code(["train", "pretrain", str(folder / "base.yaml")]) == 0
    assert exit_code(["train", "sft", str(folder / "sft.yaml"), "--set", "sft.masking=content"]) == 0
    lm = kwen.load(folder / "chat")
    assert lm.chat([{"role": "user", "content": "Hello"}], max_new_tokens=4)["role"] == "assistant"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_wrong_key_is_named_with_the_nearest_right_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["train", "pretrain", str(folder / "base.yaml"), "--set", "pretrain.training.stesp=4"]) == 2
    assert "pretrain.training.stesp is not a key; did you mean pretrain.training.steps?" in capsys.readouterr().err


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["train", "sft", str(tmp_path / "no.yaml")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def chat(folder: Path) -> Path:
    """A chat model with room for an answer."""
    if not (folder / "base").exists():
        assert exit_code(["train", "pretrain", str(folder / "base.yaml")]) == 0
    if not (folder / "chat").exists():
        assert exit_code(["train", "sft", str(folder / "sft.yaml")]) == 0
    return folder / "chat"


def stage_file(folder: Path, name: str, **settings: object) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"out": str(folder / name), **settings}))
    return str(path)


def test_alignment_runs_stage_by_stage(folder: Path, chat: Path) -> None:
    compared = [{"kind": "nanoworld", "count": 30, "topics": ["facts"]}]
    rewarded = {"data": compared, "training": TRAINING | {"sequence_length": 512}}
    assert exit_code(["train", "reward", stage_file(folder, "reward", base=str(chat), reward=rewarded)]) == 0
    answers = {"steps": 1, "queries": 2, "sequence_length": 400, "max_new_tokens": 6, "precision": "float32"}
    queries = {"data": [{"kind": "nanoworld", "count": 6, "topics": ["facts"]}]}
    ppo = {**answers, **queries, "warmup_steps": 1}
    places = {"policy": str(chat), "reward_model": str(folder / "reward")}
    assert exit_code(["train", "ppo", stage_file(folder, "ppo", **places, ppo=ppo)]) == 0
    assert exit_code(["train", "dpo", stage_file(folder, "dpo", policy=str(chat), dpo=rewarded)]) == 0
    distilled = {"policy": str(chat), "teacher": str(folder / "ppo"), "distill": {**answers, **queries}}
    assert exit_code(["train", "distill", stage_file(folder, "distill", **distilled)]) == 0
    for made in ("ppo", "dpo", "distill"):
        assert kwen.load(folder / made).chat([{"role": "user", "content": "Hi"}], max_new_tokens=2)["role"] == "assistant"


def test_a_reward_model_is_no_policy_and_says_so(folder: Path, chat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ppo = {"steps": 1, "data": [{"kind": "nanoworld", "count": 6}], "sequence_length": 400, "max_new_tokens": 6}
    places = {"policy": str(chat), "reward_model": str(chat)}
    assert exit_code(["train", "ppo", stage_file(folder, "wrong", **places, ppo=ppo)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "a language model where a reward model is needed" in said
