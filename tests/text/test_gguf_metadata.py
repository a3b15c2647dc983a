"""A tokenizer as GGUF metadata: read back it gives the same ids, and where llama.cpp would cut otherwise, the file says so."""

import json
from pathlib import Path

import pytest

from kwen.text.gguf_metadata import PROBES, gguf_tokenizer
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train

TEXTS = ["It's 2023; naïve café.", "通义千问 <|im_start|>user", "def f(x):\n    return x\n\n", "  12,345  \r\n\r\n x"]


@pytest.fixture(scope="module")
def qwen(real_qwen_tiktoken: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """With the first 3,000 ranks of Qwen's real vocabulary."""
    path = tmp_path_factory.mktemp("ranks") / "qwen.tiktoken"
    path.write_bytes(b"".join(real_qwen_tiktoken.read_bytes().splitlines(keepends=True)[:3000]))
    return Tokenizer.load(path)


def test_qwens_tokenizer_comes_back_with_every_id(qwen: Tokenizer) -> None:
    found = gguf_tokenizer(qwen, 3328)
    assert found.metadata["tokenizer.ggml.pre"] == "qwen2" and found.differing == 0
    assert len(found.metadata["tokenizer.ggml.tokens"]) == len(found.metadata["tokenizer.ggml.token_type"]) == 3328
    again = Tokenizer.from_gguf(found.metadata)
    assert again.encode_batch([*TEXTS, *PROBES]) == qwen.encode_batch([*TEXTS, *PROBES])
    assert again.control_tokens == qwen.control_tokens and again.chat_template == qwen.chat_template
    assert again.eos_token_ids == qwen.eos_token_ids and again.pad_token_id == qwen.pad_token_id
    ids = qwen.encode("<|im_start|>", allowed_special="all")
    assert found.metadata["tokenizer.ggml.token_type"][ids[0]] == 3 and again.bos_ids == []


def test_rows_without_a_token_are_unused_ones(qwen: Tokenizer) -> None:
    metadata = gguf_tokenizer(qwen, 3400).metadata
    assert metadata["tokenizer.ggml.tokens"][-1] == "[PAD3399]" and metadata["tokenizer.ggml.token_type"][-1] == 5


@pytest.mark.parametrize("pre", ["llama-bpe", "smollm", "gpt-2"])
def test_the_name_of_a_known_way_of_cutting_is_found(qwen: Tokenizer, pre: str) -> None:
    tokenizer = Tokenizer.from_gguf(gguf_tokenizer(qwen, 3328).metadata | {"tokenizer.ggml.pre": pre})
    found = gguf_tokenizer(tokenizer, 3328)
    assert found.differing == 0
    assert Tokenizer.from_gguf(found.metadata).encode_batch(PROBES) == tokenizer.encode_batch(PROBES)


def test_a_pattern_that_llama_cpp_has_no_name_for_is_told(tmp_path: Path) -> None:
    texts = ["the quick brown fox jumps over the lazy dog. " * 20 + "通义千问 2023 return x\n" * 20]
    train(iter(texts), TokenizerConfig(vocab_size=600, pattern="copying", whole_words=5), tmp_path / "tokenizer")
    tokenizer = Tokenizer.load(tmp_path / "tokenizer")
    found = gguf_tokenizer(tokenizer, tokenizer.vocab_size)
    assert 0 < found.differing < 1
    json.dumps(found.metadata)
