"""A corpus as a whole: repeatable to the byte, held-out text apart, everything left out accounted for."""

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwen.corpus import pipeline, reading
from kwen.corpus.deduplicate import text_key
from kwen.corpus.pipeline import CorpusConfig, build, load_config
from kwen.errors import UserError


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def corpus(config: dict[str, Any], out: Path, seed: int = 0) -> dict[str, Any]:
    out.mkdir(parents=True)
    return build(CorpusConfig.model_validate(config), seed, out)


def texts(out: Path, part: str) -> list[str]:
    return [record["text"] for record in reading.documents(out, part)]


def test_two_builds_are_equal_to_the_byte_wherever_the_source_lies(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"{i}.txt": f"Text number {i}.\r\n" for i in range(50)}
    for name in ("a", "b"):
        folder = write(tmp_path / name / "texts", files)
        sources = [
            {"kind": "folder", "path": folder, "held_out": {"share": 0.2}},
            {"kind": "nanoworld", "count": 30, "held_out_count": 5},
        ]
        corpus({"sources": sources}, tmp_path / "out" / name)
    for file in ("train.jsonl", "held_out.jsonl", "statistics.json"):
        assert (tmp_path / "out/a" / file).read_bytes() == (tmp_path / "out/b" / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / "out/a").iterdir()) == ["held_out.jsonl", "statistics.json", "train.jsonl"]


def test_the_seed_changes_the_order_and_nothing_else(tmp_path: Path) -> None:
    folder = write(tmp_path / "texts", {f"{i}.txt": f"Text {i}" for i in range(30)})
    config = {"sources": [{"kind": "folder", "path": folder, "held_out": {"share": 0.3}}]}
    one, two = tmp_path / "1", tmp_path / "2"
    assert corpus(config, one, seed=1) == corpus(config, two, seed=2)
    assert texts(one, "train") != texts(two, "train")
    assert sorted(texts(one, "train")) == sorted(texts(two, "train"))
    assert texts(one, "held_out") == texts(two, "held_out")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["", ".", "!", " "]), st.booleans()), min_size=1),
    st.booleans(),
)
def test_no_text_is_on_both_sides_and_none_is_lost(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, str, bool]], deduplicate: bool
) -> None:
    files: dict[str, str | bytes] = {
        f"{'kept' if held else 'read'}/{i}.txt": f"text {letter}{mark}" for i, (letter, mark, held) in enumerate(drawn)
    }
    files |= {"read/always.txt": "for training", "kept/always.txt": "for measuring"}
    folder = tmp_path_factory.mktemp("corpus")
    config = {
        "sources": [{"kind": "folder", "path": write(folder / "t", files), "held_out": {"files": ["kept"]}}],
        "deduplicate": deduplicate,
    }
    statistics = corpus(config, folder / "out")
    train, held_out = texts(folder / "out", "train"), texts(folder / "out", "held_out")
    train_keys, held_out_keys = {text_key(text) for text in train}, {text_key(text) for text in held_out}
    assert not train_keys & held_out_keys
    assert train_keys | held_out_keys == {text_key(str(text)) for text in files.values()}
    if deduplicate:
        assert len(train) == len(train_keys) and len(held_out) == len(held_out_keys)
    left_out = sum(entry["count"] for entry in statistics["excluded"].values())
    assert len(train) + len(held_out) + left_out == len(files)


def test_a_held_out_text_leaves_training_even_where_it_came_first(tmp_path: Path) -> None:
    folder = write(tmp_path / "t", {"a.txt": "The same.", "b.txt": "Another.", "z.txt": "the SAME"})
    config = {"sources": [{"kind": "folder", "path": folder, "held_out": {"files": ["z.txt"]}}], "deduplicate": False}
    statistics = corpus(config, tmp_path / "out")
    assert texts(tmp_path / "out", "train") == ["Another."]
    assert texts(tmp_path / "out", "held_out") == ["the SAME"]
    assert statistics["excluded"]["same text as a held-out document"] == {
        "count": 1,
        "samples": [{"id": "t/a.txt", "text": "The same."}],
    }


def test_statistics_account_for_every_byte_and_every_exclusion(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"{i}.txt": "The same text." for i in range(5)}
    files |= {"u.txt": "\u00fcber", "bad.txt": b"caf\xe9 \xff", "empty.txt": " \n\n", "x.png": b"\x89PNG"}
    folder = write(tmp_path / "t", files)
    statistics = corpus({"sources": [{"kind": "folder", "path": folder, "language": "de"}]}, tmp_path / "out")
    assert statistics == json.loads((tmp_path / "out/statistics.json").read_text()) == reading.statistics(tmp_path / "out")
    kept = texts(tmp_path / "out", "train")
    assert sorted(kept) == ["The same text.", "caf\ufffd \ufffd", "\u00fcber"]
    size = sum(len(text.encode()) for text in kept)
    assert (statistics["documents"], statistics["bytes"]) == (3, size)
    assert statistics["train"] == {"documents": 3, "bytes": size} == statistics["languages"]["de"]
    assert statistics["held_out"] == {"documents": 0, "bytes": 0}
    assert statistics["sources"]["t"]["invalid_utf8"] == 2
    assert statistics["sources"]["t"]["excluded"] == 6
    assert {reason: entry["count"] for reason, entry in statistics["excluded"].items()} == {
        "duplicate": 4,
        "empty": 1,
        "not a text format": 1,
    }
    assert len(statistics["excluded"]["duplicate"]["samples"]) == 3


def test_a_held_out_book_comes_out_whole_and_in_order(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"dracula/chapter-{i}.txt": f"Chapter {i}" for i in range(1, 13)}
    files |= {"emma/chapter-1.txt": "Emma"}
    folder = write(tmp_path / "t", files)
    corpus({"sources": [{"kind": "folder", "path": folder, "held_out": {"files": ["dracula"]}}]}, tmp_path / "out")
    assert texts(tmp_path / "out", "held_out") == [f"Chapter {i}" for i in range(1, 13)]


def test_an_empty_corpus_says_what_was_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "t", {"a.png": "x", "b.txt": "\n"})
    with pytest.raises(UserError, match=r"no training document in t .*1 empty, 1 not a text format") as refused:
        corpus({"sources": [{"kind": "folder", "path": folder}]}, tmp_path / "out")
    assert "\n" not in str(refused.value)


def test_progress_reaches_its_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "REPORT_EVERY", 1)
    calls: list[tuple[float, float]] = []
    (tmp_path / "out").mkdir()
    config = CorpusConfig.model_validate({"sources": [{"kind": "folder", "path": write(tmp_path / "t", {"a.txt": "x"})}]})
    build(config, 0, tmp_path / "out", lambda done, total, **facts: calls.append((done, total)))
    assert calls[-1] == (1, 1) and calls == sorted(calls)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sources: []", "sources: "),
        ("sources: [{kind: folder, pth: x}]", r"sources\.0\.folder\.p"),
        ("sources: [{kind: nanoworld, count: 1}, {kind: nanoworld, count: 2}]", "two sources are called 'nanoworld'"),
        ("sources: [", "not YAML"),
        ("5", "the whole file"),
    ],
)
def test_a_wrong_configuration_names_file_and_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=says) as refused:
        load_config(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_samples_are_drawn_from_the_training_part_by_seed(tmp_path: Path) -> None:
    folder = write(tmp_path / "t", {f"{i}.txt": f"Text {i}" for i in range(20)})
    corpus({"sources": [{"kind": "folder", "path": folder}]}, tmp_path / "out")
    drawn = reading.sample(tmp_path / "out", 5, seed=1)
    assert drawn == reading.sample(tmp_path / "out", 5, seed=1) != reading.sample(tmp_path / "out", 5, seed=2)
    assert len({record["id"] for record in drawn}) == 5
    assert len(reading.sample(tmp_path / "out", 50)) == 20


@pytest.mark.parametrize("part", ["train", "held_out"])
def test_a_damaged_corpus_names_the_line(tmp_path: Path, part: str) -> None:
    write(tmp_path, {f"{part}.jsonl": '{"text": "a"}\n{"tex'})
    with pytest.raises(UserError, match=rf"{part}\.jsonl, line 2"):
        list(reading.documents(tmp_path, part))
    with pytest.raises(UserError, match="not a corpus"):
        reading.statistics(tmp_path)


def test_two_real_books_give_the_text_that_their_figures_are_known_for(tmp_path: Path, shared_data: Path) -> None:
    sources = [
        {
            "kind": "folder",
            "path": shared_data / "standardebooks",
            "name": "books",
            "include": ["mark-twain_the-adventures-of-tom-sawyer.*", "bram-stoker_dracula.*"],
            "exclude": ["colophon.*", "imprint.*", "uncopyright.*", "titlepage.*", "halftitlepage.*"],
            "held_out": {"files": ["mark-twain_*"]},
        }
    ]
    statistics = corpus({"sources": sources}, tmp_path / "out")
    (text,) = reading.held_out_texts(tmp_path / "out").values()
    assert list(statistics["held_out_files"]) == ["mark-twain_the-adventures-of-tom-sawyer.tar.gz"]
    assert text.startswith("I\n\nTom Plays, Fights, and Hides\n\n\u201cTom!\u201d\n\nNo answer.")
    assert text.endswith("The Author.\n\nHartford, 1876.")
    assert not any(foreign in text for foreign in ("<", "\u00a0", "\u2060", "Standard Ebooks"))
    data = text.encode()
    bits = 8 * len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) / len(data)
    assert bits == pytest.approx(2.56, abs=0.005)


def test_training_documents_that_overlap_with_test_items_fall_out(tmp_path: Path) -> None:
    files = {"a.txt": "Clean text.", "b.txt": "It holds the planted words.", "c.txt": "The planted words, kept to measure by."}
    source = {"kind": "folder", "path": write(tmp_path / "t", files), "held_out": {"files": ["c.txt"]}}
    config = CorpusConfig.model_validate({"sources": [source], "decontaminate": {"tasks": ["gsm8k"]}})
    (tmp_path / "out").mkdir()
    statistics = build(config, 0, tmp_path / "out", overlaps=lambda text: "planted" in text)
    assert (statistics["train"]["documents"], statistics["held_out"]["documents"]) == (1, 1)
    assert statistics["excluded"]["13 words shared with a test item"]["count"] == 1
