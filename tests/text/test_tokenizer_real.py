"""The real Qwen vocabulary on real text: ids equal to tiktoken's."""

import gzip
import io
import tarfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiktoken

from kwen.text.patterns import REPORT_PATTERN
from kwen.text.tokenizer import Tokenizer

SAMPLE = ("udhr", "tldr_pages", "ifeval", "chat_templates")
SAMPLE_FILES = 150


def text_files(folder: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of every file under `folder` that is UTF-8, members of archives one by one."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        name = str(path.relative_to(folder))
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                for member in archive:
                    stream = archive.extractfile(member) if member.isfile() else None
                    if stream is not None:
                        yield from decoded(f"{name}/{member.name}", stream.read())
        else:
            data = path.read_bytes()
            yield from decoded(name, gzip.GzipFile(fileobj=io.BytesIO(data)).read() if path.suffix == ".gz" else data)


def decoded(name: str, data: bytes) -> Iterator[tuple[str, str]]:
    try:
        yield name, data.decode()
    except UnicodeDecodeError:
        return


@pytest.fixture(scope="module")
def reference(qwen: Tokenizer) -> tiktoken.Encoding:
    ranks = {qwen.token_bytes(number): number for number in range(151_643)}
    return tiktoken.Encoding("qwen", pat_str=REPORT_PATTERN, mergeable_ranks=ranks, special_tokens={})


def test_a_sample_of_files_has_tiktokens_ids(qwen: Tokenizer, reference: tiktoken.Encoding, shared_data: Path) -> None:
    for folder in SAMPLE:
        for _, (name, text) in zip(range(SAMPLE_FILES), text_files(shared_data / folder), strict=False):
            assert qwen.encode(text) == reference.encode_ordinary(unicodedata.normalize("NFC", text)), name


@pytest.mark.slow
def test_every_file_has_tiktokens_ids(qwen: Tokenizer, reference: tiktoken.Encoding, shared_data: Path) -> None:
    files = size = tokens = 0
    for name, text in text_files(shared_data):
        ids = qwen.encode(text)
        assert ids == reference.encode_ordinary(unicodedata.normalize("NFC", text)), name
        files, size, tokens = files + 1, size + len(text.encode()), tokens + len(ids)
    print(f"{files:,} files, {size:,} bytes, {tokens:,} tokens")
    assert files > 10_000


@pytest.mark.slow
def test_the_saved_vocabulary_has_the_same_ids_on_real_text(qwen: Tokenizer, qwen_saved: Path, shared_data: Path) -> None:
    # Through `tokenizers` with one recovered merge a token, another algorithm than tiktoken's.
    saved = Tokenizer.load(qwen_saved)
    for folder in ("udhr", "opensource_guide", "hongloumeng", "tldr_pages"):
        names, texts = zip(*text_files(shared_data / folder), strict=True)
        for name, ours, theirs in zip(names, qwen.encode_batch(texts), saved.encode_batch(texts), strict=True):
            assert ours == theirs, f"{folder}/{name}"
