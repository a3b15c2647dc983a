"""`kwen convert`: weights, tokenizer, template and settings arrive in the other format."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoints import tiny_config, tiny_model
from typer.testing import CliRunner

from kwen.cli.main import app
from kwen.errors import UserError
from kwen.model.formats import huggingface, load_checkpoint
from kwen.model.formats.convert import convert
from kwen.text.tokenizer import Tokenizer

TEXTS = ["It's 2023; naïve café.", "通义千问 <|im_start|>user", "def f(x):\n    return x\n\n", " 根 Observation:\n"]


def folder_with(tokenizer: Path, vocab_size: int, folder: Path) -> Path:
    """A tiny Hugging Face folder with the tokenizer of a rank file."""
    model = tiny_model(tiny_config(vocab_size=vocab_size, hidden_size=8, head_dim=2, intermediate_size=16))
    settings = {"eos_token_id": [2, 1], "top_p": 0.8}
    huggingface.write_model(folder, model.config, huggingface.memory_tensors(model), settings, torch.bfloat16)
    Tokenizer.load(tokenizer).save(folder)
    return folder


@pytest.fixture(scope="module")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory, real_qwen_tiktoken: Path) -> Path:
    """With the first 3,000 ranks of Qwen's real vocabulary, which are a vocabulary too."""
    folder = tmp_path_factory.mktemp("qwen")
    ranks = folder / "small.tiktoken"
    ranks.write_bytes(b"".join(real_qwen_tiktoken.read_bytes().splitlines(keepends=True)[:3000]))
    (folder / "hf").mkdir()
    return folder_with(ranks, 3328, folder / "hf")


def test_to_qwen1_and_back_keeps_everything(qwen_folder: Path, tmp_path: Path) -> None:
    for source, out, to in ((qwen_folder, "qwen1", "qwen1"), (tmp_path / "qwen1", "hf", "hf")):
        result = CliRunner().invoke(app, ["convert", str(source), str(tmp_path / out), "--to", to])
        assert result.exit_code == 0, result.output
    before, after = load_file(qwen_folder / "model.safetensors"), load_file(tmp_path / "hf" / "model.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    original = Tokenizer.load(qwen_folder)
    for name in ("qwen1", "hf"):
        again, checkpoint = Tokenizer.load(tmp_path / name), load_checkpoint(tmp_path / name)
        assert again.encode_batch(TEXTS) == original.encode_batch(TEXTS)
        assert again.control_tokens == original.control_tokens
        assert checkpoint.chat_template == load_checkpoint(qwen_folder).chat_template
        assert checkpoint.generation_config["top_p"] == 0.8 and checkpoint.generation_config["eos_token_id"] == [2, 1]
    assert json.loads((tmp_path / "qwen1" / "generation_config.json").read_text())["chat_format"] == "chatml"


@pytest.mark.slow
def test_the_written_rank_file_is_qwens_own(real_qwen_tiktoken: Path, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    folder = folder_with(real_qwen_tiktoken, 151_936, tmp_path / "hf")
    convert(load_checkpoint(folder), tmp_path / "qwen1", "qwen1", Tokenizer.load)
    assert (tmp_path / "qwen1" / "qwen.tiktoken").read_bytes().split() == real_qwen_tiktoken.read_bytes().split()


def test_the_same_layout_copies_the_tokenizer_as_it_is(qwen_folder: Path, tmp_path: Path) -> None:
    convert(load_checkpoint(qwen_folder), tmp_path / "copy", "hf", Tokenizer.load)
    for path in qwen_folder.iterdir():
        assert (tmp_path / "copy" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_tokenizer_that_cuts_otherwise_is_refused(qwen_folder: Path, tmp_path: Path) -> None:
    text = (qwen_folder / "tokenizer.json").read_text(encoding="utf-8")
    word = r"[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
    assert word in text
    for path in qwen_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "tokenizer.json").write_text(text.replace(word, r"\\p{L}+"), encoding="utf-8")
    with pytest.raises(UserError, match="cuts or merges text in another way"):
        convert(load_checkpoint(tmp_path), tmp_path / "out", "qwen1", Tokenizer.load)
    assert not (tmp_path / "out").exists()


def test_what_exists_and_what_is_unknown_are_refused(tmp_path: Path) -> None:
    huggingface.save(tiny_model(tiny_config()), None, tmp_path / "model")
    checkpoint = load_checkpoint(tmp_path / "model")
    with pytest.raises(UserError, match="exists already"):
        convert(checkpoint, tmp_path / "model", "qwen1", Tokenizer.load)
    with pytest.raises(UserError, match="gguf: no such format of a folder; use hf or qwen1"):
        convert(checkpoint, tmp_path / "new", "gguf", Tokenizer.load)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.slow
def test_smollm2_becomes_a_hugging_face_folder(smollm2_gguf: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(smollm2_gguf)
    convert(checkpoint, tmp_path / "smollm2", "hf", Tokenizer.from_gguf)
    again = load_checkpoint(tmp_path / "smollm2")
    assert again.config == checkpoint.config and again.chat_template == checkpoint.chat_template
    rows = [torch.empty(3, 576) for _ in range(2)]
    for tensors, out in zip((checkpoint.tensors, again.tensors), rows, strict=True):
        tensors["model.embed_tokens.weight"].read(out, 40_000)
    assert torch.equal(*rows)
    assert Tokenizer.load(tmp_path / "smollm2").encode(TEXTS[0]) == Tokenizer.from_gguf(checkpoint.metadata).encode(TEXTS[0])
