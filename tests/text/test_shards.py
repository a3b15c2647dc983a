"""Token shards: what is written is what is read, and a damaged folder is refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwen.errors import UserError
from kwen.text.shards import TokenShards, write_shards

DOCUMENTS = [[1, 2, 3], [0], [7, 7, 7, 7]]


@settings(max_examples=25, deadline=None)
@given(documents=st.lists(st.lists(st.integers(0, 299), min_size=1, max_size=20), max_size=20))
def test_reads_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]]) -> None:
    folder = tmp_path_factory.mktemp("shards")
    header = write_shards(iter(documents), folder, vocab_size=300)
    shards = TokenShards(folder)
    assert [shards.document(i).tolist() for i in range(len(shards))] == documents
    assert shards.lengths.tolist() == [len(document) for document in documents]
    assert shards.total_tokens == header["tokens"] == sum(map(len, documents))


@pytest.mark.parametrize(("vocab_size", "dtype"), [(1 << 16, "<u2"), ((1 << 16) + 1, "<u4"), (151_936, "<u4")])
def test_dtype_is_the_smallest_that_holds_the_vocabulary(tmp_path: Path, vocab_size: int, dtype: str) -> None:
    write_shards([[0, vocab_size - 1]], tmp_path, vocab_size)
    shards = TokenShards(tmp_path)
    assert shards.tokens.dtype == np.dtype(dtype)
    assert shards.document(0).tolist() == [0, vocab_size - 1]


def test_same_documents_give_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shards(DOCUMENTS, tmp_path / name, 8)
    for file in ("header.json", "tokens.bin", "offsets.npy"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_document_is_a_read_only_view(tmp_path: Path) -> None:
    write_shards(DOCUMENTS, tmp_path, 8)
    with pytest.raises(ValueError, match="read-only"):
        TokenShards(tmp_path).document(0)[0] = 5


@pytest.mark.parametrize("i", [-1, 3])
def test_document_numbers_end_where_the_shards_end(tmp_path: Path, i: int) -> None:
    write_shards(DOCUMENTS, tmp_path, 8)
    with pytest.raises(IndexError):
        TokenShards(tmp_path).document(i)


@pytest.mark.parametrize("document", [[8], [-1], [0, 1 << 40]])
def test_a_wrong_document_is_refused_before_it_is_written(tmp_path: Path, document: list[int]) -> None:
    with pytest.raises(UserError, match="document 1"):
        write_shards([[1], document], tmp_path, 8)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("header.json", None),
        ("header.json", b"{"),
        ("header.json", json.dumps({"format": "kwen-shards", "version": 1, "dtype": "object"}).encode()),
        ("tokens.bin", None),
        ("tokens.bin", b"\x01\x00"),
        ("offsets.npy", None),
        ("offsets.npy", b"\x93NUMPY"),
    ],
)
def test_a_damaged_folder_is_refused_by_name(tmp_path: Path, file: str, damage: bytes | None) -> None:
    write_shards(DOCUMENTS, tmp_path, 8)
    (tmp_path / file).unlink()
    if damage is not None:
        (tmp_path / file).write_bytes(damage)
    with pytest.raises(UserError) as refused:
        TokenShards(tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_offsets_that_disagree_with_the_tokens_are_refused(tmp_path: Path) -> None:
    write_shards(DOCUMENTS, tmp_path, 8)
    np.save(tmp_path / "offsets.npy", np.array([0, 5, 4, 8], dtype=np.int64))
    with pytest.raises(UserError, match="offsets"):
        TokenShards(tmp_path)
