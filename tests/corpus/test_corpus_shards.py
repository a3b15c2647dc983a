"""From a corpus to shards: every byte comes back, and each document ends with the end mark."""

import base64
import json
from pathlib import Path

import pytest

from kwen.corpus import reading, shards
from kwen.corpus.pipeline import CorpusConfig, build
from kwen.text.shards import TokenShards
from kwen.text.tokenizer import Tokenizer


@pytest.fixture
def byte_tokenizer(tmp_path: Path) -> Path:
    """A qwen.tiktoken vocabulary of the 256 bytes alone."""
    path = tmp_path / "qwen.tiktoken"
    path.write_text("".join(f"{base64.b64encode(bytes([i])).decode()} {i}\n" for i in range(256)))
    return path


def test_shards_hold_the_corpus(tmp_path: Path, byte_tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BATCH_CHARACTERS", 500)
    sources = [{"kind": "nanoworld", "count": 40, "held_out_count": 7}]
    (tmp_path / "corpus").mkdir()
    statistics = build(CorpusConfig.model_validate({"sources": sources}), 0, tmp_path / "corpus")
    calls: list[tuple[float, float]] = []
    metrics = shards.tokenize(tmp_path / "corpus", byte_tokenizer, tmp_path / "shards", lambda d, t, **_: calls.append((d, t)))

    tokenizer = Tokenizer.load(byte_tokenizer)
    end = tokenizer.control_id("<|endoftext|>")
    for part in ("train", "held_out"):
        stored = TokenShards(tmp_path / "shards" / part)
        texts = [record["text"] for record in reading.documents(tmp_path / "corpus", part)]
        rows = [stored.document(i).tolist() for i in range(len(stored))]
        assert [tokenizer.decode(row[:-1]) for row in rows] == texts
        assert all(row[-1] == end and end not in row[:-1] for row in rows)
        assert metrics[part] == {
            "documents": len(texts),
            "tokens": stored.total_tokens,
            "bytes": statistics[part]["bytes"],
            "bytes_per_token": 1.0,
        }
    assert metrics["vocab_size"] == tokenizer.vocab_size
    assert calls[-1] == (statistics["bytes"], statistics["bytes"]) and calls == sorted(calls)


def test_text_that_spells_a_control_token_stays_text(tmp_path: Path, byte_tokenizer: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.txt").write_text("<|endoftext|><|im_start|>")
    (tmp_path / "corpus").mkdir()
    build(CorpusConfig.model_validate({"sources": [{"kind": "folder", "path": tmp_path / "t"}]}), 0, tmp_path / "corpus")
    metrics = shards.tokenize(tmp_path / "corpus", byte_tokenizer, tmp_path / "shards")
    assert TokenShards(tmp_path / "shards/train").document(0)[:-1].tolist() == list(b"<|endoftext|><|im_start|>")
    assert metrics["held_out"] == {"documents": 0, "tokens": 0, "bytes": 0, "bytes_per_token": None}
    assert json.dumps(metrics)
