"""Tokens by language, and the published vocabularies beside which they are counted."""

import base64
import gzip
from pathlib import Path
from types import FunctionType

import pytest
import tiktoken
from tiktoken_ext import openai_public

from kwen.errors import UserError
from kwen.text.comparison import compression_by_language, relative_tokens
from kwen.text.published import PUBLISHED
from kwen.text.tokenizer import Tokenizer

TEXTS = [
    "It's 1234567 o'clock, WE'LL see...   she said\n\n\n  and left.\t\tFin\r\n",
    "她说那里很好。 e\u0301 \u00e9 नमस्ते 안녕하세요 \ud800!",
    "def f(x):\n    return x ** 2  # don't\n" + " " * 70_000 + "end " + " " * 60_000,
    "",
]


def test_counts_by_language(trained_folders: dict[str, Path]) -> None:
    tokenizers = {name: Tokenizer.load(folder) for name, folder in trained_folders.items()}
    english, chinese = "Mara walked to the old town", "她说那里很好。"
    found = compression_by_language(tokenizers, iter([("en", english), ("zh", chinese), ("en", english)]))
    tokens = {name: [len(tokenizer.encode(text)) for text in (english, chinese)] for name, tokenizer in tokenizers.items()}
    assert found == {
        "reference": min(tokens, key=lambda name: 2 * tokens[name][0] + tokens[name][1]),
        "tokenizers": {"report": {"vocabulary": 700}, "copying": {"vocabulary": 700}},
        "languages": {
            "en": {"documents": 2, "bytes": 54, "tokens": {name: 2 * counts[0] for name, counts in tokens.items()}},
            "zh": {"documents": 1, "bytes": 21, "tokens": {name: counts[1] for name, counts in tokens.items()}},
        },
    }
    assert compression_by_language(tokenizers, [("en", english)], "copying")["reference"] == "copying"
    for texts, reference, said in (([], None, "no text"), ([("en", "")], None, "no text"), ([("en", "a")], "x", "'x' is not")):
        with pytest.raises(UserError, match=said):
            compression_by_language(tokenizers, texts, reference)


def test_relative_to_the_best_or_to_the_reference() -> None:
    assert relative_tokens({"a": 10, "b": 5}) == {"a": 2.0, "b": 1.0}
    assert relative_tokens({"a": 10, "b": 5}, "a") == {"a": 1.0, "b": 0.5}
    assert relative_tokens({"a": 0, "b": 0}) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_vocabularies_have_tiktokens_ids(name: str, shared_data: Path) -> None:
    path = shared_data / "tokenizers" / f"{name}.tiktoken.gz"
    ours = Tokenizer.load(path)
    lines = gzip.decompress(path.read_bytes()).splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}
    constructor = openai_public.ENCODING_CONSTRUCTORS[name]
    described = FunctionType(constructor.__code__, constructor.__globals__ | {"load_tiktoken_bpe": lambda *_, **__: ranks})()
    theirs = tiktoken.Encoding(**described)
    for text in TEXTS[:2] + ["x" + " " * 300 + "y", TEXTS[3]]:
        assert ours.encode(text) == theirs.encode_ordinary(text)
    assert ours.decode(ours.encode(TEXTS[2])) == TEXTS[2]
    assert ours.vocab_size == theirs.n_vocab and ours.control_tokens == described["special_tokens"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_vocabulary_that_is_cut_off_is_refused(name: str, shared_data: Path, tmp_path: Path) -> None:
    lines = gzip.decompress((shared_data / "tokenizers" / f"{name}.tiktoken.gz").read_bytes()).splitlines(keepends=True)
    path = tmp_path / f"{name}.tiktoken"
    for kept in (lines[:-5], lines[:1000] + lines[1001:], lines[:100]):
        path.write_bytes(b"".join(kept))
        with pytest.raises(UserError, match="fetch the file again"):
            Tokenizer.load(path)


def test_a_damaged_packed_vocabulary_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "r50k_base.tiktoken.gz"
    path.write_bytes(gzip.compress(b"IQ== 0\n")[:-6])
    with pytest.raises(UserError, match="damaged or cut off"):
        Tokenizer.load(path)
