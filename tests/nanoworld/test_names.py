"""Generated names are without limit, split by their hash, and never the world's own."""

import random
import re

from kwen.nanoworld.documents import documents
from kwen.nanoworld.names import CODAS, RESERVED, SYLLABLES, Names, Split, invent, split_of
from kwen.nanoworld.world import build_world


def drawn(split: Split, language: str, count: int) -> set[str]:
    rng, names = random.Random(f"test/{split}/{language}"), Names(split, build_world(0).taken_names)
    if language == "code":
        return {names.function_name(rng) for _ in range(count)}
    return {names.name(rng, "zh" if language == "zh" else "en") for _ in range(count)}


def test_training_and_held_out_names_are_disjoint() -> None:
    for language in ("en", "zh", "code"):
        training, held_out = drawn("train", language, 20_000), drawn("held_out", language, 2_000)
        assert not training & held_out
        assert len(held_out) > 100
    assert not {name.lower() for name in drawn("train", "en", 20_000)} & drawn("held_out", "code", 2_000)


def test_the_space_of_names_is_larger_than_a_million() -> None:
    assert len(SYLLABLES) == len({syllable for syllable, _ in SYLLABLES}) == len({character for _, character in SYLLABLES}) == 100
    assert len(SYLLABLES) ** 3 >= 1_000_000 and len(set(CODAS)) > 1
    rng = random.Random("space")
    assert len({invent(rng)[0] for _ in range(20_000)}) > 15_000


def test_no_held_out_name_stands_inside_a_training_name() -> None:
    for name in drawn("train", "zh", 20_000):
        assert all(split_of(part) == "train" for part in ([name[:2], name[1:]] if len(name) > 2 else [name]))
    for name in drawn("train", "code", 5_000):
        assert split_of(name) == "train"


def test_names_are_never_the_worlds_nor_words_of_python() -> None:
    taken = build_world(0).taken_names
    for split in ("train", "held_out"):
        for language in ("en", "zh", "code"):
            names = {name.lower() for name in drawn(split, language, 5_000)}
            assert not names & taken
            assert not names & RESERVED


def test_names_are_not_words_of_the_texts() -> None:
    texts = [document.text for document in documents(0, "train", 10_000) if document.kind not in ("function", "sums")]
    words = {word for text in texts for word in re.findall(r"\b[a-z]+\b", text)}
    assert not words & {name.lower() for name in drawn("train", "en", 30_000) | drawn("held_out", "en", 5_000)}


def test_function_names_come_in_every_style_and_are_identifiers() -> None:
    names = drawn("train", "code", 2_000)
    assert all(name.isidentifier() and name.islower() for name in names)
    assert 0.3 < sum("_" in name for name in names) / len(names) < 0.7


def test_names_in_one_text_are_not_part_of_each_other() -> None:
    rng, supply = random.Random("some"), Names("train")
    for _ in range(2_000):
        names = supply.some(rng, "zh", 4)
        assert not any(one in other for i, one in enumerate(names) for j, other in enumerate(names) if i != j)
