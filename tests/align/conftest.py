"""Fixtures of the alignment tests: tokenizers, and a tiny family."""

from pathlib import Path

import pytest
from tiny_family import Family, make_family

from kwen.model.formats.gguf_file import read_gguf
from kwen.nanoworld.documents import documents
from kwen.text.control import DEFAULT_SYSTEM
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """A tiny family, made once."""
    return make_family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="session")
def chat_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A small tokenizer of Kwen's own as a chat model has it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    texts = (document.text for document in documents(0, "train", 150))
    train(texts, TokenizerConfig(vocab_size=700, whole_words=12), folder)
    return Tokenizer.load(folder).for_chat(DEFAULT_SYSTEM)


@pytest.fixture(scope="session")
def smollm2_tokenizer(smollm2_gguf: Path) -> Tokenizer:
    """SmolLM2's tokenizer, which has a chat template of its own."""
    return Tokenizer.from_gguf(read_gguf(smollm2_gguf).metadata)
