"""Tokenizers that the text tests share."""

import random
from pathlib import Path

import pytest

from kwen.model.formats.gguf_file import read_gguf
from kwen.text.control import DEFAULT_SYSTEM
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train


def sample_texts() -> list[str]:
    """A few kilobytes of English, Chinese and code, the same every time."""
    chance = random.Random("kwen/tests/text")
    people, places = ["Mara", "Oswin", "Tilde", "Zorvik"], ["the harbour", "a mill", "the old town", "Lindow"]
    lines = []
    for number in range(300):
        who, where = chance.choice(people), chance.choice(places)
        lines.append(f"{who} walked to {where} and said that it's {number} steps; the others didn't believe it.")
        lines.append(f"{who}在{number}年去了城里，她说那里很好。")
        lines.append(f"def add_{number}(a, b):\n    return a + b * {number}\n")
    return lines


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
def qwen(real_qwen_tiktoken: Path) -> Tokenizer:
    """The real Qwen vocabulary."""
    return Tokenizer.load(real_qwen_tiktoken)


@pytest.fixture(scope="session")
def smollm2(smollm2_gguf: Path) -> Tokenizer:
    """SmolLM2's tokenizer from its GGUF file."""
    return Tokenizer.from_gguf(read_gguf(smollm2_gguf).metadata)
