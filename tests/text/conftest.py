"""Tokenizers that the text tests share."""

import base64
import json
from pathlib import Path

import pytest
from conftest_texts import sample_texts

from kwen.model.formats.gguf_file import read_gguf
from kwen.text.byte_level import unspell
from kwen.text.control import DEFAULT_SYSTEM
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train


@pytest.fixture(scope="session")
def trained_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small tokenizer of each pattern, by the pattern's name."""
    folder = tmp_path_factory.mktemp("trained")
    for pattern in ("report", "copying"):
        config = TokenizerConfig(vocab_size=700, pattern=pattern, whole_words=12, extra_tokens=13)
        train(iter(sample_texts()), config, folder / pattern)
    return {pattern: folder / pattern for pattern in ("report", "copying")}


@pytest.fixture(scope="session")
def own(trained_folders: dict[str, Path]) -> Tokenizer:
    """Kwen's own tokenizer as a chat model has it."""
    return Tokenizer.load(trained_folders["report"]).for_chat(DEFAULT_SYSTEM)


@pytest.fixture(scope="session")
def from_ranks(trained_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A small vocabulary in the form of Qwen's own file."""
    vocab = json.loads((trained_folders["report"] / "tokenizer.json").read_text())["model"]["vocab"]
    path = tmp_path_factory.mktemp("ranks") / "qwen.tiktoken"
    path.write_text("".join(f"{base64.b64encode(unspell(token)).decode()} {rank}\n" for token, rank in vocab.items()))
    return Tokenizer.load(path)


@pytest.fixture(scope="session")
def qwen(real_qwen_tiktoken: Path) -> Tokenizer:
    """The real Qwen vocabulary."""
    return Tokenizer.load(real_qwen_tiktoken)


@pytest.fixture(scope="session")
def qwen_saved(qwen: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real Qwen vocabulary as a Hugging Face folder; saving it takes seconds."""
    folder = tmp_path_factory.mktemp("qwen-saved")
    qwen.save(folder)
    return folder


@pytest.fixture(scope="session")
def smollm2(smollm2_gguf: Path) -> Tokenizer:
    """SmolLM2's tokenizer from its GGUF file."""
    return Tokenizer.from_gguf(read_gguf(smollm2_gguf).metadata)
